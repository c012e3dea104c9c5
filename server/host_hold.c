/* What waits for the log: requests and messages for room in it, answers, values and messages until
 * what they tell of is durable. But for pd_host_record, where there is a log only. */
#include "server/base/assert.h"
#include "server/host_state.h"

enum {
    /* For the records of an event beside the frame and the results of its entries. */
    RECORDS_BYTES = PD_RECORDS_MAX * PD_RECORD_OVERHEAD_BYTES,
    MESSAGE_BYTES = 16 * 1024, /* what control tells needs no more, but a model with many groups */
    /* Requests leave so much of the buffer, and of a log that has no more room: control has decided
     * already, and a client has not been told anything. */
    KEPT_BYTES_MAX = 64 * 1024,
    KEPT_SHARE = 4
};

/* ---- room ---- */

/* Room for a request; what is kept for messages is kept. */
static enum paramd_status reserve(struct pd_host *host, size_t bytes)
{
    size_t kept = host->log.buffer_bytes / KEPT_SHARE;
    kept = kept < KEPT_BYTES_MAX ? kept : KEPT_BYTES_MAX;
    enum paramd_status status = pd_host_log_reserve(&host->log, PD_RECORDS_MAX, bytes + kept);
    return status == PARAMD_OK ? pd_host_log_reserve(&host->log, PD_RECORDS_MAX, bytes) : status;
}

/* What a request, or a step of the initialisers, may need; 0: it records nothing. A host that
 * drains takes no step: asking for room has a full disk tried, which needs its last space for a
 * snapshot. */
static size_t request_bytes(const struct pd_host *host, const struct pd_event *event)
{
    bool records = event->kind == PD_EVENT_TIME && !host->draining;
    if (event->kind == PD_EVENT_REQUEST) {
        records = event->frame_kind == PD_KIND_PUSH || event->frame_kind == PD_KIND_PUSH_PULL ||
                  event->frame_kind == PD_KIND_INIT || event->frame_kind == PD_KIND_SKIP;
    }
    return records ? RECORDS_BYTES + PD_ENTRIES_MAX + event->header_count + event->payload_count
                   : 0;
}

static size_t message_bytes(const struct pd_message *message)
{
    switch (message->kind) {
    case PD_MESSAGE_CREATE_MODEL:
        return RECORDS_BYTES + message->hyper_count * PD_RECORD_GROUP_BYTES;
    case PD_MESSAGE_RESTART_INIT:
    case PD_MESSAGE_READY:
    case PD_MESSAGE_SET_HYPERS:
    case PD_MESSAGE_DROP_MODEL:
    case PD_MESSAGE_OPEN_SESSION:
    case PD_MESSAGE_END_SESSION:
        return MESSAGE_BYTES;
    default:
        return 0;
    }
}

void pd_host_ask_log(struct pd_host *host, const struct pd_host_conn *conn, struct pd_event *event)
{
    bool told = event->kind == PD_EVENT_MESSAGE;
    size_t bytes = told ? message_bytes(event->message) : request_bytes(host, event);
    enum paramd_status status = PARAMD_OK;
    if (bytes > 0) {
        status =
            told ? pd_host_log_reserve(&host->log, PD_RECORDS_MAX, bytes) : reserve(host, bytes);
    }
    event->log_lsn = pd_wal_last_lsn(host->log.wal);
    event->durable_lsn = pd_wal_durable_lsn(host->log.wal);
    event->answers_lsn =
        conn != NULL && conn->hold_count > 0 ? conn->holds[conn->hold_count - 1].lsn : 0;
    event->log_room = status == PARAMD_OK ? bytes : 0;
    /* Who comes after a failure waits for the end: nothing may be said of it any more. */
    event->log_busy = status == PARAMD_BUSY || status == PARAMD_DISK;
}

/* ---- messages ---- */

/* Whether the log's state is of no concern to the message, or the core can refuse it. */
static bool may_take(struct pd_host *host, const struct pd_message *message)
{
    size_t bytes = message_bytes(message);
    if (bytes == 0) {
        return true;
    }
    switch (pd_host_log_reserve(&host->log, PD_RECORDS_MAX, bytes)) {
    case PARAMD_OK:
        return true;
    case PARAMD_BUSY:
    case PARAMD_DISK:
        return false;
    default:
        return message->kind == PD_MESSAGE_CREATE_MODEL || message->kind == PD_MESSAGE_OPEN_SESSION;
    }
}

bool pd_host_queue_message(struct pd_host *host, struct pd_message *message)
{
    if (host->log.wal == NULL || (pd_link_alone(&host->queued) && may_take(host, message))) {
        return false;
    }
    pd_list_push(&host->queued, &message->link);
    return true;
}

