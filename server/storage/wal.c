/* Two buffers: one gathers records while the other is being written, so that all that arrives
 * during one sync shares the next. A batch lies in one segment, and one is in flight at a time:
 * whoever finds a batch on disk knows that everything before it had been durable. */
#include "server/storage/wal.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/storage/io_memory.h"

struct file {
    uint64_t generation; /* 0: not used yet */
    uint64_t last_lsn;
    bool live; /* holds records that are not released */
};

struct pd_wal {
    struct pd_wal_config config;
    struct file *files;
    uint32_t file_count; /* that have been prepared */
    uint32_t current;    /* the file being filled, if generation > 0 */
    uint64_t generation;
    bool recycling;  /* that file has been used before */
    bool turning;    /* what was reserved goes to the next segment, all of it */
    uint32_t left;   /* the file filled before, of which the first batch in this one tells */
    size_t position; /* in its segment: where the batch being gathered begins */

    uint8_t *left_page;
    uint8_t *buffers[2];
    unsigned gathering; /* which of them */
    size_t gathered;    /* bytes in it */
    uint64_t batch_lsn; /* of the first record in it */

    uint64_t last_lsn;
    uint64_t durable_lsn;
    uint64_t flying_lsn; /* durable when the job is done */
    enum pd_wal_job_kind job_kind;
    bool job_out;
    bool no_space; /* the last PREPARE found none */
    bool asked;    /* and somebody has asked since */
    bool ended;
    bool failed;
};

struct pd_wal *pd_wal_create(const struct pd_wal_config *config)
{
    PD_ASSERT(config->segment_bytes % PD_WAL_PAGE_BYTES == 0);
    PD_ASSERT(config->buffer_bytes % PD_WAL_PAGE_BYTES == 0);
    PD_ASSERT(config->segment_bytes >= (size_t)4 * PD_WAL_PAGE_BYTES);
    PD_ASSERT(config->segment_bytes <= UINT32_MAX && config->segments_max > 0);
    struct pd_wal *wal = calloc(1, sizeof *wal);
    if (wal == NULL) {
        return NULL;
    }
    wal->config = *config;
    wal->files = calloc(config->segments_max, sizeof *wal->files);
    /* One page more: a full batch may still take the end record. */
    size_t bytes = config->buffer_bytes + PD_WAL_PAGE_BYTES;
    wal->buffers[0] = pd_io_memory_take(bytes);
    wal->buffers[1] = pd_io_memory_take(bytes);
    wal->left_page = aligned_alloc(PD_WAL_PAGE_BYTES, PD_WAL_PAGE_BYTES);
    if (wal->files == NULL || wal->buffers[0] == NULL || wal->buffers[1] == NULL ||
        wal->left_page == NULL) {
        pd_wal_destroy(wal);
        return NULL;
    }
    if (config->begun) {
        wal->file_count = 1;
        wal->generation = 1;
        wal->position = PD_WAL_PAGE_BYTES;
        wal->files[0] = (struct file){.generation = 1, .live = true};
    }
    return wal;
}

void pd_wal_destroy(struct pd_wal *wal)
{
    if (wal == NULL) {
        return;
    }
    free(wal->left_page);
    free(wal->buffers[1]);
    free(wal->buffers[0]);
    free(wal->files);
    free(wal);
}

/* The file to be used next: the one used longest ago, as the reader expects, or if none is free a
 * new one. file_count: there is none. */
static uint32_t free_file(const struct pd_wal *wal)
{
    uint32_t best = wal->file_count;
    uint64_t best_age = UINT64_MAX;
    for (uint32_t i = 0; i < wal->file_count; i++) {
        uint64_t generation = wal->files[i].generation;
        uint64_t age = generation > 0 ? generation : UINT64_MAX - 1;
        if (!wal->files[i].live && age < best_age) {
            best = i;
            best_age = age;
        }
    }
    return best;
}

/* Whether so many bytes go into the segment being filled. Its last page is kept for the end. */
static bool fits_segment(const struct pd_wal *wal, size_t bytes)
{
    size_t batch = pd_wal_round_up(wal->gathered + bytes, PD_WAL_PAGE_BYTES);
    return wal->generation > 0 &&
           wal->position + batch <= wal->config.segment_bytes - PD_WAL_PAGE_BYTES;
}

