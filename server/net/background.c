/* A thread that waits on a condition to be asked, and answers with uv_async_t. */
#include "server/net/background.h"

#include <pthread.h>
#include <stdio.h>

static void thread_main(void *argument)
{
    struct pd_background *background = argument;
    uv_mutex_lock(&background->_lock);
    for (;;) {
        while (!background->_asked && !background->_stopped) {
            uv_cond_wait(&background->_changed, &background->_lock);
        }
        if (!background->_asked) {
            break;
        }
        background->_asked = false;
        uv_mutex_unlock(&background->_lock);
        background->_run(background->_context);
        uv_mutex_lock(&background->_lock);
        background->_ran = true;
        /* Whom it wakes wants the lock. */
        uv_mutex_unlock(&background->_lock);
        (void)uv_async_send(&background->_done_handle);
        uv_mutex_lock(&background->_lock);
    }
    uv_mutex_unlock(&background->_lock);
}

void pd_background_look(struct pd_background *background)
{
    uv_mutex_lock(&background->_lock);
    bool ran = background->_ran;
    background->_ran = false;
    uv_mutex_unlock(&background->_lock);
    if (ran) {
        background->_done(background->_context);
    }
}

static void on_done(uv_async_t *handle)
{
    pd_background_look(handle->data);
}

enum paramd_status pd_background_start(struct pd_background *background, uv_loop_t *loop,
                                       const char *name, void (*run)(void *context),
                                       void (*done)(void *context), void *context)
{
    *background = (struct pd_background){._run = run, ._done = done, ._context = context};
    if (uv_mutex_init(&background->_lock) != 0) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    if (uv_cond_init(&background->_changed) != 0) {
        goto fail_lock;
    }
    if (uv_async_init(loop, &background->_done_handle, on_done) != 0) {
        goto fail_condition;
    }
    background->_done_handle.data = background;
    if (uv_thread_create(&background->_thread, thread_main, background) != 0) {
        goto fail_handle;
    }
    char shown[16];
    (void)snprintf(shown, sizeof shown, "%s", name);
    (void)pthread_setname_np(background->_thread, shown);
    return PARAMD_OK;

fail_handle:
    uv_close((uv_handle_t *)&background->_done_handle, NULL);
fail_condition:
    uv_cond_destroy(&background->_changed);
fail_lock:
    uv_mutex_destroy(&background->_lock);
    return PARAMD_RESOURCE_EXHAUSTED;
}

void pd_background_go(struct pd_background *background)
{
    uv_mutex_lock(&background->_lock);
    background->_asked = true;
    uv_cond_signal(&background->_changed);
    uv_mutex_unlock(&background->_lock);
}

void pd_background_stop(struct pd_background *background)
{
    uv_mutex_lock(&background->_lock);
    background->_stopped = true;
    uv_cond_signal(&background->_changed);
    uv_mutex_unlock(&background->_lock);
    (void)uv_thread_join(&background->_thread);
    uv_close((uv_handle_t *)&background->_done_handle, NULL);
    uv_cond_destroy(&background->_changed);
    uv_mutex_destroy(&background->_lock);
}
