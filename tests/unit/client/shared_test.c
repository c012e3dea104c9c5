/* What a daemon may answer to a client that asks for shared memory, rightly and wrongly. */
#include "client/net/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/check_main.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static int ends[2]; /* the client's, the daemon's */
static struct pd_shared shared;

static void begin(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
}

static void end(void)
{
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static int make_memory(size_t bytes, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

/* Sends the answer with count times fd. */
static void answer(uint32_t ring_bytes, int fd, unsigned count)
{
    uint8_t bytes[PD_SHARED_ANSWER_BYTES];
    int fds[8] = {fd, fd, fd, fd, fd, fd, fd, fd};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control = {0};
    struct iovec vector = {.iov_base = bytes, .iov_len = sizeof bytes};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    pd_shared_answer_write(ring_bytes, bytes);
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof fd);
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(count * sizeof fd);
        memcpy(CMSG_DATA(&control.header), fds, count * sizeof fd);
    }
    ck_assert_int_eq(sendmsg(ends[1], &message, 0), (ssize_t)sizeof bytes);
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* The next free descriptor, which shows whether any stayed open. */
static int next_fd(void)
{
    const int fd = dup(ends[0]);
    const int number = fd;
    (void)close(fd);
    return number;
}

START_TEST(sealed_memory_of_the_right_size_is_used)
{
    uint8_t byte = 7;
    struct pd_span span = {&byte, 1};
    begin();
    int before = next_fd();
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_PENDING);
    answer(PD_RING_BYTES, make_memory(pd_rings_memory_bytes(PD_RING_BYTES), SEALS), 1);
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_MAPPED);
    ck_assert_int_eq(next_fd(), before);
    ck_assert_int_eq(pd_shared_write(&shared, &span, 1), 1);
    ck_assert_int_eq(pd_shared_read(&shared, &span, 1), -EAGAIN);
    ck_assert(pd_shared_sleep(&shared, false));
    (void)shutdown(ends[1], SHUT_WR);
    pd_shared_woken(&shared);
    ck_assert(!pd_shared_sleep(&shared, false));
    ck_assert_int_eq(pd_shared_read(&shared, &span, 1), 0);
    pd_shared_close(&shared);
    end();
}
END_TEST

static const struct {
    uint32_t ring_bytes;
    int64_t more; /* than the size that belongs to it */
    int seals;
    unsigned count;
} bad[] = {
    {PD_RING_BYTES, 0, 0, 1},
    {PD_RING_BYTES, 0, F_SEAL_SHRINK, 1},
    {PD_RING_BYTES, 0, F_SEAL_GROW, 1},
    {PD_RING_BYTES, -4096, SEALS, 1},
    {PD_RING_BYTES, 4096, SEALS, 1},
    {PD_RING_BYTES, 0, SEALS, 0},
    {PD_RING_BYTES, 0, SEALS, 2},
    {PD_RING_BYTES, 0, SEALS, 8},
    {PD_RING_BYTES + 4096, 0, SEALS, 1},
    {PD_RING_BYTES_MIN / 2, 0, SEALS, 1},
};

START_TEST(memory_that_is_not_as_it_must_be_is_refused_and_let_go)
{
    begin();
    int before = next_fd();
    size_t bytes = pd_rings_memory_bytes(bad[_i].ring_bytes) + (size_t)bad[_i].more;
    answer(bad[_i].ring_bytes, make_memory(bytes, bad[_i].seals), bad[_i].count);
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_BAD);
    ck_assert_int_eq(next_fd(), before);
    end();
}
END_TEST

START_TEST(none_means_the_socket_and_a_descriptor_with_it_is_closed)
{
    begin();
    int before = next_fd();
    answer(0, _i == 0 ? -1 : make_memory(4096, SEALS), (unsigned)_i);
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_NONE);
    ck_assert_int_eq(next_fd(), before);
    end();
}
END_TEST

START_TEST(what_is_no_answer_is_left_on_the_socket)
{
    uint8_t frame[PD_PREFIX_BYTES] = "PDMF, an ERROR";
    uint8_t left[PD_PREFIX_BYTES];
    begin();
    ck_assert_int_eq(send(ends[1], frame, sizeof frame, 0), (ssize_t)sizeof frame);
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_NONE);
    ck_assert_int_eq(recv(ends[0], left, sizeof left, 0), (ssize_t)sizeof left);
    ck_assert_mem_eq(left, frame, sizeof frame);
    end();
}
END_TEST

START_TEST(a_daemon_that_goes_away_instead_is_bad)
{
    begin();
    (void)shutdown(ends[1], SHUT_WR);
    ck_assert_int_eq(pd_shared_open(&shared, ends[0]), PD_SHARED_BAD);
    end();
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client_shared");
    TCase *answers = tcase_create("answers");
    tcase_add_test(answers, sealed_memory_of_the_right_size_is_used);
    tcase_add_loop_test(answers, memory_that_is_not_as_it_must_be_is_refused_and_let_go, 0,
                        (int)(sizeof bad / sizeof bad[0]));
    tcase_add_loop_test(answers, none_means_the_socket_and_a_descriptor_with_it_is_closed, 0, 2);
    tcase_add_test(answers, what_is_no_answer_is_left_on_the_socket);
    tcase_add_test(answers, a_daemon_that_goes_away_instead_is_bad);
    suite_add_tcase(suite, answers);
    return suite;
}
