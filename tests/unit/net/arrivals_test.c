/* Preambles: complete, in pieces, wrong, late, too many, and without room. */
#include "server/net/arrivals.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/codec.h"
#include "proto/frame.h"
#include "tests/support/check_main.h"
#include "tests/unit/net/support.h"

static uv_loop_t loop;
static struct pd_arrivals arrivals;
static struct pd_arrival last;
static bool arrived;
static bool room;

static bool has_room(void *context)
{
    (void)context;
    return room;
}

static void on_arrival(void *context, const struct pd_arrival *arrival)
{
    (void)context;
    ck_assert(!arrived);
    arrived = true;
    last = *arrival;
}

static void open_arrivals(uint32_t waiting_max, uint64_t timeout_ms)
{
    struct pd_arrivals_options options = {
        .waiting_max = waiting_max,
        .timeout_ms = timeout_ms,
        .has_room = has_room,
        .arrived = on_arrival,
    };
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    pd_arrivals_init(&arrivals, &loop, &options);
    room = true;
    pd_log_setup(PD_LOG_ERROR, PD_LOG_LOGFMT);
}

/* A new arrival; returns the peer's end. */
static int add(void)
{
    struct sockaddr peer = {.sa_family = AF_UNIX};
    int ends[2];
    pd_pair_unix(ends);
    pd_arrivals_add(&arrivals, ends[0], &peer);
    return ends[1];
}

static void finish(int peer)
{
    (void)close(peer);
    pd_arrivals_close(&arrivals);
    pd_finish_loop(&loop);
}

static void write_preamble(uint8_t bytes[PD_PREAMBLE_BYTES], uint32_t version, uint32_t shard)
{
    struct pd_preamble preamble = {.version = version, .shard = shard};
    pd_preamble_write(&preamble, bytes);
}

/* Reads one ERROR frame and the end behind it. */
static void expect_error(int peer, enum paramd_status status, const char *word)
{
    uint8_t bytes[1024];
    struct pd_frame_reader reader;
    struct pd_arena arena;
    ssize_t count = pd_run_and_read(&loop, peer, bytes, sizeof bytes);
    ck_assert_int_gt(count, 0);
    pd_frame_reader_init(&reader, sizeof bytes);
    pd_arena_init(&arena, 64 * 1024);
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, bytes, (size_t)count), (size_t)count);
    ck_assert_int_eq(reader.state, PD_FRAME_WANTS_PAYLOAD);
    ck_assert_uint_eq(reader.kind, PD_KIND_ERROR);
    ck_assert_uint_eq(reader.payload_bytes, 0);
    Paramd__Error *error = (Paramd__Error *)pd_decode(&paramd__error__descriptor, &arena,
                                                      reader.header, reader.header_bytes);
    ck_assert_ptr_nonnull(error);
    ck_assert_int_eq(error->status, status);
    ck_assert_uint_eq(error->request_id, 0);
    ck_assert_ptr_nonnull(strstr(error->message, word));
    pd_arena_deinit(&arena);
    pd_frame_reader_deinit(&reader);
    ck_assert_int_eq(pd_run_and_read(&loop, peer, bytes, 1), 0);
    ck_assert(!arrived);
}

START_TEST(preamble_byte_by_byte_is_handed_on_once)
{
    uint8_t bytes[PD_PREAMBLE_BYTES];
    open_arrivals(4, 60000);
    int peer = add();
    write_preamble(bytes, PD_PROTOCOL_VERSION, 3);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ck_assert(!arrived);
        ck_assert_int_eq(send(peer, bytes + i, 1, 0), 1);
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    pd_run_until(&loop, &arrived);
    ck_assert_uint_eq(last.shard, 3);
    ck_assert(last.local);
    ck_assert_str_eq(last.peer, "unix");
    (void)close(last.fd);
    finish(peer);
}
END_TEST

