/* What the tests of net share: connected sockets and a loop that runs until something has happened.
 */
#ifndef PARAMD_TESTS_UNIT_NET_SUPPORT_H
#define PARAMD_TESTS_UNIT_NET_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* Two ends of one connection, both non-blocking: a Unix socket pair, or TCP over loopback, which
 * can be reset. */
void pd_pair_unix(int ends[2]);
void pd_pair_tcp(int ends[2]);

/* Closes fd in a way that makes TCP send RST. */
void pd_reset(int fd);

/* Runs the loop until *flag; the test's time limit ends it otherwise. */
void pd_run_until(uv_loop_t *loop, const bool *flag);

/* Runs the loop, with all that is ready now, until fd has bytes or its end; reads at most count.
 * Returns what read returns. */
ssize_t pd_run_and_read(uv_loop_t *loop, int fd, void *bytes, size_t count);

/* Runs the loop's closing callbacks and closes it; asserts that nothing was left open. */
void pd_finish_loop(uv_loop_t *loop);

#endif
