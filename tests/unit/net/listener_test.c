/* Listening sockets: kinds of addresses, stale and live socket files, and a full descriptor table.
 */
#include "server/net/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/frame.h"
#include "tests/support/check_main.h"
#include "tests/unit/net/support.h"

static uv_loop_t loop;
static struct pd_arrivals arrivals;
static struct pd_listener listener;
static char name[PD_ADDRESS_BYTES];
static bool loopback;
static char text[512];
static char folder[] = "/tmp/paramd-listener-XXXXXX";
static char path[64];
static unsigned arrived_count;
static bool arrived;
static struct pd_arrival last;
static char congestion[16]; /* control of the last one, over TCP */

static bool has_room(void *context)
{
    (void)context;
    return true;
}

static bool congestion_of(int fd, char ret_name[16])
{
    socklen_t bytes = 16;
    return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret_name, &bytes) == 0;
}

static void on_arrival(void *context, const struct pd_arrival *arrival)
{
    (void)context;
    arrived = true;
    arrived_count++;
    last = *arrival;
    (void)congestion_of(arrival->fd, congestion);
    (void)close(arrival->fd);
}

static void open_listener(void)
{
    struct pd_arrivals_options options = {
        .waiting_max = 16,
        .timeout_ms = 60000,
        .has_room = has_room,
        .arrived = on_arrival,
    };
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    pd_arrivals_init(&arrivals, &loop, &options);
    pd_listener_init(&listener, &loop, &arrivals);
    pd_log_setup(PD_LOG_ERROR, PD_LOG_LOGFMT);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/socket", folder);
}

static void finish_listener(void)
{
    pd_listener_close(&listener);
    pd_arrivals_close(&arrivals);
    pd_finish_loop(&loop);
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static enum paramd_status listen_tcp(const char *host, uint16_t port)
{
    return pd_listener_tcp(&listener, host, port, name, &loopback, text, sizeof text);
}

static enum paramd_status listen_unix(const char *at)
{
    return pd_listener_unix(&listener, at, text, sizeof text);
}

static uint16_t port_of_name(void)
{
    char host[PD_HOST_BYTES];
    uint16_t port = 0;
    ck_assert(pd_address_split(name, host, &port));
    return port;
}

static void send_preamble(int fd)
{
    uint8_t bytes[PD_PREAMBLE_BYTES];
    struct pd_preamble preamble = {.version = PD_PROTOCOL_VERSION, .shard = PD_ANY_SHARD};
    pd_preamble_write(&preamble, bytes);
    ck_assert_int_eq(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
}

static void reach(const struct sockaddr *address, socklen_t bytes)
{
    int fd = socket(address->sa_family, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, address, bytes), 0);
    send_preamble(fd);
    arrived = false;
    pd_run_until(&loop, &arrived);
    ck_assert(last.local);
    (void)close(fd);
}

static void reach_v4(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    reach((struct sockaddr *)&address, sizeof address);
}

static void reach_v6(uint16_t port)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    address.sin6_addr = in6addr_loopback;
    reach((struct sockaddr *)&address, sizeof address);
}

static void reach_unix(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    reach((struct sockaddr *)&address, sizeof address);
}

/* A socket file; live if the descriptor that is returned is kept open. */
static int make_socket_file(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

START_TEST(port_0_picks_a_free_one_on_loopback)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("127.0.0.1", 0), PARAMD_OK);
    ck_assert(loopback);
    ck_assert_uint_ne(port_of_name(), 0);
    reach_v4(port_of_name());
    finish_listener();
}
END_TEST

START_TEST(connection_within_the_machine_is_born_under_cubic)
{
    char wanted[16];
    char listening[16];
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
    ck_assert(congestion_of(fd, wanted));
    (void)close(fd);
    open_listener();
    ck_assert_int_eq(listen_tcp("127.0.0.1", 0), PARAMD_OK);
    ck_assert(congestion_of(listener._sockets[0].fd, listening));
    ck_assert_str_eq(listening, wanted);
    reach_v4(port_of_name());
    ck_assert_str_eq(congestion, wanted);
    finish_listener();
}
END_TEST

START_TEST(all_addresses_are_ipv6_and_ipv4)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("", 0), PARAMD_OK);
    ck_assert(!loopback);
    ck_assert_int_eq(strncmp(name, "[::]:", 5), 0);
    reach_v4(port_of_name());
    reach_v6(port_of_name());
    finish_listener();
}
END_TEST

START_TEST(ipv6_loopback_is_loopback)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("::1", 0), PARAMD_OK);
    ck_assert(loopback);
    reach_v6(port_of_name());
    finish_listener();
}
END_TEST

