/* The disk of disk.h, by the calls that storage makes. */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "tests/bench/disk.h"
#include "tests/bench/scratch.h"

#define PAGE_BYTES (4 * PD_KIB)
#define STRETCH_BYTES (4 * PD_MIB)
#define PIECE_BYTES PD_MIB
#define LOG_FILE_BYTES (64 * PD_MIB)

enum { APPENDS = 2000, XFS_MAGIC = 0x58465342 };

struct pd_disk_limits {
    char path[PD_SCRATCH_PATH_BYTES + 16];
    size_t bytes;
    char *buf; /* of a stretch */
    double times_us[APPENDS];
    struct pd_pace appends;
    struct pd_pace appends_ahead;
    struct pd_samples writes;
    struct pd_samples reads_cold;
    struct pd_samples reads_warm;
};

const char *pd_disk_file_system(const char *folder)
{
    static const struct {
        unsigned magic;
        const char *name;
    } known[] = {{EXT4_SUPER_MAGIC, "ext4"},
                 {XFS_MAGIC, "xfs"},
                 {BTRFS_SUPER_MAGIC, "btrfs"},
                 {F2FS_SUPER_MAGIC, "f2fs"},
                 {OVERLAYFS_SUPER_MAGIC, "overlay"}};
    struct statfs status;
    if (statfs(folder, &status) != 0) {
        err(1, "%s", folder);
    }
    if (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC) {
        errx(1, "%s is no disk but memory: give another with --dir", folder);
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (status.f_type == (__fsword_t)known[i].magic) {
            return known[i].name;
        }
    }
    return "file system of another kind";
}

void pd_pace_add(struct pd_pace *pace, double *times_us, size_t count, double seconds)
{
    pd_samples_add(&pace->per_s, (double)count / seconds);
    pd_samples_add(&pace->p50_us, pd_percentile(times_us, count, 0.5));
    pd_samples_add(&pace->p99_us, pd_percentile(times_us, count, 0.99));
}

static void check(int result, const struct pd_disk_limits *limits)
{
    if (result != 0) {
        err(1, "%s", limits->path);
    }
}

/* A file that takes no more space when it is written. */
static int make(const struct pd_disk_limits *limits, size_t bytes)
{
    int fd = open(limits->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    check(fd < 0, limits);
    check(fallocate(fd, 0, 0, (off_t)bytes), limits);
    check(fsync(fd), limits);
    return fd;
}

static void drop(const struct pd_disk_limits *limits, int fd)
{
    (void)close(fd);
    check(unlink(limits->path), limits);
}

static void write_all(const struct pd_disk_limits *limits, int fd, size_t offset, size_t bytes)
{
    check(pwrite(fd, limits->buf, bytes, (off_t)offset) != (ssize_t)bytes, limits);
}

struct pd_disk_limits *pd_disk_limits_create(const char *folder, size_t bytes)
{
    struct pd_disk_limits *limits = calloc(1, sizeof *limits);
    if (limits == NULL) {
        err(1, "disk");
    }
    (void)snprintf(limits->path, sizeof limits->path, "%s/limit", folder);
    limits->bytes = bytes;
    limits->buf = pd_memory_take(STRETCH_BYTES);
    pd_gradient_fill((float *)(void *)limits->buf, STRETCH_BYTES / sizeof(float));
    return limits;
}

void pd_disk_limits_destroy(struct pd_disk_limits *limits)
{
    pd_memory_give(limits->buf, STRETCH_BYTES);
    free(limits);
}

static void append(struct pd_disk_limits *limits, bool ahead, struct pd_pace *pace)
{
    int fd = make(limits, LOG_FILE_BYTES);
    if (ahead) {
        for (size_t at = 0; at < (APPENDS + 1) * PAGE_BYTES; at += STRETCH_BYTES) {
            write_all(limits, fd, at, STRETCH_BYTES);
        }
        check(fsync(fd), limits);
    }
    double begin_s = pd_now_s();
    double before_s = begin_s;
    for (unsigned i = 0; i < APPENDS; i++) {
        write_all(limits, fd, (i + 1) * PAGE_BYTES, PAGE_BYTES);
        check(fdatasync(fd), limits);
        double now_s = pd_now_s();
        limits->times_us[i] = (now_s - before_s) * 1e6;
        before_s = now_s;
    }
    pd_pace_add(pace, limits->times_us, APPENDS, before_s - begin_s);
    drop(limits, fd);
}

void pd_disk_measure_appends(struct pd_disk_limits *limits)
{
    append(limits, false, &limits->appends);
    append(limits, true, &limits->appends_ahead);
}

static void write_stream(const struct pd_disk_limits *limits, int fd)
{
    for (size_t at = 0; at < limits->bytes; at += STRETCH_BYTES) {
        write_all(limits, fd, at, STRETCH_BYTES);
        check(fdatasync(fd), limits);
    }
}

/* The host of a virtual machine takes free memory back, and is slow to give it again: as a cache
 * for what is written it makes a sixth of the disk. So another file has that memory touched before;
 * it stays touched for what is measured next. */
void pd_disk_measure_writes(struct pd_disk_limits *limits)
{
    double seconds = 0;
    for (unsigned i = 0; i < 2; i++) {
        int fd = make(limits, limits->bytes);
        double begin_s = pd_now_s();
        write_stream(limits, fd);
        seconds = pd_now_s() - begin_s;
        drop(limits, fd);
    }
    pd_samples_add(&limits->writes, (double)limits->bytes / 1e9 / seconds);
}

static double read_stream(const struct pd_disk_limits *limits, int fd)
{
    double begin_s = pd_now_s();
    for (size_t at = 0; at < limits->bytes; at += PIECE_BYTES) {
        check(pread(fd, limits->buf, PIECE_BYTES, (off_t)at) != (ssize_t)PIECE_BYTES, limits);
    }
    return (double)limits->bytes / 1e9 / (pd_now_s() - begin_s);
}

void pd_disk_measure_reads(struct pd_disk_limits *limits)
{
    int fd = make(limits, limits->bytes);
    write_stream(limits, fd);
    errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    check(errno, limits);
    pd_samples_add(&limits->reads_cold, read_stream(limits, fd));
    pd_samples_add(&limits->reads_warm, read_stream(limits, fd));
    drop(limits, fd);
}

const struct pd_pace *pd_disk_appends(const struct pd_disk_limits *limits)
{
    return &limits->appends;
}

const struct pd_pace *pd_disk_appends_ahead(const struct pd_disk_limits *limits)
{
    return &limits->appends_ahead;
}

const struct pd_samples *pd_disk_writes(const struct pd_disk_limits *limits)
{
    return &limits->writes;
}

const struct pd_samples *pd_disk_reads_cold(const struct pd_disk_limits *limits)
{
    return &limits->reads_cold;
}

const struct pd_samples *pd_disk_reads_warm(const struct pd_disk_limits *limits)
{
    return &limits->reads_warm;
}

void pd_disk_forget(const char *folder)
{
    DIR *entries = opendir(folder);
    if (entries == NULL) {
        err(1, "%s", folder);
    }
    /* Safe on a stream of one's own, and readdir_r is not to be used any more. */
    // cppcheck-suppress readdirCalled
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        int fd = openat(dirfd(entries), entry->d_name, O_RDONLY | O_CLOEXEC);
        if (entry->d_type == DT_REG && fd >= 0) {
            (void)fdatasync(fd);
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        }
        if (fd >= 0) {
            (void)close(fd);
        }
    }
    (void)closedir(entries);
}
