/* An epoch stands in MANIFEST before the first of its files is made, so a file of a later one says
 * that this MANIFEST is old. A snapshot gets there after its files: one may be ahead of it. */
#include "server/storage/data_dir.h"

#include <stdio.h>
#include <string.h>

#include "server/storage/names.h"

void pd_control_log_name(uint32_t epoch, char ret_name[PD_WAL_LOG_NAME_BYTES])
{
    (void)snprintf(ret_name, PD_WAL_LOG_NAME_BYTES, "control.%08u", (unsigned)epoch);
}

void pd_shard_log_name(uint32_t shard, uint32_t epoch, char ret_name[PD_WAL_LOG_NAME_BYTES])
{
    (void)snprintf(ret_name, PD_WAL_LOG_NAME_BYTES, "shard-%03u.%08u", (unsigned)shard,
                   (unsigned)epoch);
}

void pd_snapshot_name(uint32_t number, uint32_t shard, char ret_name[PD_DISK_NAME_BYTES])
{
    (void)snprintf(ret_name, PD_DISK_NAME_BYTES, "snapshot-%08u.%03u", (unsigned)number,
                   (unsigned)shard);
}

/* Steps over the text if it stands there. */
static bool take_text(const char **at, const char *text)
{
    size_t bytes = strlen(text);
    bool there = strncmp(*at, text, bytes) == 0;
    *at += there ? bytes : 0;
    return there;
}

/* Steps over so many digits, at most nine. */
static bool take_number(const char **at, unsigned digits, uint32_t *ret_number)
{
    uint32_t number = 0;
    for (unsigned i = 0; i < digits; i++) {
        char digit = (*at)[i];
        if (digit < '0' || digit > '9') {
            return false;
        }
        number = number * 10 + (uint32_t)(digit - '0');
    }
    *at += digits;
    *ret_number = number;
    return true;
}

static enum pd_file_use log_use(const struct pd_manifest *manifest, uint32_t epoch_number,
                                const uint32_t *shard, bool unfinished)
{
    uint32_t count = manifest->epoch_count;
    uint32_t newest = count > 0 ? manifest->epochs[count - 1].number : 0;
    if (epoch_number > newest) {
        return PD_FILE_NEWER;
    }
    const struct pd_manifest_epoch *epoch = pd_manifest_find_epoch(manifest, epoch_number);
    bool needed =
        epoch != NULL && (shard == NULL ? epoch->control.id != 0 : *shard < epoch->shards);
    return needed && (!unfinished || epoch_number == newest) ? PD_FILE_NEEDED : PD_FILE_LEFT_OVER;
}

static enum pd_file_use snapshot_use(const struct pd_manifest *manifest, uint32_t number,
                                     uint32_t shard, bool unfinished)
{
    if (number > manifest->last_snapshot + 1) {
        return PD_FILE_NEWER;
    }
    const struct pd_manifest_snapshot *snapshot = pd_manifest_find_snapshot(manifest, number);
    bool needed = snapshot != NULL && shard < snapshot->shards && !unfinished;
    return needed ? PD_FILE_NEEDED : PD_FILE_LEFT_OVER;
}

enum pd_file_use pd_file_use(const struct pd_manifest *manifest, const char *name)
{
    const char *at = name;
    uint32_t shard = 0;
    uint32_t number; /* of the epoch or snapshot */
    uint32_t segment;
    bool snapshot = take_text(&at, "snapshot-");
    bool control = !snapshot && take_text(&at, "control.");
    bool ours;
    if (snapshot) {
        ours = take_number(&at, 8, &number) && take_text(&at, ".") && take_number(&at, 3, &shard);
    } else {
        ours = (control ||
                (take_text(&at, "shard-") && take_number(&at, 3, &shard) && take_text(&at, "."))) &&
               take_number(&at, 8, &number) && take_text(&at, ".") && take_number(&at, 5, &segment);
    }
    bool unfinished = take_text(&at, ".new");
    if (!ours || *at != '\0') {
        return strcmp(name, "MANIFEST.new") == 0 ? PD_FILE_LEFT_OVER : PD_FILE_FOREIGN;
    }
    if (manifest == NULL) {
        return PD_FILE_NEWER;
    }
    return snapshot ? snapshot_use(manifest, number, shard, unfinished)
                    : log_use(manifest, number, control ? NULL : &shard, unfinished);
}

static bool is_newer(const void *argument, const char *name)
{
    return pd_file_use(argument, name) == PD_FILE_NEWER;
}

static bool is_left_over(const void *argument, const char *name)
{
    return pd_file_use(argument, name) == PD_FILE_LEFT_OVER;
}

enum paramd_status pd_data_dir_check(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
{
    struct pd_names names;
    struct pd_disk_result result = pd_names_init(&names, disk, is_newer, manifest);
    enum paramd_status status = PARAMD_OK;
    if (result.status != PARAMD_OK) {
        status = pd_storage_fail(ret_error, result.status, "", 0, result.text);
    } else if (names.count > 0) {
        status = pd_storage_fail(ret_error, PARAMD_CORRUPT, names.list[0], 0,
                                 manifest == NULL
                                     ? "the directory has data, but its MANIFEST is missing"
                                     : "MANIFEST is older than this file: an old copy of it was"
                                       " put back");
    }
    pd_names_deinit(&names);
    return status;
}

static bool is_unfinished(const void *argument, const char *name)
{
    (void)argument;
    size_t bytes = strlen(name);
    return pd_file_use(NULL, name) != PD_FILE_FOREIGN && bytes > 4 &&
           strcmp(name + bytes - 4, ".new") == 0;
}

static enum paramd_status remove_all(const struct pd_disk *disk,
                                     bool (*unwanted)(const void *argument, const char *name),
                                     const struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
{
    struct pd_names names;
    struct pd_disk_result result = pd_names_init(&names, disk, unwanted, manifest);
    if (result.status == PARAMD_OK) {
        result = pd_names_unlink(&names, disk);
    }
    pd_names_deinit(&names);
    return result.status == PARAMD_OK
               ? PARAMD_OK
               : pd_storage_fail(ret_error, result.status, "", 0, result.text);
}

enum paramd_status pd_data_dir_clear(const struct pd_disk *disk, struct pd_storage_error *ret_error)
{
    return remove_all(disk, is_unfinished, NULL, ret_error);
}

enum paramd_status pd_data_dir_sweep(const struct pd_disk *disk, const struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
{
    return remove_all(disk, is_left_over, manifest, ret_error);
}
