/* One shard at work, without libuv: bytes of connections in, requests to the core, effects carried
 * out, bytes to go. It knows no socket, file, clock or thread: net/ (or the simulator) moves the
 * bytes and tells the time. All calls on one host come from its shard's thread; none blocks. Times
 * are microseconds of one monotonic clock. */
#ifndef PARAMD_SERVER_HOST_H
#define PARAMD_SERVER_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/frame.h"
#include "server/core/memory.h"
#include "server/core/message.h"
#include "server/storage/snapshot.h"
#include "server/storage/wal.h"

struct pd_host;
struct pd_host_conn;
struct pd_shard;
struct pd_shard_options;

enum pd_payload_sum_mode { PD_SUM_AUTO = 0, PD_SUM_ON, PD_SUM_OFF };

struct pd_host_options {
    uint32_t shard;
    uint32_t shards;
    uint32_t connections_max; /* of this shard */
    uint64_t in_flight_max;   /* bytes of payloads that are arriving, of this shard */
    uint64_t copies_max;      /* bytes of copies for slow readers, of this shard */
    uint64_t push_ids_max;    /* bytes of push ids that are remembered, of this shard */
    uint64_t lease_us;
    uint64_t retention_us;
    enum pd_payload_sum_mode payload_sum;
    struct pd_memory memory; /* where block memory comes from */
    const char *version;     /* "paramd/0.1.0", static */
    /* NULL: nothing is recorded. The buffer has at least 64 KiB, as a segment has; one below 2 MiB
     * is too small for the largest frames, which are refused then. */
    const struct pd_wal_config *log;
    /* A shard after replay, the host's from then on (also when create fails); NULL: an empty one.
     */
    struct pd_shard *recovered;
};

/* Where bytes of one readv go; 2 spans at most. */
enum { PD_HOST_READ_SPANS = 2, PD_HOST_WRITE_SPANS = 64 };

enum paramd_status pd_host_create(const struct pd_host_options *options, struct pd_host **ret_host)
    __attribute__((warn_unused_result));
void pd_host_destroy(struct pd_host *host);

/* What a shard for such a host is made with. */
void pd_host_shard_options(const struct pd_host_options *options,
                           struct pd_shard_options *ret_options);

/* A connection arrived whose preamble asked for this shard (or any). local: from this host
 * (loopback, Unix socket). user comes back from pd_host_conn_user. NULL at the limit of connections
 * or without memory: close it. */
struct pd_host_conn *pd_host_open(struct pd_host *host, bool local, void *user, uint64_t now_us);
void *pd_host_conn_user(const struct pd_host_conn *conn);

/* The transport is gone, or the host wanted it closed and it was: conn is freed. */
void pd_host_closed(struct pd_host *host, struct pd_host_conn *conn, uint64_t now_us);

/* Where the next bytes of this connection go; valid until the next call on the host. 0: do not read
 * now. */
unsigned pd_host_read_target(struct pd_host *host, struct pd_host_conn *conn,
                             struct pd_span ret_spans[PD_HOST_READ_SPANS]);
/* So many bytes were read into the spans of the last read_target, which was of this connection. */
void pd_host_received(struct pd_host *host, struct pd_host_conn *conn, size_t bytes,
                      uint64_t now_us);

/* Whether values wait to be written. */
bool pd_host_values_wait(const struct pd_host_conn *conn);
/* What to write next; valid until the next call on the host. 0: nothing. Ask again after each
 * write: a span may have moved. */
unsigned pd_host_write_source(struct pd_host *host, struct pd_host_conn *conn,
                              struct pd_span ret_spans[PD_HOST_WRITE_SPANS]);
void pd_host_written(struct pd_host *host, struct pd_host_conn *conn, size_t bytes,
                     uint64_t now_us);

/* The connection is to be closed now: nothing is left to write. ret_reason is static text for the
 * log. */
bool pd_host_finished(const struct pd_host_conn *conn, const char **ret_reason);

/* After received, written, message, tick and closed: connections that may have something to write,
 * may be read again or are finished, each once, in order; NULL when there are no more. */
