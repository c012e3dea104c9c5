/* Snapshots of all shards: when one is due, its parts, what is kept of old ones, and whether those
 * are still whole. Control thread. */
#ifndef PARAMD_SERVER_SNAPSHOTS_H
#define PARAMD_SERVER_SNAPSHOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "server/control_host.h"
#include "server/net/background.h"
#include "server/shard_thread.h"
#include "server/storage/verify.h"
#include "server/store.h"

struct pd_snapshots_options {
    struct pd_store *store;
    struct pd_control_host *control;        /* is told of each, and has those who asked for one */
    struct pd_shard_thread *const *threads; /* of all shards */
    uint32_t shards;
    uint64_t every_ms;      /* and at once after a crash; 0: not by time */
    uint64_t every_updates; /* entries of pushes, of all shards; 0: not by their number */
    /* Called once for each that was begun, also if it failed; DISK: the disk failed, and what
     * MANIFEST is now may be unknown: the daemon stops. */
    void (*ended)(void *context, enum paramd_status status, bool clean);
    void *context;
};

/* The memory is the owner's and must not move. */
struct pd_snapshots {
    struct pd_snapshots_options _options;
    struct pd_background _background; /* replaces MANIFEST and removes files, and scrubs */
    enum { PD_SNAPSHOTS_IDLE, PD_SNAPSHOTS_PUBLISHES, PD_SNAPSHOTS_SCRUBS } _task;
    uv_timer_t _due;
    uv_timer_t _scrub_due;
    uv_timer_t _progress;     /* of the last one */
    struct pd_verify *_scrub; /* of the kept ones; NULL: none under way */
    bool _scrubbed;           /* all that are kept, once */
    struct pd_verified _verified;
    enum paramd_status _step;            /* of the scrub */
    bool _last;                          /* it is wanted now, and no other follows */
    bool _needed;                        /* one, until it is published */
    uint64_t _retry_us;                  /* not before, though it is */
    struct pd_manifest_snapshot _taking; /* number 0: none */
    uint32_t _parts;                     /* that are over */
    uint64_t _control_lsn;               /* control's log was durable up to here then */
    bool _over;                          /* all of them: to be published, or swept away */
    enum paramd_status _status;          /* of the first that failed, then of publishing */
    bool _pause;                         /* it is one cut */
    uint32_t _pausing;                   /* shards that do not hold requests for it yet */
    uint64_t _held_us;                   /* the longest that one did */
    uint64_t _begun_us;
    uint64_t _begun_applied; /* entries of pushes */
    bool _open;
};

/* RESOURCE_EXHAUSTED: no thread or descriptor left. */
enum paramd_status pd_snapshots_open(struct pd_snapshots *snapshots, uv_loop_t *loop,
                                     const struct pd_snapshots_options *options)
    __attribute__((warn_unused_result));

/* One is needed: it is begun soon, and again if it fails. */
void pd_snapshots_need(struct pd_snapshots *snapshots);
/* Begins one if it is needed, somebody has asked for it, or so many entries were applied; to be
 * called whenever that may be, but not before control's start is durable: the epoch that has the
 * one before is let go of with it. */
void pd_snapshots_look(struct pd_snapshots *snapshots);
/* The daemon stops: those who asked are sent away, and one that holds requests is given up. */
void pd_snapshots_drain(struct pd_snapshots *snapshots);
/* Nothing will be pushed any more: begins the last one, a clean one, behind the one that may be
 * under way, and logs how far it is while it takes long. */
void pd_snapshots_take_last(struct pd_snapshots *snapshots);
/* A shard holds requests. */
void pd_snapshots_paused(struct pd_snapshots *snapshots);
/* A shard's part is over. */
void pd_snapshots_saved(struct pd_snapshots *snapshots, const struct pd_shard_report *report);

/* Waits for what is being published; ended is not called any more. The memory is free when the loop
 * has run once more. */
void pd_snapshots_close(struct pd_snapshots *snapshots);

#endif
