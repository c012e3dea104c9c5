/* One connection: greeting, frames on their way out, requests waiting for answers, and what happens
 * when it breaks.
 *
 *     IDLE -> WANTED -> CONNECTING -> GREETING -> READY
 *               ^           |            |          |
 *               |           v            v          v
 *               +------- BACKING_OFF (20 ms, doubling to 2 s, with jitter)
 *
 * Whatever was in flight when it broke goes back to the front of its lane, in order. */
#include "client/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { PLACED_FIRST = 16 }; /* entries of a BLOCKS frame that need no further memory */

struct pd_link *pd_link_create(struct pd_client *client, unsigned index)
{
    struct pd_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        return NULL;
    }
    link->scratch = malloc(PD_SCRATCH_BYTES);
    /* Now and not when it is needed: a cancel must not fail. Pages that nobody touches cost
     * nothing. */
    link->discard = malloc(PD_PAYLOAD_BYTES_MAX);
    link->placed = calloc(PLACED_FIRST, sizeof *link->placed);
    link->placed_units = calloc(PLACED_FIRST, sizeof(struct pd_unit *));
    link->placed_capacity = PLACED_FIRST;
    if (link->scratch == NULL || link->discard == NULL || link->placed == NULL ||
        link->placed_units == NULL) {
        free(link->scratch);
        free(link->discard);
        free(link->placed);
        free(link->placed_units);
        free(link);
        return NULL;
    }
    link->client = client;
    link->index = index;
    link->backoff_us = PD_RECONNECT_US_MIN;
    pd_frame_reader_init(&link->reader,
                         PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX);
    pd_arena_init(&link->arena, PD_DECODED_BYTES_MAX);
    return link;
}

void pd_link_destroy(struct pd_link *link)
{
    if (link == NULL) {
        return;
    }
    while (link->out != NULL) {
        pd_link_request_free(link, link->out);
    }
    while (link->waiting != NULL) {
        pd_link_request_free(link, link->waiting);
    }
    pd_frame_reader_deinit(&link->reader);
    pd_arena_deinit(&link->arena);
    free(link->scratch);
    free(link->placed);
    free(link->placed_units);
    free(link->discard);
    free(link);
}

/* ---- Requests ---- */

struct pd_request *pd_link_request(struct pd_link *link, enum pd_kind kind, size_t head_bytes)
{
    struct pd_request *request = link->client->free_requests;
    if (request != NULL) {
        link->client->free_requests = request->next;
    } else {
        request = calloc(1, sizeof *request);
        if (request == NULL) {
            return NULL;
        }
    }
    uint8_t *head = request->head;
    size_t capacity = request->head_capacity;
    *request = (struct pd_request){.kind = kind, .head = head, .head_capacity = capacity};
    request->units.place = PD_IN_FLIGHT;
    if (head_bytes > capacity) {
        head = realloc(head, head_bytes);
        if (head == NULL) {
            request->next = link->client->free_requests;
            link->client->free_requests = request;
            return NULL;
        }
        request->head = head;
        request->head_capacity = head_bytes;
    }
    request->head_bytes = head_bytes;
    return request;
}

void pd_link_send(struct pd_link *link, struct pd_request *request, size_t bytes)
{
    request->bytes = bytes;
    DL_APPEND(link->out, request);
    link->out_count++;
    link->out_bytes += bytes;
}

bool pd_link_send_header(struct pd_link *link, enum pd_kind kind, struct pd_lane *lane, uint64_t id,
                         const ProtobufCMessage *header)
{
    size_t bytes = pd_frame_head_bytes(header);
    struct pd_request *request = pd_link_request(link, kind, bytes);
    if (request == NULL) {
        return false;
    }
    pd_frame_head_write(request->head, kind, 0, header, 0, 0);
    request->id = id;
    request->lane = lane;
    pd_link_send(link, request, bytes);
    return true;
}

struct pd_request *pd_link_find(struct pd_link *link, uint64_t id)
{
    struct pd_request *request;
    DL_FOREACH(link->waiting, request) {
        if (request->id == id) {
            return request;
        }
    }
    return NULL;
}

static bool written_whole(const struct pd_request *request)
{
    return request->written == request->bytes;
}

void pd_link_request_free(struct pd_link *link, struct pd_request *request)
{
    if (written_whole(request)) {
        DL_DELETE(link->waiting, request);
        link->waiting_count--;
    } else {
        DL_DELETE(link->out, request);
        link->out_count--;
        link->out_bytes -= request->bytes - request->written;
    }
    if (link->answered == request) {
        link->answered = NULL;
    }
    if (request->call != NULL && request->call->destroyed) {
        request->call->request = NULL; /* nobody writes its bytes any more */
        pd_call_destroy(request->call);
    }
    request->next = link->client->free_requests;
    link->client->free_requests = request;
}

