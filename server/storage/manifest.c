/* MANIFEST read, checked and replaced. What its sum guards is checked for sense all the same: file
 * names, array indices and the length of loops come from it. */
#include "server/storage/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "proto/arena.h"
#include "proto/codec.h"
#include "server/base/assert.h"
#include "server/storage/little_endian.h"
#include "server/storage/manifest.pb-c.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define MAGIC UINT64_C(0x46494e414d444d50) /* "PMDMANIF" on disk */

static const char file_name[] = "MANIFEST";
static const char new_name[] = "MANIFEST.new";

enum {
    FORMAT_AT = 8,
    BODY_BYTES_AT = 12,
    HEAD_BYTES = 16,
    SUM_BYTES = 8, /* behind the body, of all before */
    /* 24 for each log at the most, and some for each epoch and snapshot. */
    FILE_BYTES_MAX = 4 * 1024 * 1024,
    DECODED_BYTES_MAX = 64 * 1024 * 1024
};

static enum paramd_status corrupt(struct pd_storage_error *ret_error, uint64_t offset,
                                  const char *text)
{
    return pd_storage_fail(ret_error, PARAMD_CORRUPT, file_name, offset, text);
}

/* --- what a body says --- */

static struct pd_manifest_log read_log(const Paramd__ManifestLog *in)
{
    return (struct pd_manifest_log){in->id, in->durable_lsn, in->begun};
}

static bool read_epoch(const Paramd__ManifestEpoch *in, struct pd_manifest_epoch *ret_epoch)
{
    if (in->number == 0 || in->number > PD_FILE_NUMBER_MAX || in->control == NULL ||
        in->n_shards == 0 || in->n_shards > PD_SHARDS_MAX) {
        return false;
    }
    ret_epoch->number = in->number;
    ret_epoch->shards = (uint32_t)in->n_shards;
    ret_epoch->clean = in->clean;
    ret_epoch->control = read_log(in->control);
    for (size_t i = 0; i < in->n_shards; i++) {
        if (in->shards[i]->id == 0) {
            return false;
        }
        ret_epoch->logs[i] = read_log(in->shards[i]);
    }
    return true;
}

static bool read_snapshot(const Paramd__ManifestSnapshot *in, const struct pd_manifest *manifest,
                          struct pd_manifest_snapshot *ret_snapshot)
{
    const struct pd_manifest_epoch *epoch = pd_manifest_find_epoch(manifest, in->epoch);
    if (in->number == 0 || in->number > manifest->last_snapshot || epoch == NULL ||
        in->n_files != epoch->shards) {
        return false;
    }
    ret_snapshot->number = in->number;
    ret_snapshot->epoch = in->epoch;
    ret_snapshot->shards = epoch->shards;
    ret_snapshot->clean = in->clean;
    ret_snapshot->damaged = false;
    for (size_t i = 0; i < in->n_files; i++) {
        const Paramd__ManifestFile *file = in->files[i];
        ret_snapshot->files[i] = (struct pd_manifest_file){file->bytes, file->sum, file->start_lsn};
    }
    return true;
}

static bool read_body(const Paramd__Manifest *in, struct pd_manifest *manifest)
{
    if (in->n_epochs > PD_EPOCHS_MAX || in->n_snapshots > PD_SNAPSHOTS_KEPT ||
        in->last_snapshot > PD_FILE_NUMBER_MAX) {
        return false;
    }
    manifest->serial = in->serial;
    manifest->directory_id = in->directory_id;
    manifest->last_snapshot = in->last_snapshot;
    manifest->epoch_count = 0;
    manifest->snapshot_count = 0;
    uint32_t last = 0;
    for (size_t i = 0; i < in->n_epochs; i++) {
        struct pd_manifest_epoch *epoch = &manifest->epochs[i];
        if (!read_epoch(in->epochs[i], epoch) || epoch->number <= last) {
            return false;
        }
        last = epoch->number;
        manifest->epoch_count++;
    }
    if (in->n_epochs == 0 || manifest->epochs[in->n_epochs - 1].control.id == 0) {
        return false;
    }
    last = 0;
    for (size_t i = 0; i < in->n_snapshots; i++) {
        struct pd_manifest_snapshot *snapshot = &manifest->snapshots[i];
        if (!read_snapshot(in->snapshots[i], manifest, snapshot) || snapshot->number <= last ||
            (i > 0 && snapshot->epoch < manifest->snapshots[i - 1].epoch)) {
            return false;
        }
        last = snapshot->number;
        manifest->snapshot_count++;
    }
    return true;
}

