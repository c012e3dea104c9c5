/* Wires control, shard threads, the data directory and listening sockets together.
 *
 * The states, each left in one direction only:
 *
 *   STARTING --control's start is durable--> RUNNING --first signal--> DRAINING --all drained-->
 *     SAVING --a last snapshot is published--> ENDING --all logs are closed--> STOPPING --> end
 *
 * SAVING and ENDING are passed over without a data directory. DRAINING accepts nothing more and
 * lets every shard finish the frames in hand; STOPPING closes what is left. A deadline or a second
 * signal leads straight to STOPPING; a shard that does not stop in time is left behind. A log that
 * cannot be written ends the process at once: what was acknowledged is on the disk. */
#include "server/node.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "server/address_file.h"
#include "server/block_memory.h"
#include "server/control_host.h"
#include "server/log_writer.h"
#include "server/net/arrivals.h"
#include "server/net/listener.h"
#include "server/net/loop.h"
#include "server/net/mailbox.h"
#include "server/optim/optim.h"
#include "server/shard_thread.h"
#include "server/snapshots.h"
#include "server/store.h"

/* Together below the 5 s in which a stopped daemon has to be gone. */
enum { DRAIN_MS = 3500, STOP_MS = 1000 };
/* Whoever signals a process and then its group (timeout(1) does, and a terminal) has signalled
 * once. */
enum { SAME_SIGNAL_US = 500 * 1000 };
enum { PREAMBLE_MS = 2000, TICK_MIN_MS = 10, TICK_MAX_MS = 1000, TICKS_PER_LEASE = 4 };
enum { MODELS_MAX = 1024, SESSIONS_MAX = 65536 };

/* Descriptors: an eighth of them may be on their way in, the rest of what is not kept for the
 * daemon itself is for connections. */
enum { WAITING_SHARE = 8, WAITING_MIN = 16, WAITING_MAX = 1024 };
enum { OWN_DESCRIPTORS = 64, SHARD_DESCRIPTORS = 8 };

/* Shares of the memory limit, for all shards together: what comes on top of weights and moments
 * stays below the fifth of the machine that the limit's default leaves. */
enum { IN_FLIGHT_SHARE = 16, COPIES_SHARE = 16, PUSH_IDS_SHARE = 16 };
enum { SHARD_BUFFER_MIN_BYTES = 8 * 1024 * 1024 };

enum { SIGNALS = 2 };

enum node_state {
    NODE_STARTING,
    NODE_RUNNING,
    NODE_DRAINING,
    NODE_SAVING,
    NODE_ENDING,
    NODE_STOPPING
};

struct node {
    const struct pd_config *config;
    enum node_state state;
    struct pd_loop loop;
    struct pd_mailbox messages;
    struct pd_mailbox reports;
    uv_timer_t tick;
    uv_timer_t deadline;
    uv_signal_t signals[SIGNALS];
    struct pd_arrivals arrivals;
    struct pd_listener listener;
    struct pd_control_host *control;
    struct pd_store *store; /* NULL: nothing is kept */
    struct pd_log_writer control_writer;
    struct pd_snapshots snapshots;
    uint64_t signal_us; /* when the last one that counted came */
    bool hurries;       /* while draining */
    bool unsaved;       /* the last snapshot could not be taken */
    bool saved;         /* the last snapshot has everything, and no log is left without its end */
    struct pd_shard_thread *threads[PD_SHARDS_MAX];
    uint32_t started;
    uint32_t drained;
    uint32_t logs_ended;
    uint32_t stopped;
    uint32_t next_shard; /* for those that take any */
    uint64_t given;      /* connections */
    uint32_t connections_max;
    uint32_t waiting_max;
    char tcp[PD_ADDRESS_BYTES];
    enum paramd_status status; /* why it could not start; error says it */
    char error[PD_STORE_TEXT_BYTES];
};

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Connections come in as they go out: the descriptors of those that were given and are not closed.
 */
static bool has_room(void *context)
{
    struct node *node = context;
    uint64_t closed = 0;
    for (uint32_t i = 0; i < node->started; i++) {
        closed += pd_shard_thread_closed_count(node->threads[i]);
    }
    return node->given - closed < node->connections_max;
}