static bool has_payload(const struct pd_request *request)
{
    return request->kind == PD_KIND_PUSH || request->kind == PD_KIND_PUSH_PULL ||
           request->kind == PD_KIND_INIT;
}

/* ---- Up and down ---- */

/* Sends one request back to where it came from. */
static void take_back(struct pd_request *request)
{
    if (request->lane != NULL) {
        pd_lane_take_back(request->lane, request);
    }
    if (request->call != NULL && !request->call->destroyed) {
        pd_call_requeue(request->call);
    }
}

static void take_all_back(struct pd_link *link)
{
    while (link->waiting != NULL) {
        take_back(link->waiting);
        pd_link_request_free(link, link->waiting);
    }
    while (link->out != NULL) {
        take_back(link->out);
        pd_link_request_free(link, link->out);
    }
    struct pd_client_session *session;
    DL_FOREACH(link->client->sessions, session) {
        if (link->index < session->lane_count) {
            pd_lane_detached(&session->lanes[link->index]);
        }
    }
}

void pd_link_down(struct pd_link *link, const char *text)
{
    if (link->state != PD_LINK_CONNECTING && link->state != PD_LINK_GREETING &&
        link->state != PD_LINK_READY) {
        return;
    }
    pd_client_set_trouble(link->client, text);
    link->state = PD_LINK_BACKING_OFF;
    link->close_wanted = true;
    link->deadline_us = pd_client_later(link->client, link->backoff_us);
    link->backoff_us =
        link->backoff_us * 2 > PD_RECONNECT_US_MAX ? PD_RECONNECT_US_MAX : link->backoff_us * 2;
    link->ping_us = 0;
    link->answered = NULL;
    link->message = NULL;
    link->placed_count = 0;
    pd_arena_reset(&link->arena);
    pd_frame_reader_deinit(&link->reader);
    pd_frame_reader_init(&link->reader,
                         PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX);
    take_all_back(link);
}

void pd_client_connected(struct pd_client *client, unsigned index, bool local, uint64_t now_us)
{
    struct pd_link *link = client->links[index];
    client->now_us = now_us;
    if (link->state != PD_LINK_CONNECTING) {
        return;
    }
    link->state = PD_LINK_GREETING;
    link->deadline_us = now_us + PD_CONNECT_TIMEOUT_US;
    link->sent_us = now_us;
    link->received_us = now_us;
    link->payload_sum =
        client->payload_sum == PARAMD_SUM_ON || (client->payload_sum == PARAMD_SUM_AUTO && !local);
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    hello.request_id = ++client->request_id;
    hello.client = client->name;
    size_t bytes = pd_frame_head_bytes(&hello.base);
    struct pd_request *request = pd_link_request(link, PD_KIND_HELLO, bytes);
    if (request == NULL) {
        pd_link_down(link, "this process is out of memory");
        return;
    }
    pd_frame_head_write(request->head, PD_KIND_HELLO, 0, &hello.base, 0, 0);
    request->id = hello.request_id;
    pd_link_send(link, request, bytes);
}

void pd_client_disconnected(struct pd_client *client, unsigned index, const char *text,
                            uint64_t now_us)
{
    struct pd_link *link = client->links[index];
    client->now_us = now_us;
    pd_link_down(link, text);
    link->close_wanted = false;
}

/* ---- Time ---- */

static uint64_t tick_ready(struct pd_link *link)
{
    uint64_t now_us = link->client->now_us;
    uint64_t pause_us = link->client->lease_us / 3;
    if (link->ping_us != 0) {
        if (link->received_us >= link->ping_us) {
            link->ping_us = 0;
        } else if (now_us >= link->ping_us + 2 * pause_us) {
            pd_link_down(link, "the daemon has not answered for two thirds of a lease");
            return link->deadline_us;
        } else {
            return link->ping_us + 2 * pause_us;
        }
    }
    uint64_t quiet_since_us = link->sent_us < link->received_us ? link->sent_us : link->received_us;
    if (now_us >= quiet_since_us + pause_us) {
        Paramd__Ping ping = PARAMD__PING__INIT;
        ping.request_id = ++link->client->request_id;
        if (pd_link_send_header(link, PD_KIND_PING, NULL, ping.request_id, &ping.base)) {
            link->ping_us = now_us;
        }
        return now_us + pause_us;
    }
    return quiet_since_us + pause_us;
}