/* As pd_wal_reserve, for bytes with prefixes and padding. */
static enum paramd_status find_room(struct pd_wal *wal, size_t bytes)
{
    size_t pages = pd_wal_round_up(bytes, PD_WAL_PAGE_BYTES) + PD_WAL_PAGE_BYTES;
    if (pages > wal->config.buffer_bytes || pages > wal->config.segment_bytes - PD_WAL_PAGE_BYTES) {
        return PARAMD_TOO_LARGE;
    }
    if (wal->failed) {
        return PARAMD_DISK;
    }
    if (fits_segment(wal, bytes)) {
        return wal->gathered + bytes <= wal->config.buffer_bytes ? PARAMD_OK : PARAMD_BUSY;
    }
    if (wal->gathered > 0) {
        return PARAMD_BUSY;
    }
    if (free_file(wal) < wal->file_count) {
        return PARAMD_OK;
    }
    wal->asked = true;
    bool full = wal->no_space || wal->file_count == wal->config.segments_max;
    return full ? PARAMD_RESOURCE_EXHAUSTED : PARAMD_BUSY;
}

enum paramd_status pd_wal_reserve(struct pd_wal *wal, size_t records, size_t bytes)
{
    PD_ASSERT(!wal->ended);
    size_t each = PD_WAL_PREFIX_BYTES + PD_WAL_ALIGNMENT - 1;
    if (bytes > wal->config.buffer_bytes || records > wal->config.buffer_bytes / each) {
        return PARAMD_TOO_LARGE;
    }
    enum paramd_status status = find_room(wal, bytes + records * each);
    wal->turning = status == PARAMD_OK && !fits_segment(wal, bytes + records * each);
    return status;
}

/* Goes on in a file that nobody needs; the header of its new use is the first page of the batch. */
static void begin_segment(struct pd_wal *wal)
{
    wal->left = wal->current;
    wal->current = free_file(wal);
    PD_ASSERT(wal->current < wal->file_count && wal->gathered == 0);
    wal->turning = false;
    wal->generation++;
    wal->recycling = wal->files[wal->current].generation > 0;
    wal->files[wal->current].live = true;
    wal->files[wal->current].generation = wal->generation;
    wal->position = 0;
    struct pd_wal_segment segment = {
        .log_id = wal->config.log_id,
        .generation = wal->generation,
        .first_lsn = wal->last_lsn + 1,
        .segment_bytes = wal->config.segment_bytes,
        .file = wal->current,
    };
    pd_wal_segment_write(&segment, wal->buffers[wal->gathering]);
    wal->gathered = PD_WAL_PAGE_BYTES;
}

/* Counts a record of so many bytes in; returns where they go. */
static uint8_t *place_record(struct pd_wal *wal, size_t bytes)
{
    wal->last_lsn++;
    if (wal->gathered == 0 || (wal->position == 0 && wal->gathered == PD_WAL_PAGE_BYTES)) {
        wal->batch_lsn = wal->last_lsn;
    }
    wal->files[wal->current].last_lsn = wal->last_lsn;
    uint8_t *out = wal->buffers[wal->gathering] + wal->gathered;
    wal->gathered += bytes;
    return out;
}

uint64_t pd_wal_append(struct pd_wal *wal, uint16_t kind, const uint8_t *header,
                       size_t header_bytes, const struct pd_span *payload, size_t span_count,
                       uint64_t payload_sum)
{
    size_t payload_bytes = 0;
    for (size_t i = 0; i < span_count; i++) {
        payload_bytes += payload[i].bytes;
    }
    size_t bytes = pd_wal_record_bytes(header_bytes, payload_bytes);
    PD_ASSERT(kind != PD_WAL_END && !wal->ended && find_room(wal, bytes) == PARAMD_OK);
    if (wal->turning || !fits_segment(wal, bytes)) {
        begin_segment(wal);
    }
    uint8_t *out = place_record(wal, bytes);
    struct pd_wal_prefix prefix = {
        .kind = kind,
        .header_bytes = (uint32_t)header_bytes,
        .payload_bytes = (uint32_t)payload_bytes,
        .lsn = wal->last_lsn,
        .batch_lsn = wal->batch_lsn,
        .generation = wal->generation,
        .payload_sum = payload_sum,
    };
    memset(out + bytes - PD_WAL_ALIGNMENT, 0, PD_WAL_ALIGNMENT);
    pd_wal_prefix_write(&prefix, wal->config.log_id, header, out);
    out += PD_WAL_PREFIX_BYTES;
    if (header_bytes > 0) {
        memcpy(out, header, header_bytes);
        out += header_bytes;
    }
    for (size_t i = 0; i < span_count; i++) {
        memcpy(out, payload[i].data, payload[i].bytes);
        out += payload[i].bytes;
    }
    return wal->last_lsn;
}