static void on_arrival(void *context, const struct pd_arrival *arrival)
{
    struct node *node = context;
    uint32_t shard = arrival->shard;
    if (shard >= node->config->shards) {
        shard = node->next_shard;
        node->next_shard = (shard + 1) % node->config->shards;
    }
    if (!pd_shard_thread_give(node->threads[shard], arrival)) {
        (void)close(arrival->fd);
        return;
    }
    node->given++;
}

static void log_notes(struct node *node)
{
    static const enum pd_log_level levels[] = {
        [PD_NOTE_DEBUG] = PD_LOG_DEBUG,
        [PD_NOTE_INFO] = PD_LOG_INFO,
        [PD_NOTE_WARN] = PD_LOG_WARN,
    };
    struct pd_note *note;
    while ((note = pd_control_host_next_note(node->control)) != NULL) {
        pd_log_message(levels[note->level], "%s", note->text);
        free(note);
    }
}

/* Sends what control has decided, with one wake-up for each shard. */
static void send_messages(struct node *node)
{
    struct pd_link lists[PD_SHARDS_MAX];
    struct pd_message *message = pd_control_host_next_message(node->control);
    if (message == NULL) {
        return;
    }
    for (uint32_t i = 0; i < node->started; i++) {
        pd_link_init(&lists[i]);
    }
    for (; message != NULL; message = pd_control_host_next_message(node->control)) {
        pd_list_push(&lists[message->shard], &message->link);
    }
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_deliver(node->threads[i], &lists[i]);
    }
}

static void open_doors(struct node *node);
static void stop_shards(struct node *node);

/* The last record of control's log: once it is durable, all is closed whole. */
static void end_control_log(struct node *node)
{
    if (node->logs_ended == node->started && pd_control_host_end_log(node->control) == PARAMD_OK &&
        pd_control_host_idle(node->control)) {
        if (node->saved) {
            pd_store_end_clean(node->store);
        }
        stop_shards(node);
    }
}

static void settle(void *context)
{
    struct node *node = context;
    struct pd_wal_job job;
    log_notes(node);
    send_messages(node);
    if (node->state == NODE_STARTING && pd_control_host_idle(node->control)) {
        open_doors(node);
    } else if (node->state == NODE_ENDING) {
        end_control_log(node);
    }
    if (node->store != NULL && node->state == NODE_RUNNING) {
        pd_snapshots_look(&node->snapshots);
    }
    if (node->store != NULL && node->state != NODE_STOPPING &&
        pd_control_host_take_job(node->control, &job)) {
        pd_log_writer_do(&node->control_writer, &job);
    }
}

static void on_messages(void *context, struct pd_link *list)
{
    struct node *node = context;
    uint64_t now = now_us();
    for (struct pd_link *link = pd_list_pop(list); link != NULL; link = pd_list_pop(list)) {
        pd_control_host_step(node->control, PD_CONTAINER(link, struct pd_message, link), now);
    }
}

static void on_tick(uv_timer_t *tick)
{
    struct node *node = tick->data;
    pd_control_host_step(node->control, NULL, now_us());
}

static void remove_address_file(const struct node *node)
{
    if (node->config->address_file != NULL) {
        (void)unlink(node->config->address_file);
    }
}

