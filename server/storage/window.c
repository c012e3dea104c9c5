/* The memory of a window is one huge page if the kernel has one: scattered over small ones, a read
 * becomes several requests. It is not larger, so that a disk which works off one request after the
 * other serves another shard while this one is busy with what it got. */
#include "server/storage/window.h"

#include <stdlib.h>
#include <string.h>

#include "server/storage/io_memory.h"

enum {
    PAGE_BYTES = PD_IO_PAGE_BYTES,
    WINDOW_BYTES = 2 * 1024 * 1024 /* of a file that has so many */
};

static uint64_t round_up(uint64_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

void pd_window_deinit(struct pd_window *window)
{
    free(window->_bytes);
}

void pd_window_open(struct pd_window *window, const struct pd_disk *disk, int file,
                    uint64_t file_bytes)
{
    window->_disk = disk;
    window->_file = file;
    window->_file_bytes = file_bytes;
    window->_offset = 0;
    window->_count = 0;
}

/* Keeps the bytes from `from` on. */
static struct pd_disk_result make_room(struct pd_window *window, size_t wanted, size_t from)
{
    size_t have = window->_count - from;
    uint8_t *bytes = window->_bytes;
    if (wanted > window->_capacity) {
        bytes = pd_io_memory_take(wanted);
        if (bytes == NULL) {
            return (struct pd_disk_result){PARAMD_NO_MEMORY, "no memory to read a file"};
        }
        window->_capacity = wanted;
    }
    if (have > 0) {
        memmove(bytes, window->_bytes + from, have);
    }
    if (bytes != window->_bytes) {
        free(window->_bytes);
        window->_bytes = bytes;
    }
    window->_offset += from;
    window->_count = have;
    return (struct pd_disk_result){PARAMD_OK, "room"};
}

/* Moves on to the page with this offset and reads what follows what is there already. */
static struct pd_disk_result move(struct pd_window *window, uint64_t offset, size_t bytes)
{
    uint64_t first = offset - offset % PAGE_BYTES;
    uint64_t rest = round_up(window->_file_bytes, PAGE_BYTES) - first;
    uint64_t end = round_up(offset + bytes, PAGE_BYTES) - first;
    size_t wanted = (size_t)(rest < WINDOW_BYTES ? rest : WINDOW_BYTES);
    wanted = end > wanted ? (size_t)end : wanted;
    bool overlaps = first >= window->_offset && first < window->_offset + window->_count;
    struct pd_disk_result result =
        make_room(window, wanted, overlaps ? (size_t)(first - window->_offset) : window->_count);
    if (result.status != PARAMD_OK) {
        return result;
    }
    window->_offset = first;
    size_t got;
    result = window->_disk->read(window->_disk->context, window->_file, first + window->_count,
                                 window->_bytes + window->_count, wanted - window->_count, &got);
    if (result.status == PARAMD_OK) {
        window->_count += got;
        if (window->_count < offset - first + bytes) {
            result = (struct pd_disk_result){PARAMD_CORRUPT, "the file is shorter than it was"};
        }
    }
    return result;
}

struct pd_disk_result pd_window_show(struct pd_window *window, uint64_t offset, size_t bytes,
                                     uint8_t **ret_bytes)
{
    struct pd_disk_result result = {PARAMD_OK, "there"};
    if (offset < window->_offset || offset + bytes > window->_offset + window->_count) {
        result = move(window, offset, bytes);
    }
    if (result.status == PARAMD_OK) {
        *ret_bytes = window->_bytes + (offset - window->_offset);
    }
    return result;
}
