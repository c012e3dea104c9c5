/* Files are arrays. */
#include "tests/fuzz/log_disk.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static const struct pd_disk_result done = {PARAMD_OK, "done"};
static const char *const names[PD_LOG_DISK_FILES] = {
    PD_LOG_DISK_LOG ".00000", PD_LOG_DISK_LOG ".00001", PD_LOG_DISK_LOG ".00002",
    PD_LOG_DISK_LOG ".00003"};

static struct pd_disk_result log_open(void *context, const char *name, enum pd_disk_mode mode,
                                      int *ret_file)
{
    struct pd_log_disk *disk = context;
    int file = 0;
    while (file < PD_LOG_DISK_FILES && strcmp(name, names[file]) != 0) {
        file++;
    }
    PD_FUZZ_CHECK(file < PD_LOG_DISK_FILES && disk->files[file].there && mode != PD_DISK_CREATE);
    disk->files[file].openers++;
    *ret_file = file;
    return done;
}

static void log_close(void *context, int file)
{
    struct pd_log_disk *disk = context;
    PD_FUZZ_CHECK(disk->files[file].openers-- > 0);
}

static struct pd_disk_result log_read(void *context, int file, uint64_t offset, void *bytes,
                                      size_t count, size_t *ret_count)
{
    const struct pd_log_disk *disk = context;
    size_t end = disk->files[file].count;
    size_t rest = offset < end ? end - (size_t)offset : 0;
    PD_FUZZ_CHECK(disk->files[file].openers > 0);
    *ret_count = count < rest ? count : rest;
    if (*ret_count > 0) {
        memcpy(bytes, disk->files[file].bytes + offset, *ret_count);
    }
    return done;
}

static struct pd_disk_result log_write(void *context, int file, uint64_t offset, const void *bytes,
                                       size_t count)
{
    struct pd_log_disk *disk = context;
    size_t end = disk->files[file].count;
    PD_FUZZ_CHECK(disk->files[file].openers > 0 && offset <= end);
    PD_FUZZ_CHECK(count <= PD_LOG_DISK_FILE_BYTES - offset);
    memcpy(disk->files[file].bytes + offset, bytes, count);
    disk->files[file].count = offset + count > end ? (size_t)offset + count : end;
    return done;
}

static struct pd_disk_result log_sync(void *context, int file)
{
    const struct pd_log_disk *disk = context;
    PD_FUZZ_CHECK(disk->files[file].openers > 0);
    return done;
}

static struct pd_disk_result log_size(void *context, int file, uint64_t *ret_bytes)
{
    const struct pd_log_disk *disk = context;
    PD_FUZZ_CHECK(disk->files[file].openers > 0);
    *ret_bytes = disk->files[file].count;
    return done;
}

static struct pd_disk_result log_list(void *context, void (*each)(void *argument, const char *name),
                                      void *argument)
{
    const struct pd_log_disk *disk = context;
    for (size_t i = 0; i < PD_LOG_DISK_FILES; i++) {
        if (disk->files[i].there) {
            each(argument, names[i]);
        }
    }
    return done;
}

struct pd_disk pd_log_disk_of(struct pd_log_disk *disk)
{
    return (struct pd_disk){
        .context = disk,
        .open = log_open,
        .close = log_close,
        .read = log_read,
        .write = log_write,
        .sync = log_sync,
        .size = log_size,
        .list = log_list,
    };
}