static void on_stop_deadline(uv_timer_t *deadline)
{
    struct node *node = deadline->data;
    pd_log_message(PD_LOG_WARN, "a shard did not stop in time and is left behind");
    remove_address_file(node);
    _exit(node->unsaved ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* What was acknowledged is durable; what the disk holds beyond that is unknown, and nobody may hear
 * of it. */
static void end_at_once(const struct node *node)
{
    pd_log_message(
        PD_LOG_ERROR,
        "stopping at once, since nothing more can be made durable: see to the disk, then "
        "start again; what was acknowledged at ack level logged will be there");
    remove_address_file(node);
    _exit(EXIT_FAILURE);
}

static void on_control_written(void *context, enum paramd_status status)
{
    struct node *node = context;
    if (pd_log_writer_failed(&node->control_writer)) {
        end_at_once(node);
    }
    pd_control_host_job_done(node->control, status, now_us());
}

static void stop_shards(struct node *node)
{
    if (node->state == NODE_STOPPING) {
        return;
    }
    node->state = NODE_STOPPING;
    (void)uv_timer_start(&node->deadline, on_stop_deadline, STOP_MS, 0);
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_stop(node->threads[i]);
    }
}

/* Who does not read its answers does not keep the last snapshot from being taken. */
static void on_drain_deadline(uv_timer_t *deadline)
{
    struct node *node = deadline->data;
    pd_log_message(PD_LOG_WARN, "frames in hand could not be finished in time");
    if (node->store == NULL || node->hurries) {
        stop_shards(node);
        return;
    }
    node->hurries = true;
    (void)uv_timer_start(&node->deadline, on_drain_deadline, STOP_MS, 0);
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_hurry(node->threads[i]);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct node *node = handle->data;
    if (node->signal_us != 0 && now_us() - node->signal_us < SAME_SIGNAL_US) {
        return;
    }
    node->signal_us = now_us();
    if (node->state != NODE_RUNNING) {
        pd_log_message(PD_LOG_INFO, node->state == NODE_STARTING
                                        ? "signal while starting: stopping at once"
                                        : "second signal: stopping at once");
        stop_shards(node);
        return;
    }
    node->state = NODE_DRAINING;
    pd_listener_close(&node->listener);
    pd_arrivals_close(&node->arrivals);
    /* Only now: who reads it may rely on the doors being closed. */
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, "stopping: finishing frames in hand");
    pd_log_text(&line, "signal", "%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    pd_log_end(&line);
    if (node->store != NULL) {
        pd_snapshots_drain(&node->snapshots);
    }
    (void)uv_timer_start(&node->deadline, on_drain_deadline, DRAIN_MS, 0);
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_drain(node->threads[i]);
    }
}

static void close_control_handles(struct node *node)
{
    pd_log_writer_stop(&node->control_writer);
    pd_snapshots_close(&node->snapshots);
    uv_close((uv_handle_t *)&node->tick, NULL);
    uv_close((uv_handle_t *)&node->deadline, NULL);
    for (size_t i = 0; i < SIGNALS; i++) {
        uv_close((uv_handle_t *)&node->signals[i], NULL);
    }
    pd_mailbox_close(&node->messages);
    pd_mailbox_close(&node->reports);
    pd_loop_end(&node->loop);
}

/* A last snapshot, behind the one that may be under way. */
static void save(struct node *node)
{
    if (node->store == NULL) {
        stop_shards(node);
        return;
    }
    pd_log_message(PD_LOG_INFO, "stopping: taking a last snapshot; a second signal skips it");
    node->state = NODE_SAVING;
    (void)uv_timer_stop(&node->deadline);
    pd_snapshots_take_last(&node->snapshots);
}

/* Everything is closed whole, so that the next start can check every byte. */
static void end_logs(struct node *node)
{
    node->state = NODE_ENDING;
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_end_log(node->threads[i]);
    }
}

static void on_snapshot(void *context, enum paramd_status status, bool clean)
{
    struct node *node = context;
    if (status == PARAMD_DISK) {
        end_at_once(node);
    }
    if (node->state == NODE_SAVING && clean) {
        node->saved = status == PARAMD_OK;
        node->unsaved = !node->saved;
        if (node->unsaved) {
            pd_log_message(PD_LOG_ERROR, "stopping without a last snapshot: models at ack level "
                                         "applied lose what came since the one before");
        }
        end_logs(node);
    }
}

static void note_ended_log(struct node *node, enum paramd_status status)
{
    node->logs_ended++;
    if (status != PARAMD_OK && node->saved) {
        node->saved = false;
        pd_log_message(PD_LOG_WARN, "no space to close a log: the next start takes this stop for a "
                                    "crash");
    }
}

