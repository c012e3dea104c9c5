/* One shard at work: frames out of bytes, requests to the core, what it wants done, bytes to go.
 * The happy path is received -> process -> handle -> pd_shard_step -> carry_out -> write_source. A
 * request that finds no room is held: its connection is not read until there is some. */
#include "server/host.h"

#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/plant.h"
#include "server/host_state.h"

enum {
    SCRATCH_BULK_BYTES =
        4 * 1024, /* behind a large payload: what comes there is copied once more */
    BULK_BYTES = 64 * 1024,
    OUT_SOFT_BYTES = 8 * 1024 * 1024, /* above it the connection is not read */
    GREETING_US = 2000000,
    FRAME_US = 5000000,
    CLOSING_US = 5000000,
    SLOW_BYTES_PER_US = 1, /* 1 MB/s: below it a reader that others wait for is closed */
    SLOW_AFTER_US = 1000000
};

void pd_host_shard_options(const struct pd_host_options *options,
                           struct pd_shard_options *ret_options)
{
    *ret_options = (struct pd_shard_options){
        .shard = options->shard,
        .shards = options->shards,
        .copies_max = options->copies_max,
        .push_ids_max = options->push_ids_max,
        .lease_us = options->lease_us,
        .retention_us = options->retention_us,
        .memory = options->memory,
        .version = options->version,
        .records = options->log != NULL,
    };
}

enum paramd_status pd_host_create(const struct pd_host_options *options, struct pd_host **ret_host)
{
    struct pd_host *host = calloc(1, sizeof *host);
    if (host == NULL) {
        pd_shard_destroy(options->recovered);
        return PARAMD_NO_MEMORY;
    }
    host->options = *options;
    host->shard = options->recovered;
    host->next_number = 1;
    pd_arena_init(&host->arena, PD_DECODED_BYTES_MAX);
    pd_pool_init(&host->payloads, options->in_flight_max);
    pd_link_init(&host->all);
    pd_link_init(&host->active);
    pd_link_init(&host->holding);
    pd_link_init(&host->queued);
    enum paramd_status status = pd_host_log_init(&host->log, options->log);
    if (status == PARAMD_OK && host->shard == NULL) {
        struct pd_shard_options shard;
        pd_host_shard_options(options, &shard);
        status = pd_shard_create(&shard, &host->shard);
    }
    if (status != PARAMD_OK) {
        pd_host_destroy(host);
        return status;
    }
    *ret_host = host;
    return PARAMD_OK;
}

