/* Segment headers and record prefixes. The sums begin from the log's id, which no client knows, so
 * that no payload can hold bytes that pass for a record, and no other log's bytes do. */
#include "server/storage/wal_format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/plant.h"
#include "server/storage/little_endian.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define SEGMENT_MAGIC UINT64_C(0x474553574c444d50) /* "PMDLWSEG" on disk */
#define RECORD_MAGIC UINT32_C(0x5257444d)          /* "MDWR" on disk */

/* Where the fields are. */
enum {
    SEGMENT_FORMAT = 8,
    SEGMENT_FILE = 12,
    SEGMENT_LOG_ID = 16,
    SEGMENT_GENERATION = 24,
    SEGMENT_FIRST_LSN = 32,
    SEGMENT_BYTES = 40,
    SEGMENT_SUM = PD_WAL_PAGE_BYTES - 8,

    PREFIX_KIND = 4,
    PREFIX_RESERVED = 6,
    PREFIX_HEADER_BYTES = 8,
    PREFIX_PAYLOAD_BYTES = 12,
    PREFIX_LSN = 16,
    PREFIX_BATCH_LSN = 24,
    PREFIX_GENERATION = 32,
    PREFIX_PAYLOAD_SUM = 40,
    PREFIX_SUM = 48
};

void pd_wal_segment_write(const struct pd_wal_segment *segment, uint8_t out[PD_WAL_PAGE_BYTES])
{
    memset(out, 0, PD_WAL_PAGE_BYTES);
    pd_store(out, SEGMENT_MAGIC, 8);
    pd_store(out + SEGMENT_FORMAT, PD_WAL_FORMAT, 4);
    pd_store(out + SEGMENT_FILE, segment->file, 4);
    pd_store(out + SEGMENT_LOG_ID, segment->log_id, 8);
    pd_store(out + SEGMENT_GENERATION, segment->generation, 8);
    pd_store(out + SEGMENT_FIRST_LSN, segment->first_lsn, 8);
    pd_store(out + SEGMENT_BYTES, segment->segment_bytes, 8);
    pd_store(out + SEGMENT_SUM, XXH3_64bits(out, SEGMENT_SUM), 8);
}

enum paramd_status pd_wal_segment_read(const uint8_t in[PD_WAL_PAGE_BYTES],
                                       struct pd_wal_segment *ret_segment)
{
    static const uint8_t zeros[PD_WAL_PAGE_BYTES];
    if (memcmp(in, zeros, PD_WAL_PAGE_BYTES) == 0) {
        return PARAMD_NOT_FOUND;
    }
    if (pd_load(in, 8) != SEGMENT_MAGIC) {
        return PARAMD_CORRUPT;
    }
    /* Before the sum: only magic and format stay where they are in every format. */
    if (pd_load(in + SEGMENT_FORMAT, 4) > PD_WAL_FORMAT) {
        return PARAMD_VERSION;
    }
    /* Both count from 1; the reader takes 1 from an LSN. */
    bool counted =
        pd_load(in + SEGMENT_GENERATION, 8) != 0 && pd_load(in + SEGMENT_FIRST_LSN, 8) != 0;
    if (!counted || pd_load(in + SEGMENT_SUM, 8) != XXH3_64bits(in, SEGMENT_SUM)) {
        return PARAMD_CORRUPT;
    }
    *ret_segment = (struct pd_wal_segment){
        .log_id = pd_load(in + SEGMENT_LOG_ID, 8),
        .generation = pd_load(in + SEGMENT_GENERATION, 8),
        .first_lsn = pd_load(in + SEGMENT_FIRST_LSN, 8),
        .segment_bytes = pd_load(in + SEGMENT_BYTES, 8),
        .file = (uint32_t)pd_load(in + SEGMENT_FILE, 4),
        .format = (uint32_t)pd_load(in + SEGMENT_FORMAT, 4),
    };
    return PARAMD_OK;
}

/* Over the prefix up to its own sum, then the header. */
static uint64_t header_sum(const uint8_t *prefix, const uint8_t *header, size_t header_bytes,
                           uint64_t log_id)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset_withSeed(&state, log_id);
    (void)XXH3_64bits_update(&state, prefix, PREFIX_SUM);
    (void)XXH3_64bits_update(&state, header, header_bytes);
    return XXH3_64bits_digest(&state);
}

