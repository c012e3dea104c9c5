/* One file or log after the other through its reader, with nobody taking what comes out. */
#include "server/storage/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/storage/data_dir.h"
#include "server/storage/names.h"
#include "server/storage/snapshot_reader.h"
#include "server/storage/wal_reader.h"

/* What is to be gone through next: a file of a snapshot, or a log of an epoch. */
struct item {
    const struct pd_manifest_snapshot *snapshot; /* NULL: a log */
    const struct pd_manifest_epoch *epoch;
    const struct pd_manifest_log *log;
    uint32_t shard; /* PD_ANY_SHARD: control's log */
};

struct pd_verify {
    const struct pd_disk *disk;
    const struct pd_manifest *manifest;
    bool logs;
    uint64_t total_bytes;
    uint64_t past_bytes; /* of the items before this one */
    uint32_t at;         /* which item, counting all */
    bool open;           /* it has been begun: */
    struct item item;
    char name[PD_DISK_NAME_BYTES];
    struct pd_snapshot_reader snapshot;
    struct pd_wal_reader log;
};

static bool snapshot_needed(const void *argument, const char *name)
{
    return strncmp(name, "snapshot-", 9) == 0 && pd_file_use(argument, name) == PD_FILE_NEEDED;
}

static bool needed(const void *argument, const char *name)
{
    return pd_file_use(argument, name) == PD_FILE_NEEDED;
}

static struct pd_disk_result add_size(struct pd_verify *verify, const char *name)
{
    const struct pd_disk *disk = verify->disk;
    int file;
    struct pd_disk_result result = disk->open(disk->context, name, PD_DISK_READ, &file);
    if (result.status != PARAMD_OK) {
        return result;
    }
    uint64_t bytes;
    result = disk->size(disk->context, file, &bytes);
    disk->close(disk->context, file);
    verify->total_bytes += result.status == PARAMD_OK ? bytes : 0;
    return result;
}

enum paramd_status pd_verify_create(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                    bool logs, struct pd_verify **ret_verify,
                                    struct pd_storage_error *ret_error)
{
    struct pd_verify *verify = calloc(1, sizeof *verify);
    if (verify == NULL) {
        return pd_storage_fail(ret_error, PARAMD_NO_MEMORY, "", 0, "no memory to verify");
    }
    verify->disk = disk;
    verify->manifest = manifest;
    verify->logs = logs;
    struct pd_names names;
    struct pd_disk_result result =
        pd_names_init(&names, disk, logs ? needed : snapshot_needed, manifest);
    for (size_t i = 0; result.status == PARAMD_OK && i < names.count; i++) {
        result = add_size(verify, names.list[i]);
    }
    pd_names_deinit(&names);
    if (result.status != PARAMD_OK) {
        free(verify);
        return pd_storage_fail(ret_error, result.status, "", 0, result.text);
    }
    *ret_verify = verify;
    return PARAMD_OK;
}

/* --- one item --- */

static bool find_item(const struct pd_verify *verify, struct item *ret_item)
{
    const struct pd_manifest *manifest = verify->manifest;
    uint32_t at = verify->at;
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        const struct pd_manifest_snapshot *snapshot = &manifest->snapshots[i];
        if (at < snapshot->shards) {
            *ret_item = (struct item){.snapshot = snapshot, .shard = at};
            return true;
        }
        at -= snapshot->shards;
    }
    for (uint32_t i = 0; verify->logs && i < manifest->epoch_count; i++) {
        const struct pd_manifest_epoch *epoch = &manifest->epochs[i];
        if (at < epoch->shards) {
            *ret_item = (struct item){.epoch = epoch, .log = &epoch->logs[at], .shard = at};
            return true;
        }
        at -= epoch->shards;
        if (epoch->control.id != 0) {
            if (at == 0) {
                *ret_item =
                    (struct item){.epoch = epoch, .log = &epoch->control, .shard = PD_ANY_SHARD};
                return true;
            }
            at--;
        }
    }
    return false;
}

/* The first record that recovery may ask for: those before are released once two snapshots have
 * what they did, of which a start may have passed over the newer one since. */
static uint64_t first_lsn(const struct pd_manifest *manifest, const struct item *item)
{
    const struct pd_manifest_snapshot *oldest = &manifest->snapshots[0];
    bool released = item->shard != PD_ANY_SHARD && manifest->snapshot_count > 0 &&
                    manifest->last_snapshot >= PD_SNAPSHOTS_KEPT &&
                    oldest->epoch == item->epoch->number;
    return released ? oldest->files[item->shard].start_lsn + 1 : 1;
}

