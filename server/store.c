/* Opens a data directory: the lock, the threads of recovery, and lines in the log about it. */
#include "server/store.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <uv.h>

#include "server/base/log.h"
#include "server/storage/data_dir.h"
#include "server/storage/posix_disk.h"

enum {
    MIB = 1024 * 1024,
    SHARD_BUFFER_BYTES = 8 * MIB, /* of a batch: more makes the disk no faster */
    SHARD_SEGMENTS_MIN = 4,
    CONTROL_SEGMENT_BYTES = 32 * MIB,
    CONTROL_BUFFER_BYTES = 24 * MIB, /* a whole definition and what stands around it */
    CONTROL_SEGMENTS_MAX = 64,
    PROGRESS_MS = 2000,
    THREADS_MAX = 64
};

/* What the threads of a recovery share. */
struct reading {
    _Atomic uint64_t bytes;
    _Atomic uint64_t told_ms; /* when the last line about it was logged */
    uint64_t started_ms;
};

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- what recovery asks for ---- */

static uint64_t random_bits(void *context)
{
    uint64_t bits = 0;
    (void)context;
    /* Up to 256 bytes come whole and for sure, once the kernel has seeded itself (getrandom(2)). */
    while (bits == 0 && getrandom(&bits, sizeof bits, 0) == -1 && errno == EINTR) {
    }
    return bits;
}

struct crew {
    void (*work)(void *argument, uint32_t index);
    void *argument;
    uint32_t count;
    _Atomic uint32_t next;
};

static void work_off(void *argument)
{
    struct crew *crew = argument;
    uint32_t index = 0;
    while ((index = atomic_fetch_add(&crew->next, 1)) < crew->count) {
        crew->work(crew->argument, index);
    }
}

/* With fewer threads where no more can be had; the calling one works too. */
static void each(void *context, uint32_t count, void (*work)(void *argument, uint32_t index),
                 void *argument)
{
    struct crew crew = {.work = work, .argument = argument, .count = count};
    uv_thread_t threads[THREADS_MAX];
    uint32_t cores = (uint32_t)uv_available_parallelism();
    uint32_t started = 0;
    (void)context;
    while (started + 1 < count && started + 1 < cores && started < THREADS_MAX &&
           uv_thread_create(&threads[started], work_off, &crew) == 0) {
        started++;
    }
    work_off(&crew);
    for (uint32_t i = 0; i < started; i++) {
        (void)uv_thread_join(&threads[i]);
    }
}

static void tell(void *context, const char *text)
{
    (void)context;
    pd_log_message(PD_LOG_WARN, "%s", text);
}

static void log_reading(const struct reading *reading, const char *message)
{
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, message);
    pd_log_number(&line, "bytes", atomic_load(&reading->bytes));
    pd_log_text(&line, "seconds", "%.1f", (double)(now_ms() - reading->started_ms) / 1e3);
    pd_log_end(&line);
}

static void progress(void *context, uint64_t bytes)
{
    struct reading *reading = context;
    (void)atomic_fetch_add(&reading->bytes, bytes);
    uint64_t told = atomic_load(&reading->told_ms);
    uint64_t now = now_ms();
    if (now - told >= PROGRESS_MS &&
        atomic_compare_exchange_strong(&reading->told_ms, &told, now)) {
        log_reading(reading, "recovering");
    }
}

/* ---- opening ---- */

static enum paramd_status disk_failed(const struct pd_disk_result *result, const char *directory,
                                      char *error)
{
    (void)snprintf(error, PD_STORE_TEXT_BYTES, "data directory %s: %s", directory, result->text);
    return result->status;
}

static enum paramd_status lock(struct pd_store *store, const char *directory, char *error)
{
    struct pd_disk_result result = pd_posix_disk_make(directory);
    if (result.status == PARAMD_NOT_FOUND) {
        result.text = "the directory to make it in is not there";
    }
    if (result.status == PARAMD_OK) {
        result = pd_posix_disk_open(directory, &store->posix);
    }
    if (result.status != PARAMD_OK) {
        return disk_failed(&result, directory, error);
    }
    store->disk = &store->posix;
    result = store->disk->lock(store->disk->context, PD_LOCK_NAME, &store->lock);
    if (result.status != PARAMD_OK) {
        pd_posix_disk_close(&store->posix);
        store->disk = NULL;
        return disk_failed(&result, directory, error);
    }
    return PARAMD_OK;
}