START_TEST(taken_port_is_refused_with_advice)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("127.0.0.1", 0), PARAMD_OK);
    uint16_t port = port_of_name();
    struct pd_listener second;
    pd_listener_init(&second, &loop, &arrivals);
    ck_assert_int_eq(
        pd_listener_tcp(&second, "127.0.0.1", port, name, &loopback, text, sizeof text),
        PARAMD_BUSY);
    ck_assert_ptr_nonnull(strstr(text, "--listen"));
    pd_listener_close(&second);
    finish_listener();
}
END_TEST

START_TEST(unknown_host_is_refused_with_advice)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("no such host", 0), PARAMD_INVALID);
    ck_assert_ptr_nonnull(strstr(text, "\"no such host\""));
    ck_assert_int_eq(listen_tcp("192.0.2.1", 0), PARAMD_UNREACHABLE);
    ck_assert_ptr_nonnull(strstr(text, "192.0.2.1"));
    finish_listener();
}
END_TEST

START_TEST(stale_socket_file_is_replaced_and_removed_at_the_end)
{
    open_listener();
    (void)close(make_socket_file());
    ck_assert_int_eq(listen_unix(path), PARAMD_OK);
    reach_unix();
    ck_assert_str_eq(last.peer, "unix");
    pd_listener_close(&listener);
    ck_assert_int_ne(access(path, F_OK), 0);
    pd_arrivals_close(&arrivals);
    pd_finish_loop(&loop);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(live_socket_is_left_alone)
{
    open_listener();
    int other = make_socket_file();
    ck_assert_int_eq(listen_unix(path), PARAMD_BUSY);
    ck_assert_ptr_nonnull(strstr(text, path));
    (void)close(other);
    ck_assert_int_eq(access(path, F_OK), 0);
    finish_listener();
}
END_TEST

START_TEST(other_file_is_left_alone)
{
    open_listener();
    int other = open(path, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_ge(other, 0);
    (void)close(other);
    ck_assert_int_eq(listen_unix(path), PARAMD_INVALID);
    ck_assert_int_eq(access(path, F_OK), 0);
    finish_listener();
}
END_TEST

START_TEST(successors_socket_file_is_left_alone_at_the_end)
{
    open_listener();
    ck_assert_int_eq(listen_unix(path), PARAMD_OK);
    ck_assert_int_eq(unlink(path), 0);
    int other = make_socket_file();
    pd_listener_close(&listener);
    ck_assert_int_eq(access(path, F_OK), 0);
    (void)close(other);
    pd_arrivals_close(&arrivals);
    pd_finish_loop(&loop);
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

START_TEST(too_long_path_is_refused)
{
    char longer[200];
    open_listener();
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_int_eq(listen_unix(longer), PARAMD_INVALID);
    ck_assert_ptr_nonnull(strstr(text, "--unix"));
    finish_listener();
}
END_TEST

START_TEST(full_descriptor_table_delays_a_connection_and_loses_none)
{
    open_listener();
    ck_assert_int_eq(listen_tcp("127.0.0.1", 0), PARAMD_OK);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port_of_name())};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    /* Descriptors below the next free one are all taken. */
    int next = dup(fd);
    (void)close(next);
    struct rlimit full = {.rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &full), 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    send_preamble(fd);
    while (!listener._paused) {
        (void)uv_run(&loop, UV_RUN_ONCE);
    }
    ck_assert(!arrived);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    pd_run_until(&loop, &arrived);
    ck_assert_uint_eq(arrived_count, 1);
    (void)close(fd);
    finish_listener();
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("listener");
    TCase *tcp = tcase_create("tcp");
    tcase_add_test(tcp, port_0_picks_a_free_one_on_loopback);
    tcase_add_test(tcp, connection_within_the_machine_is_born_under_cubic);
    tcase_add_test(tcp, all_addresses_are_ipv6_and_ipv4);
    tcase_add_test(tcp, ipv6_loopback_is_loopback);
    tcase_add_test(tcp, taken_port_is_refused_with_advice);
    tcase_add_test(tcp, unknown_host_is_refused_with_advice);
    tcase_add_test(tcp, full_descriptor_table_delays_a_connection_and_loses_none);
    suite_add_tcase(suite, tcp);
    TCase *local = tcase_create("unix");
    tcase_add_test(local, stale_socket_file_is_replaced_and_removed_at_the_end);
    tcase_add_test(local, live_socket_is_left_alone);
    tcase_add_test(local, other_file_is_left_alone);
    tcase_add_test(local, successors_socket_file_is_left_alone_at_the_end);
    tcase_add_test(local, too_long_path_is_refused);
    suite_add_tcase(suite, local);
    return suite;
}