static void on_reports(void *context, struct pd_link *list)
{
    struct node *node = context;
    for (struct pd_link *link = pd_list_pop(list); link != NULL; link = pd_list_pop(list)) {
        struct pd_shard_report *report = PD_CONTAINER(link, struct pd_shard_report, link);
        switch (report->kind) {
        case PD_SHARD_DRAINED:
            node->drained++;
            break;
        case PD_SHARD_LOG_ENDED:
            note_ended_log(node, report->status);
            break;
        case PD_SHARD_FAILED:
            end_at_once(node);
            break;
        case PD_SHARD_PAUSED:
            pd_snapshots_paused(&node->snapshots);
            break;
        case PD_SHARD_SAVED:
            pd_snapshots_saved(&node->snapshots, report);
            break;
        case PD_SHARD_LOG_FILLS:
            atomic_store(&report->under_way, false);
            pd_snapshots_need(&node->snapshots);
            break;
        case PD_SHARD_STOPPED:
            node->stopped++;
            break;
        }
    }
    if (node->state == NODE_DRAINING && node->drained == node->started) {
        save(node);
    }
    if (node->stopped == node->started) {
        close_control_handles(node);
    }
}

/* Raises the soft limit of descriptors and divides them. */
static void plan_descriptors(struct node *node)
{
    struct rlimit limit = {.rlim_cur = 1024, .rlim_max = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    uint64_t descriptors = limit.rlim_cur;
    uint64_t waiting = smaller(larger(descriptors / WAITING_SHARE, WAITING_MIN), WAITING_MAX);
    /* As many again may be on their way out with an answer. */
    uint64_t kept =
        2 * waiting + OWN_DESCRIPTORS + (uint64_t)SHARD_DESCRIPTORS * node->config->shards;
    uint64_t room = descriptors > kept ? descriptors - kept : 1;
    node->waiting_max = (uint32_t)waiting;
    node->connections_max = (uint32_t)smaller(node->config->connections_max, room);
    if (node->connections_max < node->config->connections_max) {
        struct pd_log_line line;
        pd_log_begin(&line, PD_LOG_WARN,
                     "fewer connections than asked for: the limit of open files is too low");
        pd_log_number(&line, "connections_max", node->connections_max);
        pd_log_number(&line, "open_files", descriptors);
        pd_log_end(&line);
    }
}

static struct pd_control_options control_options(const struct node *node)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (struct pd_control_options){
        .shards = node->config->shards,
        .memory_max = node->config->memory_max,
        .model_memory_max = node->config->model_memory_max,
        .models_max = MODELS_MAX,
        .sessions_max = SESSIONS_MAX,
        .lease_us = node->config->lease_us,
        .retention_us = node->config->retention_us,
        .start_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000,
        .records = node->config->data_dir != NULL,
        .version = "paramd/" PD_RELEASE,
    };
}

static struct pd_host_options host_options(const struct node *node)
{
    const struct pd_config *config = node->config;
    uint64_t share = config->memory_max / config->shards;
    return (struct pd_host_options){
        .shards = config->shards,
        .connections_max = node->connections_max,
        .in_flight_max = larger(share / IN_FLIGHT_SHARE, SHARD_BUFFER_MIN_BYTES),
        .copies_max = larger(share / COPIES_SHARE, SHARD_BUFFER_MIN_BYTES),
        .push_ids_max = larger(share / PUSH_IDS_SHARE, SHARD_BUFFER_MIN_BYTES),
        .lease_us = config->lease_us,
        .retention_us = config->retention_us,
        .payload_sum = config->payload_sum,
        .memory = pd_block_memory(),
        .version = "paramd/" PD_RELEASE,
    };
}

static enum paramd_status open_store(struct node *node)
{
    const struct pd_config *config = node->config;
    if (config->data_dir == NULL) {
        return PARAMD_OK;
    }
    struct pd_control_options control = control_options(node);
    struct pd_host_options host = host_options(node);
    struct pd_shard_options shard;
    pd_host_shard_options(&host, &shard);
    shard.records = true;
    return pd_store_open(config->data_dir, config->shards, config->log_max, &control, &shard,
                         &node->store, node->error);
}

static enum paramd_status create_control(struct node *node)
{
    struct pd_store *store = node->store;
    struct pd_control_options options = control_options(node);
    struct pd_control_host_options host = {0};
    enum paramd_status status = PARAMD_OK;
    if (store != NULL) {
        host.control = store->recovery->control;
        host.log = &store->control_log;
        store->recovery->control = NULL;
    } else {
        status = pd_control_create(&options, &host.control);
    }
    return status == PARAMD_OK ? pd_control_host_create(&host, &node->control) : status;
}

