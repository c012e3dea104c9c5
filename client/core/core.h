/* The client without I/O: sessions, routing, push ids, resend. Bytes, time and random bits come in
 * as arguments; what must be done (open this connection, write these bytes, wake me then) is asked
 * for. It knows no socket, clock, thread or file. One caller at a time: whoever shares a core among
 * threads holds a lock around every call. */
#ifndef PARAMD_CLIENT_CORE_CORE_H
#define PARAMD_CLIENT_CORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/include/paramd.h"
#include "proto/definition.h"
#include "proto/frame.h"
#include "proto/limits.h"

struct pd_client;         /* everything below, for one daemon */
struct pd_client_session; /* one session in one model */
struct pd_op;             /* one push, pull, push_pull or init under way: a ticket */
struct pd_call;           /* one control request and its answer */
struct pd_join;           /* create, attach and initialise, until there is a session to use */

#define PD_NEVER UINT64_MAX

enum {
    PD_TICKETS_MAX = 65536,   /* unfinished at a time */
    PD_CALL_TEXT_BYTES = 1024 /* a sentence about what went wrong */
};

/* ---- The whole ---- */

struct pd_client_options {
    const char *name; /* for the daemon's log */
    enum paramd_payload_sum payload_sum;
    uint64_t random; /* seeds the jitter of back-offs */
};

/* NULL without memory. */
struct pd_client *pd_client_create(const struct pd_client_options *options);
/* Ops that were not released go with it. NULL is fine. */
void pd_client_destroy(struct pd_client *client);

/* Timers; returns when to be called next at the latest (PD_NEVER: not before something else
 * happens). Call it after anything else was called, too: new work may want a connection. */
uint64_t pd_client_tick(struct pd_client *client, uint64_t now_us);

/* The next finished op with a done function, each once, or NULL. */
struct pd_op *pd_client_next_done(struct pd_client *client);

/* How many ops have finished since the client was created. */
uint64_t pd_client_finished(const struct pd_client *client);

/* What keeps the client from its daemon, as part of a sentence; "" if nothing is known. */
const char *pd_client_trouble(const struct pd_client *client);

/* ---- Connections: link i goes to shard i ---- */

/* Links whose connection is to be opened now; each is named once, then connected or disconnected
 * must follow. */
bool pd_client_connect_wanted(struct pd_client *client, unsigned *ret_link);
/* The connection is open; its preamble, with the link as shard, has been sent. local: both ends on
 * one host (decides about payload sums). */
void pd_client_connected(struct pd_client *client, unsigned index, bool local, uint64_t now_us);
/* It failed or broke. text says why, as part of a sentence. */
void pd_client_disconnected(struct pd_client *client, unsigned index, const char *text,
                            uint64_t now_us);
/* Links whose connection the core gave up: to be closed without a further word; each is named once.
 */
bool pd_client_close_wanted(struct pd_client *client, unsigned *ret_link);

/* Where the next bytes go: the rest of a payload in the caller's own buffers, then a scratch. 0:
 * none wanted. */
size_t pd_client_read_target(struct pd_client *client, unsigned index, struct pd_span *ret_spans,
                             size_t max);
void pd_client_received(struct pd_client *client, unsigned index, size_t count, uint64_t now_us);
/* What to write next; 0: nothing now. */
size_t pd_client_write_source(struct pd_client *client, unsigned index, struct pd_span *ret_spans,
                              size_t max, uint64_t now_us);
void pd_client_written(struct pd_client *client, unsigned index, size_t count, uint64_t now_us);

/* ---- Joining ---- */

struct pd_join_options {
    uint8_t session[PD_SESSION_BYTES];
    uint64_t nonce;
    struct pd_definition *definition; /* taken over, on failure too; NULL: whatever the model has */
    const char *model;                /* its name; borrowed for the call */
    const struct paramd_values
        *initial; /* one per tensor, borrowed until the join is destroyed; may be NULL */
    bool fill;    /* only as the initialiser, who gives the values afterwards */
};

/* NULL without memory. */
struct pd_join *pd_join_create(struct pd_client *client, const struct pd_join_options *options);
/* Gives it up where it is unfinished. NULL is fine. */
void pd_join_destroy(struct pd_join *join);
/* PARAMD_PENDING, PARAMD_OK or what it failed with. */
int pd_join_status(const struct pd_join *join);
/* What it failed with or is waiting for, as a sentence. */
const char *pd_join_text(const struct pd_join *join);
/* After PARAMD_OK, once: the session, which belongs to the caller. */
struct pd_client_session *pd_join_take_session(struct pd_join *join);

