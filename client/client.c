/* The client handle: open, close, the background thread or the caller's own driving, and how calls
 * wait. */
#include "client/private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "proto/busy_poll.h"

const char *paramd_version(void)
{
    return PD_RELEASE;
}

/* ---- Lock, wake, wait ---- */

int pd_client_enter(struct paramd_client *client)
{
    if (client->forks != pd_forks()) {
        return pd_error_plain(PARAMD_FORKED);
    }
    (void)pthread_mutex_lock(&client->mutex);
    return PARAMD_OK;
}

void pd_client_leave(struct paramd_client *client)
{
    (void)pthread_mutex_unlock(&client->mutex);
}

void pd_client_kick(struct paramd_client *client)
{
    if (client->threaded || client->driven) {
        pd_transport_wake(client->transport);
    }
}

uint64_t pd_deadline_us(int timeout_ms)
{
    return timeout_ms < 0 ? PD_NEVER : pd_transport_now_us() + (uint64_t)timeout_ms * 1000;
}

/* Calls the done functions that are due. Mutex held before and after, not while they run. */
static void call_done(struct paramd_client *client)
{
    struct pd_op *op;
    while ((op = pd_client_next_done(client->core)) != NULL) {
        struct paramd_ticket *ticket = pd_op_owner(op);
        void *arg;
        void (*done)(struct paramd_ticket *, void *) = pd_op_done(op, &arg);
        client->in_done = ticket;
        client->done_thread = pthread_self();
        (void)pthread_mutex_unlock(&client->mutex);
        done(ticket, arg);
        (void)pthread_mutex_lock(&client->mutex);
        client->in_done = NULL;
        ticket->done_returned = true;
    }
}

/* Tells the user of one handle what the daemon has lost of its pushes; false: there is nothing new.
 * Mutex held before and after. */
static bool call_lost(struct paramd_client *client)
{
    struct paramd_model *model;
    struct paramd_counters counters = {0};
    DL_FOREACH(client->models, model) {
        pd_client_session_counters(model->session, &counters);
        if (counters.lost > model->lost_told) {
            break;
        }
    }
    if (model == NULL) {
        return false;
    }
    uint64_t more = counters.lost - model->lost_told;
    model->lost_told = counters.lost;
    client->in_done = model;
    client->done_thread = pthread_self();
    (void)pthread_mutex_unlock(&client->mutex);
    client->lost(model, more, client->lost_arg);
    (void)pthread_mutex_lock(&client->mutex);
    client->in_done = NULL;
    return true;
}

static void after_turn(void *arg)
{
    struct paramd_client *client = arg;
    (void)pthread_mutex_lock(&client->mutex);
    while (client->lost != NULL && call_lost(client)) {
    }
    call_done(client);
    (void)pthread_cond_broadcast(&client->changed);
    (void)pthread_mutex_unlock(&client->mutex);
}

static void sleep_on_changed(struct paramd_client *client, uint64_t deadline_us)
{
    if (deadline_us == PD_NEVER) {
        (void)pthread_cond_wait(&client->changed, &client->mutex);
        return;
    }
    struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
                             .tv_nsec = (long)(deadline_us % 1000000 * 1000)};
    (void)pthread_cond_timedwait(&client->changed, &client->mutex, &until);
}

/* One turn of the loop by this thread. */
static void drive(struct paramd_client *client, uint64_t timeout_us)
{
    client->driven = true;
    (void)pthread_mutex_unlock(&client->mutex);
    pd_transport_run(client->transport, timeout_us);
    (void)pthread_mutex_lock(&client->mutex);
    client->driven = false;
    (void)pthread_cond_broadcast(&client->changed); /* another thread may want to drive now */
}

bool pd_client_inside_done(const struct paramd_client *client)
{
    return client->in_done != NULL && pthread_equal(client->done_thread, pthread_self());
}

/* The cases in which a call must not wait: its time is over (without a thread it has had one turn
 * of I/O), or this thread runs a done function, and would wait for what only it can do. */
bool pd_client_wait(struct paramd_client *client, bool (*ready)(const void *arg), const void *arg,
                    uint64_t deadline_us)
{
    for (bool first = true;; first = false) {
        if (ready(arg)) {
            return true;
        }
        if (first) {
            pd_client_kick(client); /* what is waited for may have been started just now */
        }
        uint64_t now_us = pd_transport_now_us();
        bool over = now_us >= deadline_us;
        if ((over && (!first || client->threaded || client->driven)) ||
            (first && pd_client_inside_done(client))) {
            return false;
        }
        if (client->threaded || client->driven) {
            sleep_on_changed(client, deadline_us);
        } else {
            drive(client, deadline_us == PD_NEVER ? PD_NEVER : over ? 0 : deadline_us - now_us);
        }
    }
}

bool pd_client_call_over(const void *call)
{
    return pd_call_status(call) != PARAMD_PENDING;
}

