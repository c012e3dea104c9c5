/* The control core at work, with its log if there is one: messages of shards in, what control has
 * decided out, when the log has it. As host.h is for a shard: no thread, socket, file or clock. */
#ifndef PARAMD_SERVER_CONTROL_HOST_H
#define PARAMD_SERVER_CONTROL_HOST_H

#include "server/core/control.h"
#include "server/storage/wal.h"

struct pd_control_host;

struct pd_control_host_options {
    struct pd_control *control; /* the host's from then on, also when create fails */
    /* NULL: none; otherwise the control's option `records` is set. The buffer has at least 64 KiB,
     * as a segment has; a model whose definition (16 MiB at most) does not fit into it together
     * with 64 KiB of group hyper-parameters and 64 KiB more cannot be created. */
    const struct pd_wal_config *log;
};

enum paramd_status pd_control_host_create(const struct pd_control_host_options *options,
                                          struct pd_control_host **ret_host)
    __attribute__((warn_unused_result));
/* NULL is fine. */
void pd_control_host_destroy(struct pd_control_host *host);

/* Once, where there is a log, before the first step: pd_control_recovered. What it tells the shards
 * waits until all its records are durable; so do all messages that come meanwhile. */
enum paramd_status pd_control_host_recovered(struct pd_control_host *host, bool clean,
                                             uint64_t now_us) __attribute__((warn_unused_result));

/* A message from a shard (consumed), or NULL: time has passed. It waits while the log has room only
 * after its next job; shards ask for few things at a time (PD_CONTROL_REQUESTS_MAX for each of
 * their connections), which bounds what waits. */
void pd_control_host_step(struct pd_control_host *host, struct pd_message *message,
                          uint64_t now_us);

/* What may leave now, in order, each for its `shard`; the caller's. NULL: no more. */
struct pd_message *pd_control_host_next_message(struct pd_control_host *host);
/* To be logged and freed by the caller. */
struct pd_note *pd_control_host_next_note(struct pd_control_host *host);

/* The log's jobs, as host.h has them. */
bool pd_control_host_take_job(struct pd_control_host *host, struct pd_wal_job *ret_job);
void pd_control_host_job_done(struct pd_control_host *host, enum paramd_status status,
                              uint64_t now_us);
uint64_t pd_control_host_durable_lsn(const struct pd_control_host *host);
/* Once idle. BUSY: again after the next job. Nothing is decided any more: messages are dropped. */
enum paramd_status pd_control_host_end_log(struct pd_control_host *host)
    __attribute__((warn_unused_result));

/* Snapshots, as control.h has them: what is wanted, and what those who asked are told. */
bool pd_control_host_wants_snapshot(const struct pd_control_host *host, bool *ret_pause);
void pd_control_host_snapshot_begun(struct pd_control_host *host, bool pause);
void pd_control_host_snapshot_done(struct pd_control_host *host,
                                   const struct pd_snapshot_result *result, uint64_t now_us);
void pd_control_host_end_snapshots(struct pd_control_host *host);

/* Nothing is queued, and nothing waits for the log. */
bool pd_control_host_idle(const struct pd_control_host *host);
/* For questions between two steps. */
struct pd_control *pd_control_host_control(struct pd_control_host *host);

#endif
