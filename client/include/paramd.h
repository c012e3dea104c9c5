/* paramd.h: train through a paramd daemon from C, or from any language that can call C. */
/* clang-format off */
/* A worker in short (client/examples has whole ones):
 *
 *     struct paramd_client *client;
 *     struct paramd_model *model;
 *     struct paramd_hyper lr = {.name = "lr", .number = 1e-3};
 *     struct paramd_group group = {
 *         .name = "all", .optimizer = "adam", .hypers = &lr, .hyper_count = 1};
 *     struct paramd_tensor w = {.name = "w", .rank = 2, .shape = {784, 10},
 *                               .init = PARAMD_INIT_NORMAL, .b = 0.01};
 *     struct paramd_definition definition = {.name = "demo", .groups = &group, .group_count = 1,
 *                                            .tensors = &w, .tensor_count = 1};
 *     if (paramd_open(NULL, &client) || paramd_join(client, &definition, NULL, 10000, &model))
 *         errx(1, "%s", paramd_error());
 *     struct paramd_io io = {.tensor = 0, .gradient = g, .values = p};
 *     int status = paramd_pull_wait(model, &io, 1, NULL, 10000, NULL);
 *     for (int step = 0; step < 1000 && status == PARAMD_OK; step++) {
 *         compute_gradient(p, g);
 *         status = paramd_push_pull_wait(model, &io, 1, NULL, 10000, NULL);
 *     }
 *     if (status)
 *         errx(1, "%s", paramd_error());
 *     if (paramd_leave(model, 10000))
 *         errx(1, "%s", paramd_error());
 *     paramd_close(client);
 */
/* clang-format on */
/* Threads: every function may be called from any thread, also at the same time on the same handle,
 * unless its comment says otherwise; of two pushes to one tensor the one called first is applied
 * first. Errors: functions return PARAMD_OK (0) or a negative enum paramd_status, and leave their
 * ret_ arguments alone on failure. paramd_error() has the sentence for a person. The library writes
 * nothing to stdout or stderr and never exits. Times: timeout_ms < 0 waits without end, 0 not at
 * all. fork: a client belongs to the process that opened it. In a child every call on it answers
 * PARAMD_FORKED and touches nothing; open a new one there. Descriptors are close-on-exec. */
#ifndef PARAMD_H
#define PARAMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paramd_status.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PARAMD_API __attribute__((visibility("default")))
#define PARAMD_CHECK __attribute__((visibility("default"), warn_unused_result))
#else
#define PARAMD_API
#define PARAMD_CHECK
#endif

enum { PARAMD_RANK_MAX = 8, PARAMD_MOMENTS_MAX = 3, PARAMD_NAME_BYTES = 256 };

struct paramd_client; /* connections to one daemon */
struct paramd_model;  /* this process's session in one model */
struct paramd_ticket; /* one push, pull or push_pull under way */

/* As "0.1.0". */
PARAMD_API const char *paramd_version(void);

/* What the last failed call of this thread had to say, as one sentence; "" before the first. Valid
 * until the thread's next call into the library. */
PARAMD_API const char *paramd_error(void);

/* ---- The client ---- */

enum paramd_payload_sum {
    /* Checksums over payloads between hosts, none on loopback and Unix sockets. */
    PARAMD_SUM_AUTO = 0,
    PARAMD_SUM_ON,
    PARAMD_SUM_OFF
};

enum paramd_shared_memory {
    /* Over a Unix socket, where the daemon gives it: frames go through memory shared with it. */
    PARAMD_SHARED_AUTO = 0,
    PARAMD_SHARED_OFF
};

struct paramd_options {
    /* "HOST:PORT", "[IPV6]:PORT" or "unix:PATH"; NULL: PARAMD_ADDRESS of the environment, or
     * 127.0.0.1:7700. */
    const char *address;
    const char *name; /* shows in the daemon's log; NULL: the program's pid */
    enum paramd_payload_sum payload_sum;
    enum paramd_shared_memory shared_memory;
    bool no_thread; /* I/O happens inside blocking calls and paramd_run only */
    /* Microseconds for which whoever does I/O looks for more before it sleeps: waking up costs more
     * than most answers take. 0: 50; -1: it sleeps at once. */
    int busy_poll_us;
    /* Called when the daemon tells that a crash has made it lose acknowledged pushes of a handle:
     * blocks, so many more of them (paramd_counters.lost). On the I/O thread or inside paramd_run
     * and blocking calls; it may look and start calls, and must not block, wait or end the handle.
     * NULL: they are only counted. */
    void (*lost)(struct paramd_model *model, uint64_t blocks, void *arg);
    void *lost_arg;
};

