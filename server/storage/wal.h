/* The write-ahead log of one writer (a shard, or control) as a state machine: records come in,
 * batches to be written go out as jobs, and what is durable comes back. It does no I/O: wal_files
 * does the jobs, on any thread. Formats and rules: server/storage/README.md. */
#ifndef PARAMD_SERVER_STORAGE_WAL_H
#define PARAMD_SERVER_STORAGE_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"
#include "proto/paramd_status.h"
#include "server/storage/wal_format.h"

struct pd_wal_config {
    uint64_t log_id;      /* random: no other log has it, and no client can know it */
    size_t segment_bytes; /* a multiple of the page, below 4 GiB */
    size_t buffer_bytes;  /* the same; the log takes twice as much memory */
    uint32_t segments_max;
    bool begun; /* pd_wal_begin has made its first segment */
};

enum { PD_WAL_SEGMENT_BYTES = 64 * 1024 * 1024 }; /* unless there is a reason */

enum pd_wal_job_kind {
    PD_WAL_WRITE,  /* the bytes at the offset, then sync */
    PD_WAL_PREPARE /* a new file of file_bytes, published under its name */
};

/* What is to be done on the disk, one at a time. */
struct pd_wal_job {
    enum pd_wal_job_kind kind;
    uint32_t file;
    uint64_t file_bytes;
    uint64_t offset;
    const uint8_t *bytes; /* the log's; they stay until pd_wal_job_done */
    size_t count;
    bool recycled;       /* the file has been used before */
    const uint8_t *left; /* NULL, or a page: once the bytes are synced, the last one of left_file */
    uint32_t left_file;
};

struct pd_wal;

/* A log without records, whose first is LSN 1. NULL: no memory. */
struct pd_wal *pd_wal_create(const struct pd_wal_config *config);
/* NULL is fine. */
void pd_wal_destroy(struct pd_wal *wal);

/* Whether so many records, of so many bytes of header and payload together, can be appended now;
 * holds until anything but append is called. BUSY: not before a job is done. RESOURCE_EXHAUSTED:
 * the disk is full, or segments_max are in use; asking lets it be tried again, so that it ends by
 * itself when there is space. TOO_LARGE: never. DISK: a job has failed. */
enum paramd_status pd_wal_reserve(struct pd_wal *wal, size_t records, size_t bytes)
    __attribute__((warn_unused_result));

/* Copies a record whose room was reserved; returns its LSN. kind is neither PD_WAL_END nor
 * PD_WAL_LEFT. payload_sum: XXH3_64 of the payload, as it came or by pd_payload_sum. */
uint64_t pd_wal_append(struct pd_wal *wal, uint16_t kind, const uint8_t *header,
                       size_t header_bytes, const struct pd_span *payload, size_t span_count,
                       uint64_t payload_sum);

/* Closes the log: appends the record after which there are none. Room is kept for it once there is
 * a record; before that it answers as reserve does. */
enum paramd_status pd_wal_end(struct pd_wal *wal) __attribute__((warn_unused_result));

/* The next job. False: nothing is to be done, or the last job is not done yet. To be asked after
 * whatever else was called. */
bool pd_wal_take_job(struct pd_wal *wal, struct pd_wal_job *ret_job);
/* How the job ended. After any failure but RESOURCE_EXHAUSTED of PREPARE the log takes nothing
 * more and never says that more is durable: what the disk holds is unknown, the daemon must stop.
 */
void pd_wal_job_done(struct pd_wal *wal, enum paramd_status status);

/* Nobody needs records up to this LSN (durable) any more: segments below are used again. */
void pd_wal_release(struct pd_wal *wal, uint64_t lsn);

uint64_t pd_wal_last_lsn(const struct pd_wal *wal);    /* appended; 0: none */
uint64_t pd_wal_durable_lsn(const struct pd_wal *wal); /* that and all before it are on the disk */
/* Bytes of the segments that are not released. */
uint64_t pd_wal_used_bytes(const struct pd_wal *wal);

#endif