static enum paramd_status start_shard(struct node *node, uint32_t shard)
{
    const struct pd_config *config = node->config;
    struct pd_store *store = node->store;
    struct pd_shard_thread_options options = {
        .shared_memory_max = config->shared_memory_max / config->shards,
        .busy_poll_us = config->busy_poll_us,
        .pin = config->pin,
        .host = host_options(node),
    };
    options.host.shard = shard;
    if (store != NULL) {
        options.host.log = &store->shard_logs[shard];
        options.host.recovered = store->recovery->shards[shard];
        options.disk = store->disk;
        options.log_name = store->shard_log_names[shard];
        options.log_high = store->log_high;
        store->recovery->shards[shard] = NULL;
    }
    struct pd_shard_thread *thread = NULL;
    enum paramd_status status =
        pd_shard_thread_create(&options, &node->messages, &node->reports, &thread);
    if (status != PARAMD_OK) {
        return status;
    }
    status = pd_shard_thread_start(thread);
    if (status != PARAMD_OK) {
        pd_shard_thread_destroy(thread);
        return status;
    }
    node->threads[node->started++] = thread;
    return PARAMD_OK;
}

/* Control's log, and what control tells the shards to begin with. */
static enum paramd_status start_logs(struct node *node)
{
    enum paramd_status status =
        pd_log_writer_start(&node->control_writer, &node->loop.uv, node->store->disk,
                            node->store->control_log_name, on_control_written, node);
    if (status == PARAMD_OK) {
        status = pd_control_host_recovered(node->control, node->store->recovery->clean, now_us());
    }
    return status;
}

static enum paramd_status start_shards(struct node *node)
{
    enum paramd_status status = PARAMD_OK;
    for (uint32_t i = 0; status == PARAMD_OK && i < node->config->shards; i++) {
        status = start_shard(node, i);
    }
    return status == PARAMD_OK && node->store != NULL ? start_logs(node) : status;
}

static void open_timers_and_signals(struct node *node)
{
    static const int numbers[SIGNALS] = {SIGTERM, SIGINT};
    uint64_t tick_ms =
        smaller(larger(node->config->lease_us / 1000 / TICKS_PER_LEASE, TICK_MIN_MS), TICK_MAX_MS);
    (void)uv_timer_init(&node->loop.uv, &node->tick);
    (void)uv_timer_init(&node->loop.uv, &node->deadline);
    node->tick.data = node;
    node->deadline.data = node;
    (void)uv_timer_start(&node->tick, on_tick, tick_ms, tick_ms);
    for (size_t i = 0; i < SIGNALS; i++) {
        (void)uv_signal_init(&node->loop.uv, &node->signals[i]);
        node->signals[i].data = node;
        (void)uv_signal_start(&node->signals[i], on_signal, numbers[i]);
    }
}

/* Listens, and writes the address file when everything else is ready. */
static enum paramd_status listen_for_workers(struct node *node)
{
    const struct pd_config *config = node->config;
    struct pd_arrivals_options options = {
        .waiting_max = node->waiting_max,
        .timeout_ms = PREAMBLE_MS,
        .has_room = has_room,
        .arrived = on_arrival,
        .context = node,
    };
    bool loopback = false;
    pd_arrivals_init(&node->arrivals, &node->loop.uv, &options);
    pd_listener_init(&node->listener, &node->loop.uv, &node->arrivals);
    enum paramd_status status =
        pd_listener_tcp(&node->listener, config->listen_host, config->listen_port, node->tcp,
                        &loopback, node->error, sizeof node->error);
    if (status == PARAMD_OK && config->unix_path != NULL) {
        status =
            pd_listener_unix(&node->listener, config->unix_path, node->error, sizeof node->error);
    }
    if (status == PARAMD_OK && config->address_file != NULL) {
        status = pd_address_file_write(config->address_file, node->tcp, config->unix_path,
                                       node->error, sizeof node->error);
    }
    if (status != PARAMD_OK) {
        pd_listener_close(&node->listener);
        pd_arrivals_close(&node->arrivals);
        return status;
    }
    if (!loopback) {
        pd_log_message(PD_LOG_WARN,
                       "listening for other machines: there is no authentication, everyone who "
                       "reaches the address can read and change all models");
    }
    return PARAMD_OK;
}