static enum paramd_status parse(const uint8_t *bytes, size_t count,
                                struct pd_manifest *ret_manifest,
                                struct pd_storage_error *ret_error)
{
    if (count < HEAD_BYTES + SUM_BYTES || pd_load(bytes, 8) != MAGIC) {
        return corrupt(ret_error, 0, "it does not begin as a MANIFEST does");
    }
    /* Before the sum: only magic and format stay where they are in every format. */
    if (pd_load(bytes + FORMAT_AT, 4) > PD_MANIFEST_FORMAT) {
        return pd_storage_fail(
            ret_error, PARAMD_VERSION, file_name, FORMAT_AT,
            "the data directory has a newer format than this paramd knows: use the newer paramd");
    }
    size_t body = count - HEAD_BYTES - SUM_BYTES;
    uint64_t sum = pd_load(bytes + count - SUM_BYTES, SUM_BYTES);
    if (pd_load(bytes + BODY_BYTES_AT, 4) != body || sum != XXH3_64bits(bytes, count - SUM_BYTES)) {
        return corrupt(ret_error, 0, "its sum is wrong: it was damaged");
    }
    struct pd_arena arena;
    pd_arena_init(&arena, DECODED_BYTES_MAX);
    const Paramd__Manifest *message = (const Paramd__Manifest *)pd_decode(
        &paramd__manifest__descriptor, &arena, bytes + HEAD_BYTES, body);
    enum paramd_status status = PARAMD_OK;
    if (message == NULL || !read_body(message, ret_manifest)) {
        status = corrupt(ret_error, HEAD_BYTES, "what it says makes no sense");
    }
    pd_arena_deinit(&arena);
    return status;
}

static enum paramd_status read_file(const struct pd_disk *disk, int file,
                                    struct pd_manifest *ret_manifest,
                                    struct pd_storage_error *ret_error)
{
    uint64_t size;
    struct pd_disk_result result = disk->size(disk->context, file, &size);
    if (result.status != PARAMD_OK) {
        return pd_storage_fail(ret_error, result.status, file_name, 0, result.text);
    }
    size_t count = size < FILE_BYTES_MAX ? (size_t)size : FILE_BYTES_MAX;
    uint8_t *bytes = malloc(count + 1);
    if (bytes == NULL) {
        return pd_storage_fail(ret_error, PARAMD_NO_MEMORY, file_name, 0, "no memory to read it");
    }
    result = disk->read(disk->context, file, 0, bytes, count, &count);
    enum paramd_status status =
        result.status == PARAMD_OK
            ? parse(bytes, count, ret_manifest, ret_error)
            : pd_storage_fail(ret_error, result.status, file_name, 0, result.text);
    free(bytes);
    return status;
}

enum paramd_status pd_manifest_read(const struct pd_disk *disk, struct pd_manifest *ret_manifest,
                                    struct pd_storage_error *ret_error)
{
    int file;
    struct pd_disk_result result = disk->open(disk->context, file_name, PD_DISK_READ, &file);
    if (result.status != PARAMD_OK) {
        return pd_storage_fail(ret_error, result.status, file_name, 0, result.text);
    }
    enum paramd_status status = read_file(disk, file, ret_manifest, ret_error);
    disk->close(disk->context, file);
    return status;
}

/* --- writing --- */

static Paramd__ManifestLog *log_message(struct pd_arena *arena, const struct pd_manifest_log *log)
{
    Paramd__ManifestLog *message = pd_arena_take(arena, sizeof *message);
    if (message != NULL) {
        paramd__manifest_log__init(message);
        message->id = log->id;
        message->durable_lsn = log->durable_lsn;
        message->begun = log->begun;
    }
    return message;
}

static Paramd__ManifestEpoch *epoch_message(struct pd_arena *arena,
                                            const struct pd_manifest_epoch *epoch)
{
    Paramd__ManifestEpoch *message = pd_arena_take(arena, sizeof *message);
    Paramd__ManifestLog **shards = pd_arena_take(arena, epoch->shards * sizeof *shards);
    Paramd__ManifestLog *control = log_message(arena, &epoch->control);
    if (message == NULL || shards == NULL || control == NULL) {
        return NULL;
    }
    paramd__manifest_epoch__init(message);
    message->number = epoch->number;
    message->clean = epoch->clean;
    message->control = control;
    message->n_shards = epoch->shards;
    message->shards = shards;
    for (uint32_t i = 0; i < epoch->shards; i++) {
        shards[i] = log_message(arena, &epoch->logs[i]);
        if (shards[i] == NULL) {
            return NULL;
        }
    }
    return message;
}

