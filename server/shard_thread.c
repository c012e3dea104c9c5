/* Puts a host to work on a libuv loop: connections move its bytes, a timer tells it the time,
 * mailboxes carry its messages. What one batch of events has brought about is written and sent
 * before the loop waits again, so that acks are gathered and control is woken once. */
#include "server/shard_thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/base/log.h"
#include "server/core/shard.h"
#include "server/log_writer.h"
#include "server/net/connection.h"
#include "server/net/loop.h"
#include "server/shard_saver.h"

_Static_assert((int)PD_CONNECTION_READ_SPANS == (int)PD_HOST_READ_SPANS &&
                   (int)PD_CONNECTION_WRITE_SPANS == (int)PD_HOST_WRITE_SPANS,
               "spans go from the host to the connection as they are");

/* A host is asked at least so often, in case its next limit came nearer since it was asked last. */
enum { TICK_MAX_MS = 1000 };

/* A read of so much is one of many before the loop comes round again. */
enum { MUCH_BYTES = 64 * 1024 };

enum order_kind {
    ORDER_CONNECTION,
    ORDER_PAUSE,
    ORDER_SAVE,
    ORDER_GIVE_UP_SAVE,
    ORDER_RELEASE_LOG,
    ORDER_DRAIN,
    ORDER_HURRY,
    ORDER_END_LOG,
    ORDER_STOP
};

/* Requests of so long ago keep a snapshot from hurrying. */
enum { BUSY_US = 5000 };

/* So long requests are held at most, for a snapshot that is one cut. */
enum { PAUSE_MAX_US = 60 * 1000 * 1000 };

enum pause_state {
    PAUSE_NONE,
    PAUSE_HOLDS,
    PAUSE_BROKEN /* it held too long: the save, if one comes or is under way, ends with TIMEOUT */
};

struct order {
    struct pd_link link;
    enum order_kind kind;
    struct pd_arrival arrival;    /* ORDER_CONNECTION, which is heap memory; the others are not */
    struct pd_snapshot_head head; /* ORDER_SAVE */
    uint64_t lsn;                 /* ORDER_RELEASE_LOG */
};

struct pd_shard_thread {
    /* Used by both threads. */
    struct pd_mailbox orders;
    struct pd_mailbox messages;
    _Atomic uint64_t closed_count; /* these are written by the shard's thread only */
    _Atomic uint64_t applied_count;
    _Atomic uint64_t saved_bytes;
    _Atomic uint64_t memory_bytes;
    /* The control thread's. */
    struct order pause_order;
    struct order save_order;
    struct order give_up_orders[2];
    unsigned give_up_next;
    struct order release_order;
    struct order drain_order;
    struct order hurry_order;
    struct order end_log_order;
    struct order stop_order;
    bool stop_ordered;
    /* The shard's thread's. */
    uint32_t shard;
    bool pin;
    struct pd_loop loop;
    uv_timer_t tick;
    struct pd_host *host;
    struct pd_link peers;
    struct pd_farewells farewells;
    struct pd_mailbox *control;
    struct pd_mailbox *reports;
    struct pd_log_writer writer;
    struct pd_shard_saver saver;
    uint64_t traffic_us; /* when bytes moved last */
    uint64_t log_high;
    bool log_fills; /* and it was said */
    enum pause_state pause;
    uint64_t paused_us; /* when it began */
    uint64_t held_us;   /* how long it was, once it is over */
    struct pd_shard_report paused_report;
    struct pd_shard_report saved_report;
    struct pd_shard_report log_fills_report;
    struct pd_shard_report drained_report;
    struct pd_shard_report log_ended_report;
    struct pd_shard_report failed_report;
    struct pd_shard_report stopped_report;
    struct pd_log_limit log_limit;
    uint64_t shared_budget; /* bytes left for memory shared with peers */
    bool logs;
    bool log_failed;
    bool log_ending;
    bool log_ended;
    bool draining;
    bool hurries;
    bool drained;
    bool stopped;
};