/* Opens a client. Connects in the background: a daemon that is not there yet shows as a timeout of
 * the first call that needs it. options may be NULL. PARAMD_INVALID for an address that cannot be
 * read, PARAMD_NO_MEMORY. */
PARAMD_CHECK int paramd_open(const struct paramd_options *options,
                             struct paramd_client **ret_client);

/* Ends everything: unfinished tickets are cancelled, models closed (their sessions stay in the
 * daemon for its retention time), memory freed. NULL is fine. No other call on the client, its
 * models or tickets may be running or follow; not from a done function. A name that is being
 * resolved is waited for. */
PARAMD_API void paramd_close(struct paramd_client *client);

/* Without a thread: does I/O for at most timeout_ms, returns early when a ticket finishes.
 * PARAMD_OK, PARAMD_TIMEOUT; PARAMD_INVALID for a client with a thread. One thread at a time. */
PARAMD_CHECK int paramd_run(struct paramd_client *client, int timeout_ms);

/* One round trip to the daemon. ret_us may be NULL. */
PARAMD_CHECK int paramd_ping(struct paramd_client *client, int timeout_ms, uint64_t *ret_us);

/* ---- Models ---- */

/* Names: 1 to 255 of A-Z a-z 0-9 . _ / - */

/* A hyper-parameter by the name torch uses; server/optim/README.md lists them all. */
struct paramd_hyper {
    const char *name;
    double number;
    const char *text; /* for choices ("schedule" = "linear"); NULL for numbers */
};

/* Tensors that share an optimizer and its hyper-parameters. */
struct paramd_group {
    const char *name;
    const char *optimizer; /* "adam", "sgd", ... */
    const struct paramd_hyper *hypers;
    size_t hyper_count;
};

enum paramd_init {
    PARAMD_INIT_CLIENT = 0, /* from the values given to paramd_join */
    PARAMD_INIT_ZEROS,
    PARAMD_INIT_CONSTANT, /* a */
    PARAMD_INIT_UNIFORM,  /* in [a, b), from seed */
    PARAMD_INIT_NORMAL    /* mean a, standard deviation b, from seed */
};

struct paramd_tensor {
    const char *name;
    unsigned rank; /* 1 to 8 */
    uint64_t shape[PARAMD_RANK_MAX];
    unsigned group; /* place in paramd_definition.groups */
    enum paramd_init init;
    double a, b;
    uint64_t seed;
};

/* What the daemon promises by acknowledging a push. */
enum paramd_ack_level {
    PARAMD_ACK_APPLIED =
        0,            /* it is in the weights; a crash may lose the last of them, see `lost` */
    PARAMD_ACK_LOGGED /* it is on disk, too: for a daemon with --data-dir */
};

struct paramd_definition {
    const char *name;
    const struct paramd_group *groups;
    size_t group_count;
    const struct paramd_tensor *tensors;
    size_t tensor_count;
    uint32_t block_elements; /* 0: 65,536; else a power of two from 1,024 to 262,144 */
    enum paramd_ack_level ack_level;
};

/* First values of one tensor, row-major f32. */
struct paramd_values {
    const float *weights;
    /* Optimizer state to continue from, in the optimizer's order; NULL: as before the first step.
     */
    const float *moments[PARAMD_MOMENTS_MAX];
    uint64_t step; /* updates behind that state */
};

/* Who the session is. Zeros (or NULL): a new one with a random id. */
struct paramd_session {
    uint8_t id[16];
};

/* Creates the model, or joins it if it is there with the same definition, and waits until it has
 * values. Whoever creates it also initialises it: from initial[i] for each tensor i with
 * PARAMD_INIT_CLIENT (initial may be NULL if there is none), borrowed for the call. If that process
 * dies half-way, another joiner takes over after its lease. A client has one handle of a model at a
 * time (PARAMD_INVALID): for more sessions open more clients. PARAMD_MISMATCH, PARAMD_UNSUPPORTED,
 * PARAMD_INVALID: see paramd_error(). PARAMD_RESOURCE_EXHAUSTED: above the daemon's memory limit.
 * PARAMD_TIMEOUT. */
PARAMD_CHECK int paramd_join(struct paramd_client *client,
                             const struct paramd_definition *definition,
                             const struct paramd_values *initial, int timeout_ms,
                             struct paramd_model **ret_model);

/* The same with a session of the caller's choice: a restarted worker that gives its old id
 * continues that session. PARAMD_SESSION_IN_USE: another live process, or another handle of this
 * one, has it. */
