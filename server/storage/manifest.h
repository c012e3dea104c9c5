/* MANIFEST: which epochs of logs and which snapshots of a data directory count. Small, and replaced
 * whole, so that there is always one that was written to its end. Format: README.md. */
#ifndef PARAMD_SERVER_STORAGE_MANIFEST_H
#define PARAMD_SERVER_STORAGE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/paramd_status.h"
#include "server/storage/disk.h"
#include "server/storage/error.h"

enum {
    PD_MANIFEST_FORMAT = 2,
    PD_EPOCHS_MAX = 512,
    PD_SNAPSHOTS_KEPT = 2,
    PD_FILE_NUMBER_MAX = 99999999 /* of an epoch or snapshot: eight digits in a name */
};

struct pd_manifest_log {
    uint64_t id;          /* 0: not needed any more; control's only, and not the newest */
    uint64_t durable_lsn; /* known to be: a log that ends before is damaged. Once the log is sealed,
                             that of its end */
    bool begun;           /* its first segment was durable before anything was done with it */
};

/* The logs of one start. All but the newest epoch's are sealed. */
struct pd_manifest_epoch {
    uint32_t number;
    uint32_t shards;
    bool clean; /* its logs were closed by a drain */
    struct pd_manifest_log control;
    struct pd_manifest_log logs[PD_SHARDS_MAX]; /* by shard */
};

/* One shard's part of a snapshot. */
struct pd_manifest_file {
    uint64_t bytes;
    uint64_t sum;       /* of its end record: no other file has it */
    uint64_t start_lsn; /* replay begins behind it, in the log of that shard and epoch */
};

struct pd_manifest_snapshot {
    uint32_t number;
    uint32_t epoch; /* that wrote it */
    uint32_t shards;
    bool clean;   /* taken after the last push of a drain */
    bool damaged; /* and known to be, by who has read it since; not written */
    struct pd_manifest_file files[PD_SHARDS_MAX];
};

/* A megabyte or two, of which the counts say how much is used. Numbers grow in both lists. */
struct pd_manifest {
    uint64_t serial; /* grows with each writing */
    uint64_t directory_id;
    uint32_t last_snapshot; /* the highest number that was ever published; 0: none */
    uint32_t epoch_count;
    uint32_t snapshot_count;
    struct pd_manifest_snapshot snapshots[PD_SNAPSHOTS_KEPT];
    struct pd_manifest_epoch epochs[PD_EPOCHS_MAX];
};

/* OK; NOT_FOUND: there is none; VERSION: of a newer format; CORRUPT, DISK, NO_MEMORY. Unless
 * it is OK, what *ret_manifest holds means nothing. Blocks. */
enum paramd_status pd_manifest_read(const struct pd_disk *disk, struct pd_manifest *ret_manifest,
                                    struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

/* Makes it durable, with the next serial. RESOURCE_EXHAUSTED, NO_MEMORY: the one before is still
 * there, and serial as it was. DISK: which of the two is there is unknown, and the daemon stops.
 * Blocks. */
enum paramd_status pd_manifest_write(const struct pd_disk *disk, struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

/* The next epoch, all else in it zero; at least the ids of its logs are the caller's to fill in.
 * NULL: there are PD_EPOCHS_MAX, or no number is left. */
struct pd_manifest_epoch *pd_manifest_add_epoch(struct pd_manifest *manifest, uint32_t shards);

/* Adds a snapshot that was published, numbered last_snapshot + 1; with that PD_SNAPSHOTS_KEPT and
 * the epochs from the oldest of them on are kept once there are so many. Of those that it makes too
 * many the oldest goes, or the newest if that is damaged. */
void pd_manifest_add_snapshot(struct pd_manifest *manifest,
                              const struct pd_manifest_snapshot *snapshot);

/* The same, durable, and the newest epoch's logs known to be: the shards' up to where it begins,
 * control's up to control_lsn. Returns what pd_manifest_write does; unless OK, the manifest is as
 * it was. Blocks. */
enum paramd_status pd_manifest_publish(const struct pd_disk *disk, struct pd_manifest *manifest,
                                       const struct pd_manifest_snapshot *snapshot,
                                       uint64_t control_lsn, struct pd_storage_error *ret_error)
    __attribute__((warn_unused_result));

/* The snapshot of this number, if it is still kept, has been found damaged. */
void pd_manifest_note_damage(struct pd_manifest *manifest, uint32_t number);

/* NULL: there is none, or none any more. */
const struct pd_manifest_epoch *pd_manifest_find_epoch(const struct pd_manifest *manifest,
                                                       uint32_t number);
const struct pd_manifest_snapshot *pd_manifest_find_snapshot(const struct pd_manifest *manifest,
                                                             uint32_t number);

#endif
