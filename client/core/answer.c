/* Answers: which request is it, is it a sound one, where does its payload go, what follows. Nothing
 * a daemon sends is believed unchecked; what makes no sense costs the connection and nothing else.
 */
#include "client/core/state.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

bool pd_answer_broken(struct pd_link *link, const char *text)
{
    char sentence[PD_CALL_TEXT_BYTES];
    (void)snprintf(sentence, sizeof sentence, "the daemon broke the protocol: %s", text);
    pd_link_down(link, sentence);
    return false;
}

/* ---- The head ---- */

static bool from_server(unsigned kind)
{
    switch (kind) {
#define KIND_FROM_SERVER(NAME, number, message, from_client, from_server)                          \
    case PD_KIND_##NAME:                                                                           \
        return from_server;
        PD_KIND_LIST(KIND_FROM_SERVER)
#undef KIND_FROM_SERVER
    default:
        return false;
    }
}

/* Which kind answers a request; ERROR and MOVED may as well. */
static bool answers(enum pd_kind request, unsigned answer)
{
    switch (request) {
    case PD_KIND_HELLO:
        return answer == PD_KIND_WELCOME;
    case PD_KIND_CREATE:
        return answer == PD_KIND_CREATED;
    case PD_KIND_ATTACH:
        return answer == PD_KIND_ATTACHED;
    case PD_KIND_PUSH:
        return answer == PD_KIND_ACK;
    case PD_KIND_PUSH_PULL:
        return answer == PD_KIND_ACK || answer == PD_KIND_BLOCKS;
    case PD_KIND_PULL:
        return answer == PD_KIND_BLOCKS;
    case PD_KIND_SKIP:
        return answer == PD_KIND_SKIPPED;
    case PD_KIND_LIST:
        return answer == PD_KIND_LISTED;
    case PD_KIND_STAT:
        return answer == PD_KIND_STATED;
    case PD_KIND_PING:
        return answer == PD_KIND_PONG;
    case PD_KIND_SNAPSHOT:
        return answer == PD_KIND_SNAPSHOTTED;
    default:
        return answer == PD_KIND_DONE;
    }
}

static void place_discard(struct pd_link *link)
{
    link->placed_count = link->reader.payload_bytes > 0;
    if (link->placed_count == 1) {
        link->placed[0] = (struct pd_span){link->discard, link->reader.payload_bytes};
        link->placed_units[0] = NULL;
    }
}

static bool place_payload(struct pd_link *link)
{
    struct pd_request *request = link->answered;
    uint32_t bytes = link->reader.payload_bytes;
    if (request != NULL && link->reader.kind == PD_KIND_BLOCKS && request->lane != NULL) {
        return pd_answer_blocks_head(link, request, (const Paramd__Blocks *)link->message);
    }
    place_discard(link);
    if (request != NULL && link->reader.kind == PD_KIND_STATED && request->call != NULL &&
        bytes > 0 && !request->call->destroyed) {
        if (!pd_call_reserve(request->call, bytes)) {
            return pd_answer_broken(link, "a definition is too large");
        }
        link->placed[0].data = request->call->payload + request->call->payload_bytes;
    }
    return true;
}

static bool find_request(struct pd_link *link)
{
    uint64_t id = pd_request_id(link->message);
    uint16_t kind = link->reader.kind;
    link->answered = NULL;
    if (id == 0) {
        return kind == PD_KIND_MOVED || kind == PD_KIND_ERROR ||
               pd_answer_broken(link, "an answer without a request");
    }
    link->answered = pd_link_find(link, id);
    if (link->answered == NULL) {
        return pd_answer_broken(link, "an answer to nothing that was asked");
    }
    if (!answers(link->answered->kind, kind) && kind != PD_KIND_ERROR && kind != PD_KIND_MOVED) {
        return pd_answer_broken(link, "an answer of another kind than was asked for");
    }
    return true;
}