void pd_host_destroy(struct pd_host *host)
{
    if (host == NULL) {
        return;
    }
    while (!pd_link_alone(&host->all)) {
        pd_host_closed(host, PD_CONTAINER(host->all.next, struct pd_host_conn, all), host->now_us);
    }
    struct pd_link *link;
    while ((link = pd_list_pop(&host->queued)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
    pd_host_drop_snapshot(host);
    pd_host_log_deinit(&host->log);
    pd_shard_destroy(host->shard);
    pd_arena_deinit(&host->arena);
    pd_pool_deinit(&host->payloads);
    free(host);
}

/* ---- connections ---- */

void pd_host_mark(struct pd_host *host, struct pd_host_conn *conn)
{
    if (pd_link_alone(&conn->active)) {
        pd_list_push(&host->active, &conn->active);
    }
}

struct pd_host_conn *pd_host_open(struct pd_host *host, bool local, void *user, uint64_t now_us)
{
    host->now_us = now_us;
    if (host->count.connections >= host->options.connections_max || host->draining) {
        host->count.connections_refused++;
        return NULL;
    }
    struct pd_host_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    pd_peer_init(&conn->peer, (struct pd_conn_id){host->options.shard, host->next_number++});
    pd_frame_reader_init(&conn->reader, PD_UNNAMED_FRAME_BYTES_MAX);
    pd_link_init(&conn->all);
    pd_link_init(&conn->active);
    pd_link_init(&conn->holding);
    conn->user = user;
    conn->local = local;
    conn->opened_us = now_us;
    HASH_ADD(by_number, host->by_number, peer.id.number, sizeof conn->peer.id.number, conn);
    if (conn->by_number.tbl == NULL) {
        free(conn);
        return NULL;
    }
    pd_list_push(&host->all, &conn->all);
    host->count.connections++;
    return conn;
}

void *pd_host_conn_user(const struct pd_host_conn *conn)
{
    return conn->user;
}

bool pd_host_finished(const struct pd_host_conn *conn, const char **ret_reason)
{
    if (conn->finished) {
        *ret_reason = conn->reason;
    }
    return conn->finished;
}

void pd_host_finish(struct pd_host *host, struct pd_host_conn *conn, const char *reason)
{
    if (!conn->finished) {
        conn->finished = true;
        conn->reason = reason;
        pd_host_mark(host, conn);
    }
}

/* Closes once what is queued has been written. */
static void close_later(struct pd_host *host, struct pd_host_conn *conn, const char *reason)
{
    if (!conn->closing) {
        conn->closing = true;
        conn->closing_us = host->now_us;
        conn->reason = reason;
        pd_host_mark(host, conn);
    }
}

/* ---- what the core wants done ---- */

void pd_host_step(struct pd_host *host, struct pd_host_conn *conn, struct pd_event *event,
                  struct pd_effects *effects)
{
    *effects = (struct pd_effects){.arena = &host->arena};
    pd_link_init(&effects->to_control);
    event->peer = conn != NULL ? &conn->peer : NULL;
    event->now_us = host->now_us;
    if (host->log.wal != NULL) {
        pd_host_ask_log(host, conn, event);
    }
    pd_shard_step(host->shard, event, effects);
    pd_host_record(host, effects);
    host->room = host->room || effects->room;
    if (conn == NULL) {
        return;
    }
    size_t before = conn->out_end - conn->out_first;
    for (unsigned i = 0; i < effects->reply_count; i++) {
        pd_host_queue_frame(host, conn, &effects->replies[i]);
    }
    if (effects->wait) {
        pd_host_hold(host, conn, before);
    }
    if (effects->verdict == PD_VERDICT_CLOSE) {
        host->count.protocol_errors++;
        close_later(host, conn, effects->reason);
    }
}

/* ---- a frame ---- */

static void answer_error(struct pd_host *host, struct pd_host_conn *conn, uint64_t request_id,
                         enum paramd_status status, const char *text)
{
    Paramd__Error error = PARAMD__ERROR__INIT;
    error.request_id = request_id;
    error.status = status;
    error.message = (char *)(uintptr_t)text;
    struct pd_reply reply = {PD_KIND_ERROR, &error.base};
    pd_host_queue_frame(host, conn, &reply);
}

static void break_off(struct pd_host *host, struct pd_host_conn *conn, enum paramd_status status,
                      const char *reason)
{
    host->count.protocol_errors++;
    answer_error(host, conn, 0, status, reason);
    close_later(host, conn, reason);
}

/* A kind this version does not know: passed over if it says so, else refused by number. */
static void unknown_kind(struct pd_host *host, struct pd_host_conn *conn)
{
    if ((conn->reader.flags & PD_FRAME_SKIPPABLE) != 0) {
        return;
    }
    const ProtobufCMessage *header = pd_decode(&paramd__ping__descriptor, &host->arena,
                                               conn->reader.header, conn->reader.header_bytes);
    if (header == NULL || !conn->peer.greeted) {
        break_off(host, conn, PARAMD_PROTOCOL, "a frame of an unknown kind whose header is none");
        return;
    }
    answer_error(host, conn, pd_request_id(header), PARAMD_UNSUPPORTED,
                 "this daemon does not know the frame's kind");
}

static void frame_done(struct pd_host *host, struct pd_host_conn *conn)
{
    if (conn->payload.data != NULL) {
        pd_pool_give(&host->payloads, conn->payload.data, conn->payload.bytes);
        conn->payload = (struct pd_span){NULL, 0};
        host->room = host->room || host->unplaced > 0;
    }
    pd_frame_reader_next(&conn->reader);
    conn->frame_us = 0;
    if (conn->peer.greeted) {
        conn->reader.frame_bytes_max = PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX;
    }
}

static void wait_for(struct pd_host *host, struct pd_host_conn *conn, enum pd_verdict verdict)
{
    if (verdict == PD_VERDICT_LOG) {
        conn->wait = PD_WAIT_LOG;
        pd_host_wait_for_log(host, conn);
    } else {
        conn->wait = verdict == PD_VERDICT_HOLD ? PD_WAIT_COPIES : PD_WAIT_CONTROL;
    }
}

static bool changes_blocks(unsigned kind)
{
    return kind == PD_KIND_PUSH || kind == PD_KIND_PUSH_PULL || kind == PD_KIND_INIT ||
           kind == PD_KIND_SKIP;
}

/* One whole frame. False: it has to wait, and everything behind it too. */
static bool handle(struct pd_host *host, struct pd_host_conn *conn)
{
    const struct pd_frame_reader *reader = &conn->reader;
    const ProtobufCMessageDescriptor *descriptor = pd_kind_descriptor(reader->kind);
    pd_arena_reset(&host->arena);
    if (host->paused && changes_blocks(reader->kind)) {
        conn->wait = PD_WAIT_PAUSE;
        return false;
    }
    if (descriptor == NULL) {
        unknown_kind(host, conn);
        frame_done(host, conn);
        return true;
    }
    const ProtobufCMessage *header =
        pd_decode(descriptor, &host->arena, reader->header, reader->header_bytes);
    if (header == NULL) {
        break_off(host, conn, PARAMD_PROTOCOL, "a frame header is not a message of its kind");
        frame_done(host, conn);
        return true;
    }
    struct pd_event event = {
        .kind = PD_EVENT_REQUEST,
        .frame_kind = reader->kind,
        .more = (reader->flags & PD_FRAME_MORE) != 0,
        .header = header,
        .header_bytes = reader->header,
        .header_count = reader->header_bytes,
        .payload = conn->payload.data,
        .payload_count = conn->payload.bytes,
        .payload_summed = (reader->flags & PD_FRAME_PAYLOAD_SUM) != 0,
        .payload_sum = reader->payload_sum,
    };
    struct pd_effects effects;
    pd_host_step(host, conn, &event, &effects);
    if (effects.verdict != PD_VERDICT_DONE && effects.verdict != PD_VERDICT_CLOSE) {
        wait_for(host, conn, effects.verdict);
        return false;
    }
    host->count.frames_in++;
    if (!pd_link_alone(&conn->peer.cursors)) {
        pd_host_mark(host, conn);
    }
    frame_done(host, conn);
    return true;
}

/* Finds a place for the payload; false: there is none now. */
static bool place(struct pd_host *host, struct pd_host_conn *conn)
{
    size_t bytes = conn->reader.payload_bytes;
    if (bytes > 0) {
        uint8_t *buffer = pd_pool_take(&host->payloads, bytes);
        if (buffer == NULL) {
            return false;
        }
        conn->payload = (struct pd_span){buffer, bytes};
    }
    pd_frame_reader_place(&conn->reader, &conn->payload, bytes > 0 ? 1 : 0);
    return true;
}

/* Acts on the reader's state until it wants bytes. False: the connection has to wait, or is done.
 */
static bool advance(struct pd_host *host, struct pd_host_conn *conn)
{
    while (!conn->closing && !conn->finished) {
        switch (conn->reader.state) {
        case PD_FRAME_HEAD:
        case PD_FRAME_PAYLOAD:
            return true;
        case PD_FRAME_WANTS_PAYLOAD:
            if (!place(host, conn)) {
                conn->wait = PD_WAIT_BUFFER;
                return false;
            }
            break;
        case PD_FRAME_WHOLE:
            if (!handle(host, conn)) {
                return false;
            }
            break;
        case PD_FRAME_FAILED:
            break_off(host, conn, conn->reader.error, conn->reader.error_text);
            return false;
        }
    }
    return false;
}

static void keep_rest(struct pd_host *host, struct pd_host_conn *conn, const uint8_t *bytes,
                      size_t count)
{
    if (conn->closing || conn->finished) {
        return;
    }
    uint8_t *rest = malloc(count);
    if (rest == NULL) {
        pd_host_finish(host, conn, "no memory for what came behind a frame that had to wait");
        return;
    }
    memcpy(rest, bytes, count);
    conn->rest = rest;
    conn->rest_bytes = count;
}

static void process(struct pd_host *host, struct pd_host_conn *conn, const uint8_t *bytes,
                    size_t count)
{
    size_t taken = 0;
    while (advance(host, conn)) {
        if (taken == count) {
            return;
        }
        if (conn->frame_us == 0) {
            conn->frame_us = host->now_us;
        }
        taken += pd_frame_reader_feed(&conn->reader, bytes + taken, count - taken);
    }
    host->unplaced += conn->wait == PD_WAIT_BUFFER;
    host->count.held += conn->wait != PD_WAIT_NONE && conn->wait != PD_WAIT_CONTROL;
    if (taken < count) {
        keep_rest(host, conn, bytes + taken, count - taken);
    }
}

void pd_host_retry_one(struct pd_host *host, struct pd_host_conn *conn)
{
    enum pd_wait before = conn->wait;
    uint8_t *rest = conn->rest;
    size_t count = conn->rest_bytes;
    conn->wait = PD_WAIT_NONE;
    conn->rest = NULL;
    conn->rest_bytes = 0;
    host->unplaced -= before == PD_WAIT_BUFFER;
    conn->frame_us = host->now_us;
    process(host, conn, rest, count);
    if (conn->wait == before && before != PD_WAIT_CONTROL && conn->rest_bytes == count) {
        host->count.held--; /* the same frame still waits: it was counted */
    }
    free(rest);
    pd_host_mark(host, conn);
}

/* Lets connections that wait for room try again. */
void pd_host_retry(struct pd_host *host)
{
    while (host->room) {
        host->room = false;
        struct pd_link *link = host->all.next;
        while (link != &host->all) {
            struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
            link = link->next;
            if (conn->stalled) {
                conn->stalled = false;
                pd_host_mark(host, conn);
            }
            if (conn->wait == PD_WAIT_BUFFER || conn->wait == PD_WAIT_COPIES) {
                pd_host_retry_one(host, conn);
            }
        }
    }
}

/* ---- reading ---- */

static bool may_read(const struct pd_host *host, const struct pd_host_conn *conn)
{
    if (conn->wait != PD_WAIT_NONE || conn->closing || conn->finished) {
        return false;
    }
    if (host->draining && pd_frame_reader_idle(&conn->reader)) {
        return false;
    }
    return conn->out_end - conn->out_first + conn->peer.cursor_bytes < OUT_SOFT_BYTES;
}

unsigned pd_host_read_target(struct pd_host *host, struct pd_host_conn *conn,
                             struct pd_span ret_spans[PD_HOST_READ_SPANS])
{
    if (!may_read(host, conn)) {
        return 0;
    }
    unsigned count = 0;
    size_t scratch = PD_HOST_SCRATCH_BYTES;
    if (conn->reader.state == PD_FRAME_PAYLOAD) {
        count = (unsigned)pd_frame_reader_rest(&conn->reader, ret_spans, 1);
        scratch = ret_spans[0].bytes >= BULK_BYTES ? SCRATCH_BULK_BYTES : PD_HOST_SCRATCH_BYTES;
    }
    ret_spans[count++] = (struct pd_span){host->scratch, scratch};
    return count;
}

void pd_host_received(struct pd_host *host, struct pd_host_conn *conn, size_t bytes,
                      uint64_t now_us)
{
    size_t direct = 0;
    host->now_us = now_us;
    if (conn->reader.state == PD_FRAME_PAYLOAD) {
        struct pd_span rest;
        (void)pd_frame_reader_rest(&conn->reader, &rest, 1);
        direct = bytes < rest.bytes ? bytes : rest.bytes;
        pd_frame_reader_filled(&conn->reader, direct);
    }
    process(host, conn, host->scratch, bytes - direct);
    pd_host_retry(host);
}

struct pd_host_conn *pd_host_next_active(struct pd_host *host)
{
    struct pd_link *link = pd_list_pop(&host->active);
    return link != NULL ? PD_CONTAINER(link, struct pd_host_conn, active) : NULL;
}

/* ---- the end of a connection ---- */

void pd_host_closed(struct pd_host *host, struct pd_host_conn *conn, uint64_t now_us)
{
    struct pd_event gone = {.kind = PD_EVENT_GONE};
    struct pd_effects effects;
    host->now_us = now_us;
    conn->finished = true;
    if (conn->sending) {
        pd_host_end_frame(host, conn);
    }
    pd_host_step(host, conn, &gone, &effects);
    host->unplaced -= conn->wait == PD_WAIT_BUFFER;
    pd_pool_give(&host->payloads, conn->payload.data, conn->payload.bytes);
    pd_frame_reader_deinit(&conn->reader);
    HASH_DELETE(by_number, host->by_number, conn);
    pd_link_remove(&conn->all);
    pd_link_remove(&conn->active);
    pd_link_remove(&conn->holding);
    host->count.connections--;
    free(conn->rest);
    free(conn->out);
    free(conn->head);
    free(conn);
    host->room = true;
    pd_host_retry(host);
}

/* ---- control ---- */

static struct pd_host_conn *find(const struct pd_host *host, uint64_t number)
{
    struct pd_host_conn *conn = NULL;
    HASH_FIND(by_number, host->by_number, &number, sizeof number, conn);
    return conn != NULL && !conn->finished ? conn : NULL;
}

/* Closes other connections of a session that a newer one replaces. */
static void close_others(struct pd_host *host, const struct pd_message *message,
                         const struct pd_host_conn *but)
{
    bool other_nonce = message->kind == PD_MESSAGE_CLOSE_OTHERS;
    struct pd_link *link = host->all.next;
    while (link != &host->all) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
        link = link->next;
        if (conn != but && !pd_plant(others_not_closed) &&
            pd_peer_holds(&conn->peer, message->model, &message->session, other_nonce)) {
            pd_host_finish(host, conn, "a newer connection of its session replaces it");
        }
    }
}

static void add_counters(const struct pd_host *host, struct pd_count *count)
{
    count->shard.connections = host->count.connections;
    count->shard.connections_refused = host->count.connections_refused;
    count->shard.frames_in = host->count.frames_in;
    count->shard.frames_out = host->count.frames_out;
    count->shard.protocol_errors = host->count.protocol_errors;
    count->shard.held = host->count.held;
    count->shard.snapshot_bytes = host->count.snapshot_bytes;
}

void pd_host_take_message(struct pd_host *host, struct pd_message *message)
{
    struct pd_host_conn *conn = find(host, message->conn.number);
    struct pd_event event = {.kind = PD_EVENT_MESSAGE, .message = message};
    struct pd_effects effects;
    pd_arena_reset(&host->arena);
    switch (message->kind) {
    case PD_MESSAGE_ANSWER:
        if (conn != NULL) {
            pd_host_queue_bytes(host, conn, message->bytes, message->byte_count);
            host->count.frames_out++;
        }
        pd_message_destroy(message);
        break;
    case PD_MESSAGE_CLOSE_OTHERS:
        close_others(host, message, NULL);
        pd_message_destroy(message);
        break;
    case PD_MESSAGE_ANSWERED:
        if (conn != NULL && message->status != PARAMD_OK) {
            pd_host_finish(host, conn, "no memory for an answer");
        }
        pd_host_step(host, conn, &event, &effects);
        if (conn != NULL && conn->wait == PD_WAIT_CONTROL) {
            pd_host_retry_one(host, conn);
        }
        break;
    case PD_MESSAGE_OPEN_SESSION:
        if (conn != NULL) {
            close_others(host, message, conn);
        }
        pd_host_step(host, conn, &event, &effects);
        break;
    case PD_MESSAGE_COUNT:
        add_counters(host, message->count);
        pd_host_step(host, NULL, &event, &effects);
        break;
    default:
        pd_host_step(host, NULL, &event, &effects);
        break;
    }
}

void pd_host_message(struct pd_host *host, struct pd_message *message, uint64_t now_us)
{
    host->now_us = now_us;
    if (!pd_host_queue_message(host, message)) {
        pd_host_take_message(host, message);
        pd_host_retry(host);
    }
}

struct pd_message *pd_host_next_outgoing(struct pd_host *host)
{
    return pd_host_log_next(&host->log);
}

/* ---- time ---- */

static uint64_t frame_limit_us(const struct pd_host_conn *conn)
{
    uint64_t bytes = conn->reader.state == PD_FRAME_HEAD
                         ? 0
                         : (uint64_t)conn->reader.header_bytes + conn->reader.payload_bytes;
    return FRAME_US + bytes; /* 1 MB/s: a byte each microsecond */
}

/* Whether the connection reads the frame of values that is going out too slowly for others. */
static bool slow(const struct pd_host *host, const struct pd_host_conn *conn)
{
    uint64_t since = host->now_us - conn->sending_us;
    return conn->sending && !conn->finished && since > SLOW_AFTER_US &&
           conn->sent < since * SLOW_BYTES_PER_US;
}

static bool has_copy(const struct pd_host_conn *conn)
{
    return conn->frame.buffer != NULL ||
           (conn->frame.view != NULL && conn->frame.view->copy != NULL);
}

static void check_times(struct pd_host *host, struct pd_host_conn *conn)
{
    uint64_t now = host->now_us;
    if (conn->frame_us != 0 && !may_read(host, conn)) {
        conn->frame_us = now; /* time in which it is not read does not count */
    }
    if (conn->closing && now - conn->closing_us > CLOSING_US) {
        pd_host_finish(host, conn, conn->reason);
    } else if (!conn->peer.greeted && now - conn->opened_us > GREETING_US) {
        pd_host_finish(host, conn, "no HELLO within 2 s");
    } else if (conn->frame_us != 0 && now - conn->frame_us > frame_limit_us(conn)) {
        host->count.protocol_errors++;
        pd_host_finish(host, conn, "a frame did not arrive within its time");
    }
    if (conn->peer.definition != NULL &&
        now - conn->peer.definition_us > FRAME_US + PD_DEFINITION_BYTES_MAX) {
        host->count.protocol_errors++;
        pd_host_finish(host, conn, "a CREATE did not arrive within its time");
    }
    if (slow(host, conn) && pd_peer_reads_deleted(&conn->peer, &conn->frame)) {
        pd_host_finish(host, conn,
                       "it reads slower than 1 MB/s and keeps a deleted model's memory");
    }
    if (conn->out_capacity > 0 && conn->out_first == conn->out_end) {
        free(conn->out);
        conn->out = NULL;
        conn->out_first = conn->out_end = conn->out_capacity = 0;
    }
    if (!conn->sending && conn->head_capacity > 0) {
        free(conn->head);
        conn->head = NULL;
        conn->head_capacity = 0;
    }
    pd_frame_reader_shrink(&conn->reader);
}

/* Others wait for room for copies: of those that read too slowly, the one that began first is
 * closed. */
static void close_slowest(struct pd_host *host)
{
    struct pd_host_conn *first = NULL;
    struct pd_link *link = host->all.next;
    for (; link != &host->all; link = link->next) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
        if (slow(host, conn) && has_copy(conn) &&
            (first == NULL || conn->sending_us < first->sending_us)) {
            first = conn;
        }
    }
    if (first != NULL) {
        pd_host_finish(host, first, "it reads slower than 1 MB/s while others wait for its copy");
    }
}

