/* Takes a snapshot of a shard while it works: when the next slot is copied, and the thread that
 * writes the file. Shard's thread. */
#ifndef PARAMD_SERVER_SHARD_SAVER_H
#define PARAMD_SERVER_SHARD_SAVER_H

#include <stdbool.h>
#include <stdint.h>

#include "server/host.h"
#include "server/net/background.h"
#include "server/storage/snapshot_files.h"

/* The memory is the owner's and must not move. */
struct pd_shard_saver {
    struct pd_background _background;
    uv_timer_t _pace;
    const struct pd_disk *_disk;
    struct pd_host *_host;
    void (*_ended)(void *context, enum paramd_status status, const struct pd_manifest_file *file);
    void *_context;
    bool _open;
    struct pd_snapshot_files _files; /* of the snapshot that is being taken, if _active */
    struct pd_snapshot_job _job;
    struct pd_disk_result _result;
    bool _active;
    bool _writing;          /* the job is out */
    uint64_t _next_copy_us; /* not before, while there are requests */
};

/* ended is called once for each begin: OK and the file that was published, or why it was not.
 * RESOURCE_EXHAUSTED: no thread or descriptor left. */
enum paramd_status pd_shard_saver_open(struct pd_shard_saver *saver, uv_loop_t *loop,
                                       const struct pd_disk *disk, struct pd_host *host,
                                       void (*ended)(void *context, enum paramd_status status,
                                                     const struct pd_manifest_file *file),
                                       void *context) __attribute__((warn_unused_result));

/* One at a time. */
void pd_shard_saver_begin(struct pd_shard_saver *saver, const struct pd_snapshot_head *head);
void pd_shard_saver_give_up(struct pd_shard_saver *saver);
/* Once in each turn of the loop. busy: requests come in, and are not to be held up for more than a
 * twentieth of the time. */
void pd_shard_saver_turn(struct pd_shard_saver *saver, bool busy);

/* Waits for the job in hand; ended is not called any more. The memory is free when the loop has run
 * once more. */
void pd_shard_saver_close(struct pd_shard_saver *saver);

#endif