static enum paramd_status begin_item(struct pd_verify *verify)
{
    const struct item *item = &verify->item;
    verify->open = true;
    if (item->snapshot != NULL) {
        pd_snapshot_name(item->snapshot->number, item->shard, verify->name);
        return pd_snapshot_reader_init(&verify->snapshot, verify->disk, verify->manifest,
                                       item->snapshot, item->shard);
    }
    if (item->shard == PD_ANY_SHARD) {
        pd_control_log_name(item->epoch->number, verify->name);
    } else {
        pd_shard_log_name(item->shard, item->epoch->number, verify->name);
    }
    return pd_wal_reader_init(&verify->log, verify->disk, verify->name, item->log->id,
                              first_lsn(verify->manifest, item), item->log->durable_lsn);
}

static enum paramd_status read_on(struct pd_verify *verify)
{
    if (verify->item.snapshot != NULL) {
        struct pd_snapshot_piece piece;
        return pd_snapshot_reader_next(&verify->snapshot, &piece);
    }
    struct pd_wal_record record;
    return pd_wal_reader_next(&verify->log, &record);
}

static uint64_t item_bytes(const struct pd_verify *verify)
{
    return !verify->open                   ? 0
           : verify->item.snapshot != NULL ? verify->snapshot.offset
                                           : pd_wal_reader_done_bytes(&verify->log);
}

/* The log has been read to its end. */
static void judge_log(const struct pd_verify *verify, struct pd_verified *verified)
{
    const struct pd_wal_reader *log = &verify->log;
    const struct pd_manifest *manifest = verify->manifest;
    const struct pd_manifest_epoch *epoch = verify->item.epoch;
    if (verify->item.log->begun && !log->begun) {
        verified->status = pd_storage_fail(&verified->error, PARAMD_CORRUPT, verify->name, 0,
                                           "the log is missing or emptied");
        return;
    }
    bool newest = epoch == &manifest->epochs[manifest->epoch_count - 1];
    /* As recovery sees it: a start closes those before it that have records, a drain all its own.
     */
    bool closed = epoch->clean || (!newest && log->last_lsn > 0);
    if (closed && !log->sealed) {
        verified->status =
            pd_storage_fail(&verified->error, PARAMD_CORRUPT, verify->name, 0,
                            "the log was closed and its end is missing: an old file was put back");
        return;
    }
    memcpy(verified->cut_file, log->cut_file, sizeof verified->cut_file);
    verified->cut_offset = log->cut_offset;
    verified->cut_bytes = log->cut_bytes;
}

static void finish_item(struct pd_verify *verify, enum paramd_status status,
                        struct pd_verified *ret_verified)
{
    bool whole = status == PARAMD_NOT_FOUND;
    const struct pd_manifest_snapshot *snapshot = verify->item.snapshot;
    *ret_verified = (struct pd_verified){.snapshot = snapshot != NULL ? snapshot->number : 0,
                                         .status = whole ? PARAMD_OK : status};
    (void)snprintf(ret_verified->name, sizeof ret_verified->name, "%s", verify->name);
    ret_verified->bytes = whole ? item_bytes(verify) : 0;
    if (snapshot != NULL) {
        ret_verified->error = verify->snapshot.error;
        pd_snapshot_reader_deinit(&verify->snapshot);
    } else {
        const struct pd_wal_reader *log = &verify->log;
        if (whole) {
            judge_log(verify, ret_verified);
        } else {
            (void)pd_storage_fail(&ret_verified->error, status, log->error_file, log->error_offset,
                                  log->error_text);
        }
        pd_wal_reader_deinit(&verify->log);
    }
    verify->open = false;
    verify->at++;
}

enum paramd_status pd_verify_step(struct pd_verify *verify, uint64_t budget_bytes,
                                  struct pd_verified *ret_verified)
{
    enum paramd_status status = PARAMD_OK;
    if (!verify->open) {
        if (!find_item(verify, &verify->item)) {
            return PARAMD_NOT_FOUND;
        }
        status = begin_item(verify);
    }
    uint64_t begin = item_bytes(verify);
    while (status == PARAMD_OK) {
        if (item_bytes(verify) - begin >= budget_bytes) {
            return PARAMD_PENDING;
        }
        status = read_on(verify);
    }
    uint64_t bytes = verify->item.snapshot != NULL ? verify->snapshot.offset
                                                   : pd_wal_reader_total_bytes(&verify->log);
    finish_item(verify, status, ret_verified);
    verify->past_bytes += bytes;
    return PARAMD_OK;
}

void pd_verify_destroy(struct pd_verify *verify)
{
    if (verify != NULL && verify->open) {
        struct pd_verified verified;
        finish_item(verify, PARAMD_CANCELLED, &verified);
    }
    free(verify);
}

uint64_t pd_verify_done_bytes(const struct pd_verify *verify)
{
    uint64_t done = verify->past_bytes + item_bytes(verify);
    return done < verify->total_bytes ? done : verify->total_bytes;
}

uint64_t pd_verify_total_bytes(const struct pd_verify *verify)
{
    return verify->total_bytes;
}
