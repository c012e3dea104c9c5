/* A shard's thread: its loop, its host and its connections. The control thread speaks with it
 * through the calls below and hears from it through two mailboxes. */
#ifndef PARAMD_SERVER_SHARD_THREAD_H
#define PARAMD_SERVER_SHARD_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "server/base/list.h"
#include "server/host.h"
#include "server/net/arrivals.h"
#include "server/net/mailbox.h"
#include "server/storage/disk.h"

struct pd_shard_thread;

enum pd_shard_report_kind {
    PD_SHARD_DRAINED,   /* the answers in hand are written and the connections closed */
    PD_SHARD_LOG_ENDED, /* the log is closed whole, or cannot be: RESOURCE_EXHAUSTED */
    PD_SHARD_FAILED,    /* the log cannot be written: nothing more is acknowledged */
    PD_SHARD_PAUSED,    /* what would change blocks is held */
    PD_SHARD_SAVED,     /* its part of a snapshot is over, with this status */
    PD_SHARD_LOG_FILLS, /* a snapshot is needed: see log_high */
    PD_SHARD_STOPPED    /* nothing more comes from it; join it */
};

/* What a shard's thread tells the node about itself; owned by the thread, read and forgotten. */
struct pd_shard_report {
    struct pd_link link;
    enum pd_shard_report_kind kind;
    uint32_t shard;
    enum paramd_status status;    /* SAVED, LOG_ENDED */
    struct pd_manifest_file file; /* SAVED, if OK */
    uint64_t held_us;             /* SAVED: for so long requests were held for it */
    _Atomic bool under_way;       /* LOG_FILLS: cleared by who has it, then it may come again */
};

struct pd_shard_thread_options {
    struct pd_host_options host;
    uint64_t shared_memory_max; /* bytes for connections that ask for shared memory */
    uint64_t busy_poll_us;      /* how long it polls after traffic before it sleeps */
    bool pin;                   /* the thread stays on one core */
    const struct pd_disk *disk; /* with host.log: where it is written, under this name */
    const char *log_name;
    /* Bytes in the log from which on LOG_FILLS is said: once, and after each release_log again. */
    uint64_t log_high;
};

/* control and reports are the node's mailboxes, for pd_message and pd_shard_report. The thread does
 * not run yet. RESOURCE_EXHAUSTED: no memory or no descriptor for it. */
enum paramd_status pd_shard_thread_create(const struct pd_shard_thread_options *options,
                                          struct pd_mailbox *control, struct pd_mailbox *reports,
                                          struct pd_shard_thread **ret_thread)
    __attribute__((warn_unused_result));
enum paramd_status pd_shard_thread_start(struct pd_shard_thread *thread)
    __attribute__((warn_unused_result));

/* All below: control thread, never block but for join. */

/* Messages from control; the list is empty afterwards. */
void pd_shard_thread_deliver(struct pd_shard_thread *thread, struct pd_link *messages);
/* Hands a connection over. False without memory: it is still the caller's. */
bool pd_shard_thread_give(struct pd_shard_thread *thread, const struct pd_arrival *arrival);
/* Connections that were given and whose descriptors are closed by now. */
uint64_t pd_shard_thread_closed_count(struct pd_shard_thread *thread);
/* Entries of pushes that were applied by now. */
uint64_t pd_shard_thread_applied_count(struct pd_shard_thread *thread);
/* Bytes that its part of a snapshot has by now, and about how many it will have. */
uint64_t pd_shard_thread_saved_bytes(struct pd_shard_thread *thread);
uint64_t pd_shard_thread_memory_bytes(struct pd_shard_thread *thread);
/* No more requests are read; DRAINED comes when the answers are out. */
void pd_shard_thread_drain(struct pd_shard_thread *thread);
/* Once, while it drains: who has not read the answers by now does not get them. */
void pd_shard_thread_hurry(struct pd_shard_thread *thread);
/* After DRAINED, where there is a log: LOG_ENDED comes when its last record is durable, or when
 * there is no room for one and nothing else was in the log. */
void pd_shard_thread_end_log(struct pd_shard_thread *thread);
/* For one cut across shards, before save: PAUSED comes when what would change blocks is held. That
 * lasts until all slots are copied or the part is given up; 60 s at most, and then the part ends
 * with TIMEOUT. */
void pd_shard_thread_pause(struct pd_shard_thread *thread);
/* Where there is a log: takes its part of a snapshot; SAVED comes when that is over. One at a time.
 */
void pd_shard_thread_save(struct pd_shard_thread *thread, const struct pd_snapshot_head *head);
/* Ends it and the pause early; SAVED comes all the same if there was a save. */
void pd_shard_thread_give_up_save(struct pd_shard_thread *thread);
/* No recovery needs records up to this LSN any more. Not again before the SAVED of a later save. */
void pd_shard_thread_release_log(struct pd_shard_thread *thread, uint64_t lsn);
/* Everything is closed at once; STOPPED comes when it is. Nothing may be given afterwards; what is
 * delivered afterwards is destroyed. */
void pd_shard_thread_stop(struct pd_shard_thread *thread);

void pd_shard_thread_join(struct pd_shard_thread *thread);
/* One that has never been started, or was joined. */
void pd_shard_thread_destroy(struct pd_shard_thread *thread);

#endif