/* One connection, between net and the host. */
struct peer {
    struct pd_link link;
    struct pd_shard_thread *thread;
    struct pd_host_conn *conn;
    struct pd_connection *connection;
    bool ended_by_host;
    char name[PD_ADDRESS_BYTES];
};

static uint64_t now_us(void)
{
    return uv_hrtime() / 1000;
}

static unsigned peer_read_target(void *context, struct pd_span *spans)
{
    struct peer *peer = context;
    return pd_host_read_target(peer->thread->host, peer->conn, spans);
}

static void keep_writing(struct pd_shard_thread *thread);

static void peer_received(void *context, size_t bytes)
{
    struct peer *peer = context;
    uint64_t now = now_us();
    pd_loop_stir(&peer->thread->loop);
    peer->thread->traffic_us = now;
    pd_host_received(peer->thread->host, peer->conn, bytes, now);
    if (bytes >= MUCH_BYTES && peer->thread->logs) {
        keep_writing(peer->thread);
    }
}

static bool peer_bulk_waits(void *context)
{
    const struct peer *peer = context;
    return pd_host_values_wait(peer->conn);
}

static unsigned peer_write_source(void *context, struct pd_span *spans)
{
    struct peer *peer = context;
    return pd_host_write_source(peer->thread->host, peer->conn, spans);
}

static void peer_written(void *context, size_t bytes)
{
    struct peer *peer = context;
    pd_loop_stir(&peer->thread->loop);
    pd_host_written(peer->thread->host, peer->conn, bytes, now_us());
}

static bool peer_polls(void *context)
{
    const struct peer *peer = context;
    return pd_loop_polls(&peer->thread->loop);
}

static bool peer_finished(void *context, const char **ret_reason)
{
    struct peer *peer = context;
    peer->ended_by_host = pd_host_finished(peer->conn, ret_reason);
    return peer->ended_by_host;
}

static void log_closed(struct peer *peer, const char *reason)
{
    struct pd_log_line line;
    if (peer->ended_by_host && !peer->thread->draining) {
        pd_log_begin_limited(&line, &peer->thread->log_limit, now_us(), PD_LOG_WARN,
                             "connection closed by the daemon");
    } else {
        pd_log_begin(&line, PD_LOG_DEBUG, "connection closed");
    }
    pd_log_text(&line, "peer", "%s", peer->name);
    pd_log_number(&line, "shard", peer->thread->shard);
    pd_log_text(&line, "reason", "%s", reason);
    pd_log_end(&line);
}

static void peer_closed(void *context, const char *reason)
{
    struct peer *peer = context;
    log_closed(peer, reason);
    pd_host_closed(peer->thread->host, peer->conn, now_us());
    pd_link_remove(&peer->link);
    free(peer);
}

static const struct pd_connection_ops peer_ops = {
    .read_target = peer_read_target,
    .received = peer_received,
    .bulk_waits = peer_bulk_waits,
    .write_source = peer_write_source,
    .written = peer_written,
    .polls = peer_polls,
    .finished = peer_finished,
    .closed = peer_closed,
};

static void count_closed(void *context)
{
    struct pd_shard_thread *thread = context;
    uint64_t count = atomic_load_explicit(&thread->closed_count, memory_order_relaxed);
    atomic_store_explicit(&thread->closed_count, count + 1, memory_order_relaxed);
}

static void refuse_peer(struct pd_shard_thread *thread, struct peer *peer,
                        const struct pd_arrival *arrival, const char *reason)
{
    struct pd_log_line line;
    pd_log_begin_limited(&line, &thread->log_limit, now_us(), PD_LOG_WARN, "connection refused");
    pd_log_text(&line, "peer", "%s", arrival->peer);
    pd_log_number(&line, "shard", thread->shard);
    pd_log_text(&line, "reason", "%s", reason);
    pd_log_end(&line);
    free(peer);
}

