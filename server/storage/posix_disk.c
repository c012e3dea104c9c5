/* The disk on POSIX files. errno ends here: it becomes a status and a sentence. */
#include "server/storage/posix_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

struct directory {
    int fd;
};

static const struct pd_disk_result done = {PARAMD_OK, "done"};

static struct pd_disk_result failed(int error)
{
    switch (error) {
    case ENOENT:
        return (struct pd_disk_result){PARAMD_NOT_FOUND, "there is no such file"};
    case ENOSPC:
        return (struct pd_disk_result){PARAMD_RESOURCE_EXHAUSTED, "no space left on the disk"};
    case EDQUOT:
        return (struct pd_disk_result){PARAMD_RESOURCE_EXHAUSTED, "the disk quota is used up"};
    case EWOULDBLOCK:
        return (struct pd_disk_result){PARAMD_BUSY, "another process uses this data directory"};
    case EIO:
        return (struct pd_disk_result){PARAMD_DISK, "the disk reports an I/O error"};
    case EACCES:
    case EPERM:
        return (struct pd_disk_result){PARAMD_UNSUPPORTED, "permission denied"};
    case ELOOP:
        return (struct pd_disk_result){PARAMD_UNSUPPORTED,
                                       "it is a symbolic link: put the file itself there"};
    case EROFS:
        return (struct pd_disk_result){PARAMD_DISK, "the file system is read-only"};
    case EMFILE:
    case ENFILE:
        return (struct pd_disk_result){PARAMD_UNSUPPORTED, "too many open files"};
    case EFBIG:
        return (struct pd_disk_result){PARAMD_DISK, "the file would be larger than is allowed"};
    case ENOTDIR:
        return (struct pd_disk_result){PARAMD_DISK, "it is no directory"};
    case EISDIR:
        return (struct pd_disk_result){PARAMD_DISK, "it is a directory"};
    case ENOMEM:
        return (struct pd_disk_result){PARAMD_NO_MEMORY, "the kernel has no memory for it"};
    default:
        return (struct pd_disk_result){PARAMD_DISK, "the operating system refused it"};
    }
}

static struct pd_disk_result result_of(int returned)
{
    return returned == 0 ? done : failed(errno);
}

static int fd_of(const void *context)
{
    return ((const struct directory *)context)->fd;
}

static struct pd_disk_result disk_open(void *context, const char *name, enum pd_disk_mode mode,
                                       int *ret_file)
{
    static const int flags_of[] = {[PD_DISK_READ] = O_RDONLY,
                                   [PD_DISK_READ_PAGES] = O_RDONLY | O_DIRECT,
                                   [PD_DISK_WRITE] = O_RDWR,
                                   [PD_DISK_WRITE_PAGES] = O_RDWR | O_DIRECT,
                                   [PD_DISK_CREATE] = O_RDWR | O_CREAT,
                                   [PD_DISK_CREATE_PAGES] = O_RDWR | O_CREAT | O_DIRECT};
    int flags = flags_of[mode] | O_CLOEXEC | O_NOFOLLOW;
    int fd;
    do {
        fd = openat(fd_of(context), name, flags, 0640);
        if (fd < 0 && errno == EINVAL && (flags & O_DIRECT) != 0) {
            /* The file system is one that cannot. */
            flags &= ~O_DIRECT;
            errno = EINTR;
        }
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return failed(errno);
    }
    *ret_file = fd;
    return done;
}

static void disk_close(void *context, int file)
{
    (void)context;
    /* What counts has been synced: there is nothing left that close could tell. */
    (void)close(file);
}

