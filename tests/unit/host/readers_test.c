/* Readers that are slow, stop, ask for too much or go away: nobody ever sees half of an update,
 * others go on, what waits for room goes on when there is some, and all memory comes back. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"

enum { BLOCK_BYTES = 32768, BLOCKS = 5 };

static struct pd_rig *rig;
static struct pd_wire *wire;
static struct pd_worker worker;
static struct pd_plan plan;

/* Room for copies of two blocks. */
static void start(void)
{
    rig = pd_rig_create(&(struct pd_rig_options){
        .copies_max = 2 * BLOCK_BYTES, .in_flight_max = 65536, .connections_max = 8});
    wire = pd_wire_open(rig, 0);
    worker = pd_worker_named(1);
    plan = pd_plan_ledger("m", BLOCKS * BLOCK_BYTES / 4);
    plan.block_elements = BLOCK_BYTES / 4;
    pd_join(wire, &worker, &plan);
}

static void stop(void)
{
    pd_rig_destroy(rig);
}

static void ping(struct pd_wire *own)
{
    Paramd__Ping message = PARAMD__PING__INIT;
    message.request_id = pd_wire_request_id(own);
    pd_send(own, PD_KIND_PING, &message.base, NULL, 0);
}

static struct pd_wire *another(unsigned number)
{
    struct pd_worker other = pd_worker_named(number);
    struct pd_wire *own = pd_wire_open(rig, 0);
    (void)pd_attach(own, &other, "m", PARAMD__ATTACH_MODE__NEW);
    return own;
}

/* A reader that has taken a thousand bytes of a block and stopped. */
static struct pd_wire *slow_reader(unsigned number, uint64_t block)
{
    struct pd_wire *own = another(number);
    own->appetite = 1000;
    pd_send_pull(own, &worker, 0, block, 0, 0);
    ck_assert_uint_eq(own->appetite, 0);
    return own;
}

static void read_on(struct pd_wire *own)
{
    own->appetite = SIZE_MAX;
    own->poked = true; /* poll: it can be written */
    pd_rig_settle(rig);
}

static void push_to(uint64_t block)
{
    pd_push_one(wire, &worker, &plan, 0, block, 1);
}

/* The block that comes next is all of its version. */
static void expect_whole(struct pd_wire *own, uint64_t version)
{
    const Paramd__Blocks *blocks = pd_wire_expect(own, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->version[0], version);
    for (size_t i = 0; i < own->answer.payload_bytes / 4; i++) {
        ck_assert_float_eq(pd_values(own)[i], (float)(version - 1));
    }
}

START_TEST(a_reader_byte_by_byte_sees_one_version_while_pushes_go_on)
{
    struct pd_wire *slow = slow_reader(2, 0);
    size_t count = 0;
    slow->in_first = slow->in_end - 1000; /* where this answer begins */
    for (uint64_t version = 2; count < BLOCK_BYTES - 1000; version++) {
        push_to(0);
        const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
        ck_assert_uint_eq(ack->version[0], version);
        for (unsigned i = 0; i < 61; i++) {
            slow->appetite = 1;
            slow->poked = true;
            pd_rig_settle(rig);
            ck_assert_uint_eq(slow->in_end - slow->in_first, 1000 + ++count);
        }
    }
    read_on(slow);
    expect_whole(slow, 1);
    ck_assert_double_eq(pd_counter(wire, NULL, "block_copies"), 1);
    pd_send_pull(slow, &worker, 0, 0, 0, 0);
    expect_whole(slow, 522); /* 31,768 bytes, a push for every 61 */
}
END_TEST

START_TEST(readers_of_different_versions_each_see_their_own)
{
    struct pd_wire *first = slow_reader(2, 0);
    push_to(0);
    struct pd_wire *second = slow_reader(3, 0);
    struct pd_wire *third = slow_reader(4, 0);
    push_to(0);
    push_to(0);
    struct pd_wire *fourth = slow_reader(5, 0);
    read_on(third);
    read_on(first);
    push_to(0);
    read_on(fourth);
    read_on(second);
    expect_whole(first, 1);
    expect_whole(second, 2);
    expect_whole(third, 2);
    expect_whole(fourth, 4);
}
END_TEST

