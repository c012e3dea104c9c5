/* A disk with the few small files of one log, in their places by number: cheap enough to be filled
 * for each input. */
#ifndef PARAMD_TESTS_FUZZ_LOG_DISK_H
#define PARAMD_TESTS_FUZZ_LOG_DISK_H

#include <stdbool.h>

#include "server/storage/disk.h"
#include "server/storage/wal_format.h"

enum { PD_LOG_DISK_FILES = 4, PD_LOG_DISK_FILE_BYTES = 4 * PD_WAL_PAGE_BYTES };

#define PD_LOG_DISK_LOG "wal" /* its name */

struct pd_log_disk {
    struct {
        bool there;
        unsigned openers;
        size_t count;
        uint8_t bytes[PD_LOG_DISK_FILE_BYTES];
    } files[PD_LOG_DISK_FILES];
};

/* Borrowed. It opens files that are there, lists, reads, writes and syncs; all else is NULL. What
 * a reader of a log never does ends the process: a file that is not there or not open, a write
 * that leaves a gap or does not fit. */
struct pd_disk pd_log_disk_of(struct pd_log_disk *disk);

#endif