int pd_client_finish_call(struct paramd_client *client, struct pd_call *call, uint64_t deadline_us,
                          const char *what)
{
    if (call == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    if (!pd_client_wait(client, pd_client_call_over, call, deadline_us)) {
        pd_call_destroy(call);
        return pd_timeout(client, what);
    }
    int status = pd_call_status(call);
    if (status != PARAMD_OK) {
        (void)pd_error_set(status, "%s: %s", what, pd_call_text(call));
        pd_call_destroy(call);
    }
    return status;
}

int pd_timeout(struct paramd_client *client, const char *what)
{
    const char *trouble = pd_client_trouble(client->core);
    return pd_error_set(PARAMD_TIMEOUT, "%s: timed out%s%s", what,
                        trouble[0] != '\0' ? "; lately: " : "", trouble);
}

/* ---- Open and close ---- */

static void *thread_main(void *arg)
{
    struct paramd_client *client = arg;
    pd_transport_loop(client->transport);
    return NULL;
}

/* Signals are the program's: this thread takes none. */
static int start_thread(struct paramd_client *client)
{
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&client->thread, NULL, thread_main, client);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    client->threaded = error == 0;
    return error == 0 ? PARAMD_OK : PARAMD_NO_MEMORY;
}

static void init_locks(struct paramd_client *client)
{
    pthread_condattr_t attributes;
    (void)pthread_mutex_init(&client->mutex, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* as uv_hrtime */
    (void)pthread_cond_init(&client->changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static void free_client(struct paramd_client *client)
{
    while (client->tickets != NULL) {
        pd_ticket_release(client->tickets);
    }
    while (client->models != NULL) {
        pd_client_model_free(client->models);
    }
    pd_transport_destroy(client->transport);
    pd_client_destroy(client->core);
    (void)pthread_cond_destroy(&client->changed);
    (void)pthread_mutex_destroy(&client->mutex);
    free(client);
}

static const char *chosen_address(const struct paramd_options *options)
{
    const char *address = options->address != NULL ? options->address : getenv("PARAMD_ADDRESS");
    return address != NULL ? address : "127.0.0.1:7700";
}

static uint64_t busy_poll_us(const struct paramd_options *options)
{
    if (options->busy_poll_us < 0) {
        return 0;
    }
    return options->busy_poll_us == 0 ? PD_BUSY_POLL_DEFAULT_US : (uint64_t)options->busy_poll_us;
}

static int make_parts(struct paramd_client *client, const struct paramd_options *options)
{
    char name[64];
    if (options->name != NULL) {
        (void)snprintf(name, sizeof name, "paramd-c/" PD_RELEASE " %s", options->name);
    } else {
        (void)snprintf(name, sizeof name, "paramd-c/" PD_RELEASE " pid %ld", (long)getpid());
    }
    struct pd_client_options core_options = {.name = name, .payload_sum = options->payload_sum};
    if (!pd_random_bytes(&core_options.random, sizeof core_options.random)) {
        core_options.random = (uint64_t)getpid();
    }
    client->core = pd_client_create(&core_options);
    if (client->core == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    const char *address = chosen_address(options);
    int status = pd_transport_create(address, options->shared_memory == PARAMD_SHARED_AUTO,
                                     busy_poll_us(options), client->core, &client->mutex,
                                     after_turn, client, &client->transport);
    if (status == PARAMD_INVALID) {
        return pd_error_set(status, "%s is no address: HOST:PORT, [IPV6]:PORT or unix:PATH",
                            address);
    }
    if (status == PARAMD_OK && !options->no_thread) {
        status = start_thread(client);
    }
    return status == PARAMD_OK ? status : pd_error_plain(status);
}

int paramd_open(const struct paramd_options *options, struct paramd_client **ret_client)
{
    struct paramd_options defaults = {0};
    struct paramd_client *client = calloc(1, sizeof *client);
    if (client == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    client->forks = pd_forks();
    client->lost = options != NULL ? options->lost : NULL;
    client->lost_arg = options != NULL ? options->lost_arg : NULL;
    init_locks(client);
    int status = make_parts(client, options != NULL ? options : &defaults);
    if (status != PARAMD_OK) {
        free_client(client);
        return status;
    }
    *ret_client = client;
    return PARAMD_OK;
}

void paramd_close(struct paramd_client *client)
{
    if (client == NULL || client->forks != pd_forks()) {
        return;
    }
    if (client->threaded) {
        pd_transport_stop(client->transport);
        (void)pthread_join(client->thread, NULL);
    }
    free_client(client);
}

/* ---- Driving ---- */

struct run {
    const struct pd_client *core;
    uint64_t finished_before;
};

static bool one_more_finished(const void *arg)
{
    const struct run *run = arg;
    return pd_client_finished(run->core) > run->finished_before;
}

int paramd_run(struct paramd_client *client, int timeout_ms)
{
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    if (client->threaded || client->driven) {
        pd_client_leave(client);
        return pd_error_set(PARAMD_INVALID,
                            client->threaded ? "this client has a thread of its own: nothing to run"
                                             : "another thread is in paramd_run");
    }
    struct run run = {.core = client->core, .finished_before = pd_client_finished(client->core)};
    bool early = pd_client_wait(client, one_more_finished, &run, pd_deadline_us(timeout_ms));
    pd_client_leave(client);
    return early ? PARAMD_OK
                 : pd_error_set(PARAMD_TIMEOUT, "no ticket finished within the time given");
}
