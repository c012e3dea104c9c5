/* A client's core and a daemon (control core and one host) in one process, with a wire of memory
 * between them that always moves all it holds: the same calls happen in the same order on every
 * machine, so that instructions can be counted. Failures end the program. */
#ifndef PARAMD_TESTS_GUARD_PAIR_H
#define PARAMD_TESTS_GUARD_PAIR_H

#include "client/core/core.h"
#include "server/core/control.h"
#include "server/host.h"

/* Bytes under way in one direction. */
struct pd_pair_wire {
    uint8_t *data;
    size_t first;
    size_t end;
};

struct pd_pair {
    struct pd_client *client;
    struct pd_client_session *session;
    struct pd_control *control;
    struct pd_control_effects effects;
    struct pd_host *host;
    struct pd_host_conn *conn; /* NULL: not connected */
    bool poked;                /* the daemon may have something to write */
    struct pd_pair_wire to_daemon;
    struct pd_pair_wire to_client;
    uint64_t now_us;
};

/* The client joins a model of so many tensors of so many elements under Adam, all zeros. */
void pd_pair_open(struct pd_pair *pair, size_t tensors, uint64_t elements);
void pd_pair_close(struct pd_pair *pair);
/* Starts a call on one tensor. */
struct pd_op *pd_pair_start(struct pd_pair *pair, enum pd_op_kind kind,
                            const struct paramd_io *entry);
/* Carries bytes until the op is finished; frees it. */
void pd_pair_finish(struct pd_pair *pair, struct pd_op *op);

#endif
