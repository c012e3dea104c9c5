/* One data directory with a history: three daemons with 2, 3 and 2 shards, two killed, models at
 * both ack levels; kept as it was at several times. */
#ifndef PARAMD_TESTS_UNIT_RECOVERY_STORY_H
#define PARAMD_TESTS_UNIT_RECOVERY_STORY_H

#include "tests/unit/recovery/image.h"
#include "tests/unit/recovery/life.h"

enum {
    PD_STORY_SHARDS = 2, /* at the end */
    PD_STORY_MODELS = 3,
    PD_STORY_TIMES = 5,
    PD_STORY_LAST = 4, /* records of the batch that was in flight on each shard */
    PD_STORY_BATCHES_MAX = 512
};

struct pd_story {
    struct pd_image older[PD_STORY_TIMES]; /* in the order of time */
    /* Killed with a batch in flight on each shard, of which nobody had been told: it is on disk. */
    struct pd_image killed;
    struct pd_image clean;    /* the same daemon went on and was stopped */
    struct pd_image stranger; /* another directory, whose files have the same names */
    uint64_t models[PD_STORY_MODELS];
    /* When it was killed: of the model at `logged`, after each record of the batch in flight, and
     * (0) before it. */
    uint64_t logged[PD_STORY_SHARDS][PD_STORY_LAST + 1];
    /* In the last daemon's life: of all models, after each batch. */
    uint64_t batches[PD_STORY_SHARDS][PD_STORY_BATCHES_MAX];
    unsigned batch_counts[PD_STORY_SHARDS];
    unsigned batches_by[PD_STORY_TIMES][PD_STORY_SHARDS]; /* so many by then, one at least */
};

/* Of all models at once. */
uint64_t pd_story_sum(const uint64_t hashes[PD_STORY_MODELS]);
/* Which takes snapshots while it works, or only the one at its end. */
void pd_story_tell(struct pd_story *story, bool snapshots);
void pd_story_free(struct pd_story *story);

#endif