static void open_peer(struct pd_shard_thread *thread, const struct pd_arrival *arrival)
{
    struct peer *peer = calloc(1, sizeof *peer);
    if (thread->draining || peer == NULL) {
        refuse_peer(thread, peer, arrival, thread->draining ? "the daemon stops" : "no memory");
        pd_farewells_begin(&thread->farewells, arrival->fd, true);
        return;
    }
    peer->thread = thread;
    peer->conn = pd_host_open(thread->host, arrival->local, peer, now_us());
    if (peer->conn == NULL) {
        refuse_peer(thread, peer, arrival, "the shard takes no more connections");
        pd_farewells_begin(&thread->farewells, arrival->fd, true);
        return;
    }
    peer->connection = pd_connection_open(
        &thread->loop.uv, arrival->fd, arrival->wants_shared_memory ? &thread->shared_budget : NULL,
        &peer_ops, peer, &thread->farewells);
    if (peer->connection == NULL) {
        pd_host_closed(thread->host, peer->conn, now_us());
        refuse_peer(thread, peer, arrival, "no memory");
        return;
    }
    memcpy(peer->name, arrival->peer, sizeof peer->name);
    pd_link_init(&peer->link);
    pd_list_push(&thread->peers, &peer->link);
    struct pd_log_line line;
    pd_log_begin(&line, PD_LOG_DEBUG, "connection opened");
    pd_log_text(&line, "peer", "%s", peer->name);
    pd_log_number(&line, "shard", thread->shard);
    pd_log_end(&line);
}

static void close_peers(struct pd_shard_thread *thread, const char *reason)
{
    while (!pd_link_alone(&thread->peers)) {
        struct peer *peer = PD_CONTAINER(thread->peers.next, struct peer, link);
        pd_connection_close(peer->connection, reason);
    }
}

static void send_report(struct pd_shard_thread *thread, struct pd_shard_report *report,
                        enum pd_shard_report_kind kind)
{
    struct pd_link list;
    pd_link_init(&list);
    report->kind = kind;
    report->shard = thread->shard;
    pd_link_init(&report->link);
    pd_list_push(&list, &report->link);
    pd_mailbox_send(thread->reports, &list);
}

static void stop(struct pd_shard_thread *thread)
{
    thread->draining = true;
    thread->stopped = true;
    close_peers(thread, "the daemon stops");
    pd_farewells_abort(&thread->farewells);
    pd_log_writer_stop(&thread->writer);
    pd_shard_saver_close(&thread->saver);
    uv_close((uv_handle_t *)&thread->tick, NULL);
    pd_mailbox_close(&thread->orders);
    pd_mailbox_close(&thread->messages);
    pd_loop_end(&thread->loop);
    send_report(thread, &thread->stopped_report, PD_SHARD_STOPPED);
}

/* ---- a snapshot, and a pause for it ---- */

static void on_tick(uv_timer_t *tick);

/* What was held goes on. */
static void end_pause(struct pd_shard_thread *thread, enum pause_state next)
{
    if (thread->pause == PAUSE_HOLDS) {
        uint64_t now = now_us();
        thread->held_us = now - thread->paused_us;
        pd_host_resume(thread->host, now);
        /* The loop turns once more before it waits, so that answers are written. */
        (void)uv_timer_start(&thread->tick, on_tick, 0, 0);
    }
    thread->pause = next;
}

static void begin_pause(struct pd_shard_thread *thread)
{
    thread->pause = PAUSE_HOLDS;
    thread->paused_us = now_us();
    thread->held_us = 0;
    pd_host_pause(thread->host);
    send_report(thread, &thread->paused_report, PD_SHARD_PAUSED);
}

