/* A daemon of the bench's own: the paramd beside this program, on a free port and a Unix socket in
 * a scratch folder. */
#ifndef PARAMD_TESTS_BENCH_DAEMON_H
#define PARAMD_TESTS_BENCH_DAEMON_H

#include "tests/bench/peer.h"

struct pd_daemon;

struct pd_daemon_task {
    unsigned shards;
    bool payload_sum;
    unsigned connections_max; /* 0: the default */
    int busy_poll_us;         /* 0: the default; -1: not at all */
    const char *data_dir;     /* NULL: nothing is kept */
};

/* Returns when it is ready; ends the program if it does not get there. */
struct pd_daemon *pd_daemon_start(const struct pd_daemon_task *task);
pid_t pd_daemon_pid(const struct pd_daemon *daemon);
/* Its address as paramd_options takes it. */
const char *pd_daemon_address(const struct pd_daemon *daemon, enum pd_transport transport);
void pd_daemon_stop(struct pd_daemon *daemon);
/* At once and without a chance to write anything. */
void pd_daemon_kill(struct pd_daemon *daemon);

#endif
