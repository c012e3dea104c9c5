/* Jobs of a snapshot file, as calls of the disk. It has its name only when all of it is there. */
#include "server/storage/snapshot_files.h"

#include <stdio.h>

#include "server/storage/data_dir.h"

void pd_snapshot_files_init(struct pd_snapshot_files *files, const struct pd_disk *disk,
                            uint32_t number, uint32_t shard)
{
    *files = (struct pd_snapshot_files){._disk = disk};
    pd_snapshot_name(number, shard, files->name);
    (void)snprintf(files->_new_name, sizeof files->_new_name, "%.*s.new", PD_DISK_NAME_BYTES - 5,
                   files->name);
}

void pd_snapshot_files_deinit(struct pd_snapshot_files *files)
{
    if (files->_open) {
        files->_disk->close(files->_disk->context, files->_file);
        files->_open = false;
    }
}

static struct pd_disk_result remove_if_there(const struct pd_disk *disk, const char *name)
{
    struct pd_disk_result result = disk->unlink(disk->context, name);
    return result.status == PARAMD_NOT_FOUND ? (struct pd_disk_result){PARAMD_OK, "gone"} : result;
}

static struct pd_disk_result run_write(struct pd_snapshot_files *files,
                                       const struct pd_snapshot_job *job)
{
    const struct pd_disk *disk = files->_disk;
    struct pd_disk_result result = {PARAMD_OK, "open"};
    if (!files->_open) {
        /* A left-over may be longer. */
        result = remove_if_there(disk, files->_new_name);
        if (result.status == PARAMD_OK) {
            result =
                disk->open(disk->context, files->_new_name, PD_DISK_CREATE_PAGES, &files->_file);
            files->_open = result.status == PARAMD_OK;
        }
    }
    if (result.status == PARAMD_OK) {
        result = disk->write(disk->context, files->_file, job->offset, job->bytes, job->count);
    }
    return result;
}

static struct pd_disk_result run_publish(struct pd_snapshot_files *files)
{
    const struct pd_disk *disk = files->_disk;
    struct pd_disk_result result = disk->sync(disk->context, files->_file);
    pd_snapshot_files_deinit(files);
    if (result.status == PARAMD_OK) {
        result = disk->rename(disk->context, files->_new_name, files->name);
    }
    if (result.status == PARAMD_OK) {
        result = disk->sync_names(disk->context);
    }
    return result;
}

static struct pd_disk_result run_discard(struct pd_snapshot_files *files)
{
    pd_snapshot_files_deinit(files);
    struct pd_disk_result result = remove_if_there(files->_disk, files->_new_name);
    struct pd_disk_result published = remove_if_there(files->_disk, files->name);
    return result.status == PARAMD_OK ? published : result;
}

struct pd_disk_result pd_snapshot_files_run(struct pd_snapshot_files *files,
                                            const struct pd_snapshot_job *job)
{
    switch (job->kind) {
    case PD_SNAPSHOT_WRITE:
        return run_write(files, job);
    case PD_SNAPSHOT_PUBLISH:
        return run_publish(files);
    case PD_SNAPSHOT_DISCARD:
    default:
        return run_discard(files);
    }
}
