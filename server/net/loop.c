/* Loops on libuv. The owner's call hangs on a prepare handle, which runs after timers and callbacks
 * and before the next wait. */
#include "server/net/loop.h"

#include <pthread.h>

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
    return PARAMD_OK;
}

void pd_loop_run(struct pd_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
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