static void on_saved(void *context, enum paramd_status status, const struct pd_manifest_file *file)
{
    struct pd_shard_thread *thread = context;
    thread->saved_report.status = thread->pause == PAUSE_BROKEN ? PARAMD_TIMEOUT : status;
    thread->saved_report.file = file != NULL ? *file : (struct pd_manifest_file){0};
    end_pause(thread, PAUSE_NONE);
    thread->saved_report.held_us = thread->held_us;
    send_report(thread, &thread->saved_report, PD_SHARD_SAVED);
}

static void begin_save(struct pd_shard_thread *thread, const struct pd_snapshot_head *head)
{
    if (thread->pause == PAUSE_BROKEN) {
        on_saved(thread, PARAMD_TIMEOUT, NULL);
    } else {
        pd_shard_saver_begin(&thread->saver, head);
    }
}

static void give_up_save(struct pd_shard_thread *thread, enum pause_state next)
{
    pd_shard_saver_give_up(&thread->saver);
    end_pause(thread, next);
}

/* The next slots, at full speed where nobody can push anyway. */
static void turn_saver(struct pd_shard_thread *thread)
{
    uint64_t now = now_us();
    bool holds = thread->pause == PAUSE_HOLDS;
    if (holds && now - thread->paused_us > PAUSE_MAX_US) {
        give_up_save(thread, PAUSE_BROKEN);
    }
    bool copied = pd_host_copies(thread->host);
    pd_shard_saver_turn(&thread->saver, !holds && now - thread->traffic_us < BUSY_US);
    if (copied && !pd_host_copies(thread->host)) {
        end_pause(thread, PAUSE_NONE);
    }
}

static void follow(struct pd_shard_thread *thread, struct order *order)
{
    switch (order->kind) {
    case ORDER_CONNECTION:
        open_peer(thread, &order->arrival);
        free(order);
        break;
    case ORDER_PAUSE:
        begin_pause(thread);
        break;
    case ORDER_SAVE:
        begin_save(thread, &order->head);
        break;
    case ORDER_GIVE_UP_SAVE:
        give_up_save(thread, PAUSE_NONE);
        break;
    case ORDER_RELEASE_LOG:
        pd_host_release_log(thread->host, order->lsn);
        thread->log_fills = false; /* perhaps it still does */
        break;
    case ORDER_DRAIN:
        thread->draining = true;
        break;
    case ORDER_HURRY:
        thread->hurries = true;
        break;
    case ORDER_END_LOG:
        thread->log_ending = true;
        break;
    case ORDER_STOP:
        stop(thread);
        break;
    }
}

static void on_orders(void *context, struct pd_link *list)
{
    for (struct pd_link *link = list->next; link != list;) {
        struct order *order = PD_CONTAINER(link, struct order, link);
        link = link->next;
        follow(context, order);
    }
    pd_link_init(list);
}

static void on_messages(void *context, struct pd_link *list)
{
    struct pd_shard_thread *thread = context;
    for (struct pd_link *link = pd_list_pop(list); link != NULL; link = pd_list_pop(list)) {
        pd_host_message(thread->host, PD_CONTAINER(link, struct pd_message, link), now_us());
    }
}

static void on_tick(uv_timer_t *tick)
{
    struct pd_shard_thread *thread = tick->data;
    uint64_t now = now_us();
    uint64_t next = pd_host_tick(thread->host, now);
    uint64_t wait_ms = next > now ? (next - now + 999) / 1000 : 1;
    (void)uv_timer_start(tick, on_tick, wait_ms < TICK_MAX_MS ? wait_ms : TICK_MAX_MS, 0);
}

/* Once all answers are written, the connections are closed; once the peers have read them, that was
 * it. */
static void drain(struct pd_shard_thread *thread)
{
    if (thread->hurries) {
        close_peers(thread, "it did not read its answers before the daemon stops");
        pd_farewells_abort(&thread->farewells);
    }
    if (!pd_host_drain(thread->host)) {
        return;
    }
    close_peers(thread, "the daemon stops");
    if (pd_farewells_empty(&thread->farewells)) {
        thread->drained = true;
        send_report(thread, &thread->drained_report, PD_SHARD_DRAINED);
    }
}

