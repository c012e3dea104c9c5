/* The data directory of a daemon: locked, recovered with as many threads as there are cores, and
 * what its logs are made with. Control thread. */
#ifndef PARAMD_SERVER_STORE_H
#define PARAMD_SERVER_STORE_H

#include "server/recovery.h"
#include "server/storage/wal.h"

enum { PD_STORE_TEXT_BYTES = 2048 };

/* To be read by the node, which takes over control and shards out of recovery. */
struct pd_store {
    const struct pd_disk *disk;
    struct pd_recovery *recovery;
    uint64_t log_high; /* bytes of a shard's log at which a snapshot is due */
    struct pd_wal_config control_log;
    struct pd_wal_config shard_logs[PD_SHARDS_MAX];
    char control_log_name[PD_WAL_LOG_NAME_BYTES];
    char shard_log_names[PD_SHARDS_MAX][PD_WAL_LOG_NAME_BYTES];
    struct pd_disk posix;
    int lock;
};

/* Makes the directory if its parent is there, and brings back what is in it. Blocks; logs what was
 * found, and how far it is while it takes long. log_max: bytes that the logs of all shards may take
 * together. error: a sentence of why it could not be done, and where. */
enum paramd_status pd_store_open(const char *directory, uint32_t shards, uint64_t log_max,
                                 const struct pd_control_options *control,
                                 const struct pd_shard_options *shard, struct pd_store **ret_store,
                                 char error[PD_STORE_TEXT_BYTES])
    __attribute__((warn_unused_result));
/* All logs have been closed, and the last snapshot has everything: the next start may rely on it.
 */
void pd_store_end_clean(struct pd_store *store);
/* NULL is fine. Control and shards that were taken over are NULL in recovery by now. */
void pd_store_close(struct pd_store *store);

#endif