enum paramd_status pd_wal_end(struct pd_wal *wal)
{
    PD_ASSERT(!wal->ended);
    if (wal->failed) {
        return PARAMD_DISK;
    }
    if (wal->generation == 0) {
        enum paramd_status status = find_room(wal, pd_wal_record_bytes(0, 0));
        if (status != PARAMD_OK) {
            return status;
        }
        begin_segment(wal);
    }
    size_t end = pd_wal_round_up(wal->gathered + PD_WAL_PREFIX_BYTES, PD_WAL_PAGE_BYTES);
    size_t bytes = end - wal->gathered;
    uint8_t *out = place_record(wal, bytes);
    memset(out, 0, bytes);
    pd_wal_end_write(wal->last_lsn, wal->batch_lsn, wal->generation, wal->config.log_id, out,
                     bytes);
    wal->ended = true;
    return PARAMD_OK;
}

static bool wants_file(const struct pd_wal *wal)
{
    bool unused = wal->generation > 0 && wal->last_lsn == 0;
    return !wal->ended && !unused && free_file(wal) == wal->file_count &&
           wal->file_count < wal->config.segments_max && (!wal->no_space || wal->asked);
}

bool pd_wal_take_job(struct pd_wal *wal, struct pd_wal_job *ret_job)
{
    if (wal->job_out || wal->failed) {
        return false;
    }
    /* A file takes longer than a batch: made in a pause, or before it is missed. */
    bool soon = wal->generation == 0 || wal->position > wal->config.segment_bytes / 2;
    if (wants_file(wal) && (wal->gathered == 0 || soon)) {
        *ret_job = (struct pd_wal_job){.kind = PD_WAL_PREPARE, .file = wal->file_count};
    } else if (wal->gathered > 0) {
        size_t count = pd_wal_round_up(wal->gathered, PD_WAL_PAGE_BYTES);
        uint8_t *bytes = wal->buffers[wal->gathering];
        memset(bytes + wal->gathered, 0, count - wal->gathered);
        *ret_job = (struct pd_wal_job){
            .kind = PD_WAL_WRITE,
            .file = wal->current,
            .offset = wal->position,
            .bytes = bytes,
            .count = count,
            .recycled = wal->recycling,
        };
        if (wal->position == 0 && wal->generation > 1) {
            pd_wal_left_write(wal->last_lsn + 1, wal->generation - 1, wal->config.log_id,
                              wal->left_page);
            ret_job->left = wal->left_page;
            ret_job->left_file = wal->left;
        }
        wal->position += count;
        wal->gathering ^= 1;
        wal->gathered = 0;
        wal->flying_lsn = wal->last_lsn;
    } else {
        return false;
    }
    ret_job->file_bytes = wal->config.segment_bytes;
    wal->job_kind = ret_job->kind;
    wal->job_out = true;
    return true;
}

void pd_wal_job_done(struct pd_wal *wal, enum paramd_status status)
{
    PD_ASSERT(wal->job_out);
    wal->job_out = false;
    bool prepared = wal->job_kind == PD_WAL_PREPARE;
    if (prepared && status == PARAMD_RESOURCE_EXHAUSTED) {
        wal->no_space = true;
        wal->asked = false;
    } else if (status != PARAMD_OK) {
        wal->failed = true;
    } else if (prepared) {
        wal->no_space = false;
        wal->file_count++;
    } else {
        wal->durable_lsn = wal->flying_lsn;
    }
}

void pd_wal_release(struct pd_wal *wal, uint64_t lsn)
{
    PD_ASSERT(lsn <= wal->durable_lsn);
    for (uint32_t i = 0; i < wal->file_count; i++) {
        struct file *file = &wal->files[i];
        if (file->live && i != wal->current && file->last_lsn <= lsn) {
            file->live = false;
        }
    }
}

uint64_t pd_wal_last_lsn(const struct pd_wal *wal)
{
    return wal->last_lsn;
}

uint64_t pd_wal_durable_lsn(const struct pd_wal *wal)
{
    return wal->durable_lsn;
}

uint64_t pd_wal_used_bytes(const struct pd_wal *wal)
{
    uint64_t segments = 0;
    for (uint32_t i = 0; i < wal->file_count; i++) {
        segments += wal->files[i].live;
    }
    return segments * wal->config.segment_bytes;
}
