/* Control calls: one request and its answer. A call is packed once and sent as often as connections
 * break; all of them may be repeated without harm. */
#include "client/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { CALL_DECODED_MAX = 1024 * 1024 };

/* All frames of the request, one after the other: a payload above 1 MiB takes several. */
static bool pack_frames(struct pd_call *call, const ProtobufCMessage *header,
                        const uint8_t *payload, size_t payload_bytes)
{
    size_t head_bytes = pd_frame_head_bytes(header);
    size_t frames =
        payload_bytes == 0 ? 1 : (payload_bytes + PD_PAYLOAD_BYTES_MAX - 1) / PD_PAYLOAD_BYTES_MAX;
    if (head_bytes == 0) {
        return false;
    }
    call->byte_count = frames * head_bytes + payload_bytes;
    call->bytes = malloc(call->byte_count);
    if (call->bytes == NULL) {
        return false;
    }
    uint8_t *out = call->bytes;
    for (size_t i = 0; i < frames; i++) {
        size_t left = payload_bytes - i * PD_PAYLOAD_BYTES_MAX;
        size_t bytes = left > PD_PAYLOAD_BYTES_MAX ? PD_PAYLOAD_BYTES_MAX : left;
        struct pd_span span = {(uint8_t *)((uintptr_t)payload + i * PD_PAYLOAD_BYTES_MAX), bytes};
        unsigned flags = i + 1 < frames ? PD_FRAME_MORE : 0;
        uint64_t sum = 0;
        if (bytes > 0) {
            flags |= PD_FRAME_PAYLOAD_SUM;
            sum = pd_payload_sum(&span, 1);
        }
        pd_frame_head_write(out, call->kind, flags, header, (uint32_t)bytes, sum);
        out += head_bytes;
        if (bytes > 0) {
            memcpy(out, span.data, bytes);
            out += bytes;
        }
    }
    return true;
}

struct pd_call *pd_call_start(struct pd_client *client, struct pd_client_session *session,
                              enum pd_kind kind, ProtobufCMessage *header, const uint8_t *payload,
                              size_t payload_bytes)
{
    struct pd_call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        return NULL;
    }
    call->client = client;
    call->session = session;
    call->kind = kind;
    call->id = ++client->request_id;
    call->status = PARAMD_PENDING;
    call->retry_us = PD_RETRY_US_MIN;
    /* The request id is field 1 of every header. */
    ((Paramd__Ping *)header)->request_id = call->id;
    if (!pack_frames(call, header, payload, payload_bytes)) {
        free(call);
        return NULL;
    }
    pd_arena_init(&call->arena, CALL_DECODED_MAX);
    DL_APPEND(client->calls, call);
    if (session != NULL) {
        session->lanes[0].wanted = true;
        if (session->gone != PARAMD_OK) {
            pd_call_finish(call, session->gone, pd_gone_text(session->gone));
        }
    }
    return call;
}

struct pd_call *pd_call_start_set(struct pd_client *client, struct pd_client_session *session,
                                  ProtobufCMessage *header)
{
    struct pd_call *call = pd_call_start(client, session, PD_KIND_SET, header, NULL, 0);
    if (call != NULL && call->state == PD_CALL_QUEUED) {
        call->is_set = true;
        session->sets_pending++;
    }
    return call;
}

static void set_over(struct pd_call *call)
{
    if (call->is_set) {
        call->is_set = false;
        pd_client_session_set_over(call->session);
    }
}

void pd_call_finish(struct pd_call *call, int status, const char *text)
{
    call->state = PD_CALL_FINISHED;
    call->status = status;
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    set_over(call);
}

void pd_call_destroy(struct pd_call *call)
{
    if (call == NULL) {
        return;
    }
    set_over(call);
    struct pd_request *request = call->request;
    if (request != NULL && request->written < request->bytes) {
        call->destroyed = true; /* its bytes are on their way out */
        return;
    }
    if (request != NULL) {
        pd_link_revoke_answer(call->client->links[0], request);
        request->call = NULL;
    }
    DL_DELETE(call->client->calls, call);
    pd_arena_deinit(&call->arena);
    free(call->bytes);
    free(call->payload);
    free(call);
}