START_TEST(without_room_for_a_copy_the_push_waits_and_others_go_on)
{
    struct pd_wire *readers[3];
    struct pd_wire *other = another(9);
    struct pd_worker second = pd_worker_named(9);
    second.model = worker.model;
    for (unsigned i = 0; i < 3; i++) {
        readers[i] = slow_reader(2 + i, i);
    }
    for (unsigned i = 0; i < 3; i++) {
        push_to(i);
    }
    ping(wire);
    push_to(3);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    pd_wire_expect_silence(wire);
    ck_assert_uint_gt(wire->pending_end - wire->pending_first, 0);
    pd_push_one(other, &second, &plan, 0, 3, 1);
    (void)pd_wire_expect(other, PD_KIND_ACK);
    read_on(readers[1]);
    const Paramd__Ack *ack = pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert_uint_eq(ack->version[0], 2);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
    ack = pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert_uint_eq(ack->version[0], 3);
    for (unsigned i = 0; i < 3; i++) {
        read_on(readers[i]);
        expect_whole(readers[i], 1);
    }
}
END_TEST

START_TEST(a_reader_that_others_wait_for_is_closed_when_it_is_slow)
{
    struct pd_wire *readers[3];
    for (unsigned i = 0; i < 3; i++) {
        readers[i] = slow_reader(2 + i, i);
    }
    pd_rig_pass(rig, 10000000);
    ck_assert_ptr_nonnull(readers[0]->conn); /* nobody waits */
    for (unsigned i = 0; i < 3; i++) {
        push_to(i);
    }
    pd_rig_pass(rig, 1000000);
    ck_assert_ptr_null(readers[0]->conn);
    ck_assert_ptr_nonnull(strstr(readers[0]->reason, "slower"));
    ck_assert_ptr_nonnull(readers[1]->conn);
    ck_assert_ptr_nonnull(readers[2]->conn);
    for (unsigned i = 0; i < 3; i++) {
        (void)pd_wire_expect(wire, PD_KIND_ACK);
    }
}
END_TEST

START_TEST(slow_readers_of_packed_values_are_closed_too)
{
    struct pd_wire *readers[3];
    for (unsigned i = 0; i < 3; i++) {
        Paramd__Pull pull = PARAMD__PULL__INIT;
        uint32_t tensors[] = {0, 0};
        uint64_t blocks[] = {0, 1};
        readers[i] = another(2 + i);
        readers[i]->appetite = 1000;
        pull.request_id = pd_wire_request_id(readers[i]);
        pull.model = worker.model;
        pull.dtype = PD_BF16;
        pull.n_tensor = pull.n_block = 2;
        pull.tensor = tensors;
        pull.block = blocks;
        pd_send(readers[i], PD_KIND_PULL, &pull.base, NULL, 0);
    }
    ck_assert_uint_eq(readers[2]->appetite, 1000); /* there is room for two of them */
    read_on(readers[2]);
    pd_wire_expect_silence(readers[2]);
    pd_rig_pass(rig, 3000000);
    const Paramd__Blocks *blocks = pd_wire_expect(readers[2], PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->n_tensor, 2);
    ck_assert_ptr_null(readers[0]->conn);
    ck_assert_ptr_nonnull(readers[1]->conn);
}
END_TEST

START_TEST(a_reader_that_goes_away_makes_room)
{
    struct pd_wire *readers[3];
    for (unsigned i = 0; i < 3; i++) {
        readers[i] = slow_reader(2 + i, i);
        push_to(i);
    }
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    pd_wire_expect_silence(wire);
    pd_wire_close(readers[0]);
    pd_rig_settle(rig);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
}
END_TEST

