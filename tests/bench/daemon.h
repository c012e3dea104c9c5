/* A daemon of the bench's own: the paramd beside this program, on a free port and a Unix socket in
 * a directory of its own below $TMPDIR or /tmp, gone with the bench whatever happens. */
#ifndef PARAMD_TESTS_BENCH_DAEMON_H
#define PARAMD_TESTS_BENCH_DAEMON_H

#include "tests/bench/peer.h"

struct pd_daemon;

/* Returns when it is ready; ends the program if it does not get there. */
struct pd_daemon *pd_daemon_start(unsigned shards, bool payload_sum);
/* Its address as paramd_options takes it. */
const char *pd_daemon_address(const struct pd_daemon *daemon, enum pd_transport transport);
void pd_daemon_stop(struct pd_daemon *daemon);

#endif
