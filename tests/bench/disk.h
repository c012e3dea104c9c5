/* What a disk does for a program that has nothing else to do: the limits of everything durable. */
#ifndef PARAMD_TESTS_BENCH_DISK_H
#define PARAMD_TESTS_BENCH_DISK_H

#include "tests/bench/base.h"

/* "ext4", "xfs", ...; ends the program for a folder in memory, which would prove nothing. */
const char *pd_disk_file_system(const char *folder);

/* Many acknowledgements: how many a second, and how long the half and all but a hundredth of them
 * took at most. */
struct pd_pace {
    struct pd_samples per_s;
    struct pd_samples p50_us;
    struct pd_samples p99_us;
};

/* One more sample; sorts the times, of which there are count in so many seconds. */
void pd_pace_add(struct pd_pace *pace, double *times_us, size_t count, double seconds);

struct pd_disk_limits;

/* Files are made in the folder as they are needed. bytes: of a stream, a multiple of 4 MiB. */
struct pd_disk_limits *pd_disk_limits_create(const char *folder, size_t bytes);
void pd_disk_limits_destroy(struct pd_disk_limits *limits);

/* One more sample, of a write of 4 KiB and fdatasync each: in a file that is preallocated, and in
 * one that has been written before, too, as the log's are by zeros ahead of what it appends. */
void pd_disk_measure_appends(struct pd_disk_limits *limits);
const struct pd_pace *pd_disk_appends(const struct pd_disk_limits *limits);
const struct pd_pace *pd_disk_appends_ahead(const struct pd_disk_limits *limits);

/* One more sample in GB/s, of a stream into a preallocated file with an fdatasync every 4 MiB. */
void pd_disk_measure_writes(struct pd_disk_limits *limits);
const struct pd_samples *pd_disk_writes(const struct pd_disk_limits *limits);

/* One more sample in GB/s, of a file in pieces of 1 MiB: from the disk, and from the page cache. */
void pd_disk_measure_reads(struct pd_disk_limits *limits);
const struct pd_samples *pd_disk_reads_cold(const struct pd_disk_limits *limits);
const struct pd_samples *pd_disk_reads_warm(const struct pd_disk_limits *limits);

/* Has the page cache forget the files in a folder, so that they are read from the disk. */
void pd_disk_forget(const char *folder);

#endif
