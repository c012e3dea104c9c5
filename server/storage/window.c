/* Two pieces of memory: one is shown, and once a file is read from front to back the disk fills the
 * other meanwhile. What is left of the first then goes in front of the second. The memory of one
 * read is one huge page if the kernel has one: scattered over small ones it becomes several
 * requests. It is not larger, so that a disk which works off one request after the other serves
 * another shard while this one is busy with what it got. */
#include "server/storage/window.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/storage/io_memory.h"

enum {
    PAGE_BYTES = PD_IO_PAGE_BYTES,
    WINDOW_BYTES = 2 * 1024 * 1024, /* of a file that has so many */
    FRONT_BYTES = WINDOW_BYTES /* before what is read ahead: what is left has its place there */
};

static uint64_t round_up(uint64_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

void pd_window_close(struct pd_window *window)
{
    if (window->_reading != NULL) {
        size_t got;
        /* Nobody wants it any more. */
        struct pd_disk_result ignored =
            window->_disk->end_read(window->_disk->context, window->_reading, &got);
        (void)ignored;
        window->_reading = NULL;
    }
}

void pd_window_deinit(struct pd_window *window)
{
    pd_window_close(window);
    free(window->_ahead);
    free(window->_memory);
}

void pd_window_open(struct pd_window *window, const struct pd_disk *disk, int file,
                    uint64_t file_bytes)
{
    PD_ASSERT(window->_reading == NULL);
    window->_disk = disk;
    window->_file = file;
    window->_file_bytes = file_bytes;
    window->_bytes = window->_memory;
    window->_offset = 0;
    window->_count = 0;
}

/* Keeps the last `kept` bytes, in front. */
static struct pd_disk_result make_room(struct pd_window *window, size_t wanted, size_t kept)
{
    uint8_t *memory = window->_memory;
    if (wanted > window->_capacity) {
        memory = pd_io_memory_take(wanted);
        if (memory == NULL) {
            return (struct pd_disk_result){PARAMD_NO_MEMORY, "no memory to read a file"};
        }
        window->_capacity = wanted;
    }
    if (kept > 0) {
        memmove(memory, window->_bytes + (window->_count - kept), kept);
    }
    if (memory != window->_memory) {
        free(window->_memory);
    }
    window->_memory = window->_bytes = memory;
    window->_offset += window->_count - kept;
    window->_count = kept;
    return (struct pd_disk_result){PARAMD_OK, "room"};
}

/* Goes over to what was read ahead, and keeps the last `kept` bytes in front of it. Where that is
 * of no use it is only waited for. */
static void turn(struct pd_window *window, size_t kept)
{
    size_t got = 0;
    if (window->_reading == NULL) {
        return;
    }
    struct pd_disk_result result =
        window->_disk->end_read(window->_disk->context, window->_reading, &got);
    window->_reading = NULL;
    if (result.status != PARAMD_OK || got != window->_ahead_count || kept > FRONT_BYTES) {
        return; /* the same is read again, and then told */
    }
    uint8_t *memory = window->_ahead;
    uint8_t *bytes = memory + FRONT_BYTES - kept;
    if (kept > 0) {
        memcpy(bytes, window->_bytes + (window->_count - kept), kept);
    }
    size_t capacity = window->_ahead_capacity;
    window->_ahead = window->_memory;
    window->_ahead_capacity = window->_capacity;
    window->_memory = memory;
    window->_capacity = capacity;
    window->_bytes = bytes;
    window->_offset += window->_count - kept;
    window->_count = kept + got;
}

/* Has the disk read what follows; without that nothing is missing but time. */
static void read_ahead(struct pd_window *window)
{
    uint64_t end = window->_offset + window->_count;
    uint64_t rest = round_up(window->_file_bytes, PAGE_BYTES) - end;
    if (window->_disk->begin_read == NULL || rest == 0 || end % PAGE_BYTES != 0) {
        return;
    }
    if (window->_ahead_capacity < FRONT_BYTES + WINDOW_BYTES) {
        free(window->_ahead);
        window->_ahead = pd_io_memory_take(FRONT_BYTES + WINDOW_BYTES);
        window->_ahead_capacity = window->_ahead != NULL ? FRONT_BYTES + WINDOW_BYTES : 0;
    }
    if (window->_ahead != NULL) {
        window->_ahead_count = (size_t)(rest < WINDOW_BYTES ? rest : WINDOW_BYTES);
        window->_reading =
            window->_disk->begin_read(window->_disk->context, window->_file, end,
                                      window->_ahead + FRONT_BYTES, window->_ahead_count);
    }
}

/* Reads so much behind what is there that it reaches to end, and goes on for a whole window. */
static struct pd_disk_result read_on(struct pd_window *window, uint64_t end, size_t kept)
{
    uint64_t first = window->_offset + window->_count - kept;
    uint64_t rest = round_up(window->_file_bytes, PAGE_BYTES) - first;
    uint64_t needed = round_up(end, PAGE_BYTES) - first;
    size_t wanted = (size_t)(rest < WINDOW_BYTES ? rest : WINDOW_BYTES);
    wanted = needed > wanted ? (size_t)needed : wanted;
    struct pd_disk_result result = make_room(window, wanted, kept);
    size_t got = 0;
    if (result.status == PARAMD_OK) {
        result = window->_disk->read(window->_disk->context, window->_file, first + kept,
                                     window->_bytes + kept, wanted - kept, &got);
        window->_count += result.status == PARAMD_OK ? got : 0;
    }
    return result;
}

/* Moves on to the page with this offset. */
static struct pd_disk_result move(struct pd_window *window, uint64_t offset, size_t bytes)
{
    uint64_t first = offset - offset % PAGE_BYTES;
    uint64_t end = window->_offset + window->_count;
    bool goes_on = window->_count > 0 && first >= window->_offset && first <= end;
    struct pd_disk_result result = {PARAMD_OK, "there"};
    if (goes_on) {
        turn(window, (size_t)(end - first));
    } else {
        pd_window_close(window);
        window->_offset = first;
        window->_count = 0;
    }
    if (offset + bytes > window->_offset + window->_count) {
        size_t kept = (size_t)(window->_offset + window->_count - first);
        result = read_on(window, offset + bytes, kept);
    }
    if (result.status == PARAMD_OK && offset + bytes > window->_offset + window->_count) {
        result = (struct pd_disk_result){PARAMD_CORRUPT, "the file is shorter than it was"};
    }
    if (result.status == PARAMD_OK && goes_on) {
        read_ahead(window);
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