PARAMD_CHECK int paramd_join_as(struct paramd_client *client, const struct paramd_session *session,
                                const struct paramd_definition *definition,
                                const struct paramd_values *initial, int timeout_ms,
                                struct paramd_model **ret_model);

/* For first values that do not fit into memory: creates the model, or takes it over from a process
 * that died while doing this, and does not wait until it has values. They follow by paramd_fill;
 * until all blocks of tensors with PARAMD_INIT_CLIENT have got theirs, pushes and pulls wait.
 * PARAMD_NOT_INITIALISER: it has values already, or another process is giving them. Else as
 * paramd_join. */
PARAMD_CHECK int paramd_create(struct paramd_client *client,
                               const struct paramd_definition *definition, int timeout_ms,
                               struct paramd_model **ret_model);

/* First values of some blocks of a tensor: all of the blocks named and nothing else, row-major. */
struct paramd_fill {
    uint32_t tensor;
    uint64_t first_block;
    uint64_t block_count; /* 0: all from first_block on */
    const float *values;
    const uint64_t *steps; /* with the weights: updates behind each block's state; NULL: 0 */
};

/* Gives a model of paramd_create one part of its blocks, and waits until the daemon has it: part 0
 * is the weights, which complete a block, so that 1 to 3, the moments in the optimizer's order,
 * must come before; those not given are as before the first step. PARAMD_NOT_INITIALISER: this took
 * longer than the lease, and another process has taken over. PARAMD_INVALID: a value is not finite,
 * or see paramd_error(). */
PARAMD_CHECK int paramd_fill(struct paramd_model *model, unsigned part,
                             const struct paramd_fill *entries, size_t count, int timeout_ms);

/* Joins a model that exists, whatever its definition. PARAMD_NOT_FOUND. */
PARAMD_CHECK int paramd_attach(struct paramd_client *client, const char *name, int timeout_ms,
                               struct paramd_model **ret_model);

/* The definition; memory belongs to the handle and never changes. */
PARAMD_API const struct paramd_definition *
paramd_model_definition(const struct paramd_model *model);
/* Place of a tensor by name, or -1. */
PARAMD_API long paramd_model_tensor(const struct paramd_model *model, const char *name);

/* Ends the session: the daemon forgets its push ids. Waits for unfinished tickets first; on any
 * answer but PARAMD_TIMEOUT the handle is freed. No other call on the handle may be running or
 * follow; its tickets are released as ever. */
PARAMD_CHECK int paramd_leave(struct paramd_model *model, int timeout_ms);

/* Frees the handle without telling the daemon; unfinished tickets are cancelled. NULL is fine. No
 * other call on the handle may be running or follow; its tickets are released as ever. */
PARAMD_API void paramd_model_close(struct paramd_model *model);

/* ---- Push and pull ---- */

enum paramd_dtype { PARAMD_F32 = 0, PARAMD_BF16 = 1, PARAMD_F16 = 2 };

/* One tensor in a call, or some of its blocks: then the buffers begin with the first of them.
 * Buffers are row-major, in the call's dtype, aligned to its element. They are used in place and
 * belong to the library from the call until the ticket is finished or cancelled: gradients must not
 * change, values must not be read. */
struct paramd_io {
    uint32_t tensor;      /* place in the definition */
    const void *gradient; /* push, push_pull */
    void *values;         /* pull (NULL: moments only), push_pull */
    /* pull: optimizer state too, of the same version; NULL: not */
    void *moments[PARAMD_MOMENTS_MAX];
    uint64_t first_block;
    uint64_t block_count; /* 0: all from first_block on */
};

struct paramd_call {
    enum paramd_dtype dtype; /* of all buffers of the call; the daemon's state is f32 */
    float scale;             /* gradients are multiplied by it; 0: by 1 */
    double weight;           /* samples or tokens behind this push, recorded */
    /* pull: leave blocks alone that have not changed since this handle's last pull or push_pull (of
     * any part): the buffers must still hold what that brought. */
    bool if_newer;
    /* Called once when finished, on the I/O thread or inside paramd_run and blocking calls; not for
     * a ticket that is released before. May start calls, must not block or wait. */
    void (*done)(struct paramd_ticket *ticket, void *arg);
    void *arg;
};

