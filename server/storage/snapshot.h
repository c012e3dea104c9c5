/* A snapshot file being written, as a state machine: pieces come in, jobs (write this, publish it)
 * go out. It does no I/O: snapshot_files does the jobs, on any thread. Whatever fails costs this
 * snapshot and nothing else. */
#ifndef PARAMD_SERVER_STORAGE_SNAPSHOT_H
#define PARAMD_SERVER_STORAGE_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"
#include "proto/paramd_status.h"
#include "server/storage/manifest.h"
#include "server/storage/snapshot_format.h"

enum { PD_SNAPSHOT_BUFFER_BYTES = 4 * 1024 * 1024 }; /* unless there is a reason */

struct pd_snapshot_config {
    struct pd_snapshot_head head;
    size_t buffer_bytes; /* a multiple of the page, at least two; twice as much memory is taken */
};

enum pd_snapshot_job_kind {
    PD_SNAPSHOT_WRITE,   /* the bytes at the offset; at 0 the file is made */
    PD_SNAPSHOT_PUBLISH, /* sync, and give it its name */
    PD_SNAPSHOT_DISCARD  /* remove it, under either name */
};

/* What is to be done on the disk, one at a time. */
struct pd_snapshot_job {
    enum pd_snapshot_job_kind kind;
    uint64_t offset;
    const uint8_t *bytes; /* the snapshot's; they stay until pd_snapshot_job_done */
    size_t count;
};

struct pd_snapshot;

/* Without pieces. NULL: no memory. */
struct pd_snapshot *pd_snapshot_create(const struct pd_snapshot_config *config);
/* NULL is fine. No job is out. */
void pd_snapshot_destroy(struct pd_snapshot *snapshot);

/* Whether so many bytes can be appended now: of headers and payloads, and PD_SNAPSHOT_PIECE_BYTES
 * for each piece. Holds until anything but append is called. BUSY: not before a job is done.
 * NO_MEMORY: they are more than the buffer, which could not be made larger. Else it has been given
 * up, and why. */
enum paramd_status pd_snapshot_reserve(struct pd_snapshot *snapshot, size_t bytes)
    __attribute__((warn_unused_result));

/* Copies a piece whose room was reserved. kind is not PD_SNAPSHOT_END; the header is at most
 * PD_SNAPSHOT_HEADER_BYTES_MAX, the payload below 4 GiB. */
void pd_snapshot_append(struct pd_snapshot *snapshot, uint16_t kind, const uint8_t *header,
                        size_t header_bytes, const struct pd_span *payload, size_t span_count);

/* No piece follows: what is left is written, and the file published. */
void pd_snapshot_end(struct pd_snapshot *snapshot);
/* It is not wanted any more: removed, after the job that is out. */
void pd_snapshot_give_up(struct pd_snapshot *snapshot);

/* The next job. False: nothing is to be done, or the last job is not done yet. To be asked after
 * whatever else was called. */
bool pd_snapshot_take_job(struct pd_snapshot *snapshot, struct pd_snapshot_job *ret_job);
/* How the job ended. After a failure the file is removed. */
void pd_snapshot_job_done(struct pd_snapshot *snapshot, enum paramd_status status);

/* PENDING: under way, be it to its removal. OK: published; MANIFEST may name it. Else it has been
 * given up, and why (CANCELLED: pd_snapshot_give_up). */
enum paramd_status pd_snapshot_status(const struct pd_snapshot *snapshot);

/* For MANIFEST, once it is published. */
struct pd_manifest_file pd_snapshot_file(const struct pd_snapshot *snapshot);
/* Bytes gathered and written so far. */
uint64_t pd_snapshot_bytes(const struct pd_snapshot *snapshot);

#endif
