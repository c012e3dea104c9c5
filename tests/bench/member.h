/* A client of the library in a model made for a measurement: so many equal tensors under adam. All
 * of it ends the program on failure. */
#ifndef PARAMD_TESTS_BENCH_MEMBER_H
#define PARAMD_TESTS_BENCH_MEMBER_H

#include "paramd.h"
#include "tests/bench/base.h"
#include "tests/bench/peer.h"

enum { PD_MEMBER_TIMEOUT_MS = 120000 };

struct pd_member_way {
    const char *address;
    enum pd_transport transport;
    bool threaded;    /* the client has an I/O thread of its own */
    bool payload_sum; /* checksums over payloads */
    int busy_poll_us; /* as in paramd_options: 0 the default, -1 not at all */
};

struct paramd_client *pd_member_open(const struct pd_member_way *way);

/* Makes the model, or joins it if it is there. Blocks of different tensors lie in different slots.
 */
struct paramd_model *pd_member_join(struct paramd_client *client, const char *model, size_t tensors,
                                    size_t elements, enum paramd_ack_level ack_level);

/* The session ends, the client is closed. */
void pd_member_leave(struct paramd_client *client, struct paramd_model *model);

/* status is of the thread's last call into the library, which was about what. */
void pd_member_check(int status, const char *what);

#endif
