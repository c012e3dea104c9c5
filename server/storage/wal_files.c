/* Jobs of a log, as calls of the disk. A file gets its name only when it has its full size, so that
 * one of another size is known to be damaged. */
#include "server/storage/wal_files.h"

#include <stdio.h>
#include <string.h>

#include "proto/plant.h"
#include "server/base/assert.h"

enum {
    /* The first write to allocated space makes the file system note that it was: half a commit
     * more for a small batch. So those write zeros ahead, and most find space that was written. */
    SMALL_BATCH_BYTES = 64 * 1024,
    ZEROS_AHEAD_BYTES = 1024 * 1024
};

static const _Alignas(PD_WAL_PAGE_BYTES) uint8_t zeros[ZEROS_AHEAD_BYTES];

void pd_wal_files_init(struct pd_wal_files *files, const struct pd_disk *disk, const char *log)
{
    PD_ASSERT(strlen(log) < PD_WAL_LOG_NAME_BYTES);
    *files = (struct pd_wal_files){._disk = disk, ._log = log};
}

void pd_wal_files_deinit(struct pd_wal_files *files)
{
    if (files->_open) {
        files->_disk->close(files->_disk->context, files->_file);
    }
}

static struct pd_disk_result use(struct pd_wal_files *files, uint32_t number)
{
    const struct pd_disk *disk = files->_disk;
    if (files->_open && files->_number == number) {
        return (struct pd_disk_result){PARAMD_OK, "open"};
    }
    pd_wal_files_deinit(files);
    char name[PD_DISK_NAME_BYTES];
    pd_wal_file_name(files->_log, number, name);
    struct pd_disk_result result =
        disk->open(disk->context, name, PD_DISK_WRITE_PAGES, &files->_file);
    files->_open = result.status == PARAMD_OK;
    files->_number = number;
    files->_zeros_end = 0;
    return result;
}

static struct pd_disk_result sync_file(const struct pd_wal_files *files)
{
    const struct pd_disk *disk = files->_disk;
    struct pd_disk_result result = disk->sync(disk->context, files->_file);
    if (result.status != PARAMD_OK && pd_plant(fsync_retried)) {
        result = disk->sync(disk->context, files->_file);
    }
    return result;
}

static struct pd_disk_result write_batch(struct pd_wal_files *files, const struct pd_wal_job *job)
{
    const struct pd_disk *disk = files->_disk;
    struct pd_disk_result result = use(files, job->file);
    if (result.status == PARAMD_OK) {
        result = disk->write(disk->context, files->_file, job->offset, job->bytes, job->count);
    }
    uint64_t end = job->offset + job->count;
    if (result.status == PARAMD_OK && !job->recycled && end > files->_zeros_end &&
        job->count <= SMALL_BATCH_BYTES) {
        uint64_t rest = job->file_bytes - end;
        size_t ahead = rest < ZEROS_AHEAD_BYTES ? (size_t)rest : ZEROS_AHEAD_BYTES;
        result = disk->write(disk->context, files->_file, end, zeros, ahead);
        files->_zeros_end = end + ahead;
    }
    return result.status == PARAMD_OK ? sync_file(files) : result;
}

/* The last page of the segment before this one, in which nothing else will be written. */
static struct pd_disk_result write_left(const struct pd_wal_files *files,
                                        const struct pd_wal_job *job)
{
    struct pd_wal_files before;
    pd_wal_files_init(&before, files->_disk, files->_log);
    struct pd_disk_result result = use(&before, job->left_file);
    if (result.status == PARAMD_OK) {
        result =
            before._disk->write(before._disk->context, before._file,
                                job->file_bytes - PD_WAL_PAGE_BYTES, job->left, PD_WAL_PAGE_BYTES);
    }
    if (result.status == PARAMD_OK) {
        result = sync_file(&before);
    }
    pd_wal_files_deinit(&before);
    return result;
}

/* A turn to another segment is over, and what was written there durable, when the segment before
 * says that there is one: so that the newest cannot get lost without a trace. */
static struct pd_disk_result write_job(struct pd_wal_files *files, const struct pd_wal_job *job)
{
    struct pd_disk_result result = {PARAMD_OK, ""};
    bool early = pd_plant(left_too_early) && job->left != NULL;
    if (early) {
        result = write_left(files, job);
    }
    if (result.status == PARAMD_OK) {
        result = write_batch(files, job);
    }
    if (result.status == PARAMD_OK && job->left != NULL && !early) {
        result = write_left(files, job);
    }
    return result;
}

static struct pd_disk_result allocate(const struct pd_disk *disk, const char *name, uint64_t bytes,
                                      const uint8_t *header)
{
    int file;
    struct pd_disk_result result = disk->open(disk->context, name, PD_DISK_CREATE, &file);
    if (result.status != PARAMD_OK) {
        return result;
    }
    result = disk->allocate(disk->context, file, bytes);
    if (result.status == PARAMD_OK && header != NULL) {
        result = disk->write(disk->context, file, 0, header, PD_WAL_PAGE_BYTES);
    }
    if (result.status == PARAMD_OK) {
        result = disk->sync(disk->context, file);
    }
    disk->close(disk->context, file);
    return result;
}

/* header NULL: zeros. */
static struct pd_disk_result prepare(const struct pd_disk *disk, const char *log, uint32_t file,
                                     uint64_t bytes, const uint8_t *header)
{
    char name[PD_DISK_NAME_BYTES];
    char new_name[PD_DISK_NAME_BYTES + 8];
    pd_wal_file_name(log, file, name);
    (void)snprintf(new_name, sizeof new_name, "%s.new", name);
    struct pd_disk_result result = allocate(disk, new_name, bytes, header);
    if (result.status == PARAMD_RESOURCE_EXHAUSTED) {
        /* Others need what little it got. */
        struct pd_disk_result undone = disk->unlink(disk->context, new_name);
        bool gone = undone.status == PARAMD_OK || undone.status == PARAMD_NOT_FOUND;
        return gone ? result : undone;
    }
    if (result.status == PARAMD_OK) {
        result = disk->rename(disk->context, new_name, name);
    }
    if (result.status == PARAMD_OK && !pd_plant(no_dirsync)) {
        result = disk->sync_names(disk->context);
    }
    return result;
}

struct pd_disk_result pd_wal_files_run(struct pd_wal_files *files, const struct pd_wal_job *job)
{
    return job->kind == PD_WAL_WRITE
               ? write_job(files, job)
               : prepare(files->_disk, files->_log, job->file, job->file_bytes, NULL);
}

struct pd_disk_result pd_wal_begin(const struct pd_disk *disk, const char *log, uint64_t log_id,
                                   size_t segment_bytes)
{
    const struct pd_wal_segment segment = {
        .log_id = log_id, .generation = 1, .first_lsn = 1, .segment_bytes = segment_bytes};
    uint8_t header[PD_WAL_PAGE_BYTES];
    pd_wal_segment_write(&segment, header);
    return prepare(disk, log, 0, segment_bytes, header);
}
