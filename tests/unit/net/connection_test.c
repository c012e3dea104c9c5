/* Connections against an owner that sends back what it receives, through a buffer of limited size.
 */
#include "server/net/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/check_main.h"
#include "tests/unit/net/support.h"

enum { BUFFER_BYTES = 64 * 1024, LARGE_BYTES = 8 * 1024 * 1024 };

struct echo {
    uv_loop_t loop;
    struct pd_farewells farewells;
    struct pd_connection *connection;
    int peer;
    uint8_t buffer[BUFFER_BYTES];
    size_t bytes;     /* in the buffer */
    size_t received;  /* in all */
    bool reads;       /* whether it wants to read */
    bool finished;    /* whether it wants the end */
    bool closed;      /* the connection has ended */
    bool gone;        /* and its descriptor is closed */
    unsigned targets; /* calls of read_target */
    const char *reason;
};

static unsigned echo_read_target(void *context, struct pd_span *spans)
{
    struct echo *echo = context;
    echo->targets++;
    if (!echo->reads || echo->bytes == BUFFER_BYTES) {
        return 0;
    }
    /* Two spans, so that a read that ends inside the second one is seen too. */
    size_t room = BUFFER_BYTES - echo->bytes;
    size_t first = room / 2 + room % 2;
    spans[0] = (struct pd_span){echo->buffer + echo->bytes, first};
    spans[1] = (struct pd_span){echo->buffer + echo->bytes + first, room - first};
    return room > first ? 2 : 1;
}

static void echo_received(void *context, size_t bytes)
{
    struct echo *echo = context;
    echo->bytes += bytes;
    echo->received += bytes;
}

static unsigned echo_write_source(void *context, struct pd_span *spans)
{
    struct echo *echo = context;
    spans[0] = (struct pd_span){echo->buffer, echo->bytes};
    return echo->bytes > 0 ? 1 : 0;
}

static void echo_written(void *context, size_t bytes)
{
    struct echo *echo = context;
    memmove(echo->buffer, echo->buffer + bytes, echo->bytes - bytes);
    echo->bytes -= bytes;
}

static bool echo_finished(void *context, const char **ret_reason)
{
    struct echo *echo = context;
    *ret_reason = "enough";
    return echo->finished && echo->bytes == 0;
}

static void echo_closed(void *context, const char *reason)
{
    struct echo *echo = context;
    ck_assert(!echo->closed);
    echo->closed = true;
    echo->reason = reason;
}

static void echo_gone(void *context)
{
    struct echo *echo = context;
    ck_assert(!echo->gone);
    echo->gone = true;
}

/* It writes back after each read. */
static bool echo_bulk_waits(void *context)
{
    const struct echo *echo = context;
    return echo->bytes > 0;
}

static bool echo_polls(void *context)
{
    (void)context;
    return false;
}

static const struct pd_connection_ops echo_ops = {
    .read_target = echo_read_target,
    .received = echo_received,
    .bulk_waits = echo_bulk_waits,
    .write_source = echo_write_source,
    .written = echo_written,
    .polls = echo_polls,
    .finished = echo_finished,
    .closed = echo_closed,
};

static struct echo *open_echo(void (*pair)(int ends[2]))
{
    struct echo *echo = calloc(1, sizeof *echo);
    int ends[2];
    pair(ends);
    echo->peer = ends[1];
    echo->reads = true;
    ck_assert_int_eq(uv_loop_init(&echo->loop), 0);
    pd_farewells_init(&echo->farewells, &echo->loop, UINT32_MAX, echo_gone, echo);
    echo->connection =
        pd_connection_open(&echo->loop, ends[0], NULL, &echo_ops, echo, &echo->farewells);
    ck_assert_ptr_nonnull(echo->connection);
    return echo;
}

/* The connection must have ended, or be ended by this. */
static void finish_echo(struct echo *echo)
{
    if (echo->peer >= 0) {
        (void)close(echo->peer);
    }
    pd_run_until(&echo->loop, &echo->gone);
    pd_finish_loop(&echo->loop);
    free(echo);
}

START_TEST(bytes_sent_one_by_one_come_back_in_order)
{
    struct echo *echo = open_echo(pd_pair_unix);
    for (int i = 0; i < 1000; i++) {
        uint8_t sent = (uint8_t)(i * 7);
        uint8_t got = 0;
        ck_assert_int_eq(send(echo->peer, &sent, 1, 0), 1);
        ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, &got, 1), 1);
        ck_assert_uint_eq(got, sent);
    }
    finish_echo(echo);
}
END_TEST

/* Sends as much of data as the socket takes, running the loop, until it takes no more. */
static size_t send_until_full(struct echo *echo, const uint8_t *data, size_t bytes)
{
    size_t sent = 0;
    for (int full = 0; full < 3 && sent < bytes;) {
        ssize_t count = send(echo->peer, data + sent, bytes - sent, 0);
        if (count < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            full++;
        } else {
            full = 0;
            sent += (size_t)count;
        }
        (void)uv_run(&echo->loop, UV_RUN_NOWAIT);
    }
    return sent;
}