static Paramd__ManifestSnapshot *snapshot_message(struct pd_arena *arena,
                                                  const struct pd_manifest_snapshot *snapshot)
{
    Paramd__ManifestSnapshot *message = pd_arena_take(arena, sizeof *message);
    Paramd__ManifestFile **files = pd_arena_take(arena, snapshot->shards * sizeof *files);
    Paramd__ManifestFile *array = pd_arena_take(arena, snapshot->shards * sizeof *array);
    if (message == NULL || files == NULL || array == NULL) {
        return NULL;
    }
    paramd__manifest_snapshot__init(message);
    message->number = snapshot->number;
    message->epoch = snapshot->epoch;
    message->clean = snapshot->clean;
    message->n_files = snapshot->shards;
    message->files = files;
    for (uint32_t i = 0; i < snapshot->shards; i++) {
        paramd__manifest_file__init(&array[i]);
        array[i].bytes = snapshot->files[i].bytes;
        array[i].sum = snapshot->files[i].sum;
        array[i].start_lsn = snapshot->files[i].start_lsn;
        files[i] = &array[i];
    }
    return message;
}

/* NULL: no memory. */
static Paramd__Manifest *whole_message(struct pd_arena *arena, const struct pd_manifest *manifest)
{
    Paramd__Manifest *message = pd_arena_take(arena, sizeof *message);
    if (message == NULL) {
        return NULL;
    }
    paramd__manifest__init(message);
    message->serial = manifest->serial;
    message->directory_id = manifest->directory_id;
    message->last_snapshot = manifest->last_snapshot;
    message->n_epochs = manifest->epoch_count;
    message->epochs = pd_arena_take(arena, PD_EPOCHS_MAX * sizeof(Paramd__ManifestEpoch *));
    message->n_snapshots = manifest->snapshot_count;
    message->snapshots =
        pd_arena_take(arena, PD_SNAPSHOTS_KEPT * sizeof(Paramd__ManifestSnapshot *));
    if (message->epochs == NULL || message->snapshots == NULL) {
        return NULL;
    }
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        message->epochs[i] = epoch_message(arena, &manifest->epochs[i]);
        if (message->epochs[i] == NULL) {
            return NULL;
        }
    }
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        message->snapshots[i] = snapshot_message(arena, &manifest->snapshots[i]);
        if (message->snapshots[i] == NULL) {
            return NULL;
        }
    }
    return message;
}

/* The bytes of the file, to be freed. NULL: no memory. */
static uint8_t *render(const struct pd_manifest *manifest, size_t *ret_count)
{
    struct pd_arena arena;
    pd_arena_init(&arena, DECODED_BYTES_MAX);
    const Paramd__Manifest *message = whole_message(&arena, manifest);
    size_t body = message == NULL ? 0 : paramd__manifest__get_packed_size(message);
    size_t count = HEAD_BYTES + body + SUM_BYTES;
    PD_ASSERT(count <= FILE_BYTES_MAX);
    uint8_t *bytes = message == NULL ? NULL : malloc(count);
    if (bytes != NULL) {
        pd_store(bytes, MAGIC, 8);
        pd_store(bytes + FORMAT_AT, PD_MANIFEST_FORMAT, 4);
        pd_store(bytes + BODY_BYTES_AT, body, 4);
        (void)paramd__manifest__pack(message, bytes + HEAD_BYTES);
        pd_store(bytes + HEAD_BYTES + body, XXH3_64bits(bytes, HEAD_BYTES + body), SUM_BYTES);
        *ret_count = count;
    }
    pd_arena_deinit(&arena);
    return bytes;
}

static struct pd_disk_result write_new(const struct pd_disk *disk, const uint8_t *bytes,
                                       size_t count)
{
    /* A left-over may be longer. */
    struct pd_disk_result result = disk->unlink(disk->context, new_name);
    if (result.status != PARAMD_OK && result.status != PARAMD_NOT_FOUND) {
        return result;
    }
    int file;
    result = disk->open(disk->context, new_name, PD_DISK_CREATE, &file);
    if (result.status != PARAMD_OK) {
        return result;
    }
    result = disk->write(disk->context, file, 0, bytes, count);
    if (result.status == PARAMD_OK) {
        result = disk->sync(disk->context, file);
    }
    disk->close(disk->context, file);
    return result;
}