static void log_ready(const struct node *node)
{
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_INFO, "ready");
    pd_log_text(&line, "version", "%s", PD_RELEASE);
    pd_log_text(&line, "tcp", "%s", node->tcp);
    if (node->config->unix_path != NULL) {
        pd_log_text(&line, "unix", "%s", node->config->unix_path);
    }
    pd_log_number(&line, "shards", node->config->shards);
    pd_log_text(&line, "isa", "%s", pd_optim_isa());
    pd_log_number(&line, "memory_max", node->config->memory_max);
    pd_log_number(&line, "connections_max", node->connections_max);
    pd_log_end(&line);
}

static enum paramd_status open_snapshots(struct node *node)
{
    const struct pd_snapshots_options options = {
        .store = node->store,
        .control = node->control,
        .threads = node->threads,
        .shards = node->started,
        .every_ms = node->config->snapshot_every_us / 1000,
        .every_updates = node->config->snapshot_updates,
        .ended = on_snapshot,
        .context = node,
    };
    return pd_snapshots_open(&node->snapshots, &node->loop.uv, &options);
}

/* Control's start is durable. No snapshot before that: it lets go of the epoch whose log has what
 * control knew. */
static void open_doors(struct node *node)
{
    if (node->store != NULL) {
        node->status = open_snapshots(node);
    }
    if (node->status == PARAMD_OK) {
        node->status = listen_for_workers(node);
    }
    if (node->status == PARAMD_OK) {
        node->state = NODE_RUNNING;
        log_ready(node);
    } else {
        stop_shards(node);
    }
}

static enum paramd_status open_mailboxes(struct node *node)
{
    enum paramd_status status = pd_mailbox_open(&node->messages, &node->loop.uv, on_messages, node);
    if (status != PARAMD_OK) {
        return status;
    }
    status = pd_mailbox_open(&node->reports, &node->loop.uv, on_reports, node);
    if (status != PARAMD_OK) {
        pd_mailbox_close(&node->messages);
    }
    return status;
}

/* What shards had sent and control has not read. */
static void destroy_left(struct node *node)
{
    struct pd_link left;
    pd_link_init(&left);
    pd_mailbox_deinit(&node->messages, &left);
    for (struct pd_link *link = pd_list_pop(&left); link != NULL; link = pd_list_pop(&left)) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
    pd_mailbox_deinit(&node->reports, &left);
    log_notes(node);
}

/* From the first thread to the last. */
static void run_shards(struct node *node)
{
    open_timers_and_signals(node);
    node->status = start_shards(node);
    if (node->status != PARAMD_OK && node->started > 0) {
        stop_shards(node);
    } else if (node->status != PARAMD_OK) {
        close_control_handles(node);
    }
    pd_loop_run(&node->loop);
    for (uint32_t i = 0; i < node->started; i++) {
        pd_shard_thread_join(node->threads[i]);
        pd_shard_thread_destroy(node->threads[i]);
    }
    destroy_left(node);
}

/* Everything but the data directory, which is recovered before. */
static void run(struct node *node)
{
    node->status = pd_loop_init(&node->loop, settle, node);
    if (node->status != PARAMD_OK) {
        return;
    }
    node->status = create_control(node);
    if (node->status == PARAMD_OK) {
        node->status = open_mailboxes(node);
    }
    if (node->status == PARAMD_OK) {
        run_shards(node);
    }
    pd_loop_deinit(&node->loop);
    pd_control_host_destroy(node->control);
}

int pd_node_run(const struct pd_config *config)
{
    static const char no_room[] =
        "there is not enough memory or there are too few file descriptors to start";
    struct node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        return EXIT_FAILURE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit of file sizes is told by the call that meets it */
    node->config = config;
    plan_descriptors(node);
    node->status = open_store(node);
    if (node->status == PARAMD_OK) {
        (void)snprintf(node->error, sizeof node->error, "%s", no_room);
        run(node);
        pd_store_close(node->store);
    }
    bool good = node->status == PARAMD_OK;
    if (good) {
        remove_address_file(node);
        pd_log_message(PD_LOG_INFO, "stopped");
    } else {
        (void)fprintf(stderr, "paramd: %s\n", node->error);
    }
    good = good && !node->unsaved;
    free(node);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
