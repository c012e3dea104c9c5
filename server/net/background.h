/* A thread beside a loop, for what blocks: it does one thing at a time, and the loop hears when it
 * is done. */
#ifndef PARAMD_SERVER_NET_BACKGROUND_H
#define PARAMD_SERVER_NET_BACKGROUND_H

#include <stdbool.h>
#include <uv.h>

#include "proto/paramd_status.h"

/* The memory is the owner's, who lives on the loop, and must not move. */
struct pd_background {
    uv_thread_t _thread;
    uv_mutex_t _lock;
    uv_cond_t _changed;
    uv_async_t _done_handle;
    void (*_run)(void *context);
    void (*_done)(void *context);
    void *_context;
    bool _asked;   /* under the lock: run is to be called */
    bool _ran;     /* under the lock: it has returned, done is to be called */
    bool _stopped; /* under the lock */
};

/* run is called on the thread, done afterwards on the loop's. name: 15 bytes are shown.
 * RESOURCE_EXHAUSTED: no thread or descriptor left. */
enum paramd_status pd_background_start(struct pd_background *background, uv_loop_t *loop,
                                       const char *name, void (*run)(void *context),
                                       void (*done)(void *context), void *context)
    __attribute__((warn_unused_result));

/* Has run called once. The loop's thread; not again before done. */
void pd_background_go(struct pd_background *background);

/* Has done called now, if it is due: for an owner with much to do before its loop comes to it. The
 * loop's thread. */
void pd_background_look(struct pd_background *background);

/* Waits until what runs has returned, and ends the thread; done is not called any more. The loop's
 * thread. The memory is free when the loop has run once more. */
void pd_background_stop(struct pd_background *background);

#endif
