/* A snapshot file on a simulated disk, with pieces that tell by their number what must be in them.
 */
#ifndef PARAMD_TESTS_UNIT_STORAGE_SNAPSHOT_RIG_H
#define PARAMD_TESTS_UNIT_STORAGE_SNAPSHOT_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/storage/snapshot.h"
#include "server/storage/snapshot_files.h"
#include "server/storage/snapshot_reader.h"
#include "tests/support/sim_disk.h"

enum {
    PD_RIG_BUFFER_BYTES = 16 * 1024,
    PD_RIG_SHARDS = 3,
    PD_RIG_EPOCH = 4,
    PD_RIG_PIECES_MAX = 4096
};

struct pd_snapshot_rig {
    struct pd_sim_disk *sim;
    const struct pd_disk *disk;
    struct pd_manifest *manifest; /* of an epoch of PD_RIG_SHARDS */
    struct pd_snapshot *snapshot;
    struct pd_snapshot_files files;
    struct pd_manifest_snapshot published; /* its files so far */
    uint32_t shard;
    unsigned piece_count;
    uint32_t header_bytes[PD_RIG_PIECES_MAX];
    uint32_t payload_bytes[PD_RIG_PIECES_MAX];
};

/* How reading ended. */
struct pd_snapshot_reading {
    enum paramd_status status; /* OK: to the end */
    unsigned pieces;
    struct pd_storage_error error;
};

struct pd_snapshot_rig *pd_snapshot_rig_create(uint64_t seed);
void pd_snapshot_rig_destroy(struct pd_snapshot_rig *rig);

/* Begins the next snapshot's file of a shard; the one that was under way is left as it is. */
void pd_rig_begin(struct pd_snapshot_rig *rig, uint32_t shard);
/* Appends a piece, with jobs done while there is no room; what reserve says. */
enum paramd_status pd_rig_append(struct pd_snapshot_rig *rig, uint32_t header_bytes,
                                 uint32_t payload_bytes);
/* Does one job; false: there is none. */
bool pd_rig_run_one(struct pd_snapshot_rig *rig);
/* Does all jobs there are; what the snapshot's status is then. */
enum paramd_status pd_rig_run(struct pd_snapshot_rig *rig);
/* Ends the file, does all jobs, and notes what was published for pd_rig_add. */
enum paramd_status pd_rig_end(struct pd_snapshot_rig *rig);
void pd_rig_note_published(struct pd_snapshot_rig *rig);
/* Puts the snapshot, with the files that were published, into the manifest. */
void pd_rig_add(struct pd_snapshot_rig *rig);

/* Reads a shard's file of a snapshot; each piece must be what was appended last. */
struct pd_snapshot_reading pd_rig_read(struct pd_snapshot_rig *rig,
                                       const struct pd_manifest_snapshot *snapshot, uint32_t shard);

#endif