/* What became of a call. A tensor counts by its blocks. */
struct paramd_result {
    int status;       /* PARAMD_OK, or what the first bad block got */
    uint64_t blocks;  /* blocks the call was about */
    uint64_t done;    /* applied, received, or unchanged (if_newer) */
    uint64_t refused; /* refused for good: NOT_FINITE, TOO_STALE, REFUSED, NOT_FOUND */
    uint64_t unknown; /* UNKNOWN or CANCELLED */
    uint32_t tensor;  /* of the first bad block */
    uint64_t block;
};

/* Start a call on count tensors; they return at once. entries and call are borrowed for the call
 * (call may be NULL), the buffers for longer, see paramd_io. A tensor may occur once in a call. The
 * ticket must be given to paramd_release. PARAMD_BUSY: 65,536 tickets are unfinished.
 * PARAMD_NOT_FOUND: the model is gone. PARAMD_SESSION_EXPIRED. The staleness of a push is
 * counted from the newest values that this handle had received when it was called. */
PARAMD_CHECK int paramd_push(struct paramd_model *model, const struct paramd_io *entries,
                             size_t count, const struct paramd_call *call,
                             struct paramd_ticket **ret_ticket);
PARAMD_CHECK int paramd_pull(struct paramd_model *model, const struct paramd_io *entries,
                             size_t count, const struct paramd_call *call,
                             struct paramd_ticket **ret_ticket);
/* The values are at least as new as the push. */
PARAMD_CHECK int paramd_push_pull(struct paramd_model *model, const struct paramd_io *entries,
                                  size_t count, const struct paramd_call *call,
                                  struct paramd_ticket **ret_ticket);

/* The same, waiting for the result (ret_result may be NULL), which is the return value too. On a
 * timeout the call is cancelled: the buffers are the caller's again in any case. */
PARAMD_CHECK int paramd_push_wait(struct paramd_model *model, const struct paramd_io *entries,
                                  size_t count, const struct paramd_call *call, int timeout_ms,
                                  struct paramd_result *ret_result);
PARAMD_CHECK int paramd_pull_wait(struct paramd_model *model, const struct paramd_io *entries,
                                  size_t count, const struct paramd_call *call, int timeout_ms,
                                  struct paramd_result *ret_result);
PARAMD_CHECK int paramd_push_pull_wait(struct paramd_model *model, const struct paramd_io *entries,
                                       size_t count, const struct paramd_call *call, int timeout_ms,
                                       struct paramd_result *ret_result);

/* Waits for a ticket: the result's status, or PARAMD_TIMEOUT, which ends the wait and not the call.
 * With 0 ms it polls. ret_result may be NULL; on PARAMD_TIMEOUT it says what is known so far. */
PARAMD_API int paramd_wait(struct paramd_ticket *ticket, int timeout_ms,
                           struct paramd_result *ret_result);

/* Gives a call up. The buffers are the caller's again on return, in any case. What was not sent is
 * CANCELLED; for what was, the daemon is asked to pass over it, and the result says for how many
 * blocks it had been applied; what is not known within timeout_ms is UNKNOWN. A finished ticket
 * just gives its result. The values of a push_pull that is given up do not come, also when its push
 * had been applied. */
PARAMD_API int paramd_cancel(struct paramd_ticket *ticket, int timeout_ms,
                             struct paramd_result *ret_result);

/* Frees a ticket; one that is unfinished is cancelled first without waiting. NULL is fine. Not from
 * its own done. */
PARAMD_API void paramd_release(struct paramd_ticket *ticket);

/* ---- What is known without asking ---- */

struct paramd_block_info {
    uint64_t version; /* newest one seen; 0: none */
    uint64_t step;    /* as of the last pull */
    uint64_t applied; /* pushes of this handle acknowledged as applied */
};

/* PARAMD_NOT_FOUND if there is no such block. */
PARAMD_CHECK int paramd_block(const struct paramd_model *model, uint32_t tensor, uint64_t block,
                              struct paramd_block_info *ret_info);

struct paramd_counters {
    uint64_t pushes;  /* blocks acknowledged as applied */
    uint64_t refused; /* blocks refused for good */
    uint64_t resent;  /* blocks sent again after a lost connection */
    /* Blocks of acknowledged pushes that a restarted daemon no longer had: 0 with
     * PARAMD_ACK_LOGGED, and after a restart that ended in order. Told by each shard when it is
     * connected again: exact once a pull of all tensors has come back. */
    uint64_t lost;
    uint64_t reconnects;   /* connections opened after the first of each shard */
    uint64_t bytes_pushed; /* payload bytes */
    uint64_t bytes_pulled;
};

PARAMD_API void paramd_model_counters(const struct paramd_model *model,
                                      struct paramd_counters *ret_counters);

