/* What goes out of a connection: a queue of answers, and one frame of values at a time, whose body
 * lies in block memory or in a pool buffer until it is written. Answers stand before values, never
 * inside them. */
#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/host_state.h"

enum {
    OUT_HARD_BYTES = 64 * 1024 * 1024, /* who lets that much wait is closed */
    OUT_KEPT_BYTES = 64 * 1024,
    CACHE_LINE_BYTES = 64
};

bool pd_host_out_empty(const struct pd_host_conn *conn)
{
    return conn->out_first == conn->out_end && !conn->sending;
}

bool pd_host_values_wait(const struct pd_host_conn *conn)
{
    return conn->sending || (conn->after_lsn == 0 && !pd_link_alone(&conn->peer.cursors));
}

/* ---- bytes to go ---- */

/* Bytes that may be written. */
static size_t out_ready(const struct pd_host_conn *conn)
{
    size_t end = conn->hold_count > 0 ? conn->holds[0].from : conn->out_end;
    return end - conn->out_first;
}

static bool out_reserve(struct pd_host_conn *conn, size_t bytes)
{
    if (conn->out_capacity - conn->out_end >= bytes) {
        return true;
    }
    size_t waiting = conn->out_end - conn->out_first;
    if (waiting > 0 && conn->out_first > 0) {
        memmove(conn->out, conn->out + conn->out_first, waiting);
    }
    for (unsigned i = 0; i < conn->hold_count; i++) {
        conn->holds[i].from -= conn->out_first;
    }
    conn->out_first = 0;
    conn->out_end = waiting;
    size_t capacity = conn->out_capacity != 0 ? conn->out_capacity : 1024;
    while (capacity - waiting < bytes) {
        capacity *= 2;
    }
    if (capacity > OUT_HARD_BYTES) {
        return false;
    }
    if (capacity != conn->out_capacity) {
        uint8_t *out = realloc(conn->out, capacity);
        if (out == NULL) {
            return false;
        }
        conn->out = out;
        conn->out_capacity = capacity;
    }
    return true;
}

void pd_host_queue_bytes(struct pd_host *host, struct pd_host_conn *conn, const uint8_t *bytes,
                         size_t count)
{
    if (!out_reserve(conn, count)) {
        pd_host_finish(host, conn, "it does not read its answers");
        return;
    }
    memcpy(conn->out + conn->out_end, bytes, count);
    conn->out_end += count;
    pd_host_mark(host, conn);
}

void pd_host_queue_frame(struct pd_host *host, struct pd_host_conn *conn,
                         const struct pd_reply *reply)
{
    size_t bytes = pd_frame_head_bytes(reply->header);
    if (bytes == 0 || !out_reserve(conn, bytes)) {
        pd_host_finish(host, conn, "an answer does not fit");
        return;
    }
    pd_frame_head_write(conn->out + conn->out_end, reply->kind, 0, reply->header, 0, 0);
    conn->out_end += bytes;
    host->count.frames_out++;
    pd_host_mark(host, conn);
}

/* ---- writing ---- */

static bool wants_sum(const struct pd_host *host, const struct pd_host_conn *conn)
{
    return host->options.payload_sum == PD_SUM_ON ||
           (host->options.payload_sum == PD_SUM_AUTO && !conn->local);
}

static bool head_reserve(struct pd_host_conn *conn, size_t bytes)
{
    if (conn->head_capacity >= bytes) {
        return true;
    }
    uint8_t *head = realloc(conn->head, bytes);
    if (head == NULL) {
        return false;
    }
    conn->head = head;
    conn->head_capacity = bytes;
    return true;
}

/* Reads the body once, since it is about to be copied into a socket: plain loads run far ahead of
 * memory, which the kernel's copy does not. */
static void fetch_body(const struct pd_blocks_frame *frame)
{
    const volatile uint8_t *body = pd_blocks_body(frame);
    for (size_t i = 0; i < frame->bytes; i += CACHE_LINE_BYTES) {
        (void)body[i];
    }
}

static void begin_frame(struct pd_host *host, struct pd_host_conn *conn,
                        const struct pd_blocks_frame *frame)
{
    const ProtobufCMessage *header = &frame->header->base;
    size_t bytes = pd_frame_head_bytes(header);
    unsigned flags = 0;
    uint64_t sum = 0;
    if (bytes == 0 || !head_reserve(conn, bytes)) {
        pd_host_finish(host, conn, "no memory for a frame of values");
    } else {
        fetch_body(frame);
        if (wants_sum(host, conn)) {
            struct pd_span body = {(uint8_t *)(uintptr_t)pd_blocks_body(frame), frame->bytes};
            flags = PD_FRAME_PAYLOAD_SUM;
            sum = pd_payload_sum(&body, 1);
        }
        pd_frame_head_write(conn->head, PD_KIND_BLOCKS, flags, header, (uint32_t)frame->bytes, sum);
    }
    conn->head_bytes = bytes;
    conn->frame = *frame;
    conn->frame.header = NULL;
    conn->sent = 0;
    conn->sending = true;
    conn->sending_us = host->now_us;
    host->count.frames_out++;
}

