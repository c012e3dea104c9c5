/* A libuv loop, for the main thread or with a thread of its own, that calls its owner once after
 * each batch of events: then is the time to write and to send what the events have brought about.
 * Where it is told to, it looks for further events for a while before it sleeps: to wake an idle
 * core takes longer than most answers do. */
#ifndef PARAMD_SERVER_NET_LOOP_H
#define PARAMD_SERVER_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proto/busy_poll.h"
#include "proto/paramd_status.h"

/* The memory must not move. uv is for the handles of whoever lives on this loop. */
struct pd_loop {
    uv_loop_t uv;
    uv_prepare_t _settle_handle;
    uv_thread_t _thread;
    void (*_settle)(void *context);
    void *_context;
    struct pd_busy_poll _busy_poll;
    bool _stirred;
};

/* settle is called on the loop's thread before each wait for events. RESOURCE_EXHAUSTED: no memory
 * or no descriptor for it. */
enum paramd_status pd_loop_init(struct pd_loop *loop, void (*settle)(void *context), void *context)
    __attribute__((warn_unused_result));

/* Before the run: after each turn in which the owner was stirred, poll for so long before sleeping.
 * 0 (as after init): never. */
void pd_loop_set_busy_poll(struct pd_loop *loop, uint64_t us);
/* The loop's thread: this turn moved bytes, and more may come soon. */
void pd_loop_stir(struct pd_loop *loop);

/* Whether it is in such a while. */
bool pd_loop_polls(const struct pd_loop *loop);

/* Runs on the calling thread until pd_loop_end was called and all handles are closed. */
void pd_loop_run(struct pd_loop *loop);

/* The same on a thread of its own, called name (15 bytes are shown). */
enum paramd_status pd_loop_start(struct pd_loop *loop, const char *name)
    __attribute__((warn_unused_result));
/* Keeps that thread on the index-th of the cores that the process may use, counted around. Harmless
 * where the system does not let it. */
void pd_loop_pin(struct pd_loop *loop, unsigned index);
/* Waits for that thread's end. */
void pd_loop_join(struct pd_loop *loop);

/* The loop's thread: from now on the loop runs only until the owner's handles are closed. */
void pd_loop_end(struct pd_loop *loop);

/* After the run, or instead of it: closes what has stayed open and frees the loop. */
void pd_loop_deinit(struct pd_loop *loop);

#endif