START_TEST(bytes_behind_the_preamble_are_left_to_the_shard)
{
    static const uint8_t behind[] = {1, 2, 3, 4, 5};
    uint8_t bytes[PD_PREAMBLE_BYTES + sizeof behind] = {0};
    uint8_t rest[8];
    open_arrivals(4, 60000);
    int peer = add();
    write_preamble(bytes, PD_PROTOCOL_VERSION, PD_ANY_SHARD);
    memcpy(bytes + PD_PREAMBLE_BYTES, behind, sizeof behind);
    ck_assert_int_eq(send(peer, bytes, sizeof bytes, 0), sizeof bytes);
    pd_run_until(&loop, &arrived);
    ck_assert_uint_eq(last.shard, PD_ANY_SHARD);
    ck_assert_int_eq(recv(last.fd, rest, sizeof rest, 0), sizeof behind);
    ck_assert_mem_eq(rest, behind, sizeof behind);
    (void)close(last.fd);
    finish(peer);
}
END_TEST

START_TEST(other_version_is_told_and_closed)
{
    uint8_t bytes[PD_PREAMBLE_BYTES];
    open_arrivals(4, 60000);
    int peer = add();
    write_preamble(bytes, 77, 0);
    ck_assert_int_eq(send(peer, bytes, sizeof bytes, 0), sizeof bytes);
    expect_error(peer, PARAMD_VERSION, "77");
    finish(peer);
}
END_TEST

START_TEST(what_is_not_paramd_gets_no_answer)
{
    char answer[8];
    open_arrivals(4, 60000);
    int peer = add();
    ck_assert_int_eq(send(peer, "GET / HTTP/1.1\r\n", 16, 0), 16);
    ck_assert_int_eq(pd_run_and_read(&loop, peer, answer, sizeof answer), 0);
    ck_assert(!arrived);
    finish(peer);
}
END_TEST

START_TEST(without_room_the_answer_is_busy)
{
    uint8_t bytes[PD_PREAMBLE_BYTES + 40] = {0};
    open_arrivals(4, 60000);
    room = false;
    int peer = add();
    write_preamble(bytes, PD_PROTOCOL_VERSION, 0);
    /* More than the preamble, as a client that does not wait sends it. */
    ck_assert_int_eq(send(peer, bytes, sizeof bytes, 0), sizeof bytes);
    expect_error(peer, PARAMD_BUSY, "--connections-max");
    finish(peer);
}
END_TEST

START_TEST(silent_connection_is_closed_in_time)
{
    char answer[8];
    open_arrivals(4, 20);
    int peer = add();
    ck_assert_int_eq(send(peer, "PMD1", 4, 0), 4);
    ck_assert_int_eq(pd_run_and_read(&loop, peer, answer, sizeof answer), 0);
    ck_assert(!arrived);
    finish(peer);
}
END_TEST

START_TEST(one_too_many_ends_the_one_that_has_waited_longest)
{
    uint8_t bytes[PD_PREAMBLE_BYTES];
    char answer[8];
    open_arrivals(2, 60000);
    int peers[3];
    for (int i = 0; i < 3; i++) {
        peers[i] = add();
    }
    ck_assert_int_eq(pd_run_and_read(&loop, peers[0], answer, sizeof answer), 0);
    write_preamble(bytes, PD_PROTOCOL_VERSION, 1);
    ck_assert_int_eq(send(peers[1], bytes, sizeof bytes, 0), sizeof bytes);
    pd_run_until(&loop, &arrived);
    (void)close(last.fd);
    (void)close(peers[0]);
    (void)close(peers[1]);
    finish(peers[2]);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("arrivals");
    TCase *all = tcase_create("preamble");
    tcase_add_test(all, preamble_byte_by_byte_is_handed_on_once);
    tcase_add_test(all, bytes_behind_the_preamble_are_left_to_the_shard);
    tcase_add_test(all, other_version_is_told_and_closed);
    tcase_add_test(all, what_is_not_paramd_gets_no_answer);
    tcase_add_test(all, without_room_the_answer_is_busy);
    tcase_add_test(all, silent_connection_is_closed_in_time);
    tcase_add_test(all, one_too_many_ends_the_one_that_has_waited_longest);
    suite_add_tcase(suite, all);
    return suite;
}
