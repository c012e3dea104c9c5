/* Two daemons' worth of shards under the same random traffic: one shard that lives on, and several
 * that die, come back from their logs and go to another number of shards. They must always hold the
 * same. The test stands in the places of hosts and control. */
#ifndef PARAMD_TESTS_UNIT_CORE_TWINS_H
#define PARAMD_TESTS_UNIT_CORE_TWINS_H

#include "server/core/shard_snapshot.h"
#include "server/core/shard_state.h"

enum { TWIN_SHARDS_MAX = 8, TWIN_SESSIONS = 3, TWIN_MODELS_MAX = 32, TWIN_EPOCHS_MAX = 16 };

struct twin_record {
    struct pd_logged logged;
    uint8_t *header;
    uint8_t *payload;
};

struct twin_records {
    struct twin_record *records;
    uint32_t count;
};

/* What the shards of one start have logged, and a snapshot of each. */
struct twin_epoch {
    uint32_t shards;
    struct twin_records logs[TWIN_SHARDS_MAX];
    struct twin_records pieces[TWIN_SHARDS_MAX];
    uint32_t snapshot_start[TWIN_SHARDS_MAX]; /* records before it */
    bool snapshot_done[TWIN_SHARDS_MAX];
};

/* The shards of one daemon. */
struct twin {
    struct pd_shard *shards[TWIN_SHARDS_MAX];
    struct pd_peer peers[TWIN_SHARDS_MAX][TWIN_SESSIONS];
    struct twin_epoch epochs[TWIN_EPOCHS_MAX];
    uint32_t epoch_count;
    uint32_t count; /* of shards now */
};

struct twin_model {
    struct pd_definition *definition;
    struct pd_hyper hypers[2];
    uint64_t number;
    uint64_t attempt;
    uint64_t openings[TWIN_SESSIONS]; /* each session's present one */
    uint64_t opening;                 /* the last one given */
    bool alive;
    bool ready;
};

struct twins {
    uint64_t random;
    uint64_t seed;
    uint64_t now_us;
    uint64_t request_id;
    struct pd_arena arena;
    struct pd_effects effects;
    struct pd_session_key keys[TWIN_SESSIONS];
    struct twin_model models[TWIN_MODELS_MAX];
    uint32_t model_count;
    struct twin one;   /* a single shard, never dies */
    struct twin other; /* any number */
    uint64_t applied;  /* entries of pushes */
    uint64_t refused;
    uint64_t duplicates;
    bool snapshots; /* of the other's shards, one each, while it works */
    uint64_t snapshots_used;
};

void twins_create(struct twins *twins, uint64_t seed, uint32_t shards);
void twins_destroy(struct twins *twins);
uint64_t twins_draw(struct twins *twins, uint64_t below);

/* Something happens to both. */
void twins_act(struct twins *twins);
/* The server's own initialisers go on to their end. */
void twins_settle(struct twins *twins);
/* Fails unless both hold the same blocks, push ids and hyper-parameters. */
void twins_compare(struct twins *twins);

/* The other is gone and comes back, as so many shards, from its newest snapshot and the logs behind
 * it. */
void twins_restart(struct twins *twins, uint32_t shards);
/* Its shards, which are fresh, get what those of the epochs before held. */
void twins_recover(struct twins *twins);
/* Its shards go on with their snapshots, where they are wanted: each now and then by a few slots
 * that hold something. */
void twins_snapshots_go_on(struct twins *twins);
/* One more record, or piece, of the list. */
void twin_write_down(struct twin_records *list, unsigned kind, const ProtobufCMessage *header,
                     const struct pd_span *payload, size_t spans);
void twin_forget(struct twin_records *list);
struct pd_definitions twins_definitions(struct twins *twins);
/* A shard that has not seen anything. */
struct pd_shard *twins_shard(uint32_t shard, uint32_t shards);

#endif
