/* A log as its host sees it, a shard's or control's: records go in, and messages stay until what
 * they speak of is durable. No thread and no file: whoever drives the host does the jobs. */
#ifndef PARAMD_SERVER_HOST_LOG_H
#define PARAMD_SERVER_HOST_LOG_H

#include "server/core/message.h"
#include "server/core/record.h"
#include "server/storage/wal.h"

/* What somebody waits for: nothing, the batch that is being written, or the one behind it, which is
 * still gathered. There are no others, so two places are enough for all that waits in order. */
enum pd_held { PD_HELD_NOT = 0, PD_HELD_FLYING, PD_HELD_GATHERED, PD_HELD_COUNT };

struct pd_host_log {
    struct pd_wal *wal;  /* NULL: nothing is recorded, and nothing waits */
    uint64_t flying_lsn; /* the last record of the batch that was taken last */
    size_t buffer_bytes;
    bool failed; /* nothing more will ever be durable */
    bool ended;
    enum pd_wal_job_kind job_kind; /* of the job in hand */
    uint8_t *header;               /* where a record's is packed */
    struct pd_link messages[PD_HELD_COUNT];
};

/* config NULL: no log. NO_MEMORY; the log is then to be deinitialised all the same. */
enum paramd_status pd_host_log_init(struct pd_host_log *log, const struct pd_wal_config *config)
    __attribute__((warn_unused_result));
void pd_host_log_deinit(struct pd_host_log *log);

/* Of a log that is there: as pd_wal_reserve; RESOURCE_EXHAUSTED after its end. */
enum paramd_status pd_host_log_reserve(struct pd_host_log *log, size_t records, size_t bytes)
    __attribute__((warn_unused_result));
/* A record whose room was reserved. */
void pd_host_log_append(struct pd_host_log *log, const struct pd_record *record);
/* What has to wait for this record, which is durable, flying or gathered. */
enum pd_held pd_host_log_held(const struct pd_host_log *log, uint64_t lsn);

/* Messages that leave in order; with `wait`, when all records so far are durable. */
void pd_host_log_send(struct pd_host_log *log, struct pd_link *messages, bool wait);
/* The next one that may leave, for the caller; NULL. */
struct pd_message *pd_host_log_next(struct pd_host_log *log);

/* Whether records are not durable yet, or messages wait. */
bool pd_host_log_holds(const struct pd_host_log *log);

bool pd_host_log_take_job(struct pd_host_log *log, struct pd_wal_job *ret_job);
void pd_host_log_job_done(struct pd_host_log *log, enum paramd_status status);
enum paramd_status pd_host_log_end(struct pd_host_log *log) __attribute__((warn_unused_result));

#endif
