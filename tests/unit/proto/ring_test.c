/* Rings in memory between two sides: any splits, the wrap, sleeping, and a side that lies about its
 * positions. */
#include "proto/ring.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"

enum { CAPACITY = PD_RING_BYTES_MIN, HALF = CAPACITY / 2 };

static uint8_t *memory;
static struct pd_rings server;
static struct pd_rings client;
static uint8_t bytes[2 * CAPACITY];
static uint8_t got[2 * CAPACITY];

static void begin(void)
{
    size_t size = pd_rings_memory_bytes(CAPACITY);
    memory = aligned_alloc(PD_RINGS_CONTROL_BYTES, size);
    ck_assert_ptr_nonnull(memory);
    memset(memory, 0, size);
    pd_rings_init(&server, memory, CAPACITY, PD_RINGS_SERVER);
    pd_rings_init(&client, memory, CAPACITY, PD_RINGS_CLIENT);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i % CAPACITY * 31 + i % CAPACITY / 251);
    }
}

static void end(void)
{
    free(memory);
}

static size_t write_some(struct pd_rings *rings, uint8_t *from, size_t count)
{
    struct pd_span span = {from, count};
    return pd_rings_write(rings, &span, 1);
}

static size_t read_some(struct pd_rings *rings, uint8_t *to, size_t count)
{
    struct pd_span span = {to, count};
    return pd_rings_read(rings, &span, 1);
}

/* Positions as the other side finds them; 0 is the ring to the server. */
static struct pd_ring_control *control(unsigned index)
{
    return (struct pd_ring_control *)memory + index;
}

/* Splits that grow by different steps on both sides, over several rounds of the ring. */
START_TEST(bytes_arrive_in_order_in_any_split_across_the_wrap)
{
    struct pd_rings *from = _i % 2 == 0 ? &client : &server;
    struct pd_rings *to = _i % 2 == 0 ? &server : &client;
    uint64_t written = 0;
    uint64_t read = 0;
    size_t step = (size_t)_i * 997 + 1;
    begin();
    while (read < 5 * (uint64_t)CAPACITY) {
        size_t at = (size_t)(written % CAPACITY);
        struct pd_span out[2] = {{bytes + at, step % 511}, {bytes + at + step % 511, step}};
        written += pd_rings_write(from, out, 2);
        struct pd_span in[3] = {{got, step / 3}, {got, 0}, {got + step / 3, step - step / 3}};
        size_t count = pd_rings_read(to, in, 3);
        /* The source is endless: bytes repeats after CAPACITY. */
        ck_assert_mem_eq(got, bytes + read % CAPACITY, count);
        read += count;
    }
    ck_assert(!from->broken && !to->broken);
    end();
}
END_TEST

START_TEST(a_full_ring_takes_nothing_and_an_empty_one_gives_nothing)
{
    begin();
    size_t written = 0;
    size_t count;
    ck_assert_uint_eq(read_some(&server, got, 1), 0);
    while ((count = write_some(&client, bytes + written, sizeof bytes - written)) > 0) {
        ck_assert_uint_le(count, PD_RING_PIECE_BYTES);
        written += count;
    }
    ck_assert_uint_eq(written, CAPACITY);
    ck_assert_uint_eq(read_some(&server, got, 10), 10);
    ck_assert_uint_eq(write_some(&client, bytes, 100), 10);
    ck_assert_uint_eq(write_some(&client, bytes, 100), 0);
    ck_assert(!server.broken && !client.broken);
    end();
}
END_TEST

START_TEST(the_two_directions_do_not_touch_each_other)
{
    begin();
    ck_assert_uint_eq(write_some(&client, bytes, 1000), 1000);
    ck_assert_uint_eq(write_some(&server, bytes + 1000, 500), 500);
    ck_assert_uint_eq(read_some(&client, got, 2000), 500);
    ck_assert_mem_eq(got, bytes + 1000, 500);
    ck_assert_uint_eq(read_some(&server, got, 2000), 1000);
    ck_assert_mem_eq(got, bytes, 1000);
    end();
}
END_TEST

START_TEST(a_reader_that_sleeps_is_woken_once_by_the_next_bytes)
{
    begin();
    ck_assert(pd_rings_sleep(&server, true, false));
    ck_assert(!pd_rings_wants_bell(&client));
    (void)write_some(&client, bytes, 1);
    ck_assert(pd_rings_wants_bell(&client));
    ck_assert(!pd_rings_wants_bell(&client));
    /* Nor does it sleep while there is something to read. */
    ck_assert(!pd_rings_sleep(&server, true, false));
    ck_assert(pd_rings_sleep(&server, false, false));
    (void)write_some(&client, bytes, 1);
    ck_assert(!pd_rings_wants_bell(&client));
    end();
}
END_TEST

