/* Two buffers: one is filled while the other is being written. Only whole pages are written, each
 * once; what is left of a buffer goes to the front of the other. */
#include "server/storage/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/storage/io_memory.h"
#include "server/storage/little_endian.h"

enum { END_BYTES = PD_SNAPSHOT_PREFIX_BYTES + PD_SNAPSHOT_END_HEADER_BYTES };

/*
 *   GATHERING --end--> ENDING --all written--> PUBLISHING --done--> PUBLISHED
 *        |                |                        |
 *        +----------------+---- failure, give_up --+--> GIVEN_UP --removed--> GONE
 */
enum state { GATHERING, ENDING, PUBLISHING, PUBLISHED, GIVEN_UP, GONE };

struct buffer {
    uint8_t *bytes;
    size_t capacity; /* beside a page for the end */
};

struct pd_snapshot {
    struct pd_snapshot_head head;
    struct buffer buffers[2];
    unsigned gathering; /* which of them */
    size_t gathered;    /* bytes in it */
    uint64_t offset;    /* of its first byte in the file */
    uint64_t serial;    /* of the last piece */
    uint64_t sum;       /* and the sum of it */
    enum state state;
    enum paramd_status failure; /* why it was given up */
    enum pd_snapshot_job_kind job_kind;
    bool job_out;
    bool full; /* somebody waits for room */
};

static size_t round_up(size_t bytes)
{
    return (bytes + PD_SNAPSHOT_PAGE_BYTES - 1) / PD_SNAPSHOT_PAGE_BYTES * PD_SNAPSHOT_PAGE_BYTES;
}

/* Gives the buffer room for so many bytes, and keeps the first `kept`. */
static bool resize(struct buffer *buffer, size_t capacity, size_t kept)
{
    capacity = round_up(capacity);
    uint8_t *bytes = pd_io_memory_take(capacity + PD_SNAPSHOT_PAGE_BYTES);
    if (bytes == NULL) {
        return false;
    }
    if (kept > 0) {
        memcpy(bytes, buffer->bytes, kept);
    }
    free(buffer->bytes);
    buffer->bytes = bytes;
    buffer->capacity = capacity;
    return true;
}

struct pd_snapshot *pd_snapshot_create(const struct pd_snapshot_config *config)
{
    PD_ASSERT(config->buffer_bytes % PD_SNAPSHOT_PAGE_BYTES == 0);
    PD_ASSERT(config->buffer_bytes >= (size_t)2 * PD_SNAPSHOT_PAGE_BYTES);
    struct pd_snapshot *snapshot = calloc(1, sizeof *snapshot);
    if (snapshot == NULL || !resize(&snapshot->buffers[0], config->buffer_bytes, 0) ||
        !resize(&snapshot->buffers[1], config->buffer_bytes, 0)) {
        pd_snapshot_destroy(snapshot);
        return NULL;
    }
    snapshot->head = config->head;
    snapshot->sum = pd_snapshot_head_write(&config->head, snapshot->buffers[0].bytes);
    snapshot->gathered = PD_SNAPSHOT_PAGE_BYTES;
    return snapshot;
}

void pd_snapshot_destroy(struct pd_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    PD_ASSERT(!snapshot->job_out);
    free(snapshot->buffers[1].bytes);
    free(snapshot->buffers[0].bytes);
    free(snapshot);
}

enum paramd_status pd_snapshot_reserve(struct pd_snapshot *snapshot, size_t bytes)
{
    if (snapshot->state == GIVEN_UP || snapshot->state == GONE) {
        return snapshot->failure;
    }
    PD_ASSERT(snapshot->state == GATHERING);
    struct buffer *buffer = &snapshot->buffers[snapshot->gathering];
    if (bytes <= buffer->capacity - snapshot->gathered) {
        return PARAMD_OK;
    }
    if (snapshot->gathered >= PD_SNAPSHOT_PAGE_BYTES) {
        snapshot->full = true;
        return PARAMD_BUSY;
    }
    bool grown =
        bytes <= SIZE_MAX / 2 && resize(buffer, snapshot->gathered + bytes, snapshot->gathered);
    return grown ? PARAMD_OK : PARAMD_NO_MEMORY;
}

/* Puts header and payload behind the place of the prefix, zeros behind them. */
static void append(struct pd_snapshot *snapshot, uint16_t kind, const uint8_t *header,
                   size_t header_bytes, const struct pd_span *payload, size_t span_count)
{
    uint8_t *out = snapshot->buffers[snapshot->gathering].bytes + snapshot->gathered;
    uint8_t *at = out + PD_SNAPSHOT_PREFIX_BYTES;
    if (header_bytes > 0) {
        memcpy(at, header, header_bytes);
        at += header_bytes;
    }
    struct pd_span copy = {at, 0};
    for (size_t i = 0; i < span_count; i++) {
        if (payload[i].bytes > 0) {
            memcpy(copy.data + copy.bytes, payload[i].data, payload[i].bytes);
            copy.bytes += payload[i].bytes;
        }
    }
    size_t bytes = pd_snapshot_piece_bytes(header_bytes, copy.bytes);
    memset(copy.data + copy.bytes, 0, (size_t)(out + bytes - (copy.data + copy.bytes)));
    struct pd_snapshot_prefix prefix = {
        .kind = kind,
        .header_bytes = (uint32_t)header_bytes,
        .payload_bytes = (uint32_t)copy.bytes,
        .serial = ++snapshot->serial,
        .payload_sum = pd_payload_sum(&copy, 1),
    };
    snapshot->sum = pd_snapshot_prefix_write(&prefix, snapshot->sum, out);
    snapshot->gathered += bytes;
}