static struct pd_disk_result disk_read(void *context, int file, uint64_t offset, void *bytes,
                                       size_t count, size_t *ret_count)
{
    (void)context;
    size_t have = 0;
    while (have < count) {
        ssize_t got = pread(file, (uint8_t *)bytes + have, count - have, (off_t)(offset + have));
        if (got < 0 && errno != EINTR) {
            return failed(errno);
        }
        if (got == 0) {
            break;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    *ret_count = have;
    return done;
}

static struct pd_disk_result disk_write(void *context, int file, uint64_t offset, const void *bytes,
                                        size_t count)
{
    (void)context;
    size_t put = 0;
    while (put < count) {
        ssize_t took =
            pwrite(file, (const uint8_t *)bytes + put, count - put, (off_t)(offset + put));
        if (took < 0 && errno != EINTR) {
            return failed(errno);
        }
        put += took > 0 ? (size_t)took : 0;
    }
    return done;
}

/* Emulated by the C library where the file system cannot do it. */
static struct pd_disk_result disk_allocate(void *context, int file, uint64_t bytes)
{
    (void)context;
    int error;
    do {
        error = posix_fallocate(file, 0, (off_t)bytes);
    } while (error == EINTR);
    return error == 0 ? done : failed(error);
}

/* Never tried again: a second call may report success for pages that were lost. Only a lack of
 * space is told from all else: of a new file nothing counts yet. */
static struct pd_disk_result disk_sync(void *context, int file)
{
    (void)context;
    struct pd_disk_result result = result_of(fdatasync(file));
    if (result.status != PARAMD_OK && result.status != PARAMD_RESOURCE_EXHAUSTED) {
        result.status = PARAMD_DISK;
    }
    return result;
}

static struct pd_disk_result disk_size(void *context, int file, uint64_t *ret_bytes)
{
    (void)context;
    struct stat status;
    if (fstat(file, &status) != 0) {
        return failed(errno);
    }
    *ret_bytes = (uint64_t)status.st_size;
    return done;
}

static struct pd_disk_result disk_rename(void *context, const char *from, const char *to)
{
    return result_of(renameat(fd_of(context), from, fd_of(context), to));
}

static struct pd_disk_result disk_unlink(void *context, const char *name)
{
    return result_of(unlinkat(fd_of(context), name, 0));
}

static struct pd_disk_result disk_sync_names(void *context)
{
    struct pd_disk_result result = result_of(fsync(fd_of(context)));
    if (result.status != PARAMD_OK) {
        result.status = PARAMD_DISK;
    }
    return result;
}

static struct pd_disk_result
disk_list(void *context, void (*each)(void *argument, const char *name), void *argument)
{
    /* A descriptor of its own, since reading a directory moves along it. */
    int fd = openat(fd_of(context), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        struct pd_disk_result result = failed(errno);
        if (fd >= 0) {
            (void)close(fd);
        }
        return result;
    }
    errno = 0;
    /* Safe on a stream of one's own, and readdir_r is not to be used any more. */
    // cppcheck-suppress readdirCalled
    for (struct dirent *entry; (entry = readdir(entries)) != NULL; errno = 0) {
        if (entry->d_name[0] != '.') {
            each(argument, entry->d_name);
        }
    }
    struct pd_disk_result result = errno == 0 ? done : failed(errno);
    (void)closedir(entries);
    return result;
}

static struct pd_disk_result disk_lock(void *context, const char *name, int *ret_file)
{
    int fd;
    struct pd_disk_result result = disk_open(context, name, PD_DISK_CREATE, &fd);
    if (result.status != PARAMD_OK) {
        return result;
    }
    result = result_of(flock(fd, LOCK_EX | LOCK_NB));
    if (result.status != PARAMD_OK) {
        (void)close(fd);
        return result;
    }
    *ret_file = fd;
    return done;
}

struct pd_disk_result pd_posix_disk_make(const char *directory)
{
    if (mkdir(directory, S_IRWXU | S_IRGRP | S_IXGRP) != 0 && errno != EEXIST) {
        return failed(errno);
    }
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return failed(errno);
    }
    int parent = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = parent < 0 || fsync(parent) != 0 ? errno : 0;
    if (parent >= 0) {
        (void)close(parent);
    }
    (void)close(fd);
    /* A parent that is not ours, or that knows no sync: who made the directory took care. */
    return error == 0 || error == EACCES || error == EINVAL ? done : failed(error);
}

struct pd_disk_result pd_posix_disk_open(const char *directory, struct pd_disk *ret_disk)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return failed(errno);
    }
    struct directory *opened = malloc(sizeof *opened);
    if (opened == NULL) {
        (void)close(fd);
        return failed(ENOMEM);
    }
    opened->fd = fd;
    *ret_disk = (struct pd_disk){
        .context = opened,
        .open = disk_open,
        .close = disk_close,
        .read = disk_read,
        .write = disk_write,
        .allocate = disk_allocate,
        .sync = disk_sync,
        .size = disk_size,
        .rename = disk_rename,
        .unlink = disk_unlink,
        .sync_names = disk_sync_names,
        .list = disk_list,
        .lock = disk_lock,
    };
    return done;
}

void pd_posix_disk_close(struct pd_disk *disk)
{
    struct directory *opened = disk->context;
    (void)close(opened->fd);
    free(opened);
}