bool pd_answer_head(struct pd_link *link)
{
    struct pd_frame_reader *reader = &link->reader;
    const ProtobufCMessageDescriptor *descriptor = pd_kind_descriptor(reader->kind);
    link->message = NULL;
    if (descriptor == NULL && (reader->flags & PD_FRAME_SKIPPABLE) != 0) {
        place_discard(link);
        pd_frame_reader_place(reader, link->placed, link->placed_count);
        return true;
    }
    if (descriptor == NULL || !from_server(reader->kind)) {
        return pd_answer_broken(link, "a frame of a kind that no daemon sends");
    }
    link->message = pd_decode(descriptor, &link->arena, reader->header, reader->header_bytes);
    if (link->message == NULL) {
        return pd_answer_broken(link, "a header that cannot be read");
    }
    if (reader->payload_bytes > 0 && reader->kind != PD_KIND_BLOCKS &&
        reader->kind != PD_KIND_STATED) {
        return pd_answer_broken(link, "a payload where none belongs");
    }
    if (!find_request(link) || !place_payload(link)) {
        return false;
    }
    pd_frame_reader_place(reader, link->placed, link->placed_count);
    return true;
}

/* ---- The whole frame ---- */

static bool welcome(struct pd_link *link, const Paramd__Welcome *message)
{
    struct pd_client *client = link->client;
    if (message->limits != NULL && message->limits->lease_us >= 1000) {
        client->lease_us = message->limits->lease_us;
    }
    if (!pd_client_slot_map(client, message->slot_map, link)) {
        return pd_answer_broken(link, "a slot map that cannot be");
    }
    if (link->index >= client->shards) {
        pd_link_down(link, "the daemon has fewer shards now");
        link->state = PD_LINK_IDLE;
        return false;
    }
    if (message->shard != link->index) {
        return pd_answer_broken(link, "another shard answered than was asked for");
    }
    pd_link_request_free(link, link->answered);
    pd_client_set_trouble(client, "");
    link->state = PD_LINK_READY;
    link->ping_us = 0;
    struct pd_client_session *session;
    DL_FOREACH(client->sessions, session) {
        session->counters.reconnects += link->was_ready && link->index < session->lane_count &&
                                        session->lanes[link->index].wanted;
    }
    link->was_ready = true;
    return true;
}

static bool attached(struct pd_link *link, struct pd_request *request,
                     const Paramd__Attached *message)
{
    struct pd_lane *lane = request->lane;
    pd_link_request_free(link, request);
    if (lane == NULL) {
        return true;
    }
    struct pd_client_session *session = lane->session;
    if (session->number == 0) {
        session->number = message->model;
    }
    if (message->model != session->number) {
        pd_client_session_end(session, PARAMD_NOT_FOUND);
        return true;
    }
    session->established = true;
    pd_client_session_generation(session, message->generation);
    return pd_lane_attached(lane, message) ||
           pd_answer_broken(link, "slots that are not of this shard");
}

static void attach_failed(struct pd_link *link, struct pd_request *request, int status)
{
    struct pd_lane *lane = request->lane;
    pd_link_request_free(link, request);
    if (lane == NULL) {
        return;
    }
    if (paramd_status_retryable(status)) {
        lane->state = PD_LANE_DETACHED;
        pd_lane_hold(lane);
    } else {
        pd_client_session_end(lane->session, status);
    }
}

static bool error(struct pd_link *link, struct pd_request *request, const Paramd__Error *message)
{
    int status = message->status < 0 && message->status > -1000 ? message->status : PARAMD_PROTOCOL;
    if (request == NULL || request->kind == PD_KIND_HELLO) {
        char sentence[PD_CALL_TEXT_BYTES];
        (void)snprintf(sentence, sizeof sentence, "the daemon refused the connection: %s (%s)",
                       paramd_status_name(status), message->message);
        pd_link_down(link, sentence);
        return false;
    }
    if (paramd_status_retryable(status)) { /* others end a call, which says so itself */
        pd_client_set_trouble(link->client, message->message);
    }
    if (request->kind == PD_KIND_ATTACH) {
        attach_failed(link, request, status);
    } else if (request->lane != NULL) {
        pd_answer_data_error(link, request, status, message->message);
    } else {
        struct pd_call *call = request->call;
        bool wanted = call != NULL && !call->destroyed;
        request->call = wanted ? NULL : call; /* freed with the request if nobody wants it */
        pd_link_request_free(link, request);
        if (wanted) {
            pd_call_failed(call, status, message->message);
        }
    }
    return link->state == PD_LINK_READY;
}