START_TEST(slow_reader_stops_reading_and_then_gets_everything)
{
    struct echo *echo = open_echo(pd_pair_unix);
    uint8_t *data = malloc(LARGE_BYTES);
    uint8_t *back = malloc(LARGE_BYTES);
    for (size_t i = 0; i < LARGE_BYTES; i++) {
        data[i] = (uint8_t)(i ^ i >> 9);
    }
    size_t sent = send_until_full(echo, data, LARGE_BYTES);
    ck_assert_uint_lt(sent, LARGE_BYTES);
    unsigned before = echo->targets;
    for (int i = 0; i < 100; i++) {
        (void)uv_run(&echo->loop, UV_RUN_NOWAIT);
    }
    ck_assert_msg(echo->targets == before, "a full connection must not be asked again and again");

    for (size_t got = 0; got < LARGE_BYTES;) {
        ssize_t count = pd_run_and_read(&echo->loop, echo->peer, back + got, LARGE_BYTES - got);
        ck_assert_int_gt(count, 0);
        got += (size_t)count;
        sent += send_until_full(echo, data + sent, LARGE_BYTES - sent);
    }
    ck_assert_mem_eq(back, data, LARGE_BYTES);
    free(data);
    free(back);
    finish_echo(echo);
}
END_TEST

START_TEST(peer_that_has_closed_its_sending_side_gets_the_rest)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    char back[8] = "";
    ck_assert_int_eq(send(echo->peer, "the end", 7, 0), 7);
    ck_assert_int_eq(shutdown(echo->peer, SHUT_WR), 0);
    ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, back, 7), 7);
    ck_assert_str_eq(back, "the end");
    ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, back, 1), 0);
    pd_run_until(&echo->loop, &echo->closed);
    ck_assert_str_eq(echo->reason, "closed by peer");
    finish_echo(echo);
}
END_TEST

START_TEST(reset_ends_the_connection_and_says_so)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    pd_reset(echo->peer);
    echo->peer = -1;
    pd_run_until(&echo->loop, &echo->closed);
    ck_assert_str_eq(echo->reason, "reset by peer");
    finish_echo(echo);
}
END_TEST

START_TEST(reset_is_noticed_while_nothing_is_read)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    echo->reads = false;
    ck_assert_int_eq(send(echo->peer, "x", 1, 0), 1);
    while (echo->targets == 0) {
        (void)uv_run(&echo->loop, UV_RUN_ONCE);
    }
    pd_reset(echo->peer);
    echo->peer = -1;
    pd_run_until(&echo->loop, &echo->closed);
    ck_assert_uint_eq(echo->received, 0);
    finish_echo(echo);
}
END_TEST

START_TEST(hang_up_while_paused_neither_spins_nor_loses_bytes)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    echo->reads = false;
    ck_assert_int_eq(send(echo->peer, "held", 4, 0), 4);
    while (echo->targets == 0) {
        (void)uv_run(&echo->loop, UV_RUN_ONCE);
    }
    ck_assert_int_eq(shutdown(echo->peer, SHUT_WR), 0);
    for (int i = 0; i < 1000; i++) {
        (void)uv_run(&echo->loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_lt(echo->targets, 10);
    ck_assert(!echo->closed);

    echo->reads = true;
    pd_connection_update(echo->connection);
    char back[5] = "";
    ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, back, 4), 4);
    ck_assert_str_eq(back, "held");
    pd_run_until(&echo->loop, &echo->closed);
    finish_echo(echo);
}
END_TEST

START_TEST(last_words_reach_a_peer_that_has_sent_more_than_was_read)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    ck_assert_int_eq(send(echo->peer, "bye", 3, 0), 3);
    while (echo->received == 0) {
        (void)uv_run(&echo->loop, UV_RUN_ONCE);
    }
    /* These bytes will never be read: closing at once would answer them with a reset. */
    echo->reads = false;
    ck_assert_int_eq(send(echo->peer, "unread", 6, 0), 6);
    echo->finished = true;
    pd_connection_update(echo->connection);
    ck_assert(echo->closed);
    ck_assert_str_eq(echo->reason, "enough");
    char back[4] = "";
    ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, back, 3), 3);
    ck_assert_str_eq(back, "bye");
    ck_assert_int_eq(pd_run_and_read(&echo->loop, echo->peer, back, 1), 0);
    ck_assert(!echo->gone);
    finish_echo(echo);
}
END_TEST

START_TEST(peer_that_never_closes_is_left_after_a_second)
{
    struct echo *echo = open_echo(pd_pair_tcp);
    uint64_t begin = uv_hrtime();
    pd_connection_close(echo->connection, "test");
    ck_assert(echo->closed);
    pd_run_until(&echo->loop, &echo->gone);
    ck_assert_uint_ge((uv_hrtime() - begin) / 1000000, 900);
    finish_echo(echo);
}
END_TEST

START_TEST(writing_to_a_closed_peer_ends_the_connection)
{
    struct echo *echo = open_echo(pd_pair_unix);
    echo->bytes = 10;
    (void)close(echo->peer);
    echo->peer = -1;
    pd_connection_update(echo->connection);
    ck_assert(echo->closed);
    ck_assert_str_eq(echo->reason, "peer has closed");
    finish_echo(echo);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("connection");
    TCase *bytes = tcase_create("bytes");
    tcase_add_test(bytes, bytes_sent_one_by_one_come_back_in_order);
    tcase_add_test(bytes, slow_reader_stops_reading_and_then_gets_everything);
    suite_add_tcase(suite, bytes);
    TCase *ends = tcase_create("ends");
    tcase_add_test(ends, peer_that_has_closed_its_sending_side_gets_the_rest);
    tcase_add_test(ends, reset_ends_the_connection_and_says_so);
    tcase_add_test(ends, reset_is_noticed_while_nothing_is_read);
    tcase_add_test(ends, hang_up_while_paused_neither_spins_nor_loses_bytes);
    tcase_add_test(ends, last_words_reach_a_peer_that_has_sent_more_than_was_read);
    tcase_add_test(ends, peer_that_never_closes_is_left_after_a_second);
    tcase_add_test(ends, writing_to_a_closed_peer_ends_the_connection);
    suite_add_tcase(suite, ends);
    return suite;
}