/* Those that waited and need not any more. */
static void take_queued(struct pd_host *host)
{
    while (!pd_link_alone(&host->queued)) {
        struct pd_message *message = PD_CONTAINER(host->queued.next, struct pd_message, link);
        if (!may_take(host, message)) {
            return;
        }
        pd_link_remove(&message->link);
        pd_host_take_message(host, message);
    }
}

/* ---- what came of an event ---- */

void pd_host_record(struct pd_host *host, struct pd_effects *effects)
{
    for (unsigned i = 0; i < effects->record_count; i++) {
        pd_host_log_append(&host->log, &effects->records[i]);
    }
    pd_host_log_send(&host->log, &effects->to_control, effects->wait);
}

void pd_host_wait_for_log(struct pd_host *host, struct pd_host_conn *conn)
{
    if (pd_link_alone(&conn->holding)) {
        pd_list_push(&host->holding, &conn->holding);
    }
}

void pd_host_hold(struct pd_host *host, struct pd_host_conn *conn, size_t before)
{
    uint64_t lsn = pd_wal_last_lsn(host->log.wal);
    size_t from = conn->out_first + before;
    enum pd_held held = pd_host_log_held(&host->log, lsn);
    if (held == PD_HELD_NOT || from == conn->out_end) {
        return;
    }
    struct pd_hold *last = conn->hold_count > 0 ? &conn->holds[conn->hold_count - 1] : NULL;
    if (last != NULL && pd_host_log_held(&host->log, last->lsn) == held) {
        last->lsn = lsn; /* durable at once with it */
        return;
    }
    PD_ASSERT(conn->hold_count < PD_HOLDS_MAX);
    conn->holds[conn->hold_count++] = (struct pd_hold){.lsn = lsn, .from = from};
    pd_host_wait_for_log(host, conn);
}

/* ---- jobs ---- */

/* What waited and is durable may go. */
static void release(struct pd_host *host, struct pd_host_conn *conn)
{
    uint64_t durable_lsn = pd_wal_durable_lsn(host->log.wal);
    while (conn->hold_count > 0 && conn->holds[0].lsn <= durable_lsn) {
        conn->holds[0] = conn->holds[1];
        conn->hold_count--;
        pd_host_mark(host, conn);
    }
    if (conn->after_lsn != 0 && conn->after_lsn <= durable_lsn) {
        conn->after_lsn = 0;
        pd_host_mark(host, conn);
    }
    if (conn->closing && host->log.failed) {
        pd_host_mark(host, conn); /* it waits for nothing any more */
    }
    if (conn->hold_count == 0 && conn->after_lsn == 0 && conn->wait != PD_WAIT_LOG) {
        pd_link_remove(&conn->holding);
    }
}

static void retry_held(struct pd_host *host)
{
    for (struct pd_link *link = host->holding.next; link != &host->holding; link = link->next) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, holding);
        if (conn->wait == PD_WAIT_LOG) {
            pd_host_retry_one(host, conn);
        }
    }
    pd_host_retry(host);
}

/* The log gathers anew while the job is done: what found no room goes on now, else the disk would
 * wait for it after the job. */
bool pd_host_take_job(struct pd_host *host, struct pd_wal_job *ret_job)
{
    if (!pd_host_log_take_job(&host->log, ret_job)) {
        return false;
    }
    take_queued(host);
    retry_held(host);
    return true;
}

void pd_host_job_done(struct pd_host *host, enum paramd_status status, uint64_t now_us)
{
    host->now_us = now_us;
    pd_host_log_job_done(&host->log, status);
    struct pd_link *link = host->holding.next;
    while (link != &host->holding) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, holding);
        link = link->next;
        release(host, conn);
    }
    if (status == PARAMD_OK) {
        take_queued(host); /* a full disk is asked again by the next tick, not at once */
    }
    retry_held(host);
}

enum paramd_status pd_host_end_log(struct pd_host *host)
{
    return pd_host_log_end(&host->log);
}

uint64_t pd_host_last_lsn(const struct pd_host *host)
{
    return host->log.wal != NULL ? pd_wal_last_lsn(host->log.wal) : 0;
}

uint64_t pd_host_durable_lsn(const struct pd_host *host)
{
    return host->log.wal != NULL ? pd_wal_durable_lsn(host->log.wal) : 0;
}

uint64_t pd_host_log_bytes(const struct pd_host *host)
{
    return host->log.wal != NULL ? pd_wal_used_bytes(host->log.wal) : 0;
}

void pd_host_release_log(struct pd_host *host, uint64_t lsn)
{
    pd_wal_release(host->log.wal, lsn);
    take_queued(host);
}