uint64_t pd_link_tick(struct pd_link *link)
{
    uint64_t now_us = link->client->now_us;
    switch (link->state) {
    case PD_LINK_READY:
        return tick_ready(link);
    case PD_LINK_CONNECTING:
    case PD_LINK_GREETING:
        if (now_us >= link->deadline_us) {
            pd_link_down(link, link->state == PD_LINK_CONNECTING
                                   ? "connecting took longer than 5 s"
                                   : "the daemon did not answer HELLO for 5 s");
        }
        return link->deadline_us;
    case PD_LINK_BACKING_OFF:
        if (now_us < link->deadline_us) {
            return link->deadline_us;
        }
        link->state = PD_LINK_WANTED;
        return PD_NEVER;
    case PD_LINK_IDLE:
    case PD_LINK_WANTED:
        break;
    }
    return PD_NEVER;
}

/* ---- Writing ---- */

/* One frame of the next session in turn that has something to send here. */
static bool serve_sessions(struct pd_link *link)
{
    struct pd_client *client = link->client;
    struct pd_client_session *first =
        client->next_served != NULL ? client->next_served : client->sessions;
    struct pd_client_session *session = first;
    while (session != NULL) {
        struct pd_client_session *next = session->next != NULL ? session->next : client->sessions;
        if (link->index < session->lane_count && session->gone == PARAMD_OK) {
            struct pd_lane *lane = &session->lanes[link->index];
            if (pd_lane_attach(lane, link) || pd_pack_next(lane, link)) {
                client->next_served = next;
                return true;
            }
        }
        session = next == first ? NULL : next;
    }
    return false;
}

static void fill(struct pd_link *link)
{
    while (link->state == PD_LINK_READY && link->out_count < PD_LINK_OUT_FRAMES_MAX &&
           link->out_bytes < PD_PAYLOAD_BYTES_MAX &&
           link->out_count + link->waiting_count < PD_LINK_WAITING_MAX) {
        bool sent =
            (link->index == 0 && pd_call_send_next(link->client, link)) || serve_sessions(link);
        if (!sent) {
            return;
        }
    }
}

/* The spans of one request from where writing stands. */
static size_t request_spans(const struct pd_request *request, struct pd_span *ret_spans, size_t max)
{
    size_t count = 0;
    const struct pd_call *call = request->call;
    uint8_t *head = call != NULL ? call->bytes : request->head;
    size_t head_bytes = call != NULL ? call->byte_count : request->head_bytes;
    if (request->written < head_bytes && count < max) {
        ret_spans[count++] =
            (struct pd_span){head + request->written, head_bytes - request->written};
    }
    const struct pd_unit *unit = has_payload(request) ? request->out_unit : NULL;
    for (size_t offset = request->out_offset; unit != NULL && count < max;
         unit = unit->next, offset = 0) {
        /* writev only reads; a span serves both directions. */
        ret_spans[count++] = (struct pd_span){(uint8_t *)(uintptr_t)(pd_unit_out(unit) + offset),
                                              pd_unit_bytes(unit) - offset};
    }
    return count;
}

size_t pd_client_write_source(struct pd_client *client, unsigned index, struct pd_span *ret_spans,
                              size_t max, uint64_t now_us)
{
    struct pd_link *link = client->links[index];
    client->now_us = now_us;
    fill(link);
    size_t count = 0;
    struct pd_request *request;
    DL_FOREACH(link->out, request) {
        if (count == max) {
            break;
        }
        count += request_spans(request, ret_spans + count, max - count);
    }
    return count;
}

/* Moves the place of writing inside a request's payload on. */
static void payload_written(struct pd_request *request, size_t count)
{
    while (count > 0) {
        size_t left = pd_unit_bytes(request->out_unit) - request->out_offset;
        size_t step = left < count ? left : count;
        request->out_offset += step;
        count -= step;
        if (step == left) {
            request->out_unit = request->out_unit->next;
            request->out_offset = 0;
        }
    }
}

void pd_client_written(struct pd_client *client, unsigned index, size_t count, uint64_t now_us)
{
    struct pd_link *link = client->links[index];
    client->now_us = now_us;
    link->sent_us = now_us;
    while (count > 0 && link->out != NULL) {
        struct pd_request *request = link->out;
        size_t head_bytes = request->call != NULL ? request->call->byte_count : request->head_bytes;
        size_t left = request->bytes - request->written;
        size_t step = left < count ? left : count;
        size_t head_left = request->written < head_bytes ? head_bytes - request->written : 0;
        if (has_payload(request) && step > head_left) {
            payload_written(request, step - head_left);
            if (request->lane != NULL && request->kind != PD_KIND_INIT) {
                request->lane->session->counters.bytes_pushed += step - head_left;
            }
        }
        request->written += step;
        link->out_bytes -= step;
        count -= step;
        if (written_whole(request)) {
            DL_DELETE(link->out, request);
            link->out_count--;
            DL_APPEND(link->waiting, request);
            link->waiting_count++;
        }
    }
}