enum paramd_status pd_manifest_write(const struct pd_disk *disk, struct pd_manifest *manifest,
                                     struct pd_storage_error *ret_error)
{
    size_t count;
    manifest->serial++;
    uint8_t *bytes = render(manifest, &count);
    if (bytes == NULL) {
        manifest->serial--;
        return pd_storage_fail(ret_error, PARAMD_NO_MEMORY, new_name, 0, "no memory to write it");
    }
    struct pd_disk_result result = write_new(disk, bytes, count);
    free(bytes);
    if (result.status == PARAMD_RESOURCE_EXHAUSTED) {
        manifest->serial--;
        /* Others need what little it got; else the next writing removes it. */
        struct pd_disk_result undone = disk->unlink(disk->context, new_name);
        bool gone = undone.status == PARAMD_OK || undone.status == PARAMD_NOT_FOUND;
        return pd_storage_fail(ret_error, gone ? result.status : PARAMD_DISK, new_name, 0,
                               gone ? result.text : undone.text);
    }
    if (result.status == PARAMD_OK) {
        result = disk->rename(disk->context, new_name, file_name);
    }
    if (result.status == PARAMD_OK) {
        result = disk->sync_names(disk->context);
    }
    return result.status == PARAMD_OK
               ? PARAMD_OK
               : pd_storage_fail(ret_error, PARAMD_DISK, file_name, 0, result.text);
}

/* --- its lists --- */

struct pd_manifest_epoch *pd_manifest_add_epoch(struct pd_manifest *manifest, uint32_t shards)
{
    PD_ASSERT(shards > 0 && shards <= PD_SHARDS_MAX);
    uint32_t count = manifest->epoch_count;
    uint32_t last = count > 0 ? manifest->epochs[count - 1].number : 0;
    if (count == PD_EPOCHS_MAX || last == PD_FILE_NUMBER_MAX) {
        return NULL;
    }
    struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count++];
    *epoch = (struct pd_manifest_epoch){.number = last + 1, .shards = shards};
    return epoch;
}

void pd_manifest_add_snapshot(struct pd_manifest *manifest,
                              const struct pd_manifest_snapshot *snapshot)
{
    PD_ASSERT(snapshot->number == manifest->last_snapshot + 1 &&
              snapshot->number <= PD_FILE_NUMBER_MAX);
    struct pd_manifest_snapshot *kept = manifest->snapshots;
    if (manifest->snapshot_count == PD_SNAPSHOTS_KEPT) {
        /* The oldest goes, unless the newest is one that nobody could go on from. */
        manifest->snapshot_count--;
        if (!kept[manifest->snapshot_count].damaged) {
            memmove(kept, kept + 1, manifest->snapshot_count * sizeof *kept);
        }
    }
    kept[manifest->snapshot_count++] = *snapshot;
    manifest->last_snapshot = snapshot->number;
    if (manifest->snapshot_count < PD_SNAPSHOTS_KEPT) {
        return; /* should this one be damaged, everything is replayed from the beginning */
    }
    uint32_t old = 0;
    while (manifest->epochs[old].number < kept[0].epoch) {
        old++;
    }
    manifest->epoch_count -= old;
    memmove(manifest->epochs, manifest->epochs + old,
            manifest->epoch_count * sizeof *manifest->epochs);
}

enum paramd_status pd_manifest_publish(const struct pd_disk *disk, struct pd_manifest *manifest,
                                       const struct pd_manifest_snapshot *snapshot,
                                       uint64_t control_lsn, struct pd_storage_error *ret_error)
{
    struct pd_manifest *next = malloc(sizeof *next);
    if (next == NULL) {
        return pd_storage_fail(ret_error, PARAMD_NO_MEMORY, new_name, 0, "no memory to write it");
    }
    *next = *manifest;
    pd_manifest_add_snapshot(next, snapshot);
    struct pd_manifest_epoch *epoch = &next->epochs[next->epoch_count - 1];
    PD_ASSERT(epoch->number == snapshot->epoch);
    epoch->control.durable_lsn = control_lsn;
    for (uint32_t i = 0; i < snapshot->shards; i++) {
        epoch->logs[i].durable_lsn = snapshot->files[i].start_lsn;
    }
    enum paramd_status status = pd_manifest_write(disk, next, ret_error);
    if (status == PARAMD_OK) {
        *manifest = *next;
    }
    free(next);
    return status;
}

void pd_manifest_note_damage(struct pd_manifest *manifest, uint32_t number)
{
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        struct pd_manifest_snapshot *snapshot = &manifest->snapshots[i];
        snapshot->damaged = snapshot->damaged || snapshot->number == number;
    }
}

const struct pd_manifest_epoch *pd_manifest_find_epoch(const struct pd_manifest *manifest,
                                                       uint32_t number)
{
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        if (manifest->epochs[i].number == number) {
            return &manifest->epochs[i];
        }
    }
    return NULL;
}

const struct pd_manifest_snapshot *pd_manifest_find_snapshot(const struct pd_manifest *manifest,
                                                             uint32_t number)
{
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        if (manifest->snapshots[i].number == number) {
            return &manifest->snapshots[i];
        }
    }
    return NULL;
}