static bool sendable(const struct pd_call *call)
{
    if (call->state != PD_CALL_QUEUED || call->held_until_us > call->client->now_us) {
        return false;
    }
    return call->session == NULL || call->session->lanes[0].state == PD_LANE_ATTACHED;
}

bool pd_call_send_next(struct pd_client *client, struct pd_link *link)
{
    struct pd_call *call;
    DL_FOREACH(client->calls, call) {
        if (!sendable(call)) {
            continue;
        }
        struct pd_request *request = pd_link_request(link, call->kind, 0);
        if (request == NULL) {
            return false;
        }
        request->id = call->id;
        request->call = call;
        call->request = request;
        call->state = PD_CALL_IN_FLIGHT;
        pd_link_send(link, request, call->byte_count);
        return true;
    }
    return false;
}

static void forget_answer(struct pd_call *call)
{
    call->answer = NULL;
    call->payload_bytes = 0;
    pd_arena_reset(&call->arena);
}

void pd_call_requeue(struct pd_call *call)
{
    call->request = NULL;
    call->state = PD_CALL_QUEUED;
    call->repeated = true;
    forget_answer(call);
    if (call->session != NULL && call->session->gone != PARAMD_OK) {
        pd_call_finish(call, call->session->gone, pd_gone_text(call->session->gone));
    }
}

bool pd_call_reserve(struct pd_call *call, size_t bytes)
{
    if (call->payload_bytes + bytes > PD_DEFINITION_BYTES_MAX) {
        return false;
    }
    if (call->payload_bytes + bytes > call->payload_capacity) {
        size_t capacity = 2 * (call->payload_bytes + bytes);
        uint8_t *payload = realloc(call->payload, capacity);
        if (payload == NULL) {
            return false;
        }
        call->payload = payload;
        call->payload_capacity = capacity;
    }
    return true;
}

bool pd_call_answered(struct pd_link *link, struct pd_call *call)
{
    const struct pd_frame_reader *reader = &link->reader;
    call->payload_bytes += reader->payload_bytes;
    if ((reader->flags & PD_FRAME_MORE) != 0) {
        return false;
    }
    call->request = NULL;
    call->answer = pd_decode(pd_kind_descriptor(reader->kind), &call->arena, reader->header,
                             reader->header_bytes);
    if (call->answer == NULL) {
        pd_call_finish(call, PARAMD_NO_MEMORY, "no memory for the daemon's answer");
    } else {
        pd_call_finish(call, PARAMD_OK, "");
    }
    return true;
}

void pd_call_failed(struct pd_call *call, int status, const char *text)
{
    struct pd_lane *lane = call->session != NULL ? &call->session->lanes[0] : NULL;
    call->request = NULL;
    if (status == PARAMD_NOT_FOUND && call->kind == PD_KIND_DELETE && call->repeated) {
        pd_call_finish(call, PARAMD_OK, ""); /* done before, and the answer was lost */
        return;
    }
    if (status != PARAMD_BUSY && !(status == PARAMD_NOT_ATTACHED && lane != NULL)) {
        pd_call_finish(call, status, text);
        return;
    }
    if (lane != NULL && status == PARAMD_NOT_ATTACHED && lane->state == PD_LANE_ATTACHED) {
        lane->state = PD_LANE_DETACHED;
    }
    call->held_until_us = pd_client_later(call->client, call->retry_us);
    call->retry_us = call->retry_us * 2 > PD_RETRY_US_MAX ? PD_RETRY_US_MAX : call->retry_us * 2;
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    pd_call_requeue(call);
}

uint64_t pd_call_wake(const struct pd_call *call)
{
    return call->state == PD_CALL_QUEUED && call->held_until_us > call->client->now_us
               ? call->held_until_us
               : PD_NEVER;
}

int pd_call_status(const struct pd_call *call)
{
    return call->status;
}

const char *pd_call_text(const struct pd_call *call)
{
    return call->text;
}

const ProtobufCMessage *pd_call_answer(const struct pd_call *call)
{
    return call->answer;
}

const uint8_t *pd_call_payload(const struct pd_call *call, size_t *ret_bytes)
{
    *ret_bytes = call->payload_bytes;
    return call->payload;
}
