/* Writes a good data directory as a daemon of two shards leaves it: one epoch that was closed, the
 * next one not, a snapshot of each. Usage: ctl_data_dir DIR */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/storage/data_dir.h"
#include "server/storage/posix_disk.h"
#include "server/storage/snapshot_files.h"
#include "server/storage/wal_files.h"

enum { SHARDS = 2, EPOCHS = 2, SEGMENT_BYTES = 64 * 1024, BUFFER_BYTES = 32 * 1024 };

static struct pd_disk disk;
static struct pd_manifest manifest;
static uint8_t bytes[5000];

static void require(bool condition, const char *what)
{
    if (!condition) {
        (void)fprintf(stderr, "ctl_data_dir: %s\n", what);
        exit(1);
    }
}

static void run_jobs(struct pd_wal *wal, struct pd_wal_files *files)
{
    struct pd_wal_job job;
    while (pd_wal_take_job(wal, &job)) {
        struct pd_disk_result result = pd_wal_files_run(files, &job);
        require(result.status == PARAMD_OK, result.text);
        pd_wal_job_done(wal, PARAMD_OK);
    }
}

static void write_log(const char *name, struct pd_manifest_log *log, bool end)
{
    struct pd_wal_config config = {.log_id = log->id,
                                   .segment_bytes = SEGMENT_BYTES,
                                   .buffer_bytes = BUFFER_BYTES,
                                   .segments_max = 4};
    struct pd_wal *wal = pd_wal_create(&config);
    require(wal != NULL, "no memory");
    struct pd_wal_files files;
    pd_wal_files_init(&files, &disk, name);
    for (int i = 0; i < 16; i++) {
        run_jobs(wal, &files);
        struct pd_span payload = {bytes, sizeof bytes};
        require(pd_wal_reserve(wal, 1, payload.bytes) == PARAMD_OK, "no room in a log");
        (void)pd_wal_append(wal, 3, NULL, 0, &payload, 1, pd_payload_sum(&payload, 1));
    }
    run_jobs(wal, &files);
    require(!end || pd_wal_end(wal) == PARAMD_OK, "a log could not be ended");
    run_jobs(wal, &files);
    log->durable_lsn = end ? pd_wal_durable_lsn(wal) : 0;
    pd_wal_files_deinit(&files);
    pd_wal_destroy(wal);
}

static struct pd_manifest_file write_snapshot(const struct pd_snapshot_head *head)
{
    struct pd_snapshot_config config = {.head = *head, .buffer_bytes = BUFFER_BYTES};
    struct pd_snapshot *snapshot = pd_snapshot_create(&config);
    require(snapshot != NULL, "no memory");
    struct pd_snapshot_files files;
    pd_snapshot_files_init(&files, &disk, head->number, head->shard);
    struct pd_span payload = {bytes, sizeof bytes};
    require(pd_snapshot_reserve(snapshot, payload.bytes + PD_SNAPSHOT_PIECE_BYTES) == PARAMD_OK,
            "no room in a snapshot");
    pd_snapshot_append(snapshot, 1, NULL, 0, &payload, 1);
    pd_snapshot_end(snapshot);
    struct pd_snapshot_job job;
    while (pd_snapshot_take_job(snapshot, &job)) {
        struct pd_disk_result result = pd_snapshot_files_run(&files, &job);
        require(result.status == PARAMD_OK, result.text);
        pd_snapshot_job_done(snapshot, PARAMD_OK);
    }
    struct pd_manifest_file file = pd_snapshot_file(snapshot);
    pd_snapshot_files_deinit(&files);
    pd_snapshot_destroy(snapshot);
    return file;
}

static void write_epoch(uint32_t number)
{
    struct pd_manifest_epoch *epoch = pd_manifest_add_epoch(&manifest, SHARDS);
    char name[PD_WAL_LOG_NAME_BYTES];
    epoch->control.id = number * 10 + 9;
    pd_control_log_name(number, name);
    write_log(name, &epoch->control, number < EPOCHS);
    struct pd_manifest_snapshot snapshot = {.number = number, .epoch = number, .shards = SHARDS};
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        epoch->logs[shard].id = number * 10 + shard;
        pd_shard_log_name(shard, number, name);
        write_log(name, &epoch->logs[shard], number < EPOCHS);
        struct pd_snapshot_head head = {.directory_id = manifest.directory_id,
                                        .number = number,
                                        .epoch = number,
                                        .shard = shard,
                                        .shards = SHARDS,
                                        .start_lsn = 3};
        snapshot.files[shard] = write_snapshot(&head);
    }
    pd_manifest_add_snapshot(&manifest, &snapshot);
}

int main(int argc, char **argv)
{
    require(argc == 2, "usage: ctl_data_dir DIR");
    struct pd_disk_result result = pd_posix_disk_open(argv[1], &disk);
    require(result.status == PARAMD_OK, result.text);
    memset(bytes, 7, sizeof bytes);
    manifest.directory_id = 4711;
    for (uint32_t number = 1; number <= EPOCHS; number++) {
        write_epoch(number);
    }
    struct pd_storage_error error;
    require(pd_manifest_write(&disk, &manifest, &error) == PARAMD_OK, "no MANIFEST");
    pd_posix_disk_close(&disk);
    return 0;
}
