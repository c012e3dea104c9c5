/* One connection on its loop: moves bytes between a socket (or memory shared with the peer) and
 * whoever owns the protocol, who says through a table of operations where bytes go and come from.
 * Knows no frame and no tensor. */
#ifndef PARAMD_SERVER_NET_CONNECTION_H
#define PARAMD_SERVER_NET_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "proto/frame.h"
#include "server/net/farewell.h"

enum { PD_CONNECTION_READ_SPANS = 2, PD_CONNECTION_WRITE_SPANS = 64 };

struct pd_connection;

/* What the owner does; called on the loop's thread, with the context of the connection. None of
 * these may call back into this connection. */
struct pd_connection_ops {
    /* Where the next bytes go, for one readv; 0: do not read now. */
    unsigned (*read_target)(void *context, struct pd_span spans[PD_CONNECTION_READ_SPANS]);
    void (*received)(void *context, size_t bytes);
    /* Whether what was received so far has bulk to be written, best at once: it lies in a cache. */
    bool (*bulk_waits)(void *context);
    /* What to write next, for one writev; 0: nothing. */
    unsigned (*write_source)(void *context, struct pd_span spans[PD_CONNECTION_WRITE_SPANS]);
    void (*written)(void *context, size_t bytes);
    /* Whether the loop looks again soon rather than sleep. */
    bool (*polls)(void *context);
    /* Whether the owner wants the connection closed now. */
    bool (*finished)(void *context, const char **ret_reason);
    /* The connection is over, for that reason (static text); the last call with this context. */
    void (*closed)(void *context, const char *reason);
};

/* Takes fd, a connected stream socket. NULL without memory or descriptors; fd is closed then.
 * Reading begins with the loop's next turn. shared_budget: NULL, or the peer has asked for shared
 * memory and gets its answer; bytes that are left for such memory on this loop, of which the
 * connection holds its part while it lives. It, ops, context and farewells outlive the connection.
 */
struct pd_connection *pd_connection_open(uv_loop_t *loop, int fd, uint64_t *shared_budget,
                                         const struct pd_connection_ops *ops, void *context,
                                         struct pd_farewells *farewells);

/* The owner may have something to write, may read again, or is finished: acts on it. The connection
 * may be gone afterwards, closed having been called. */
void pd_connection_update(struct pd_connection *connection);

/* Ends it now; closed is called before this returns. What was written still reaches the peer. */
void pd_connection_close(struct pd_connection *connection, const char *reason);

#endif
