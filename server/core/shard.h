/* The shard core: everything that happens to the blocks of one shard. It takes an event and says
 * what must be done; it knows no clock, socket, file, thread or log. host.c puts it to work. */
#ifndef PARAMD_SERVER_CORE_SHARD_H
#define PARAMD_SERVER_CORE_SHARD_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/arena.h"
#include "proto/kinds.h"
#include "proto/paramd.pb-c.h"
#include "proto/paramd_status.h"
#include "server/base/list.h"
#include "server/base/pool.h"
#include "server/core/memory.h"
#include "server/core/message.h"
#include "server/core/model.h"
#include "server/core/record.h"

struct pd_shard_options {
    uint32_t shard;
    uint32_t shards;
    uint64_t copies_max;   /* bytes of copies for readers, and of values on their way out */
    uint64_t push_ids_max; /* bytes of the push ids that sessions have used */
    uint64_t lease_us;
    uint64_t retention_us;
    struct pd_memory memory;
    const char *version; /* static */
    bool records;        /* somebody keeps them: effects ask for what is to be logged */
};

struct pd_shard;

/* What the core knows of one connection. The host embeds it; the fields are the core's. */
struct pd_peer {
    struct pd_conn_id id;
    bool greeted; /* HELLO was answered */
    struct pd_attachment *attachments;
    uint32_t attachment_count;
    struct pd_link cursors; /* answers whose values are still to be sent, oldest first */
    size_t cursor_bytes;
    uint8_t *definition; /* a CREATE that comes in several frames */
    size_t definition_bytes;
    uint64_t definition_request;
    uint64_t definition_us; /* when it began */
    uint32_t asked;         /* requests that control has and has not answered */
};

enum pd_event_kind {
    PD_EVENT_REQUEST, /* a whole frame of `peer` */
    PD_EVENT_MESSAGE, /* from control; `peer` is the connection it names, NULL if that is gone */
    PD_EVENT_SEND,    /* the next frame of values for `peer`, please */
    PD_EVENT_SENT,    /* `frame`, which came from PD_EVENT_SEND, is out, or never will be */
    PD_EVENT_GONE,    /* the connection of `peer` is closed */
    PD_EVENT_TIME     /* to be given at least every second */
};

/* Values on their way out: BLOCKS. body stays what it is until PD_EVENT_SENT, but may move: take it
 * anew for each write. */
struct pd_blocks_frame {
    Paramd__Blocks *header; /* in the arena: gone with the next event */
    struct pd_view *view;   /* the body is part `part` of it, or, without a view, `buffer` */
    unsigned part;
    uint8_t *buffer;
    size_t buffer_bytes; /* as taken from the pool */
    size_t bytes;
};

const uint8_t *pd_blocks_body(const struct pd_blocks_frame *frame);

struct pd_event {
    enum pd_event_kind kind;
    uint64_t now_us;
    struct pd_peer *peer;

    /* REQUEST. The bytes are borrowed for the call. */
    unsigned frame_kind;
    bool more;
    const ProtobufCMessage *header;
    const uint8_t *header_bytes;
    size_t header_count;
    const uint8_t *payload; /* 64-byte aligned */
    size_t payload_count;
    bool payload_summed; /* it came with its sum */
    uint64_t payload_sum;

    /* Where records are wanted: bytes of headers and payloads that the log takes now. A request
     * that may need more is refused whole. What cannot be refused (RESTART_INIT, READY, SET_HYPERS,
     * SESSION_ENDED, DROP) is recorded all the same: 16 KiB beyond the room are enough for one. */
    uint64_t log_room;
    bool log_busy;        /* and more when what it has is written: such a request waits */
    uint64_t log_lsn;     /* of the last record so far */
    uint64_t durable_lsn; /* records up to it are on the disk */
    uint64_t answers_lsn; /* the peer's answers so far leave when that is durable; 0: at once */

    struct pd_message *message;    /* MESSAGE: consumed */
    struct pd_blocks_frame *frame; /* SENT */
};

/* What is to become of a request. */
enum pd_verdict {
    PD_VERDICT_DONE,
    PD_VERDICT_HOLD, /* no room for a copy: give the same request again when room is back */
    PD_VERDICT_LOG,  /* no room in the log: again when it has written what it has */
    PD_VERDICT_WAIT, /* control has too many of this peer: again after its next ANSWERED message */
    PD_VERDICT_CLOSE /* answer, then close the connection */
};

struct pd_reply {
    enum pd_kind kind;
    const ProtobufCMessage *header; /* in the arena */
};

enum {
    PD_REPLIES_MAX = 2,
    PD_RECORDS_MAX = 4, /* of one event */
    PD_REPLAY_ARENA_BYTES = PD_DECODED_BYTES_MAX + 4 * PD_RECORD_HEADER_BYTES_MAX
};

