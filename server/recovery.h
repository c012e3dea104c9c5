/* What a start makes of its data directory: control and shards as they were, and a new epoch of
 * logs. The order of reading and what is refused: server/ARCHITECTURE.md, section 10. Blocks; knows
 * no thread, but has work for several. */
#ifndef PARAMD_SERVER_RECOVERY_H
#define PARAMD_SERVER_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "server/core/control.h"
#include "server/core/shard.h"
#include "server/storage/manifest.h"

enum { PD_RECOVERY_TEXT_BYTES = 512 };

struct pd_recovery_options {
    const struct pd_disk *disk;   /* locked by the caller */
    uint32_t shards;              /* from now on */
    size_t control_segment_bytes; /* of the logs that are begun */
    size_t shard_segment_bytes;
    struct pd_control_options control;
    struct pd_shard_options shard; /* of each: shard and shards are filled in */

    /* Bits that nobody can guess. */
    uint64_t (*random)(void *context);
    /* Calls work for 0 to count - 1, on as many threads as it likes, and returns when all have
     * returned. */
    void (*each)(void *context, uint32_t count, void (*work)(void *argument, uint32_t index),
                 void *argument);
    /* One line about what was found or left out, for the log. Any of those threads. */
    void (*tell)(void *context, const char *text);
    /* So many more bytes have been read, of records or snapshots. Any of those threads. */
    void (*progress)(void *context, uint64_t bytes);
    void *context;
};

struct pd_recovery {
    struct pd_control *control;
    struct pd_shard *shards[PD_SHARDS_MAX]; /* as many as were asked for */
    struct pd_manifest manifest;            /* as it was published: its last epoch is the new one */
    bool clean;                             /* the last stop lost nothing that anybody saw */
};

/* OK: ret_recovery is to be freed with free(), control and shards belong to the caller. Otherwise
 * NULL, and error says why and where: CORRUPT, VERSION, DISK, UNSUPPORTED, NO_MEMORY,
 * RESOURCE_EXHAUSTED. A directory that was refused is as it was, but for logs that were sealed. */
enum paramd_status pd_recover(const struct pd_recovery_options *options,
                              struct pd_recovery **ret_recovery, char error[PD_RECOVERY_TEXT_BYTES])
    __attribute__((warn_unused_result));

#endif
