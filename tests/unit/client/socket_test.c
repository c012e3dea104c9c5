/* How a socket is set for the way to its daemon. */
#include "client/net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/check_main.h"

enum { NAME_BYTES = 16 };

static int open_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void close_with(int fd, char ret_congestion[NAME_BYTES])
{
    socklen_t bytes = NAME_BYTES;
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, ret_congestion, &bytes), 0);
    (void)close(fd);
}

static void tune_for(in_addr_t to, char ret_congestion[NAME_BYTES])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7700)};
    int fd = open_socket();
    address.sin_addr.s_addr = htonl(to);
    pd_socket_tune(fd, (const struct sockaddr *)&address, sizeof address);
    close_with(fd, ret_congestion);
}

START_TEST(way_within_the_machine_is_under_cubic_before_it_is_connected)
{
    char wanted[NAME_BYTES];
    char tuned[NAME_BYTES];
    int fd = open_socket();
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
    close_with(fd, wanted);
    tune_for(INADDR_LOOPBACK, tuned);
    ck_assert_str_eq(tuned, wanted);
}
END_TEST

START_TEST(way_to_another_machine_is_as_the_system_has_it)
{
    static const in_addr_t documentation = 0xC6336401; /* 198.51.100.1 is nobody's */
    char wanted[NAME_BYTES];
    char tuned[NAME_BYTES];
    close_with(open_socket(), wanted);
    tune_for(documentation, tuned);
    ck_assert_str_eq(tuned, wanted);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("socket");
    TCase *tune = tcase_create("tune");
    tcase_add_test(tune, way_within_the_machine_is_under_cubic_before_it_is_connected);
    tcase_add_test(tune, way_to_another_machine_is_as_the_system_has_it);
    suite_add_tcase(suite, tune);
    return suite;
}
