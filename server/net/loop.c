/* Loops on libuv. The owner's call hangs on a prepare handle, which runs after timers and callbacks
 * and before the next wait. */
#include "server/net/loop.h"

#include <pthread.h>
#include <sched.h>

static void on_prepare(uv_prepare_t *prepare)
{
    struct pd_loop *loop = prepare->data;
    loop->_settle(loop->_context);
}

enum paramd_status pd_loop_init(struct pd_loop *loop, void (*settle)(void *context), void *context)
{
    if (uv_loop_init(&loop->uv) != 0) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    /* Neither of the two can fail. */
    (void)uv_prepare_init(&loop->uv, &loop->_settle_handle);
    (void)uv_prepare_start(&loop->_settle_handle, on_prepare);
    loop->_settle_handle.data = loop;
    loop->_settle = settle;
    loop->_context = context;
    loop->_busy_poll = (struct pd_busy_poll){0};
    loop->_stirred = false;
    return PARAMD_OK;
}

void pd_loop_set_busy_poll(struct pd_loop *loop, uint64_t us)
{
    loop->_busy_poll.window_us = us;
}

void pd_loop_stir(struct pd_loop *loop)
{
    loop->_stirred = true;
}

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

bool pd_loop_polls(const struct pd_loop *loop)
{
    return pd_busy_poll_goes_on(&loop->_busy_poll, now_us());
}

/* One turn; false: no handle is left. */
static bool turn(struct pd_loop *loop)
{
    bool polls = pd_loop_polls(loop);
    bool alive = uv_run(&loop->uv, polls ? UV_RUN_NOWAIT : UV_RUN_ONCE) != 0;
    uint64_t end_us = now_us();
    if (loop->_stirred) {
        loop->_stirred = false;
        pd_busy_poll_begin(&loop->_busy_poll, end_us);
    } else if (polls) {
        (void)sched_yield();
        pd_busy_poll_yielded(&loop->_busy_poll, end_us, now_us());
    }
    return alive;
}

void pd_loop_run(struct pd_loop *loop)
{
    while (turn(loop)) {
    }
}

static void thread_main(void *argument)
{
    pd_loop_run(argument);
}

enum paramd_status pd_loop_start(struct pd_loop *loop, const char *name)
{
    if (uv_thread_create(&loop->_thread, thread_main, loop) != 0) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    (void)pthread_setname_np(loop->_thread, name);
    return PARAMD_OK;
}

void pd_loop_pin(struct pd_loop *loop, unsigned index)
{
    cpu_set_t allowed;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) {
        return;
    }
    unsigned place = index % (unsigned)CPU_COUNT(&allowed);
    for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &allowed) && place-- == 0) {
            CPU_SET(cpu, &one);
            (void)pthread_setaffinity_np(loop->_thread, sizeof one, &one);
            return;
        }
    }
}

void pd_loop_join(struct pd_loop *loop)
{
    (void)uv_thread_join(&loop->_thread);
}

void pd_loop_end(struct pd_loop *loop)
{
    uv_close((uv_handle_t *)&loop->_settle_handle, NULL);
}

static void close_open(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

void pd_loop_deinit(struct pd_loop *loop)
{
    uv_walk(&loop->uv, close_open, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
}
