/* Reads a snapshot file back, piece by piece, and believes nothing: every byte of it is checked.
 * One thread; blocks. */
#ifndef PARAMD_SERVER_STORAGE_SNAPSHOT_READER_H
#define PARAMD_SERVER_STORAGE_SNAPSHOT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/storage/disk.h"
#include "server/storage/error.h"
#include "server/storage/manifest.h"
#include "server/storage/snapshot_format.h"
#include "server/storage/window.h"

/* Header and payload stay until the next call. */
struct pd_snapshot_piece {
    uint16_t kind;
    const uint8_t *header;
    size_t header_bytes;
    const uint8_t *payload; /* at any address */
    size_t payload_bytes;
};

/* Fields with _ are the reader's own. */
struct pd_snapshot_reader {
    struct pd_snapshot_head head;
    uint64_t offset;               /* up to here the file has been read and is good */
    struct pd_storage_error error; /* why a call failed, and where */

    const struct pd_disk *_disk;
    char _name[PD_DISK_NAME_BYTES];
    struct pd_manifest_file _expected;
    enum paramd_status _status;
    uint64_t _sum; /* of the last piece */
    uint64_t _serial;
    int _file; /* if _open */
    bool _open;
    struct pd_window _window;
};

/* Opens a shard's file of a snapshot that the manifest names, and checks its head. The disk stays
 * until deinit, which is called whatever init returned. OK; VERSION: a newer format; CORRUPT: also
 * if it is not there; DISK, NO_MEMORY. */
enum paramd_status pd_snapshot_reader_init(struct pd_snapshot_reader *reader,
                                           const struct pd_disk *disk,
                                           const struct pd_manifest *manifest,
                                           const struct pd_manifest_snapshot *snapshot,
                                           uint32_t shard) __attribute__((warn_unused_result));
void pd_snapshot_reader_deinit(struct pd_snapshot_reader *reader);

/* The next piece. NOT_FOUND: there are no more, and the file is whole. CORRUPT, DISK, NO_MEMORY. */
enum paramd_status pd_snapshot_reader_next(struct pd_snapshot_reader *reader,
                                           struct pd_snapshot_piece *ret_piece)
    __attribute__((warn_unused_result));

#endif