START_TEST(a_model_deleted_under_a_reader_gives_its_memory_back_afterwards)
{
    struct pd_wire *slow = slow_reader(2, 0);
    pd_send_pull(slow, &worker, 0, 1, 0, 0);
    pd_send_delete(wire, "m", 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_rig_pass(rig, 750000); /* too short to count as slow */
    ck_assert_uint_gt(rig->block_bytes, 0);
    push_to(0);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    read_on(slow);
    expect_whole(slow, 1);
    (void)pd_wire_expect_error(slow, PARAMD_NOT_FOUND);
    pd_rig_pass(rig, 1000000);
    ck_assert_uint_eq(rig->block_bytes, 0);
}
END_TEST

START_TEST(who_stops_reading_does_not_keep_a_deleted_model)
{
    struct pd_wire *first = slow_reader(2, 0);
    struct pd_plan other_plan = pd_plan_ledger("other", 100);
    struct pd_worker other = pd_worker_named(3);
    struct pd_wire *second = pd_wire_open(rig, 0);
    pd_join(second, &other, &other_plan);
    struct pd_wire *third = another(4);
    (void)pd_attach(third, &other, "other", PARAMD__ATTACH_MODE__RESUME);
    third->appetite = 1000;
    pd_send_pull(third, &other, 0, 0, 0, 0); /* small: it is read */
    third->appetite = 1000;
    pd_send_pull(third, &worker, 0, 1, 0, 0); /* stops in the middle of this one */
    pd_send_pull(third, &other, 0, 0, 0, 0);
    pd_send_delete(wire, "other", 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_rig_pass(rig, 3000000);
    ck_assert_ptr_null(third->conn); /* its third answer was of the deleted model */
    ck_assert_ptr_nonnull(first->conn);
    pd_send_delete(wire, "m", 0);
    (void)pd_wire_expect(wire, PD_KIND_DONE);
    pd_rig_pass(rig, 3000000);
    ck_assert_ptr_null(first->conn);
    ck_assert_double_eq(pd_counter(wire, NULL, "memory_bytes"), 0);
}
END_TEST

START_TEST(a_push_that_waits_while_its_model_is_deleted_is_refused)
{
    struct pd_wire *readers[3];
    struct pd_wire *other = another(9);
    for (unsigned i = 0; i < 3; i++) {
        readers[i] = slow_reader(2 + i, i);
        push_to(i);
    }
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    pd_wire_expect_silence(wire);
    pd_send_delete(other, "m", 0);
    (void)pd_wire_expect(other, PD_KIND_DONE);
    read_on(readers[0]);
    (void)pd_wire_expect_error(wire, PARAMD_NOT_FOUND);
    for (unsigned i = 0; i < 3; i++) {
        read_on(readers[i]);
        expect_whole(readers[i], 1);
    }
    pd_rig_pass(rig, 1000000);
    ck_assert_uint_eq(rig->block_bytes, 0);
}
END_TEST

enum { PULLS = 300, ENTRIES = 4096 };

/* One answer that is not read, and behind it more pulls than the daemon takes. */
static void ask_too_much(void)
{
    static uint32_t tensors[ENTRIES];
    static uint64_t blocks[ENTRIES];
    static uint64_t newer_than[ENTRIES];
    Paramd__Pull pull = PARAMD__PULL__INIT;
    for (unsigned i = 0; i < ENTRIES; i++) {
        newer_than[i] = 1;
    }
    pull.request_id = 100;
    pull.model = worker.model;
    pull.generation = worker.generation;
    pull.n_tensor = pull.n_block = pull.n_newer_than = ENTRIES;
    pull.tensor = tensors;
    pull.block = blocks;
    pull.newer_than = newer_than;
    pd_send_pull(wire, &worker, 0, 1, 0, 0);
    (void)pd_wire_expect(wire, PD_KIND_BLOCKS);
    wire->appetite = 0;
    pd_send_pull(wire, &worker, 0, 1, 0, 0); /* stands before all others */
    size_t count;
    uint8_t *frame = pd_frame_bytes(PD_KIND_PULL, 0, &pull.base, NULL, 0, &count);
    uint8_t *frames = malloc(count * PULLS);
    ck_assert_ptr_nonnull(frames);
    for (unsigned i = 0; i < PULLS; i++) {
        memcpy(frames + count * i, frame, count);
    }
    pd_wire_send(wire, frames, count * PULLS);
    free(frames);
    free(frame);
    ck_assert_uint_gt(wire->pending_end - wire->pending_first, 1000000);
}

static void expect_all_answers(void)
{
    ck_assert_uint_eq(wire->pending_first, wire->pending_end);
    for (unsigned i = 0; i < PULLS + 1; i++) {
        (void)pd_wire_expect(wire, PD_KIND_BLOCKS);
    }
    pd_wire_expect_silence(wire);
}

START_TEST(who_asks_more_than_it_reads_is_not_read_until_it_does)
{
    ask_too_much();
    read_on(wire);
    expect_all_answers();
}
END_TEST

START_TEST(time_in_which_a_connection_is_not_read_does_not_count)
{
    ask_too_much();
    /* The daemon has read half of a frame. The client sends the rest only when it is read again. */
    size_t count = wire->pending_end - wire->pending_first;
    uint8_t *rest = malloc(count);
    ck_assert_ptr_nonnull(rest);
    memcpy(rest, wire->pending + wire->pending_first, count);
    wire->pending_end = wire->pending_first;
    pd_rig_pass(rig, 20000000);
    read_on(wire);
    pd_rig_pass(rig, 1000000);
    ck_assert_ptr_nonnull(wire->conn);
    pd_wire_send(wire, rest, count);
    free(rest);
    expect_all_answers();
}
END_TEST

START_TEST(payloads_beyond_the_budget_wait_for_their_turn)
{
    struct pd_wire *wires[3];
    uint8_t *bytes[3];
    size_t count;
    for (unsigned i = 0; i < 3; i++) {
        struct pd_worker other = pd_worker_named(2 + i);
        struct pd_push push;
        wires[i] = another(2 + i);
        pd_push_begin(&push, &other, PD_KIND_PUSH);
        push.header.model = worker.model;
        pd_push_add(&push, &plan, 0, 0, 1, 0, 1);
        bytes[i] = pd_push_bytes(&push, wires[i], &count);
    }
    /* There is room for two payloads: the third one is not read. */
    for (unsigned i = 0; i < 3; i++) {
        pd_wire_send(wires[i], bytes[i], i == 2 ? count : count - 1);
    }
    pd_wire_expect_silence(wires[2]);
    pd_wire_send(wires[0], bytes[0] + count - 1, 1);
    (void)pd_wire_expect(wires[0], PD_KIND_ACK);
    (void)pd_wire_expect(wires[2], PD_KIND_ACK);
    pd_wire_send(wires[1], bytes[1] + count - 1, 1);
    const Paramd__Ack *ack = pd_wire_expect(wires[1], PD_KIND_ACK);
    ck_assert_uint_eq(ack->version[0], 4);
    for (unsigned i = 0; i < 3; i++) {
        free(bytes[i]);
    }
}
END_TEST

/* ---- time ---- */

START_TEST(who_does_not_say_hello_is_closed_after_two_seconds)
{
    struct pd_wire *silent = pd_wire_open_raw(rig, 0);
    pd_rig_pass(rig, 1900000);
    ck_assert_ptr_nonnull(silent->conn);
    pd_rig_pass(rig, 600000);
    ck_assert_ptr_null(silent->conn);
    ck_assert_ptr_nonnull(strstr(silent->reason, "HELLO"));
}
END_TEST

START_TEST(a_frame_that_stays_unfinished_closes_its_connection)
{
    static const uint8_t begun[] = {'P', 'D'};
    struct pd_wire *half = another(2);
    pd_wire_send(half, begun, sizeof begun);
    pd_rig_pass(rig, 4900000);
    ck_assert_ptr_nonnull(half->conn);
    pd_rig_pass(rig, 600000);
    ck_assert_ptr_null(half->conn);
    pd_rig_pass(rig, 100000000);
    ck_assert_ptr_nonnull(wire->conn); /* an idle one stays */
    ping(wire);
    (void)pd_wire_expect(wire, PD_KIND_PONG);
}
END_TEST

START_TEST(there_are_no_more_connections_than_allowed)
{
    struct pd_wire *wires[7];
    for (unsigned i = 0; i < 7; i++) {
        wires[i] = pd_wire_open(rig, 0);
    }
    ck_assert_ptr_null(pd_wire_open_raw(rig, 0));
    ck_assert_double_eq(pd_counter(wire, NULL, "connections"), 8);
    ck_assert_double_eq(pd_counter(wire, NULL, "connections_refused"), 1);
    pd_wire_close(wires[3]);
    ck_assert_ptr_nonnull(pd_wire_open(rig, 0));
}
END_TEST

START_TEST(draining_finishes_the_frame_in_hand_and_the_answers)
{
    struct pd_wire *slow = slow_reader(2, 0);
    struct pd_push push;
    size_t count;
    pd_push_begin(&push, &worker, PD_KIND_PUSH);
    pd_push_add(&push, &plan, 0, 0, 1, 0, 1);
    uint8_t *bytes = pd_push_bytes(&push, wire, &count);
    pd_wire_send(wire, bytes, 10);
    ck_assert(!pd_host_drain(rig->hosts[0]));
    ck_assert_ptr_null(pd_wire_open_raw(rig, 0));
    pd_wire_send(wire, bytes + 10, count - 10);
    free(bytes);
    (void)pd_wire_expect(wire, PD_KIND_ACK);
    ck_assert(!pd_host_drain(rig->hosts[0]));
    read_on(slow);
    expect_whole(slow, 1);
    ck_assert(pd_host_drain(rig->hosts[0]));
    pd_rig_settle(rig);
    ck_assert_ptr_null(wire->conn);
    ck_assert_ptr_null(slow->conn);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("readers");
    TCase *whole = tcase_create("whole");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_add_test(whole, a_reader_byte_by_byte_sees_one_version_while_pushes_go_on);
    tcase_add_test(whole, readers_of_different_versions_each_see_their_own);
    tcase_add_test(whole, a_model_deleted_under_a_reader_gives_its_memory_back_afterwards);
    suite_add_tcase(suite, whole);
    TCase *room = tcase_create("room");
    tcase_add_checked_fixture(room, start, stop);
    tcase_add_test(room, without_room_for_a_copy_the_push_waits_and_others_go_on);
    tcase_add_test(room, a_reader_that_others_wait_for_is_closed_when_it_is_slow);
    tcase_add_test(room, slow_readers_of_packed_values_are_closed_too);
    tcase_add_test(room, a_reader_that_goes_away_makes_room);
    tcase_add_test(room, who_stops_reading_does_not_keep_a_deleted_model);
    tcase_add_test(room, a_push_that_waits_while_its_model_is_deleted_is_refused);
    tcase_add_test(room, who_asks_more_than_it_reads_is_not_read_until_it_does);
    tcase_add_test(room, time_in_which_a_connection_is_not_read_does_not_count);
    tcase_add_test(room, payloads_beyond_the_budget_wait_for_their_turn);
    suite_add_tcase(suite, room);
    TCase *time = tcase_create("time");
    tcase_add_checked_fixture(time, start, stop);
    tcase_add_test(time, who_does_not_say_hello_is_closed_after_two_seconds);
    tcase_add_test(time, a_frame_that_stays_unfinished_closes_its_connection);
    tcase_add_test(time, there_are_no_more_connections_than_allowed);
    tcase_add_test(time, draining_finishes_the_frame_in_hand_and_the_answers);
    suite_add_tcase(suite, time);
    return suite;
}