void pd_snapshot_append(struct pd_snapshot *snapshot, uint16_t kind, const uint8_t *header,
                        size_t header_bytes, const struct pd_span *payload, size_t span_count)
{
    size_t payload_bytes = 0;
    for (size_t i = 0; i < span_count; i++) {
        payload_bytes += payload[i].bytes;
    }
    PD_ASSERT(kind != PD_SNAPSHOT_END && snapshot->state == GATHERING);
    PD_ASSERT(header_bytes <= PD_SNAPSHOT_HEADER_BYTES_MAX && payload_bytes <= UINT32_MAX);
    PD_ASSERT(pd_snapshot_piece_bytes(header_bytes, payload_bytes) <=
              snapshot->buffers[snapshot->gathering].capacity - snapshot->gathered);
    append(snapshot, kind, header, header_bytes, payload, span_count);
}

void pd_snapshot_end(struct pd_snapshot *snapshot)
{
    if (snapshot->state != GATHERING) {
        return; /* given up */
    }
    uint8_t header[PD_SNAPSHOT_END_HEADER_BYTES];
    size_t bytes = round_up(snapshot->gathered + END_BYTES);
    pd_store(header, snapshot->serial, 8);
    pd_store(header + 8, snapshot->offset + bytes, 8);
    append(snapshot, PD_SNAPSHOT_END, header, sizeof header, NULL, 0);
    uint8_t *out = snapshot->buffers[snapshot->gathering].bytes;
    memset(out + snapshot->gathered, 0, bytes - snapshot->gathered);
    snapshot->gathered = bytes;
    snapshot->state = ENDING;
}

static void fail(struct pd_snapshot *snapshot, enum paramd_status status)
{
    snapshot->failure = status;
    snapshot->state = GIVEN_UP;
}

void pd_snapshot_give_up(struct pd_snapshot *snapshot)
{
    if (snapshot->state <= PUBLISHING) {
        fail(snapshot, PARAMD_CANCELLED);
    }
}

/* All whole pages that were gathered; the next buffer begins with the rest. */
static void take_write(struct pd_snapshot *snapshot, struct pd_snapshot_job *ret_job)
{
    uint8_t *bytes = snapshot->buffers[snapshot->gathering].bytes;
    size_t rest = snapshot->gathered % PD_SNAPSHOT_PAGE_BYTES;
    size_t count = snapshot->gathered - rest;
    *ret_job = (struct pd_snapshot_job){
        .kind = PD_SNAPSHOT_WRITE, .offset = snapshot->offset, .bytes = bytes, .count = count};
    snapshot->gathering ^= 1;
    memcpy(snapshot->buffers[snapshot->gathering].bytes, bytes + count, rest);
    snapshot->gathered = rest;
    snapshot->offset += count;
    snapshot->full = false;
}

bool pd_snapshot_take_job(struct pd_snapshot *snapshot, struct pd_snapshot_job *ret_job)
{
    if (snapshot->job_out) {
        return false;
    }
    bool ending = snapshot->state == ENDING;
    if (snapshot->state == GIVEN_UP) {
        *ret_job = (struct pd_snapshot_job){.kind = PD_SNAPSHOT_DISCARD};
    } else if (snapshot->gathered > 0 &&
               (ending || (snapshot->state == GATHERING && snapshot->full))) {
        take_write(snapshot, ret_job);
    } else if (ending) {
        *ret_job = (struct pd_snapshot_job){.kind = PD_SNAPSHOT_PUBLISH};
        snapshot->state = PUBLISHING;
    } else {
        return false;
    }
    snapshot->job_kind = ret_job->kind;
    snapshot->job_out = true;
    return true;
}

void pd_snapshot_job_done(struct pd_snapshot *snapshot, enum paramd_status status)
{
    PD_ASSERT(snapshot->job_out);
    snapshot->job_out = false;
    if (snapshot->job_kind == PD_SNAPSHOT_DISCARD) {
        snapshot->state = GONE; /* if not quite, a sweep finds it */
    } else if (snapshot->state == GIVEN_UP) {
        return;
    } else if (status != PARAMD_OK) {
        fail(snapshot, status);
    } else if (snapshot->job_kind == PD_SNAPSHOT_PUBLISH) {
        snapshot->state = PUBLISHED;
    }
}

enum paramd_status pd_snapshot_status(const struct pd_snapshot *snapshot)
{
    return snapshot->state == PUBLISHED ? PARAMD_OK
           : snapshot->state == GONE    ? snapshot->failure
                                        : PARAMD_PENDING;
}

struct pd_manifest_file pd_snapshot_file(const struct pd_snapshot *snapshot)
{
    PD_ASSERT(snapshot->state == PUBLISHED);
    return (struct pd_manifest_file){snapshot->offset, snapshot->sum, snapshot->head.start_lsn};
}

uint64_t pd_snapshot_bytes(const struct pd_snapshot *snapshot)
{
    return snapshot->offset + snapshot->gathered;
}