struct pd_host_conn *pd_host_next_active(struct pd_host *host);

/* A message from control; consumed. */
void pd_host_message(struct pd_host *host, struct pd_message *message, uint64_t now_us);
/* The next message to control, which the caller then owns; NULL when there is none. */
struct pd_message *pd_host_next_outgoing(struct pd_host *host);

/* Time limits, leases, memory freed in steps. Returns when to be called again at the latest. */
uint64_t pd_host_tick(struct pd_host *host, uint64_t now_us);

/* Requests that would change blocks (PUSH, PUSH_PULL, INIT, SKIP) are held from now on, each with
 * the connection it came on; all others go on. */
void pd_host_pause(struct pd_host *host);
/* They are taken. Nothing happens without a pause. */
void pd_host_resume(struct pd_host *host, uint64_t now_us);

/* Entries of pushes that were applied so far. */
uint64_t pd_host_applied_count(const struct pd_host *host);

/* No more requests are read; answers in hand go out, those that wait for the log as jobs are done.
 * True when nothing is left. */
bool pd_host_drain(struct pd_host *host);

/* ---- the log: whoever drives the host does its jobs, on any thread, one at a time ---- */

/* The next job, as pd_wal_take_job; to be asked after whatever else was called. Taking one makes
 * room: what waited for some goes on, and connections may have become active. */
bool pd_host_take_job(struct pd_host *host, struct pd_wal_job *ret_job);
/* How it ended. Answers, messages and values that waited for it may leave, and what waited for room
 * goes on. After a failure (but RESOURCE_EXHAUSTED of PREPARE) none ever does, and the daemon has
 * to stop. */
void pd_host_job_done(struct pd_host *host, enum paramd_status status, uint64_t now_us);
/* After drain returned true: the record that says that the log is whole, to be written by the next
 * job. Nothing is recorded any more. BUSY: again after that. RESOURCE_EXHAUSTED: there is no record
 * in it, and no room for one. */
enum paramd_status pd_host_end_log(struct pd_host *host) __attribute__((warn_unused_result));

/* As of the wal; 0 without a log. */
uint64_t pd_host_last_lsn(const struct pd_host *host);
uint64_t pd_host_durable_lsn(const struct pd_host *host);
uint64_t pd_host_log_bytes(const struct pd_host *host); /* of segments in use */
void pd_host_release_log(struct pd_host *host, uint64_t lsn);

/* ---- snapshots, where there is a log ---- */

/* Begins one, of all that the shard holds now; of the head the shard and the log's place are filled
 * in. One at a time. NO_MEMORY. */
enum paramd_status pd_host_begin_snapshot(struct pd_host *host, const struct pd_snapshot_head *head)
    __attribute__((warn_unused_result));
/* Copies the next slot. False: it has no room before the next job of the snapshot is done, or all
 * are copied. */
bool pd_host_copy_slot(struct pd_host *host);
/* Whether slots are left to be copied. */
bool pd_host_copies(const struct pd_host *host);
/* Bytes of the snapshot so far, or of the last, and of all models' memory: it has hardly more. */
uint64_t pd_host_snapshot_bytes(const struct pd_host *host);
uint64_t pd_host_memory_bytes(const struct pd_host *host);
/* Without a snapshot nothing. */
void pd_host_give_up_snapshot(struct pd_host *host);

/* Its jobs, on any thread, one at a time; as pd_snapshot_take_job, to be asked after each call. */
bool pd_host_take_snapshot_job(struct pd_host *host, struct pd_snapshot_job *ret_job);
void pd_host_snapshot_job_done(struct pd_host *host, enum paramd_status status);

/* PENDING: ask again after a job of the snapshot's or the log's. Otherwise it is over: OK, the file
 * is published and MANIFEST may name it; else it is removed, and why. */
enum paramd_status pd_host_end_snapshot(struct pd_host *host, struct pd_manifest_file *ret_file)
    __attribute__((warn_unused_result));

#endif
