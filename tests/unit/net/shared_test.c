/* Connections over shared memory, against the echoing owner; the peer's end is played here. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/ring.h"
#include "server/net/connection.h"
#include "tests/support/check_main.h"
#include "tests/unit/net/support.h"

enum { BUFFER_BYTES = 64 * 1024, MOVED_BYTES = 8 * 1024 * 1024 };

static size_t memory_bytes(void)
{
    return pd_rings_memory_bytes(PD_RING_BYTES);
}

/* The owner sends back what it receives. */
static struct {
    uv_loop_t loop;
    struct pd_farewells farewells;
    uint64_t budget;
    uint8_t buffer[BUFFER_BYTES];
    size_t bytes;
    bool echoes; /* else what it receives is forgotten */
    bool reads;
    bool closed;
    bool gone;
    size_t received;
    const char *reason;
    struct pd_connection *connection;
    /* The peer. */
    int peer;
    int memory_fd;
    void *memory;
    struct pd_rings rings;
} rig;

static unsigned rig_read_target(void *context, struct pd_span *spans)
{
    (void)context;
    spans[0] = (struct pd_span){rig.buffer + rig.bytes, BUFFER_BYTES - rig.bytes};
    return rig.reads && rig.bytes < BUFFER_BYTES ? 1 : 0;
}

static void rig_received(void *context, size_t bytes)
{
    (void)context;
    rig.received += bytes;
    rig.bytes += rig.echoes ? bytes : 0;
}

static unsigned rig_write_source(void *context, struct pd_span *spans)
{
    (void)context;
    spans[0] = (struct pd_span){rig.buffer, rig.bytes};
    return rig.bytes > 0 ? 1 : 0;
}

static void rig_written(void *context, size_t bytes)
{
    (void)context;
    memmove(rig.buffer, rig.buffer + bytes, rig.bytes - bytes);
    rig.bytes -= bytes;
}

static bool rig_finished(void *context, const char **ret_reason)
{
    (void)context;
    (void)ret_reason;
    return false;
}

static void rig_closed(void *context, const char *reason)
{
    (void)context;
    rig.closed = true;
    rig.reason = reason;
}

static void rig_gone(void *context)
{
    (void)context;
    rig.gone = true;
}

static bool rig_no(void *context)
{
    (void)context;
    return false;
}

static const struct pd_connection_ops rig_ops = {
    .read_target = rig_read_target,
    .received = rig_received,
    .bulk_waits = rig_no,
    .write_source = rig_write_source,
    .written = rig_written,
    .polls = rig_no,
    .finished = rig_finished,
    .closed = rig_closed,
};

/* Takes the answer and what comes with it. Returns the size of a ring, 0: none. */
static uint32_t take_answer(void)
{
    uint8_t answer[PD_SHARED_ANSWER_BYTES];
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec vector = {.iov_base = answer, .iov_len = sizeof answer};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    uint32_t ring_bytes = 0;
    ck_assert_int_eq(recvmsg(rig.peer, &message, MSG_DONTWAIT), (ssize_t)sizeof answer);
    ck_assert(pd_shared_answer_read(answer, &ring_bytes));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    rig.memory_fd = -1;
    if (header != NULL) {
        ck_assert_int_eq(header->cmsg_type, SCM_RIGHTS);
        memcpy(&rig.memory_fd, CMSG_DATA(header), sizeof rig.memory_fd);
    }
    return ring_bytes;
}

static void begin(void (*pair)(int ends[2]), uint64_t budget)
{
    int ends[2];
    pair(ends);
    memset(&rig, 0, sizeof rig);
    rig.peer = ends[1];
    rig.memory_fd = -1;
    rig.budget = budget;
    rig.reads = true;
    rig.echoes = true;
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    pd_farewells_init(&rig.farewells, &rig.loop, UINT32_MAX, rig_gone, NULL);
    rig.connection =
        pd_connection_open(&rig.loop, ends[0], &rig.budget, &rig_ops, NULL, &rig.farewells);
    ck_assert_ptr_nonnull(rig.connection);
}

static void begin_shared(void)
{
    begin(pd_pair_unix, memory_bytes());
    ck_assert_uint_eq(take_answer(), PD_RING_BYTES);
    ck_assert_int_ge(rig.memory_fd, 0);
    rig.memory = mmap(NULL, memory_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, rig.memory_fd, 0);
    ck_assert_ptr_ne(rig.memory, MAP_FAILED);
    pd_rings_init(&rig.rings, rig.memory, PD_RING_BYTES, PD_RINGS_CLIENT);
}

static void close_peer(void)
{
    if (rig.peer >= 0) {
        (void)close(rig.peer);
        rig.peer = -1;
    }
}

static void finish(void)
{
    close_peer();
    pd_run_until(&rig.loop, &rig.gone);
    pd_finish_loop(&rig.loop);
    ck_assert(rig.closed);
    if (rig.memory != NULL) {
        (void)munmap(rig.memory, memory_bytes());
        (void)close(rig.memory_fd);
    }
}