/* ---- Steering ---- */

/* Changes hyper-parameters of a group for every push from now on, of all workers; this handle's
 * later pushes wait for it. clock: 0, or a number that must be higher than that of any earlier SET
 * (PARAMD_SUPERSEDED). */
PARAMD_CHECK int paramd_set(struct paramd_model *model, const char *group,
                            const struct paramd_hyper *hypers, size_t count, uint64_t clock,
                            int timeout_ms);

/* Tells the daemon (and those who watch it) how this worker is doing. */
PARAMD_CHECK int paramd_report(struct paramd_model *model, uint64_t clock, double loss,
                               uint64_t samples, uint64_t tokens, int timeout_ms);

/* ---- Looking at a daemon ---- */

struct paramd_model_info {
    char name[PARAMD_NAME_BYTES];
    uint64_t number;
    uint64_t generation;
    bool ready;
    uint64_t tensors;
    uint64_t blocks;
    uint64_t elements;
    uint64_t memory_bytes;
    uint64_t sessions;
    enum paramd_ack_level ack_level;
};

/* All models; the array is freed with paramd_free. */
PARAMD_CHECK int paramd_list(struct paramd_client *client, int timeout_ms,
                             struct paramd_model_info **ret_models, size_t *ret_count);

struct paramd_counter {
    char name[64];
    double value;
};

struct paramd_hyper_info {
    char group[PARAMD_NAME_BYTES];
    char optimizer[32];
    char name[32];
    double number;
    char text[32];
};

struct paramd_tensor_info {
    char name[PARAMD_NAME_BYTES];
    char group[PARAMD_NAME_BYTES];
    unsigned rank;
    uint64_t shape[PARAMD_RANK_MAX];
    uint64_t blocks;
    uint64_t version_min;
    uint64_t version_max;
    uint64_t version_sum; /* over the blocks */
};

/* One allocation with its arrays: freed with paramd_free. */
struct paramd_stat {
    char server[64];                /* name and version of the daemon */
    struct paramd_model_info model; /* of a model */
    struct paramd_counter *counters;
    size_t counter_count;
    struct paramd_hyper_info *hypers; /* of a model: those of all groups, as they are now */
    size_t hyper_count;
    struct paramd_tensor_info *tensors; /* of a model */
    size_t tensor_count;
};

/* The daemon's counters (model NULL) or those of a model; proto/README.md names them. */
PARAMD_CHECK int paramd_stat(struct paramd_client *client, const char *model, int timeout_ms,
                             struct paramd_stat **ret_stat);

/* One sum over the whole model: every block's values, optimizer state, version and step, in the
 * definition's order. Equal sums are equal bits, however many shards hold them. The daemon reads
 * all of it; while others push, it is of no single moment. */
PARAMD_CHECK int paramd_hash(struct paramd_client *client, const char *model, int timeout_ms,
                             uint64_t *ret_hash);

/* As paramd_set, by the model's name and without joining it. */
PARAMD_CHECK int paramd_set_by_name(struct paramd_client *client, const char *model,
                                    const char *group, const struct paramd_hyper *hypers,
                                    size_t count, uint64_t clock, int timeout_ms);

/* Deletes a model with all its state. number: that of one certain model of this name, or 0. */
PARAMD_CHECK int paramd_delete(struct paramd_client *client, const char *model, uint64_t number,
                               int timeout_ms);

/* A snapshot that was published in the daemon's data directory. */
struct paramd_snapshot {
    uint64_t number;
    uint64_t bytes;   /* of all its files */
    uint64_t us;      /* from its beginning until it was published */
    uint64_t held_us; /* for so long pushes were held at most */
};

/* Has the daemon take a snapshot of all models, and waits for it; one that is being taken already
 * is over first. pause: one cut across all models, for which pushes are held while it is copied.
 * waiting, unless it is NULL, is called about every 100 ms meanwhile and may call the client; where
 * it returns false the wait ends (PARAMD_CANCELLED), as at the deadline, but not the snapshot.
 * PARAMD_UNSUPPORTED: the daemon keeps nothing. PARAMD_DISK, PARAMD_RESOURCE_EXHAUSTED: it could
 * not be written, and those before it stand. ret_snapshot may be NULL. */
PARAMD_CHECK int paramd_snapshot(struct paramd_client *client, bool pause, int timeout_ms,
                                 bool (*waiting)(void *arg), void *arg,
                                 struct paramd_snapshot *ret_snapshot);

PARAMD_API void paramd_free(void *memory);

#ifdef __cplusplus
}
#endif

#endif
