/* A client core and a fake daemon with a wire between them that cuts bytes into random pieces,
 * breaks where a test wants it, and has its own time. One seed decides everything random. */
#ifndef PARAMD_TESTS_UNIT_CLIENT_WORLD_H
#define PARAMD_TESTS_UNIT_CLIENT_WORLD_H

#include "client/core/core.h"
#include "tests/unit/client/fake_server.h"

enum { WORLD_TENSORS_MAX = 4096 };

struct world {
    struct pd_client *client;
    struct fake_server server;
    struct fake_conn *conns[PD_SHARDS_MAX];
    uint64_t now_us;
    uint64_t random;
    bool whole_pieces;  /* the wire takes all there is at once */
    bool unreachable;   /* connections fail */
    bool remote;        /* connections are between hosts */
    uint64_t to_server; /* bytes so far, on all connections */
    uint64_t from_server;
    uint64_t cut_to_server; /* the connection breaks behind that byte; 0: never */
    uint64_t cut_from_server;
    unsigned connects;
    struct pd_join *join;
    struct pd_client_session *session;
    uint8_t session_id[PD_SESSION_BYTES];
    struct paramd_values *initial;
};

/* Whether the core is at work: an allocation then is one of its own, not of the fake daemon. */
extern bool world_in_core;

void world_init(struct world *world, unsigned shards, uint64_t seed);
void world_deinit(struct world *world);
uint64_t world_random(struct world *world);

/* One round of everything that can happen now; false: nothing happened. */
bool world_step(struct world *world);
/* Rounds until nothing happens, time standing still. */
void world_settle(struct world *world);
/* Rounds and time until done(arg), at most `us` of time. False: it did not come to be. */
bool world_until(struct world *world, bool (*done)(const void *arg), const void *arg, uint64_t us);
/* The same until the op is finished, and its result. Fails the test if it never is. */
struct paramd_result world_finish(struct world *world, struct pd_op *op);
/* Lets so much time pass. */
void world_pass(struct world *world, uint64_t us);
/* Moves bytes towards the daemon only, until there are none. */
void world_write(struct world *world, unsigned link);
/* Moves exactly so many bytes, or what there is, from the daemon; returns how many. */
size_t world_read(struct world *world, unsigned link, size_t bytes);
/* Breaks the connection of a link; what was on the wire is lost. */
void world_break(struct world *world, unsigned link);

/* A definition of so many one-group tensors of these elements; server: the daemon fills them with
 * zeros. */
struct pd_definition *world_definition(const char *name, size_t tensors, uint64_t elements,
                                       uint32_t block_elements, bool server);
/* Starts a join; id: the last byte of the session's id. */
void world_join_start(struct world *world, struct pd_definition *definition, uint8_t id);
/* Joins a model whose values the daemon makes, and keeps the session. */
void world_join(struct world *world, size_t tensors, uint64_t elements, uint32_t block_elements);

/* Starts an op on a run of tensors, all with the same stride between buffers. */
struct pd_op *world_op(struct world *world, enum pd_op_kind kind, uint32_t first, size_t count,
                       float *gradients, float *values, size_t stride,
                       const struct paramd_call *call);
/* The daemon's value of one element. */
float world_value(const struct world *world, uint32_t tensor, uint64_t element);

#endif