uint64_t pd_host_tick(struct pd_host *host, uint64_t now_us)
{
    struct pd_event event = {.kind = PD_EVENT_TIME};
    struct pd_effects effects;
    host->now_us = now_us;
    pd_arena_reset(&host->arena);
    pd_host_step(host, NULL, &event, &effects);
    bool waits = false;
    struct pd_link *link = host->all.next;
    for (; link != &host->all; link = link->next) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
        check_times(host, conn);
        waits = waits || conn->stalled || conn->wait == PD_WAIT_COPIES;
    }
    if (waits) {
        close_slowest(host);
    } else {
        pd_pool_trim(&host->payloads);
    }
    pd_host_retry(host);
    return effects.wake_us;
}

/* ---- a pause ---- */

void pd_host_pause(struct pd_host *host)
{
    host->paused = true;
}

void pd_host_resume(struct pd_host *host, uint64_t now_us)
{
    host->now_us = now_us;
    host->paused = false;
    struct pd_link *link = host->all.next;
    while (link != &host->all) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
        link = link->next;
        if (conn->wait == PD_WAIT_PAUSE) {
            pd_host_retry_one(host, conn);
        }
    }
    pd_host_retry(host);
}

uint64_t pd_host_applied_count(const struct pd_host *host)
{
    return pd_shard_applied_count(host->shard);
}

bool pd_host_drain(struct pd_host *host)
{
    host->draining = true;
    bool nothing_left = true;
    struct pd_link *link = host->all.next;
    for (; link != &host->all; link = link->next) {
        struct pd_host_conn *conn = PD_CONTAINER(link, struct pd_host_conn, all);
        if (pd_frame_reader_idle(&conn->reader) && pd_host_out_empty(conn) &&
            pd_link_alone(&conn->peer.cursors) && conn->peer.asked == 0) {
            pd_host_finish(host, conn, "the daemon is stopping");
        } else {
            nothing_left = false;
            pd_host_mark(host, conn);
        }
    }
    return nothing_left;
}