/* ---- Sessions ---- */

/* Forgets the session without a word to the daemon; unfinished ops end as CANCELLED or UNKNOWN, and
 * stay with their owners. */
void pd_client_session_destroy(struct pd_client_session *session);
/* GOODBYE was answered: destroying it need not close connections. */
void pd_client_session_left(struct pd_client_session *session);
const struct pd_definition *pd_client_session_definition(const struct pd_client_session *session);
uint64_t pd_client_session_number(const struct pd_client_session *session);
/* PARAMD_OK, or why no further call can succeed. */
int pd_client_session_gone(const struct pd_client_session *session);
size_t pd_client_session_unfinished(const struct pd_client_session *session);
void pd_client_session_counters(const struct pd_client_session *session,
                                struct paramd_counters *ret_counters);
/* block exists. */
void pd_client_session_block(const struct pd_client_session *session, uint32_t tensor,
                             uint64_t block, struct paramd_block_info *ret_info);

/* ---- Ops ---- */

enum pd_op_kind { PD_OP_PUSH, PD_OP_PULL, PD_OP_PUSH_PULL, PD_OP_INIT };

/* Starts one. Entries are copied, their buffers used in place until it is finished or cancelled.
 * call is not NULL. PARAMD_INVALID (text says what), PARAMD_BUSY, PARAMD_NO_MEMORY, or why the
 * session is gone. */
int pd_op_start(struct pd_client_session *session, enum pd_op_kind kind,
                const struct paramd_io *entries, size_t count, const struct paramd_call *call,
                struct pd_op **ret_op, char text[PD_CALL_TEXT_BYTES]);
/* The same for a PD_OP_INIT of a session that was joined with `fill`. */
int pd_op_start_fill(struct pd_client_session *session, uint32_t part,
                     const struct paramd_fill *entries, size_t count, struct pd_op **ret_op,
                     char text[PD_CALL_TEXT_BYTES]);
bool pd_op_finished(const struct pd_op *op);
/* While it is not finished: status PARAMD_PENDING and what is known so far. */
void pd_op_result(const struct pd_op *op, struct paramd_result *ret_result);
/* The sentence about its first bad block. The op is finished, its status not PARAMD_OK. */
void pd_op_text(const struct pd_op *op, char text[PD_CALL_TEXT_BYTES]);
/* From here on the buffers are not touched. The op is finished once every sent push is answered. */
void pd_op_cancel(struct pd_op *op);
/* Finishes what is left of a cancelled op as UNKNOWN. The session goes on to clear up its push ids.
 */
void pd_op_abandon(struct pd_op *op);
/* The owner does not want it any more; a running one is cancelled and abandoned. */
void pd_op_release(struct pd_op *op);
void (*pd_op_done(const struct pd_op *op, void **ret_arg))(struct paramd_ticket *, void *);
/* A place for the owner's pointer to what wraps the op. */
void pd_op_set_owner(struct pd_op *op, void *owner);
void *pd_op_owner(const struct pd_op *op);

/* ---- Control calls ---- */

/* Sends header (and payload) and keeps the answer. session not NULL: sent where that session is
 * attached. NULL without memory. BUSY and lost connections are tried again for as long as the call
 * is not destroyed. */
struct pd_call *pd_call_start(struct pd_client *client, struct pd_client_session *session,
                              enum pd_kind kind, ProtobufCMessage *header, const uint8_t *payload,
                              size_t payload_bytes);
/* The same for SET: pushes that this session is given from now on wait until the call is finished
 * or destroyed. */
struct pd_call *pd_call_start_set(struct pd_client *client, struct pd_client_session *session,
                                  ProtobufCMessage *header);
/* PARAMD_PENDING; PARAMD_OK: the answer is there; or what the daemon said. */
int pd_call_status(const struct pd_call *call);
const char *pd_call_text(const struct pd_call *call);
/* The answer's header and payload; they belong to the call. */
const ProtobufCMessage *pd_call_answer(const struct pd_call *call);
const uint8_t *pd_call_payload(const struct pd_call *call, size_t *ret_bytes);
/* NULL is fine. */
void pd_call_destroy(struct pd_call *call);

#endif
