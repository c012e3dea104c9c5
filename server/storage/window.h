/* A window on a file of whole pages that is read from front to back, past the page cache: as large
 * as what is looked at needs, and never small. */
#ifndef PARAMD_SERVER_STORAGE_WINDOW_H
#define PARAMD_SERVER_STORAGE_WINDOW_H

#include <stddef.h>
#include <stdint.h>

#include "server/storage/disk.h"

/* Zeros are a window on nothing. */
struct pd_window {
    const struct pd_disk *_disk;
    int _file;
    uint64_t _file_bytes;
    uint8_t *_bytes;
    size_t _capacity;
    uint64_t _offset; /* in the file, of its first byte */
    size_t _count;
};

void pd_window_deinit(struct pd_window *window);

/* Opens it on this file, which stays the caller's; what was seen before is gone. */
void pd_window_open(struct pd_window *window, const struct pd_disk *disk, int file,
                    uint64_t file_bytes);

/* Bytes of the file, which stay until the next call; they are within file_bytes. To change them is
 * fine, and changes what is shown, not the file. NO_MEMORY; CORRUPT: the file is shorter; else as
 * the disk's read. */
PD_DISK_CHECKED pd_window_show(struct pd_window *window, uint64_t offset, size_t bytes,
                               uint8_t **ret_bytes);

#endif
