/* Sockets that have been accepted and have not said yet, in their preamble, which shard they want.
 * Their number and their time are bounded; those that say it are handed on. */
#ifndef PARAMD_SERVER_NET_ARRIVALS_H
#define PARAMD_SERVER_NET_ARRIVALS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "server/base/list.h"
#include "server/base/log.h"
#include "server/net/address.h"
#include "server/net/farewell.h"

/* A connection whose preamble was right. */
struct pd_arrival {
    int fd; /* non-blocking, the receiver's from now on */
    bool local;
    bool wants_shared_memory; /* and waits for the answer */
    uint32_t shard;           /* as the peer said: may not exist */
    char peer[PD_ADDRESS_BYTES];
};

struct pd_arrivals_options {
    uint32_t waiting_max; /* one more ends the one that has waited longest */
    uint64_t timeout_ms;
    /* Whether the daemon takes one more connection; otherwise the peer is told BUSY. */
    bool (*has_room)(void *context);
    void (*arrived)(void *context, const struct pd_arrival *arrival);
    void *context;
};

/* The memory must not move. */
struct pd_arrivals {
    uv_loop_t *_loop;
    struct pd_arrivals_options _options;
    struct pd_link _waiting; /* the oldest first */
    uint32_t _waiting_count;
    struct pd_farewells _farewells;
    struct pd_log_limit _log_limit;
};

void pd_arrivals_init(struct pd_arrivals *arrivals, uv_loop_t *loop,
                      const struct pd_arrivals_options *options);

/* Takes fd, which was just accepted from that peer. */
void pd_arrivals_add(struct pd_arrivals *arrivals, int fd, const struct sockaddr *peer);

/* Closes all that are waiting; the loop then has to run once more. */
void pd_arrivals_close(struct pd_arrivals *arrivals);

#endif