/* ---- the log ---- */

static void on_written(void *context, enum paramd_status status)
{
    struct pd_shard_thread *thread = context;
    pd_loop_stir(&thread->loop);
    pd_host_job_done(thread->host, status, now_us());
    if (pd_log_writer_failed(&thread->writer)) {
        thread->log_failed = true;
        send_report(thread, &thread->failed_report, PD_SHARD_FAILED);
    }
}

/* What was gathered while the last batch was being written is the next one. */
static void hand_over(struct pd_shard_thread *thread)
{
    struct pd_wal_job job;
    if (!thread->log_failed && pd_host_take_job(thread->host, &job)) {
        pd_log_writer_do(&thread->writer, &job);
    }
}

/* In the middle of a turn of the loop, so that the disk need not wait for its end. */
static void keep_writing(struct pd_shard_thread *thread)
{
    pd_log_writer_look(&thread->writer);
    hand_over(thread);
}

/* On a full disk a log that has no file stays without an end: nobody waits for room at a stop. */
static void end_log(struct pd_shard_thread *thread)
{
    enum paramd_status status = pd_host_end_log(thread->host);
    bool durable = pd_host_durable_lsn(thread->host) == pd_host_last_lsn(thread->host);
    if (status == PARAMD_RESOURCE_EXHAUSTED || (status == PARAMD_OK && durable)) {
        thread->log_ended = true;
        thread->log_ended_report.status = status;
        send_report(thread, &thread->log_ended_report, PD_SHARD_LOG_ENDED);
    }
}

static void write_log(struct pd_shard_thread *thread)
{
    if (thread->log_ending && !thread->log_ended) {
        end_log(thread);
    }
    hand_over(thread);
    if (!thread->log_fills && pd_host_log_bytes(thread->host) >= thread->log_high &&
        !atomic_exchange(&thread->log_fills_report.under_way, true)) {
        thread->log_fills = true;
        send_report(thread, &thread->log_fills_report, PD_SHARD_LOG_FILLS);
    }
    turn_saver(thread);
}

static void update_active(struct pd_shard_thread *thread)
{
    struct pd_host_conn *conn = NULL;
    while ((conn = pd_host_next_active(thread->host)) != NULL) {
        struct peer *peer = pd_host_conn_user(conn);
        /* NULL while it is being opened: its first turn comes by itself. */
        if (peer->connection != NULL) {
            pd_connection_update(peer->connection);
        }
    }
}

/* For the control thread to read at any time. */
static void show_counts(struct pd_shard_thread *thread)
{
    const struct pd_host *host = thread->host;
    atomic_store_explicit(&thread->applied_count, pd_host_applied_count(host),
                          memory_order_relaxed);
    atomic_store_explicit(&thread->saved_bytes, pd_host_snapshot_bytes(host), memory_order_relaxed);
    atomic_store_explicit(&thread->memory_bytes, pd_host_memory_bytes(host), memory_order_relaxed);
}

static void settle(void *context)
{
    struct pd_shard_thread *thread = context;
    if (thread->stopped) {
        return;
    }
    if (thread->logs) {
        hand_over(thread); /* the disk need not wait for answers */
    }
    update_active(thread);
    if (thread->draining && !thread->drained) {
        drain(thread);
        update_active(thread);
    }
    if (thread->logs) {
        write_log(thread);
        update_active(thread);
    }
    show_counts(thread);
    struct pd_link outgoing;
    pd_link_init(&outgoing);
    struct pd_message *message = NULL;
    while ((message = pd_host_next_outgoing(thread->host)) != NULL) {
        pd_link_init(&message->link);
        pd_list_push(&outgoing, &message->link);
    }
    pd_mailbox_send(thread->control, &outgoing);
}

