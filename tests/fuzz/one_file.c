/* Reads and writes that go to the one file; names mean nothing. */
#include "tests/fuzz/one_file.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

static const struct pd_disk_result done = {PARAMD_OK, "done"};

static struct pd_disk_result one_open(void *context, const char *name, enum pd_disk_mode mode,
                                      int *ret_file)
{
    (void)context;
    (void)name;
    (void)mode;
    *ret_file = 1;
    return done;
}

static void one_close(void *context, int file)
{
    (void)context;
    (void)file;
}

static struct pd_disk_result one_read(void *context, int handle, uint64_t offset, void *bytes,
                                      size_t count, size_t *ret_count)
{
    const struct pd_one_file *file = context;
    (void)handle;
    size_t rest = offset < file->count ? file->count - (size_t)offset : 0;
    *ret_count = count < rest ? count : rest;
    if (*ret_count > 0) {
        memcpy(bytes, file->bytes + offset, *ret_count);
    }
    return done;
}

static struct pd_disk_result one_write(void *context, int handle, uint64_t offset,
                                       const void *bytes, size_t count)
{
    struct pd_one_file *file = context;
    (void)handle;
    PD_FUZZ_CHECK(offset <= file->count && count <= sizeof file->bytes - offset);
    memcpy(file->bytes + offset, bytes, count);
    file->count = offset + count > file->count ? (size_t)offset + count : file->count;
    return done;
}

static struct pd_disk_result one_size(void *context, int handle, uint64_t *ret_bytes)
{
    (void)handle;
    *ret_bytes = ((const struct pd_one_file *)context)->count;
    return done;
}

static struct pd_disk_result one_sync(void *context, int handle)
{
    (void)context;
    (void)handle;
    return done;
}

static struct pd_disk_result one_rename(void *context, const char *from, const char *to)
{
    (void)context;
    (void)from;
    (void)to;
    return done;
}

static struct pd_disk_result one_unlink(void *context, const char *name)
{
    (void)name;
    ((struct pd_one_file *)context)->count = 0;
    return done;
}

static struct pd_disk_result one_sync_names(void *context)
{
    (void)context;
    return done;
}

struct pd_disk pd_one_file_disk(struct pd_one_file *file)
{
    return (struct pd_disk){
        .context = file,
        .open = one_open,
        .close = one_close,
        .read = one_read,
        .write = one_write,
        .size = one_size,
        .sync = one_sync,
        .rename = one_rename,
        .unlink = one_unlink,
        .sync_names = one_sync_names,
    };
}
