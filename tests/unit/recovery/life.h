/* Lives of a daemon with a data directory, all in memory: recovered from a simulated disk, with
 * its logs on it, until it is killed or stops. One at a time. */
#ifndef PARAMD_TESTS_UNIT_RECOVERY_LIFE_H
#define PARAMD_TESTS_UNIT_RECOVERY_LIFE_H

#include "server/recovery.h"
#include "server/storage/wal_files.h"
#include "tests/support/rig.h"
#include "tests/support/sim_disk.h"

enum { PD_TOLD_MAX = 16 };

/* What recovery came to. */
struct pd_found {
    enum paramd_status status;
    struct pd_recovery *recovery; /* NULL: refused */
    char error[PD_RECOVERY_TEXT_BYTES];
    char told[PD_TOLD_MAX][PD_RECOVERY_TEXT_BYTES]; /* what it said meanwhile */
    unsigned told_count;
};

void pd_found_init(struct pd_found *found, const struct pd_disk *disk, uint32_t shards);
/* Frees what nobody took over. */
void pd_found_deinit(struct pd_found *found);

/* A daemon that is up. */
struct pd_life {
    struct pd_rig *rig;
    struct pd_sim_disk *sim;
    struct pd_manifest *manifest;
    struct pd_wal_config logs[PD_RIG_SHARDS_MAX + 1]; /* the last is control's, as below */
    char names[PD_RIG_SHARDS_MAX + 1][PD_WAL_LOG_NAME_BYTES];
    struct pd_wal_files files[PD_RIG_SHARDS_MAX + 1];
    void (*writes)(uint32_t shard); /* if set: a batch, and the shard is as it will have left it */
};

/* Starts on what the disk has, which must be good. */
void pd_life_begin(struct pd_life *life, struct pd_sim_disk *sim, uint32_t shards);
/* A snapshot while it works. */
void pd_life_save(struct pd_life *life);
/* As SIGTERM ends it: a last snapshot, every log closed whole, and MANIFEST says so. */
void pd_life_stop(struct pd_life *life);
/* As kill -9 does. */
void pd_life_kill(struct pd_life *life);

#endif