/* ---- Reading ---- */

size_t pd_client_read_target(struct pd_client *client, unsigned index, struct pd_span *ret_spans,
                             size_t max)
{
    struct pd_link *link = client->links[index];
    size_t count = 0;
    size_t rest = 0;
    if (link->state != PD_LINK_GREETING && link->state != PD_LINK_READY) {
        return 0;
    }
    if (link->reader.state == PD_FRAME_PAYLOAD) {
        count = pd_frame_reader_rest(&link->reader, ret_spans, max);
        for (size_t i = 0; i < count; i++) {
            rest += ret_spans[i].bytes;
        }
    }
    if (count < max) {
        size_t bytes = rest >= PD_LARGE_PAYLOAD || link->after_bulk ? PD_SCRATCH_BEHIND_PAYLOAD
                                                                    : PD_SCRATCH_BYTES;
        ret_spans[count++] = (struct pd_span){link->scratch, bytes};
    }
    return count;
}

/* Acts wherever the reader stops. False: the link is down. */
static bool advance(struct pd_link *link)
{
    for (;;) {
        switch (link->reader.state) {
        case PD_FRAME_HEAD:
        case PD_FRAME_PAYLOAD:
            return true;
        case PD_FRAME_FAILED:
            return pd_answer_broken(link, link->reader.error_text);
        case PD_FRAME_WANTS_PAYLOAD:
            if (!pd_answer_head(link)) {
                return false;
            }
            break;
        case PD_FRAME_WHOLE:
            if (!pd_answer_whole(link) || link->state == PD_LINK_BACKING_OFF ||
                link->state == PD_LINK_IDLE) {
                return false;
            }
            link->after_bulk = link->reader.payload_bytes >= PD_LARGE_PAYLOAD;
            link->message = NULL;
            link->answered = NULL;
            link->placed_count = 0;
            pd_arena_reset(&link->arena);
            pd_frame_reader_next(&link->reader);
            break;
        }
    }
}

void pd_client_received(struct pd_client *client, unsigned index, size_t count, uint64_t now_us)
{
    struct pd_link *link = client->links[index];
    client->now_us = now_us;
    link->received_us = now_us;
    if (link->reader.state == PD_FRAME_PAYLOAD) {
        struct pd_span rest[1];
        while (count > 0 && pd_frame_reader_rest(&link->reader, rest, 1) == 1) {
            size_t step = rest[0].bytes < count ? rest[0].bytes : count;
            pd_frame_reader_filled(&link->reader, step);
            count -= step;
        }
        if (!advance(link)) {
            return;
        }
    }
    for (size_t taken = 0; taken < count;) {
        taken += pd_frame_reader_feed(&link->reader, link->scratch + taken, count - taken);
        if (!advance(link)) {
            return;
        }
    }
}

/* ---- What may not be touched any more ---- */

static bool concerns(const struct pd_unit *unit, const struct pd_op *op,
                     const struct pd_client_session *session)
{
    return unit != NULL && (unit->op == op || (session != NULL && unit->op->session == session));
}

/* A payload that is on its way into the buffers goes elsewhere; what had come is taken along, for
 * the payload sum. */
static void redirect(struct pd_link *link, const struct pd_op *op,
                     const struct pd_client_session *session)
{
    size_t offset = 0;
    for (size_t i = 0; i < link->placed_count; i++) {
        if (concerns(link->placed_units[i], op, session)) {
            memcpy(link->discard + offset, link->placed[i].data, link->placed[i].bytes);
            link->placed[i].data = link->discard + offset;
            link->placed_units[i] = NULL;
        }
        offset += link->placed[i].bytes;
    }
}

void pd_link_revoke(struct pd_link *link, const struct pd_op *op,
                    const struct pd_client_session *session)
{
    redirect(link, op, session);
    struct pd_request *request;
    DL_FOREACH(link->out, request) {
        if (!has_payload(request)) {
            continue;
        }
        const struct pd_unit *unit;
        DL_FOREACH(request->units.head, unit) {
            if (concerns(unit, op, session)) {
                pd_link_down(link, "a push that was being sent was cancelled");
                return;
            }
        }
    }
}

void pd_link_revoke_answer(struct pd_link *link, const struct pd_request *request)
{
    if (link->answered == request && link->placed_count == 1) {
        memcpy(link->discard, link->placed[0].data, link->placed[0].bytes);
        link->placed[0].data = link->discard;
    }
}