/* The part of create that may fail in the middle: each step is undone by destroy_loop. */
static enum paramd_status open_mailboxes(struct pd_shard_thread *thread)
{
    enum paramd_status status =
        pd_mailbox_open(&thread->orders, &thread->loop.uv, on_orders, thread);
    if (status != PARAMD_OK) {
        return status;
    }
    status = pd_mailbox_open(&thread->messages, &thread->loop.uv, on_messages, thread);
    if (status != PARAMD_OK) {
        struct pd_link none;
        pd_link_init(&none);
        pd_mailbox_close(&thread->orders);
        pd_mailbox_deinit(&thread->orders, &none);
    }
    return status;
}

/* The loop's owner from mailboxes to host; on failure the loop is to be ended as it is. */
static enum paramd_status open_parts(struct pd_shard_thread *thread,
                                     const struct pd_shard_thread_options *options)
{
    struct pd_shard *recovered = options->host.recovered;
    enum paramd_status status = open_mailboxes(thread);
    if (status != PARAMD_OK) {
        pd_shard_destroy(recovered);
        return status;
    }
    if (options->host.log != NULL) {
        status = pd_log_writer_start(&thread->writer, &thread->loop.uv, options->disk,
                                     options->log_name, on_written, thread);
    }
    if (status == PARAMD_OK) {
        status = pd_host_create(&options->host, &thread->host);
        recovered = NULL;
    }
    if (status == PARAMD_OK && options->host.log != NULL) {
        status = pd_shard_saver_open(&thread->saver, &thread->loop.uv, options->disk, thread->host,
                                     on_saved, thread);
    }
    if (status != PARAMD_OK) {
        pd_host_destroy(thread->host);
        pd_shard_destroy(recovered);
        pd_log_writer_stop(&thread->writer);
        pd_mailbox_close(&thread->orders);
        pd_mailbox_close(&thread->messages);
    }
    return status;
}

enum paramd_status pd_shard_thread_create(const struct pd_shard_thread_options *options,
                                          struct pd_mailbox *control, struct pd_mailbox *reports,
                                          struct pd_shard_thread **ret_thread)
{
    struct pd_shard_thread *thread = calloc(1, sizeof *thread);
    enum paramd_status status =
        thread != NULL ? pd_loop_init(&thread->loop, settle, thread) : PARAMD_RESOURCE_EXHAUSTED;
    if (status != PARAMD_OK) {
        pd_shard_destroy(options->host.recovered);
        free(thread);
        return status;
    }
    status = open_parts(thread, options);
    if (status != PARAMD_OK) {
        pd_loop_deinit(&thread->loop);
        free(thread);
        return status;
    }
    thread->logs = options->host.log != NULL;
    thread->log_high = options->log_high;
    thread->shard = options->host.shard;
    thread->pin = options->pin;
    thread->shared_budget = options->shared_memory_max;
    pd_loop_set_busy_poll(&thread->loop, options->busy_poll_us);
    thread->control = control;
    thread->reports = reports;
    pd_link_init(&thread->peers);
    pd_farewells_init(&thread->farewells, &thread->loop.uv, UINT32_MAX, count_closed, thread);
    (void)uv_timer_init(&thread->loop.uv, &thread->tick);
    thread->tick.data = thread;
    (void)uv_timer_start(&thread->tick, on_tick, 1, 0);
    *ret_thread = thread;
    return PARAMD_OK;
}

enum paramd_status pd_shard_thread_start(struct pd_shard_thread *thread)
{
    char name[24];
    (void)snprintf(name, sizeof name, "paramd-%u", (unsigned)thread->shard);
    enum paramd_status status = pd_loop_start(&thread->loop, name);
    if (status == PARAMD_OK && thread->pin) {
        pd_loop_pin(&thread->loop, thread->shard);
    }
    return status;
}