/* What must be done. Filled by pd_shard_step; the host gives it empty. */
struct pd_effects {
    struct pd_arena *arena; /* where replies are made: the host's, reset before each event */
    enum pd_verdict verdict;
    const char *reason;                      /* of PD_VERDICT_CLOSE: static text for the log */
    struct pd_reply replies[PD_REPLIES_MAX]; /* for `peer` of the event, in order */
    unsigned reply_count;
    struct pd_blocks_frame frame; /* of PD_EVENT_SEND; bytes and header NULL: none now */
    bool stalled;                 /* of PD_EVENT_SEND: there is one, but no room to make it */
    uint64_t after_lsn; /* of PD_EVENT_SEND, unless 0: there is one, for when that is durable */
    bool room;          /* held requests and stalled answers may be tried again */
    struct pd_link to_control;       /* messages, to be sent */
    const struct pd_record *records; /* to be logged, in order; they live until the next event */
    unsigned record_count;
    bool wait; /* replies, messages and the values of a PUSH_PULL go out when all that was to be
                  logged up to here is durable */
    uint64_t wake_us; /* of PD_EVENT_TIME: be back by then */
};

enum paramd_status pd_shard_create(const struct pd_shard_options *options,
                                   struct pd_shard **ret_shard) __attribute__((warn_unused_result));
/* All peers must be gone. */
void pd_shard_destroy(struct pd_shard *shard);

void pd_peer_init(struct pd_peer *peer, struct pd_conn_id id);

/* One event in, effects out. Never blocks, never calls back. */
void pd_shard_step(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);

/* What control knows of models: their definitions, by number. NULL: it does not know it any more.
 */
struct pd_definitions {
    const struct pd_definition *(*find)(void *context, uint64_t model);
    void *context;
};

/* Does what a record says, to a shard without connections, whose place among the shards is that of
 * the one that wrote it; behind a snapshot, what of it the snapshot does not have. Records of
 * models that control does not know are passed over. The arena, whose quota is
 * PD_REPLAY_ARENA_BYTES, is reset first. PARAMD_OK; PARAMD_RESOURCE_EXHAUSTED; PARAMD_INVALID (it
 * does not fit), PARAMD_UNSUPPORTED (another kind) with static text in ret_text: the shard is then
 * half-way through the record and good for nothing but pd_shard_destroy. */
enum paramd_status pd_shard_replay(struct pd_shard *shard, const struct pd_logged *record,
                                   const struct pd_definitions *definitions, struct pd_arena *arena,
                                   const char **ret_text) __attribute__((warn_unused_result));

/* The log is at its end, whose last record is this (0: it has none). Another may be replayed behind
 * it, or the shard goes to work. PARAMD_INVALID, with static text: it does not go together with the
 * snapshot that was loaded. */
enum paramd_status pd_shard_replay_end(struct pd_shard *shard, uint64_t last_lsn,
                                       const char **ret_text) __attribute__((warn_unused_result));

/* All models with their push ids go from shards that have replayed their logs to fresh ones, of
 * which there may be another number: to[i] is shard i of to_count. Memory is handed over where the
 * numbers are equal and all shards know the same; else it is copied and given back chunk by chunk,
 * so that a chunk or two of each shard are needed beside. Where a crash left shards with different
 * knowledge of a model, what they all can have is kept: the last attempt, the last opening of a
 * session; control tells what else is missing. `from` is empty afterwards. PARAMD_OK,
 * PARAMD_RESOURCE_EXHAUSTED, or PARAMD_INVALID (parts that cannot be of one model): all are then
 * good for nothing but pd_shard_destroy. */
enum paramd_status pd_shard_reshard(struct pd_shard *const *from, uint32_t from_count,
                                    struct pd_shard *const *to, uint32_t to_count)
    __attribute__((warn_unused_result));

/* A sum (XXH3_64) over all of the model with this number on this shard that replay must bring back:
 * values, moments, versions, steps, carries, push ids and what was refused, sessions,
 * hyper-parameters. 0: there is no such model. Reads all its memory. */
uint64_t pd_shard_hash(struct pd_shard *shard, uint64_t number);

/* Of all models: what their blocks take once all have values. */
uint64_t pd_shard_memory_bytes(const struct pd_shard *shard);

/* Entries of pushes that were applied since the shard was made, to any model. */
uint64_t pd_shard_applied_count(const struct pd_shard *shard);

/* Whether the connection has this session in this model; other_nonce: and under another nonce. The
 * host closes such a connection when a newer one replaces it. */
bool pd_peer_holds(const struct pd_peer *peer, uint64_t model, const struct pd_session_key *key,
                   bool other_nonce);

/* Whether the connection still has values of a deleted model to send, which keeps the model's
 * memory: an answer of the peer's, or frame, which may be empty. */
bool pd_peer_reads_deleted(const struct pd_peer *peer, const struct pd_blocks_frame *frame);

#endif
