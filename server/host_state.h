/* What the two files of the host share: its state, and the calls between reading (host.c) and
 * writing (host_write.c). */
#ifndef PARAMD_SERVER_HOST_STATE_H
#define PARAMD_SERVER_HOST_STATE_H

#include "server/base/map.h"
#include "server/core/shard.h"
#include "server/host.h"

enum { PD_HOST_SCRATCH_BYTES = 64 * 1024 };

/* Why a connection is not read: what it waits for. */
enum pd_wait {
    PD_WAIT_NONE = 0,
    PD_WAIT_BUFFER, /* a payload: for a buffer */
    PD_WAIT_COPIES, /* a whole request: for room for copies */
    PD_WAIT_CONTROL /* a whole request: for an answer of control to one before it */
};

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

    bool sending; /* a frame of values is going out */
    struct pd_blocks_frame frame;
    uint8_t *head;
    size_t head_bytes;
    size_t head_capacity;
    size_t sent; /* of head and body together */
    uint64_t sending_us;

    struct pd_link all;
    struct pd_link active;
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
    struct pd_link outgoing;
    uint64_t next_number;
    uint64_t now_us;
    bool draining;
    bool room;         /* waiting connections may try again */
    uint32_t unplaced; /* connections that wait for a buffer */
    struct pd_shard_count count;
    uint8_t scratch[PD_HOST_SCRATCH_BYTES];
};

/* To be looked at by the transport. */
void pd_host_mark(struct pd_host *host, struct pd_host_conn *conn);
/* To be closed at once, or once what is queued has been written. reason is static text. */
void pd_host_finish(struct pd_host *host, struct pd_host_conn *conn, const char *reason);
void pd_host_close_later(struct pd_host *host, struct pd_host_conn *conn, const char *reason);

/* One event to the core; replies, messages and verdict are carried out. conn may be NULL. */
void pd_host_step(struct pd_host *host, struct pd_host_conn *conn, struct pd_event *event,
                  struct pd_effects *effects);
/* Lets connections that wait for room try again, if there is some. */
void pd_host_retry(struct pd_host *host);

void pd_host_queue_bytes(struct pd_host *host, struct pd_host_conn *conn, const uint8_t *bytes,
                         size_t count);
void pd_host_queue_frame(struct pd_host *host, struct pd_host_conn *conn,
                         const struct pd_reply *reply);
/* The frame of values is out, or never will be. */
void pd_host_end_frame(struct pd_host *host, struct pd_host_conn *conn);
bool pd_host_out_empty(const struct pd_host_conn *conn);

#endif
