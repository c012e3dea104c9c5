/* What shards and the control loop tell each other. A message is heap memory that changes owner
 * when it is sent; the receiver destroys it. Carried by net's mailboxes, or by the simulator. */
#ifndef PARAMD_SERVER_CORE_MESSAGE_H
#define PARAMD_SERVER_CORE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/paramd_status.h"
#include "server/base/list.h"
#include "server/optim/optim.h"

struct pd_definition;

enum pd_message_kind {
    /* From a shard to control. */
    PD_MESSAGE_REQUEST, /* a control request from a connection: header and payload as they came */
    PD_MESSAGE_SEEN,    /* a session had traffic (status OK), or has a connection (PENDING) */
    PD_MESSAGE_INITIALISED, /* all blocks of this shard have values, for this attempt */
    PD_MESSAGE_TOOK,        /* what was told, coming back: done, with a status */
    PD_MESSAGE_FREED,       /* a dropped model's memory on this shard is given back */
    PD_MESSAGE_COUNTED,     /* COUNT, coming back */

    /* From control to a shard; those marked (!) come back as TOOK. */
    PD_MESSAGE_CREATE_MODEL, /* (!) in recovery of one that may be there already, too */
    PD_MESSAGE_RESTART_INIT, /* (!) drop all values, a new attempt begins */
    PD_MESSAGE_READY,        /* all shards have all values */
    PD_MESSAGE_SET_HYPERS,   /* (!) */
    PD_MESSAGE_DROP_MODEL,   /* (!) */
    PD_MESSAGE_OPEN_SESSION, /* answer ATTACHED on that connection */
    PD_MESSAGE_CLOSE_OTHERS, /* close connections that another nonce of this session has open */
    PD_MESSAGE_END_SESSION,  /* (!) forget its push ids; live connections become unattached */
    PD_MESSAGE_RECOVERED,    /* models that no CREATE_MODEL has named since the start are dropped,
                                sessions that are not in the list forgotten */
    PD_MESSAGE_COUNT,        /* numbers for STAT: comes back as COUNTED */
    PD_MESSAGE_ANSWER,       /* a frame, ready to be sent on a connection */
    PD_MESSAGE_ANSWERED /* REQUEST, coming back behind its answer; without one if status says so */
};

/* Names one connection of one shard for as long as the daemon runs: never reused. */
struct pd_conn_id {
    uint32_t shard;
    uint64_t number;
};

struct pd_session_key {
    uint8_t bits[PD_SESSION_BYTES];
    uint64_t nonce;
};

struct pd_session_of_model {
    uint64_t model;
    struct pd_session_key key;
    uint64_t opening;
};

/* Counters of one tensor on one shard. */
struct pd_tensor_count {
    uint64_t version_min;
    uint64_t version_max;
    uint64_t version_sum;
};

enum { PD_STALENESS_BUCKETS = 130 }; /* 0 to 128, then everything above */

/* Counters of one model on one shard, or of the shard (model 0). */
struct pd_model_count {
    uint64_t pushes_applied; /* entries */
    uint64_t pushes_refused_not_finite;
    uint64_t pushes_refused_stale;
    uint64_t pushes_duplicate;
    uint64_t pushes_expected; /* came before an earlier id */
    uint64_t blocks_pulled;
    uint64_t blocks_unchanged;
    uint64_t bytes_pushed; /* payload */
    uint64_t bytes_pulled;
    double weight; /* sum of the pushes' weights */
    uint64_t staleness[PD_STALENESS_BUCKETS];
};

struct pd_shard_count {
    uint64_t connections;
    uint64_t connections_refused;
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t protocol_errors;
    uint64_t copies;         /* blocks copied because a reader was still at them */
    uint64_t held;           /* frames that had to wait for room */
    uint64_t snapshot_bytes; /* of its part of the snapshot that is being taken, or of the last */
    uint64_t memory_bytes;
};

/* Blocks whose hashes are asked for at a time, and their elements: some milliseconds of reading. */
enum { PD_HASHES_MAX = 64, PD_HASHED_ELEMENTS_MAX = 4 * 1024 * 1024 };

/* What a shard has counted: of one model, of itself, and of one page of the model's tensors. Or,
 * with hash_count, the hashes of that many blocks of the first tensor; 0 for those of others. */
struct pd_count {
    struct pd_model_count model;
    struct pd_shard_count shard;
    uint64_t first_block;
    uint32_t hash_count;
    uint64_t hashes[PD_HASHES_MAX];
    uint32_t first_tensor;
    uint32_t tensor_count;
    struct pd_tensor_count tensors[];
};

/* NULL without memory. All zeros, but no tensor has a least version. */
struct pd_count *pd_count_create(uint32_t first_tensor, uint32_t tensor_count);

struct pd_message {
    struct pd_link link;
    enum pd_message_kind kind;
    uint32_t shard;         /* the sender, or for whom */
    struct pd_conn_id conn; /* REQUEST, ANSWERED, OPEN_SESSION, ANSWER; the asker in TOOK and
                               COUNTED is in `ask` */
    uint64_t ask;           /* control's own number for what a TOOK or COUNTED answers */
    uint64_t model;         /* number */
    uint64_t generation;
    uint64_t attempt;
    uint64_t request_id;
    enum paramd_status status;
    struct pd_session_key session;
    /* OPEN_SESSION: the how manieth of the model's sessions it is. One that was ended and opened
     * again has another number, and none of the push ids that it had. */
    uint64_t opening;

    /* REQUEST */
    unsigned frame_kind;
    uint8_t *header;
    size_t header_bytes;

    /* REQUEST: payload; ANSWER: whole frames; others: unused. Freed with the message. ANSWERED has
     * the count only. */
    uint8_t *bytes;
    size_t byte_count;

    /* CREATE_MODEL: shared by all shards and control, which alone frees it, after every shard took
     * DROP_MODEL. */
    const struct pd_definition *definition;
    /* CREATE_MODEL: one for each group, copied by the receiver. SET_HYPERS: one, for `group`. */
    struct pd_hyper *hypers;
    size_t hyper_count;
    uint32_t group;
    uint64_t set; /* SET_HYPERS: its number in the model: 1, 2, ...; one may come twice */

    struct pd_session_of_model *sessions; /* RECOVERED: all that there are */
    size_t session_count;

    /* COUNT: of these tensors, to be filled in. COUNTED: filled in. */
    struct pd_count *count;
};

/* Zeroed but for kind and shard. NULL when the process has no memory. */
struct pd_message *pd_message_create(enum pd_message_kind kind, uint32_t shard);
/* With all it owns. NULL is fine. */
void pd_message_destroy(struct pd_message *message);

#endif