static bool moved(struct pd_link *link, struct pd_request *request, const Paramd__Moved *message)
{
    if (request != NULL && request->kind != PD_KIND_PULL && request->kind != PD_KIND_INIT) {
        return pd_answer_broken(link, "MOVED for a request that names no block");
    }
    if (request != NULL && request->lane != NULL) {
        pd_answer_data_error(link, request, PARAMD_MOVED, "");
    } else if (request != NULL) {
        pd_link_request_free(link, request);
    }
    if (!pd_client_slot_map(link->client, message->slot_map, NULL)) {
        return pd_answer_broken(link, "a slot map that cannot be");
    }
    return link->state == PD_LINK_READY;
}

static bool done(struct pd_link *link, struct pd_request *request)
{
    struct pd_call *call = request->call;
    if (request->kind == PD_KIND_INIT && request->lane != NULL) {
        pd_answer_init_done(link, request);
        return true;
    }
    if (call == NULL || call->destroyed) {
        if ((link->reader.flags & PD_FRAME_MORE) == 0) {
            pd_link_request_free(link, request);
        }
        return true;
    }
    if (pd_call_answered(link, call)) {
        request->call = NULL;
        pd_link_request_free(link, request);
    }
    return true;
}

/* An answer to a data frame of a session that is gone. */
static bool passed_over(struct pd_link *link, struct pd_request *request)
{
    bool more =
        (request->kind == PD_KIND_PUSH_PULL && link->reader.kind == PD_KIND_ACK) ||
        (link->reader.kind == PD_KIND_BLOCKS && !((const Paramd__Blocks *)link->message)->last);
    if (!more) {
        pd_link_request_free(link, request);
    }
    return true;
}

bool pd_answer_whole(struct pd_link *link)
{
    struct pd_request *request = link->answered;
    const ProtobufCMessage *message = link->message;
    if (message == NULL) {
        return true; /* a skippable kind that this version does not know */
    }
    enum pd_kind kind = (enum pd_kind)link->reader.kind;
    if (link->state == PD_LINK_GREETING && kind != PD_KIND_WELCOME && kind != PD_KIND_ERROR) {
        return pd_answer_broken(link, "something else than WELCOME came first");
    }
    if (kind != PD_KIND_WELCOME && kind != PD_KIND_ERROR) {
        link->backoff_us = PD_RECONNECT_US_MIN; /* this daemon is at work */
    }
    switch (kind) {
    case PD_KIND_WELCOME:
        return welcome(link, (const Paramd__Welcome *)message);
    case PD_KIND_ERROR:
        return error(link, request, (const Paramd__Error *)message);
    case PD_KIND_MOVED:
        return moved(link, request, (const Paramd__Moved *)message);
    case PD_KIND_ATTACHED:
        return attached(link, request, (const Paramd__Attached *)message);
    case PD_KIND_PONG:
        if (request->call == NULL) {
            pd_link_request_free(link, request);
            return true;
        }
        return done(link, request);
    case PD_KIND_ACK:
    case PD_KIND_BLOCKS:
    case PD_KIND_SKIPPED:
        break;
    default:
        return done(link, request);
    }
    if (request->lane == NULL) {
        return passed_over(link, request);
    }
    if (kind == PD_KIND_ACK) {
        return pd_answer_ack(link, request, (const Paramd__Ack *)message);
    }
    if (kind == PD_KIND_BLOCKS) {
        return pd_answer_blocks(link, request, (const Paramd__Blocks *)message);
    }
    return pd_answer_skipped(link, request, (const Paramd__Skipped *)message);
}