void pd_wal_prefix_write(const struct pd_wal_prefix *prefix, uint64_t log_id, const uint8_t *header,
                         uint8_t out[PD_WAL_PREFIX_BYTES])
{
    pd_store(out, RECORD_MAGIC, 4);
    pd_store(out + PREFIX_KIND, prefix->kind, 2);
    pd_store(out + PREFIX_RESERVED, 0, 2);
    pd_store(out + PREFIX_HEADER_BYTES, prefix->header_bytes, 4);
    pd_store(out + PREFIX_PAYLOAD_BYTES, prefix->payload_bytes, 4);
    pd_store(out + PREFIX_LSN, prefix->lsn, 8);
    pd_store(out + PREFIX_BATCH_LSN, prefix->batch_lsn, 8);
    pd_store(out + PREFIX_GENERATION, prefix->generation, 8);
    pd_store(out + PREFIX_PAYLOAD_SUM, prefix->payload_sum, 8);
    pd_store(out + PREFIX_SUM, header_sum(out, header, prefix->header_bytes, log_id), 8);
}

/* The payload, which is there already, takes the rest of the bytes. */
static void write_filled(struct pd_wal_prefix prefix, uint64_t log_id, uint8_t *out, size_t bytes)
{
    struct pd_span payload = {out + PD_WAL_PREFIX_BYTES, bytes - PD_WAL_PREFIX_BYTES};
    prefix.payload_bytes = (uint32_t)payload.bytes;
    prefix.payload_sum = pd_payload_sum(&payload, 1);
    pd_wal_prefix_write(&prefix, log_id, payload.data, out);
}

void pd_wal_end_write(uint64_t lsn, uint64_t batch_lsn, uint64_t generation, uint64_t log_id,
                      uint8_t *out, size_t bytes)
{
    struct pd_wal_prefix prefix = {
        .kind = PD_WAL_END, .lsn = lsn, .batch_lsn = batch_lsn, .generation = generation};
    write_filled(prefix, log_id, out, bytes);
}

void pd_wal_left_write(uint64_t lsn, uint64_t generation, uint64_t log_id,
                       uint8_t out[PD_WAL_PAGE_BYTES])
{
    struct pd_wal_prefix prefix = {
        .kind = PD_WAL_LEFT, .lsn = lsn, .batch_lsn = lsn, .generation = generation};
    memset(out, 0, PD_WAL_PAGE_BYTES);
    write_filled(prefix, log_id, out, PD_WAL_PAGE_BYTES);
}

bool pd_wal_left_read(const uint8_t in[PD_WAL_PAGE_BYTES], uint64_t generation, uint64_t log_id,
                      uint64_t *ret_lsn)
{
    uint8_t page[PD_WAL_PAGE_BYTES];
    *ret_lsn = pd_load(in + PREFIX_LSN, 8);
    pd_wal_left_write(*ret_lsn, generation, log_id, page);
    return memcmp(in, page, sizeof page) == 0;
}

bool pd_wal_magic_there(const uint8_t *in)
{
    return pd_load(in, 4) == RECORD_MAGIC;
}

void pd_wal_prefix_read(const uint8_t in[PD_WAL_PREFIX_BYTES], struct pd_wal_prefix *ret_prefix)
{
    *ret_prefix = (struct pd_wal_prefix){
        .kind = (uint16_t)pd_load(in + PREFIX_KIND, 2),
        .header_bytes = (uint32_t)pd_load(in + PREFIX_HEADER_BYTES, 4),
        .payload_bytes = (uint32_t)pd_load(in + PREFIX_PAYLOAD_BYTES, 4),
        .lsn = pd_load(in + PREFIX_LSN, 8),
        .batch_lsn = pd_load(in + PREFIX_BATCH_LSN, 8),
        .generation = pd_load(in + PREFIX_GENERATION, 8),
        .payload_sum = pd_load(in + PREFIX_PAYLOAD_SUM, 8),
    };
}

bool pd_wal_header_good(const uint8_t *prefix_and_header, uint32_t header_bytes, uint64_t log_id)
{
    uint64_t sum = header_sum(prefix_and_header, prefix_and_header + PD_WAL_PREFIX_BYTES,
                              header_bytes, log_id);
    return pd_load(prefix_and_header + PREFIX_SUM, 8) == sum || pd_plant(no_record_sum);
}

void pd_wal_file_name(const char *log, uint32_t file, char ret_name[PD_DISK_NAME_BYTES])
{
    (void)snprintf(ret_name, PD_DISK_NAME_BYTES, "%.*s.%05u", PD_WAL_LOG_NAME_BYTES - 1, log,
                   (unsigned)file);
}

bool pd_wal_file_number(const char *log, const char *name, uint32_t *ret_file)
{
    size_t log_bytes = strlen(log);
    if (strncmp(name, log, log_bytes) != 0 || name[log_bytes] != '.') {
        return false;
    }
    uint32_t file = 0;
    for (const char *digit = name + log_bytes + 1; *digit >= '0' && *digit <= '9'; digit++) {
        file = file * 10 + (uint32_t)(*digit - '0');
    }
    /* Only the one way of writing it. */
    char again[PD_DISK_NAME_BYTES];
    pd_wal_file_name(log, file, again);
    *ret_file = file;
    return strcmp(name, again) == 0;
}
