/* A shard under random traffic that a seed decides, with the test in the places of host and
 * control. What the shard asks to be logged is kept as bytes, as a log would. */
#ifndef PARAMD_TESTS_UNIT_CORE_TRAFFIC_H
#define PARAMD_TESTS_UNIT_CORE_TRAFFIC_H

#include "server/core/shard_snapshot.h"
#include "server/core/shard_state.h"

enum {
    TRAFFIC_MODELS = 2,
    TRAFFIC_SESSIONS = 3,
    TRAFFIC_RECORDS_MAX = 4096,
    TRAFFIC_MADE_MAX = 64,
    TRAFFIC_SNAPSHOTS_MAX = 32,
    TRAFFIC_PIECES_MAX = 3 * PD_SLOTS
};

struct written_record {
    struct pd_logged logged;
    uint8_t *header;
    uint8_t *payload;
    bool cut;      /* the event ends here */
    uint64_t hash; /* of the state after it, if cut */
};

/* A model that was made, maybe dropped since. */
struct made_model {
    struct pd_definition *definition;
    struct pd_hyper hypers[2]; /* of its groups, as control has them */
    uint64_t number;
    uint64_t attempt;
    uint64_t openings[TRAFFIC_SESSIONS]; /* each session's present one */
    uint64_t opening;                    /* the last that was given */
    bool alive;
    bool initialised; /* the shard said so */
    bool ready;
};

/* What a block with values was when a snapshot copied it, or the push ids of a session in a slot.
 */
struct copied {
    uint64_t model;
    uint64_t attempt;
    uint64_t block; /* of the model; UINT64_MAX: push ids */
    uint64_t hash;
    uint32_t slot;
    unsigned session;
    uint64_t opening;
    struct pd_slot_ids ids;
};

/* A snapshot that was made while the traffic went on. */
struct traffic_snapshot {
    struct written_record pieces[TRAFFIC_PIECES_MAX];
    uint32_t piece_count;
    uint32_t start; /* records before it began */
    uint32_t end;   /* and when its last slot was copied */
    struct copied *copied;
    uint32_t copied_count;
};

struct traffic {
    uint64_t random;
    uint64_t seed;
    Paramd__AckLevel level;
    struct pd_shard_options options;
    struct pd_shard *shard;
    struct pd_arena arena;
    struct pd_effects effects;
    struct pd_peer peers[TRAFFIC_SESSIONS];
    struct pd_session_key keys[TRAFFIC_SESSIONS];
    struct made_model made[TRAFFIC_MADE_MAX];
    uint32_t made_count;
    uint64_t now_us;
    uint64_t request_id;
    struct written_record records[TRAFFIC_RECORDS_MAX];
    uint32_t record_count;
    uint64_t hash; /* after the last event */
    uint64_t kinds[PD_RECORD_DROP + 1];
    uint64_t results[PD_RESULT_END];
    uint64_t refused_for_room;
    uint64_t unchanged; /* requests at `logged` that left no record, and changed nothing */

    bool snapshots_wanted;
    uint64_t snapshot_random;
    struct traffic_snapshot *snapshots[TRAFFIC_SNAPSHOTS_MAX]; /* the last may be under way */
    uint32_t snapshot_count;
    uint64_t spoilt;
    size_t piece_room; /* of what was announced */
};

/* So many events; all models at this ack level. */
void traffic_run(struct traffic *traffic, uint64_t seed, Paramd__AckLevel level, unsigned events);
/* The same, with snapshots one after the other, each a slot at a time. */
void traffic_run_with_snapshots(struct traffic *traffic, uint64_t seed, Paramd__AckLevel level,
                                unsigned events);
void traffic_finish(struct traffic *traffic);

/* Between any two events, where they are wanted; draws from a stream of its own. */
void traffic_snapshot_go_on(struct traffic *traffic);
/* The last one. */
void traffic_snapshot_forget(struct traffic *traffic);
/* How many bytes the header has; the rest of what is written is empty. */
size_t traffic_write_header(struct written_record *written, const ProtobufCMessage *header);

/* The next number of a stream. */
uint64_t traffic_random(uint64_t *state);

/* A copy of a record or piece with something changed, in memory of exactly its size. */
struct pd_logged traffic_hurt(const struct pd_logged *logged, uint64_t *random,
                              uint8_t **ret_header, uint8_t **ret_payload);

struct pd_definitions traffic_definitions(struct traffic *traffic);
struct pd_shard *traffic_shard(const struct traffic *traffic);
/* Over all models that were made. */
uint64_t traffic_hash(const struct traffic *traffic, struct pd_shard *shard);

#endif