/* What recovery said, the directory, and what to do. */
static enum paramd_status recover(struct pd_store *store, const struct pd_recovery_options *options,
                                  const char *directory, char *error)
{
    char why[PD_RECOVERY_TEXT_BYTES];
    enum paramd_status status = pd_recover(options, &store->recovery, why);
    if (status == PARAMD_CORRUPT) {
        (void)snprintf(
            error, PD_STORE_TEXT_BYTES,
            "data directory %s is damaged and was left as it is: %s; \"paramctl verify "
            "%s\" checks all of it; put back a copy of what is damaged, then start again",
            directory, why, directory);
    } else if (status != PARAMD_OK) {
        (void)snprintf(error, PD_STORE_TEXT_BYTES, "data directory %s: %s", directory, why);
    }
    return status;
}

static void plan_logs(struct pd_store *store, uint32_t shards, uint64_t log_max)
{
    const struct pd_manifest *manifest = &store->recovery->manifest;
    const struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count - 1];
    uint64_t segments = log_max / shards / PD_WAL_SEGMENT_BYTES;
    segments = segments < SHARD_SEGMENTS_MIN ? SHARD_SEGMENTS_MIN : segments;
    store->log_high = segments / 2 * PD_WAL_SEGMENT_BYTES;
    for (uint32_t i = 0; i < shards; i++) {
        store->shard_logs[i] = (struct pd_wal_config){
            .log_id = epoch->logs[i].id,
            .begun = epoch->logs[i].begun,
            .segment_bytes = PD_WAL_SEGMENT_BYTES,
            .buffer_bytes = SHARD_BUFFER_BYTES,
            .segments_max = segments < UINT32_MAX ? (uint32_t)segments : UINT32_MAX,
        };
        pd_shard_log_name(i, epoch->number, store->shard_log_names[i]);
    }
    store->control_log = (struct pd_wal_config){
        .log_id = epoch->control.id,
        .begun = epoch->control.begun,
        .segment_bytes = CONTROL_SEGMENT_BYTES,
        .buffer_bytes = CONTROL_BUFFER_BYTES,
        .segments_max = CONTROL_SEGMENTS_MAX,
    };
    pd_control_log_name(epoch->number, store->control_log_name);
}

static void sweep(const struct pd_store *store)
{
    struct pd_storage_error error;
    if (pd_data_dir_sweep(store->disk, &store->recovery->manifest, &error) != PARAMD_OK) {
        pd_log_message(PD_LOG_WARN, "%s: what is not needed any more stays: %s", error.file,
                       error.text);
    }
}

enum paramd_status pd_store_open(const char *directory, uint32_t shards, uint64_t log_max,
                                 const struct pd_control_options *control,
                                 const struct pd_shard_options *shard, struct pd_store **ret_store,
                                 char error[PD_STORE_TEXT_BYTES])
{
    struct pd_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        (void)snprintf(error, PD_STORE_TEXT_BYTES, "there is no memory to begin");
        return PARAMD_NO_MEMORY;
    }
    struct reading reading = {.started_ms = now_ms()};
    atomic_store(&reading.told_ms, reading.started_ms);
    const struct pd_recovery_options options = {
        .disk = &store->posix,
        .shards = shards,
        .control_segment_bytes = CONTROL_SEGMENT_BYTES,
        .shard_segment_bytes = PD_WAL_SEGMENT_BYTES,
        .control = *control,
        .shard = *shard,
        .random = random_bits,
        .each = each,
        .tell = tell,
        .progress = progress,
        .context = &reading,
    };
    enum paramd_status status = lock(store, directory, error);
    if (status == PARAMD_OK) {
        status = recover(store, &options, directory, error);
    }
    if (status != PARAMD_OK) {
        pd_store_close(store);
        return status;
    }
    log_reading(&reading, "recovered");
    plan_logs(store, shards, log_max);
    sweep(store);
    *ret_store = store;
    return PARAMD_OK;
}

void pd_store_end_clean(struct pd_store *store)
{
    struct pd_manifest *manifest = &store->recovery->manifest;
    struct pd_storage_error error;
    manifest->epochs[manifest->epoch_count - 1].clean = true;
    if (pd_manifest_write(store->disk, manifest, &error) != PARAMD_OK) {
        pd_log_message(PD_LOG_WARN, "%s: %s; the next start takes this stop for a crash",
                       error.file, error.text);
    }
}

void pd_store_close(struct pd_store *store)
{
    if (store == NULL) {
        return;
    }
    if (store->disk != NULL) {
        store->disk->close(store->disk->context, store->lock);
        pd_posix_disk_close(&store->posix);
    }
    if (store->recovery != NULL) {
        for (uint32_t i = 0; i < PD_SHARDS_MAX; i++) {
            pd_shard_destroy(store->recovery->shards[i]);
        }
        pd_control_destroy(store->recovery->control);
    }
    free(store->recovery);
    free(store);
}
