/* The bytes of a log on disk: segment header and record prefix, written and checked. Layout and
 * rules: server/storage/README.md. No I/O. */
#ifndef PARAMD_SERVER_STORAGE_WAL_FORMAT_H
#define PARAMD_SERVER_STORAGE_WAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/paramd_status.h"
#include "server/storage/disk.h"

enum {
    PD_WAL_FORMAT = 2,
    PD_WAL_PAGE_BYTES = 4096, /* batches begin at multiples of it; the segment header has one */
    PD_WAL_PREFIX_BYTES = 56,
    PD_WAL_ALIGNMENT = 8, /* of a record within its batch */
    PD_WAL_END = 0,       /* the kind of the last record of a log that was closed whole */
    PD_WAL_LEFT = 0xffff, /* of what stands in the last page of a segment that others follow */
    PD_WAL_LOG_NAME_BYTES = PD_DISK_NAME_BYTES - 16 /* of a log's name, its end included */
};

/* What the first page of a segment says. */
struct pd_wal_segment {
    uint64_t log_id;
    uint64_t generation; /* 1 for the first segment of a log, then 2, 3, ... in the order of use */
    uint64_t first_lsn;
    uint64_t segment_bytes;
    uint32_t file;   /* the number in the file's name */
    uint32_t format; /* as it was read */
};

/* What stands before each record's header and payload. */
struct pd_wal_prefix {
    uint16_t kind;
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint64_t lsn;
    uint64_t batch_lsn;  /* of the first record of its batch: all before that were durable when this
                            one was written */
    uint64_t generation; /* of its segment */
    uint64_t payload_sum;
};

static inline size_t pd_wal_round_up(size_t bytes, size_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

/* Bytes of a record with its padding. */
static inline size_t pd_wal_record_bytes(size_t header_bytes, size_t payload_bytes)
{
    return pd_wal_round_up(PD_WAL_PREFIX_BYTES + header_bytes + payload_bytes, PD_WAL_ALIGNMENT);
}

void pd_wal_segment_write(const struct pd_wal_segment *segment, uint8_t out[PD_WAL_PAGE_BYTES]);

/* PARAMD_OK; NOT_FOUND: all zeros, never used; VERSION: of a newer format; CORRUPT. */
enum paramd_status pd_wal_segment_read(const uint8_t in[PD_WAL_PAGE_BYTES],
                                       struct pd_wal_segment *ret_segment)
    __attribute__((warn_unused_result));

/* Writes the prefix; the header follows it in memory. */
void pd_wal_prefix_write(const struct pd_wal_prefix *prefix, uint64_t log_id, const uint8_t *header,
                         uint8_t out[PD_WAL_PREFIX_BYTES]);

/* Writes the end record; its payload, zeros which are there already, takes all of the bytes, so
 * that nothing in its last page is unchecked. */
void pd_wal_end_write(uint64_t lsn, uint64_t batch_lsn, uint64_t generation, uint64_t log_id,
                      uint8_t *out, size_t bytes);

/* Writes the last page of a segment that the log has left: all before this LSN, records of the next
 * segment among them, are durable. */
void pd_wal_left_write(uint64_t lsn, uint64_t generation, uint64_t log_id,
                       uint8_t out[PD_WAL_PAGE_BYTES]);
/* Whether the page is one that was written so, and with which LSN. */
bool pd_wal_left_read(const uint8_t in[PD_WAL_PAGE_BYTES], uint64_t generation, uint64_t log_id,
                      uint64_t *ret_lsn);

/* Whether a record may begin with these four bytes. */
bool pd_wal_magic_there(const uint8_t *in);
/* Reads the rest of a prefix without believing it. */
void pd_wal_prefix_read(const uint8_t in[PD_WAL_PREFIX_BYTES], struct pd_wal_prefix *ret_prefix);

/* Whether prefix and header are what was written: bytes of both, as pd_wal_prefix_read told. */
bool pd_wal_header_good(const uint8_t *prefix_and_header, uint32_t header_bytes, uint64_t log_id);

/* The name of a segment's file: the log's name, a dot and the number. */
void pd_wal_file_name(const char *log, uint32_t file, char ret_name[PD_DISK_NAME_BYTES]);
/* The number in a name; false if it is none of that log's. */
bool pd_wal_file_number(const char *log, const char *name, uint32_t *ret_file);

#endif
