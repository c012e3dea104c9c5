/* A libuv loop, for the main thread or with a thread of its own, that calls its owner once after
 * each batch of events: then is the time to write and to send what the events have brought about.
 */
#ifndef PARAMD_SERVER_NET_LOOP_H
#define PARAMD_SERVER_NET_LOOP_H

#include <uv.h>

#include "proto/paramd_status.h"

/* The memory must not move. uv is for the handles of whoever lives on this loop. */
struct pd_loop {
    uv_loop_t uv;
    uv_prepare_t _settle_handle;
    uv_thread_t _thread;
    void (*_settle)(void *context);
    void *_context;
};

/* settle is called on the loop's thread before each wait for events. RESOURCE_EXHAUSTED: no memory
 * or no descriptor for it. */
enum paramd_status pd_loop_init(struct pd_loop *loop, void (*settle)(void *context), void *context)
    __attribute__((warn_unused_result));

/* Runs on the calling thread until pd_loop_end was called and all handles are closed. */
void pd_loop_run(struct pd_loop *loop);

/* The same on a thread of its own, called name (15 bytes are shown). */
enum paramd_status pd_loop_start(struct pd_loop *loop, const char *name)
    __attribute__((warn_unused_result));
/* Waits for that thread's end. */
void pd_loop_join(struct pd_loop *loop);

/* The loop's thread: from now on the loop runs only until the owner's handles are closed. */
void pd_loop_end(struct pd_loop *loop);

/* After the run, or instead of it: closes what has stayed open and frees the loop. */
void pd_loop_deinit(struct pd_loop *loop);

#endif