static void bell(void)
{
    if (pd_rings_wants_bell(&rig.rings)) {
        (void)send(rig.peer, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
}

static size_t peer_write(uint8_t *bytes, size_t count)
{
    struct pd_span span = {bytes, count};
    size_t moved = pd_rings_write(&rig.rings, &span, 1);
    bell();
    return moved;
}

static size_t peer_read(uint8_t *bytes, size_t count)
{
    struct pd_span span = {bytes, count};
    size_t moved = pd_rings_read(&rig.rings, &span, 1);
    bell();
    return moved;
}

START_TEST(the_memory_is_sealed_and_cannot_be_cut_short)
{
    begin_shared();
    ck_assert_int_eq(lseek(rig.memory_fd, 0, SEEK_END), (off_t)memory_bytes());
    ck_assert_int_eq(ftruncate(rig.memory_fd, 0), -1);
    ck_assert_int_eq(errno, EPERM);
    ck_assert_int_eq(ftruncate(rig.memory_fd, 1 << 30), -1);
    ck_assert_int_eq(fcntl(rig.memory_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    finish();
}
END_TEST

START_TEST(bytes_come_back_in_order_through_the_rings)
{
    static uint8_t sent[BUFFER_BYTES * 2];
    static uint8_t got[BUFFER_BYTES * 2];
    size_t written = 0;
    size_t read = 0;
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = (uint8_t)(i * 7 + i / 256);
    }
    begin_shared();
    while (read < MOVED_BYTES) {
        size_t at = written % sizeof sent;
        written += peer_write(sent + at, sizeof sent - at);
        /* Sleeping first: what is waited for must come as a byte on the socket. */
        if (pd_rings_sleep(&rig.rings, true, false)) {
            char byte;
            ck_assert_int_eq(pd_run_and_read(&rig.loop, rig.peer, &byte, 1), 1);
        }
        size_t from = read % sizeof sent;
        size_t count = peer_read(got + from, sizeof got - from);
        ck_assert_mem_eq(got + from, sent + from, count);
        read += count;
    }
    ck_assert(!rig.rings.broken);
    finish();
    ck_assert_str_eq(rig.reason, "closed by peer");
}
END_TEST

START_TEST(what_was_written_before_the_end_is_still_received)
{
    static uint8_t sent[PD_RING_BYTES];
    size_t written = 0;
    size_t count;
    begin_shared();
    rig.echoes = false;
    while ((count = peer_write(sent, sizeof sent)) > 0) {
        written += count;
    }
    close_peer();
    pd_run_until(&rig.loop, &rig.gone);
    ck_assert_uint_eq(written, PD_RING_BYTES);
    ck_assert_uint_eq(rig.received, written);
    finish();
}
END_TEST

START_TEST(a_paused_owner_gets_the_rest_later_and_then_the_end)
{
    uint8_t sent[100] = {0};
    begin_shared();
    rig.echoes = false;
    rig.reads = false;
    ck_assert_uint_eq(peer_write(sent, sizeof sent), sizeof sent);
    close_peer();
    for (int i = 0; i < 10; i++) {
        (void)uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    ck_assert(!rig.closed);
    rig.reads = true;
    pd_connection_update(rig.connection);
    pd_run_until(&rig.loop, &rig.closed);
    ck_assert_uint_eq(rig.received, sizeof sent);
    finish();
}
END_TEST

START_TEST(a_peer_that_is_gone_is_not_written_to_for_ever)
{
    static uint8_t sent[BUFFER_BYTES];
    begin_shared();
    while (rig.bytes < BUFFER_BYTES) { /* nobody reads the echo */
        (void)peer_write(sent, sizeof sent);
        (void)uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    ck_assert(!rig.closed);
    finish();
}
END_TEST

START_TEST(a_position_that_cannot_be_ends_the_connection)
{
    uint8_t sent[100] = {0};
    struct pd_ring_control *controls;
    begin_shared();
    controls = rig.memory;
    if (_i == 0) {
        atomic_store(&controls[0].head, UINT64_MAX / 2);
    } else {
        atomic_store(&controls[1].tail, 1);
        ck_assert_uint_eq(peer_write(sent, sizeof sent), sizeof sent);
    }
    ck_assert_int_eq(send(rig.peer, "", 1, 0), 1);
    pd_run_until(&rig.loop, &rig.closed);
    ck_assert_ptr_nonnull(strstr(rig.reason, "shared memory"));
    finish();
}
END_TEST

START_TEST(the_budget_is_taken_while_the_connection_lives)
{
    begin_shared();
    ck_assert_uint_eq(rig.budget, 0);
    finish();
    ck_assert_uint_eq(rig.budget, memory_bytes());
}
END_TEST

/* A byte short, and on TCP. */
START_TEST(without_memory_the_answer_is_none_and_the_socket_goes_on)
{
    uint8_t byte = 42;
    uint64_t budget = _i == 0 ? memory_bytes() - 1 : memory_bytes();
    begin(_i == 0 ? pd_pair_unix : pd_pair_tcp, budget);
    ck_assert_uint_eq(take_answer(), 0);
    ck_assert_int_eq(rig.memory_fd, -1);
    ck_assert_uint_eq(rig.budget, budget);
    ck_assert_int_eq(send(rig.peer, &byte, 1, 0), 1);
    byte = 0;
    ck_assert_int_eq(pd_run_and_read(&rig.loop, rig.peer, &byte, 1), 1);
    ck_assert_uint_eq(byte, 42);
    finish();
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("shared");
    TCase *moving = tcase_create("moving");
    tcase_add_test(moving, bytes_come_back_in_order_through_the_rings);
    tcase_add_test(moving, what_was_written_before_the_end_is_still_received);
    tcase_add_test(moving, a_paused_owner_gets_the_rest_later_and_then_the_end);
    tcase_add_test(moving, a_peer_that_is_gone_is_not_written_to_for_ever);
    suite_add_tcase(suite, moving);
    TCase *giving = tcase_create("giving");
    tcase_add_test(giving, the_memory_is_sealed_and_cannot_be_cut_short);
    tcase_add_test(giving, the_budget_is_taken_while_the_connection_lives);
    tcase_add_loop_test(giving, without_memory_the_answer_is_none_and_the_socket_goes_on, 0, 2);
    tcase_add_loop_test(giving, a_position_that_cannot_be_ends_the_connection, 0, 2);
    suite_add_tcase(suite, giving);
    return suite;
}
