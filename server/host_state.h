/* What the files of the host share: its state, and the calls between reading (host.c), writing
 * (host_write.c) and what waits for the log (host_hold.c). */
#ifndef PARAMD_SERVER_HOST_STATE_H
#define PARAMD_SERVER_HOST_STATE_H

#include "server/base/map.h"
#include "server/core/shard.h"
#include "server/host.h"
#include "server/host_log.h"

enum { PD_HOST_SCRATCH_BYTES = 64 * 1024 };

/* Why a connection is not read: what it waits for. */
enum pd_wait {
    PD_WAIT_NONE = 0,
    PD_WAIT_BUFFER, /* a payload: for a buffer */
    PD_WAIT_COPIES, /* a whole request: for room for copies */
    PD_WAIT_LOG,    /* a whole request: for room in the log */
    PD_WAIT_PAUSE,  /* a whole request that would change blocks: for the end of a pause */
    PD_WAIT_CONTROL /* a whole request: for an answer of control to one before it */
};

/* Answers that begin there in `out` leave when this record is durable; what stands behind them
 * leaves no sooner. */
struct pd_hold {
    uint64_t lsn;
    size_t from;
};

/* Of the batch that is being written, and of the one that is gathered. */
enum { PD_HOLDS_MAX = PD_HELD_COUNT - 1 };

struct pd_host_conn {
    struct pd_peer peer;
    void *user;
    bool local; /* from this host: payload sums are off unless asked for */
    struct pd_frame_reader reader;
    struct pd_span payload; /* of the frame that is arriving, from the pool */
    uint8_t *rest;          /* bytes that came behind a frame that had to wait */
    size_t rest_bytes;
    enum pd_wait wait;
    bool stalled;  /* values wait for a buffer to go out */
    bool closing;  /* closes when all is written */
    bool finished; /* to be closed by the transport */
    const char *reason;
    uint64_t opened_us;
    uint64_t frame_us;   /* when the frame that is arriving began, 0: none */
    uint64_t closing_us; /* when closing began */

    uint8_t *out; /* acks and other answers: [out_first, out_end) is still to be written */
    size_t out_first;
    size_t out_end;
    size_t out_capacity;
    bool out_leads; /* of the last write_source: the queue stood before the values */
    struct pd_hold holds[PD_HOLDS_MAX];
    unsigned hold_count;
    uint64_t after_lsn; /* values wait until this is durable; 0: they do not */

    bool sending; /* a frame of values is going out */
    struct pd_blocks_frame frame;
    uint8_t *head;
    size_t head_bytes;
    size_t head_capacity;
    size_t sent; /* of head and body together */
    uint64_t sending_us;

    struct pd_link all;
    struct pd_link active;
    struct pd_link holding; /* something of it waits for the log, or did until its last job */
    UT_hash_handle by_number;
};

struct pd_host {
    struct pd_host_options options;
    struct pd_shard *shard;
    struct pd_arena arena;
    struct pd_pool payloads;
    struct pd_host_conn *by_number;
    struct pd_link all;
    struct pd_link active;
    struct pd_host_log log;       /* and the messages to control */
    struct pd_link holding;       /* connections */
    struct pd_link queued;        /* messages from control: the first waits for room in the log */
    struct pd_snapshot *snapshot; /* NULL: none */
    bool copying;                 /* slots of it are left */
    uint64_t copied_lsn;          /* the last record that a copied slot may know of */
    uint64_t next_number;
    uint64_t now_us;
    bool draining;
    bool paused;
    bool room;         /* waiting connections may try again */
    uint32_t unplaced; /* connections that wait for a buffer */
    struct pd_shard_count count;
    uint8_t scratch[PD_HOST_SCRATCH_BYTES];
};

/* To be looked at by the transport. */
void pd_host_mark(struct pd_host *host, struct pd_host_conn *conn);
/* To be closed at once. reason is static text. */
void pd_host_finish(struct pd_host *host, struct pd_host_conn *conn, const char *reason);

/* One event to the core; replies, messages and verdict are carried out. conn may be NULL. */
void pd_host_step(struct pd_host *host, struct pd_host_conn *conn, struct pd_event *event,
                  struct pd_effects *effects);
/* Lets connections that wait for room try again, if there is some. */
void pd_host_retry(struct pd_host *host);
/* One that waits tries again. */
void pd_host_retry_one(struct pd_host *host, struct pd_host_conn *conn);
/* What a message from control says is done. */
void pd_host_take_message(struct pd_host *host, struct pd_message *message);

void pd_host_queue_bytes(struct pd_host *host, struct pd_host_conn *conn, const uint8_t *bytes,
                         size_t count);
void pd_host_queue_frame(struct pd_host *host, struct pd_host_conn *conn,
                         const struct pd_reply *reply);
/* The frame of values is out, or never will be. */
void pd_host_end_frame(struct pd_host *host, struct pd_host_conn *conn);
bool pd_host_out_empty(const struct pd_host_conn *conn);

/* ---- where there is a log ---- */

/* Tells the event what the log has room for, and what waits for it. conn may be NULL. */
void pd_host_ask_log(struct pd_host *host, const struct pd_host_conn *conn, struct pd_event *event);
/* Appends the records; messages go out, when that is durable if they have to wait. */
void pd_host_record(struct pd_host *host, struct pd_effects *effects);
/* What is queued behind the first so many bytes waits until all records so far are durable. */
void pd_host_hold(struct pd_host *host, struct pd_host_conn *conn, size_t before);
/* Something of the connection waits for the log. */
void pd_host_wait_for_log(struct pd_host *host, struct pd_host_conn *conn);
/* Whether the message has to wait for room in the log, or for one that does: it is kept then. */
bool pd_host_queue_message(struct pd_host *host, struct pd_message *message);

/* Without a trace but for its file, which means nothing without MANIFEST. */
void pd_host_drop_snapshot(struct pd_host *host);

#endif