START_TEST(a_writer_that_sleeps_is_woken_when_half_of_the_ring_is_free)
{
    begin();
    while (write_some(&client, bytes, sizeof bytes) > 0) {
    }
    ck_assert(pd_rings_sleep(&client, true, true));
    ck_assert_uint_eq(read_some(&server, got, HALF - 1), HALF - 1);
    ck_assert(!pd_rings_wants_bell(&server));
    ck_assert(pd_rings_sleep(&client, true, true));
    ck_assert_uint_eq(read_some(&server, got, 1), 1);
    ck_assert(pd_rings_wants_bell(&server));
    ck_assert(!pd_rings_wants_bell(&server));
    ck_assert(!pd_rings_sleep(&client, true, true));
    end();
}
END_TEST

/* Each lie is told after 100 bytes went through and 50 more were written. */
static const struct {
    int64_t head; /* of what comes in, against the truth */
    int64_t tail; /* of what goes out */
} lies[] = {
    {-1, 0},   {-50, 0},       {CAPACITY - 50 + 1, 0}, {-51, 0},
    {-150, 0}, {INT64_MIN, 0}, {INT64_MAX, 0},         {0, 51},
    {0, -1},   {0, -1000},     {0, INT64_MIN},         {0, INT64_MAX},
};

START_TEST(a_position_that_cannot_be_breaks_the_rings_and_moves_nothing)
{
    begin();
    ck_assert_uint_eq(write_some(&client, bytes, 100), 100);
    ck_assert_uint_eq(read_some(&server, got, 100), 100);
    ck_assert_uint_eq(write_some(&server, bytes, 100), 100);
    ck_assert_uint_eq(read_some(&client, got, 100), 100);
    ck_assert_uint_eq(write_some(&client, bytes, 50), 50);
    ck_assert_uint_eq(write_some(&server, bytes, 50), 50);
    ck_assert(!pd_rings_sleep(&server, true, true));
    ck_assert(!server.broken);
    atomic_fetch_add(&control(0)->head, (uint64_t)lies[_i].head);
    atomic_fetch_add(&control(1)->tail, (uint64_t)lies[_i].tail);
    size_t moved = read_some(&server, got, 0) + read_some(&server, got, lies[_i].head != 0);
    moved += write_some(&server, bytes, lies[_i].tail != 0);
    ck_assert_uint_eq(moved, 0);
    ck_assert(server.broken);
    /* It stays so, whatever the positions say later, and nobody sleeps over it. */
    atomic_store(&control(0)->head, 150);
    atomic_store(&control(1)->tail, 100);
    ck_assert_uint_eq(read_some(&server, got, 1) + write_some(&server, bytes, 1), 0);
    ck_assert(!pd_rings_sleep(&server, false, false));
    end();
}
END_TEST

START_TEST(only_the_own_copy_of_the_own_position_counts)
{
    begin();
    ck_assert_uint_eq(write_some(&client, bytes, 100), 100);
    ck_assert_uint_eq(read_some(&server, got, 60), 60);
    /* The client writes where only the server may. */
    atomic_store(&control(0)->tail, UINT64_MAX);
    memset(got, 0, 100);
    ck_assert_uint_eq(read_some(&server, got, 100), 40);
    ck_assert_mem_eq(got, bytes + 60, 40);
    ck_assert(!server.broken);
    end();
}
END_TEST

START_TEST(sizes_that_are_no_power_of_two_or_out_of_bounds_are_not_valid)
{
    ck_assert(pd_ring_bytes_valid(PD_RING_BYTES));
    ck_assert(pd_ring_bytes_valid(PD_RING_BYTES_MIN));
    ck_assert(pd_ring_bytes_valid(PD_RING_BYTES_MAX));
    ck_assert(!pd_ring_bytes_valid(0));
    ck_assert(!pd_ring_bytes_valid(PD_RING_BYTES_MIN / 2));
    ck_assert(!pd_ring_bytes_valid(PD_RING_BYTES_MIN + 4096));
    ck_assert(!pd_ring_bytes_valid(UINT32_C(2) * PD_RING_BYTES_MAX));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("ring");
    TCase *moving = tcase_create("moving");
    tcase_add_loop_test(moving, bytes_arrive_in_order_in_any_split_across_the_wrap, 0, 60);
    tcase_add_test(moving, a_full_ring_takes_nothing_and_an_empty_one_gives_nothing);
    tcase_add_test(moving, the_two_directions_do_not_touch_each_other);
    suite_add_tcase(suite, moving);
    TCase *sleeping = tcase_create("sleeping");
    tcase_add_test(sleeping, a_reader_that_sleeps_is_woken_once_by_the_next_bytes);
    tcase_add_test(sleeping, a_writer_that_sleeps_is_woken_when_half_of_the_ring_is_free);
    suite_add_tcase(suite, sleeping);
    TCase *lying = tcase_create("lying");
    tcase_add_loop_test(lying, a_position_that_cannot_be_breaks_the_rings_and_moves_nothing, 0,
                        (int)(sizeof lies / sizeof lies[0]));
    tcase_add_test(lying, only_the_own_copy_of_the_own_position_counts);
    tcase_add_test(lying, sizes_that_are_no_power_of_two_or_out_of_bounds_are_not_valid);
    suite_add_tcase(suite, lying);
    return suite;
}