static void destroy_messages(struct pd_link *list)
{
    for (struct pd_link *link = pd_list_pop(list); link != NULL; link = pd_list_pop(list)) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

void pd_shard_thread_deliver(struct pd_shard_thread *thread, struct pd_link *messages)
{
    if (thread->stop_ordered) {
        destroy_messages(messages);
    } else {
        pd_mailbox_send(&thread->messages, messages);
    }
}

/* Nothing is ordered behind a stop. */
static void send_order(struct pd_shard_thread *thread, struct order *order, enum order_kind kind)
{
    struct pd_link list;
    if (thread->stop_ordered) {
        return;
    }
    pd_link_init(&list);
    order->kind = kind;
    pd_link_init(&order->link);
    pd_list_push(&list, &order->link);
    pd_mailbox_send(&thread->orders, &list);
}

bool pd_shard_thread_give(struct pd_shard_thread *thread, const struct pd_arrival *arrival)
{
    struct order *order = thread->stop_ordered ? NULL : malloc(sizeof *order);
    if (order == NULL) {
        return false;
    }
    order->arrival = *arrival;
    send_order(thread, order, ORDER_CONNECTION);
    return true;
}

uint64_t pd_shard_thread_closed_count(struct pd_shard_thread *thread)
{
    return atomic_load_explicit(&thread->closed_count, memory_order_relaxed);
}

uint64_t pd_shard_thread_applied_count(struct pd_shard_thread *thread)
{
    return atomic_load_explicit(&thread->applied_count, memory_order_relaxed);
}

uint64_t pd_shard_thread_saved_bytes(struct pd_shard_thread *thread)
{
    return atomic_load_explicit(&thread->saved_bytes, memory_order_relaxed);
}

uint64_t pd_shard_thread_memory_bytes(struct pd_shard_thread *thread)
{
    return atomic_load_explicit(&thread->memory_bytes, memory_order_relaxed);
}

void pd_shard_thread_drain(struct pd_shard_thread *thread)
{
    send_order(thread, &thread->drain_order, ORDER_DRAIN);
}

void pd_shard_thread_hurry(struct pd_shard_thread *thread)
{
    send_order(thread, &thread->hurry_order, ORDER_HURRY);
}

void pd_shard_thread_pause(struct pd_shard_thread *thread)
{
    send_order(thread, &thread->pause_order, ORDER_PAUSE);
}

void pd_shard_thread_save(struct pd_shard_thread *thread, const struct pd_snapshot_head *head)
{
    thread->save_order.head = *head;
    send_order(thread, &thread->save_order, ORDER_SAVE);
}

/* The last one may still be on its way to a shard whose part was over; the one before is not, since
 * something was heard of the shard after it. */
void pd_shard_thread_give_up_save(struct pd_shard_thread *thread)
{
    thread->give_up_next ^= 1;
    send_order(thread, &thread->give_up_orders[thread->give_up_next], ORDER_GIVE_UP_SAVE);
}

void pd_shard_thread_release_log(struct pd_shard_thread *thread, uint64_t lsn)
{
    thread->release_order.lsn = lsn;
    send_order(thread, &thread->release_order, ORDER_RELEASE_LOG);
}

void pd_shard_thread_end_log(struct pd_shard_thread *thread)
{
    send_order(thread, &thread->end_log_order, ORDER_END_LOG);
}

void pd_shard_thread_stop(struct pd_shard_thread *thread)
{
    send_order(thread, &thread->stop_order, ORDER_STOP);
    thread->stop_ordered = true;
}

void pd_shard_thread_join(struct pd_shard_thread *thread)
{
    pd_loop_join(&thread->loop);
}

void pd_shard_thread_destroy(struct pd_shard_thread *thread)
{
    if (thread == NULL) {
        return;
    }
    struct pd_link left;
    pd_link_init(&left);
    /* Closes the handles of one that has never run. */
    pd_loop_deinit(&thread->loop);
    pd_mailbox_deinit(&thread->messages, &left);
    destroy_messages(&left);
    /* Orders that came behind the last one cannot be: nothing is given after stop. */
    pd_mailbox_deinit(&thread->orders, &left);
    pd_host_destroy(thread->host);
    free(thread);
}