/* The next frame of values, if there is one and it can be made now. */
static void fetch_frame(struct pd_host *host, struct pd_host_conn *conn)
{
    struct pd_event event = {.kind = PD_EVENT_SEND};
    struct pd_effects effects;
    while (!conn->sending && !conn->finished && !pd_link_alone(&conn->peer.cursors)) {
        pd_arena_reset(&host->arena);
        pd_host_step(host, conn, &event, &effects);
        if (effects.stalled) {
            conn->stalled = true;
            return;
        }
        if (effects.after_lsn != 0) {
            conn->after_lsn = effects.after_lsn;
            pd_host_wait_for_log(host, conn);
            return;
        }
        if (effects.frame.header != NULL) {
            begin_frame(host, conn, &effects.frame);
        }
    }
}

static unsigned frame_spans(const struct pd_host_conn *conn, struct pd_span *spans)
{
    unsigned count = 0;
    if (conn->sent < conn->head_bytes) {
        spans[count++] = (struct pd_span){conn->head + conn->sent, conn->head_bytes - conn->sent};
    }
    size_t body_sent = conn->sent > conn->head_bytes ? conn->sent - conn->head_bytes : 0;
    if (body_sent < conn->frame.bytes) {
        /* writev only reads from it. */
        uint8_t *body = (uint8_t *)(uintptr_t)pd_blocks_body(&conn->frame);
        spans[count++] = (struct pd_span){body + body_sent, conn->frame.bytes - body_sent};
    }
    return count;
}

unsigned pd_host_write_source(struct pd_host *host, struct pd_host_conn *conn,
                              struct pd_span ret_spans[PD_HOST_WRITE_SPANS])
{
    unsigned count = 0;
    if (!conn->sending && !conn->stalled && conn->after_lsn == 0) {
        fetch_frame(host, conn);
    }
    if (conn->finished) {
        return 0;
    }
    conn->out_leads = !conn->sending || conn->sent == 0;
    if (conn->sending && !conn->out_leads) {
        count = frame_spans(conn, ret_spans);
    }
    if (out_ready(conn) > 0) {
        ret_spans[count++] = (struct pd_span){conn->out + conn->out_first, out_ready(conn)};
    }
    if (conn->sending && conn->out_leads) {
        count += frame_spans(conn, ret_spans + count);
    }
    if (count == 0 && conn->closing && (pd_host_out_empty(conn) || host->log.failed)) {
        pd_host_finish(host, conn, conn->reason);
    }
    return count;
}

void pd_host_end_frame(struct pd_host *host, struct pd_host_conn *conn)
{
    struct pd_event event = {.kind = PD_EVENT_SENT, .frame = &conn->frame};
    struct pd_effects effects;
    conn->sending = false;
    pd_arena_reset(&host->arena);
    pd_host_step(host, conn, &event, &effects);
}

static size_t frame_written(struct pd_host *host, struct pd_host_conn *conn, size_t bytes)
{
    size_t left = conn->head_bytes + conn->frame.bytes - conn->sent;
    size_t take = bytes < left ? bytes : left;
    conn->sent += take;
    if (take == left) {
        pd_host_end_frame(host, conn);
    }
    return bytes - take;
}

static size_t out_written(struct pd_host_conn *conn, size_t bytes)
{
    size_t left = out_ready(conn);
    size_t take = bytes < left ? bytes : left;
    conn->out_first += take;
    if (conn->out_first == conn->out_end) {
        conn->out_first = conn->out_end = 0;
        if (conn->out_capacity > OUT_KEPT_BYTES) {
            free(conn->out);
            conn->out = NULL;
            conn->out_capacity = 0;
        }
    }
    return bytes - take;
}

void pd_host_written(struct pd_host *host, struct pd_host_conn *conn, size_t bytes, uint64_t now_us)
{
    host->now_us = now_us;
    if (conn->out_leads) {
        bytes = out_written(conn, bytes);
        if (conn->sending) {
            bytes = frame_written(host, conn, bytes);
        }
    } else {
        bytes = frame_written(host, conn, bytes);
        bytes = out_written(conn, bytes);
    }
    PD_ASSERT(bytes == 0);
    if (conn->closing && pd_host_out_empty(conn)) {
        pd_host_finish(host, conn, conn->reason);
    }
    pd_host_retry(host);
}
