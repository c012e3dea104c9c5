/* What stands between a test's daemon and its disk (--wrap of the linker): one call of one kind
 * fails, once, or no fdatasync of a shard's log reaches the disk, or a snapshot has to wait for it.
 * The product's daemon holds none of it.
 *
 *     PARAMD_FAULT="pwrite 7"     the 7th pwrite ends with EIO, at once and with nothing written
 *     PARAMD_FAULT="unsynced"     fdatasync of those in use says that all is well and does nothing
 *     PARAMD_FAULT="held"         the first pwrite to a snapshot waits for the gate
 *     PARAMD_FAULT="full"         that to shard 1's part of one, and ends with ENOSPC then
 *     PARAMD_FAULT_MARK=FILE      is made when a fault came
 *     PARAMD_FAULT_GATE=FIFO      opens when somebody opens it to write
 *
 * Other files than those of the disk layer are left alone: only it makes these calls. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum call { PWRITE, FDATASYNC, FSYNC, RENAME, OPEN, FALLOCATE, CALLS };

static const char *const names[CALLS] = {"pwrite", "fdatasync", "fsync",
                                         "rename", "open",      "fallocate"};

static atomic_uint counts[CALLS];

/* NOLINTBEGIN(bugprone-reserved-identifier): --wrap makes these names */
ssize_t __real_pwrite(int fd, const void *bytes, size_t count, off_t offset);
int __real_fdatasync(int fd);
int __real_fsync(int fd);
int __real_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __real_open(const char *name, int flags, ...);
int __real_openat(int dir, const char *name, int flags, ...);
int __real_posix_fallocate(int fd, off_t offset, off_t count);
ssize_t __wrap_pwrite(int fd, const void *bytes, size_t count, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to);
int __wrap_open(const char *name, int flags);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_posix_fallocate(int fd, off_t offset, off_t count);
/* NOLINTEND(bugprone-reserved-identifier) */

/* Whether that is the fault, and the file one of those. */
static bool is(const char *wanted, int fd, const char *files)
{
    const char *fault = getenv("PARAMD_FAULT");
    char link[64];
    char path[4096];
    if (fault == NULL || strcmp(fault, wanted) != 0) {
        return false;
    }
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    return strstr(path, files) != NULL;
}

static bool fails(enum call call)
{
    const char *fault = getenv("PARAMD_FAULT");
    const char *mark = getenv("PARAMD_FAULT_MARK");
    size_t length = strlen(names[call]);
    unsigned count = atomic_fetch_add(&counts[call], 1) + 1;
    if (fault == NULL || strncmp(fault, names[call], length) != 0 || fault[length] != ' ' ||
        strtoul(fault + length, NULL, 10) != count) {
        return false;
    }
    int fd = mark != NULL ? __real_open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    return true;
}

ssize_t __wrap_pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    if (fails(PWRITE)) {
        errno = EIO;
        return -1;
    }
    static atomic_flag passed = ATOMIC_FLAG_INIT;
    bool full = is("full", fd, ".001.new");
    if ((full || is("held", fd, "/snapshot-")) && !atomic_flag_test_and_set(&passed)) {
        (void)fclose(fopen(getenv("PARAMD_FAULT_GATE"), "r"));
        if (full) {
            errno = ENOSPC;
            return -1;
        }
    }
    return __real_pwrite(fd, bytes, count, offset);
}

int __wrap_fdatasync(int fd)
{
    /* One that is only being made would lack its header, and be refused. */
    if (is("unsynced", fd, "/shard-") && (fcntl(fd, F_GETFL) & O_DIRECT) != 0) {
        return 0;
    }
    if (fails(FDATASYNC)) {
        errno = EIO;
        return -1;
    }
    return __real_fdatasync(fd);
}

/* Of a directory: what is renamed or made there is durable. */
int __wrap_fsync(int fd)
{
    if (fails(FSYNC)) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

int __wrap_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    if (fails(RENAME)) {
        errno = EIO;
        return -1;
    }
    return __real_renameat(from_dir, from, to_dir, to);
}

/* The disk opens its directory so; it is not made. */
int __wrap_open(const char *name, int flags)
{
    if (fails(OPEN)) {
        errno = EIO;
        return -1;
    }
    return __real_open(name, flags);
}

int __wrap_openat(int dir, const char *name, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    if (fails(OPEN)) {
        errno = EIO;
        return -1;
    }
    return __real_openat(dir, name, flags, mode);
}

int __wrap_posix_fallocate(int fd, off_t offset, off_t count)
{
    return fails(FALLOCATE) ? EIO : __real_posix_fallocate(fd, offset, count);
}
