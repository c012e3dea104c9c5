/* The shard's step function: which event goes where. A push goes on in push.c, values in pull.c,
 * sessions and what control says in attach.c, first values in init.c, records in shard_record.c. */
#include "server/core/shard.h"

#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/core/shard_state.h"

enum {
    SEEN_EVERY_US = 1000000,      /* or a quarter of the lease or the retention */
    CONNECTED_EVERY_US = 30000000 /* or a quarter of the retention */
};

static uint64_t at_most(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

enum paramd_status pd_shard_create(const struct pd_shard_options *options,
                                   struct pd_shard **ret_shard)
{
    struct pd_shard *shard = calloc(1, sizeof *shard);
    if (shard == NULL) {
        return PARAMD_NO_MEMORY;
    }
    shard->options = *options;
    shard->push_ids_room = options->push_ids_max;
    pd_link_init(&shard->dropped);
    pd_link_init(&shard->spare_cursors);
    pd_pool_init(&shard->copies, options->copies_max);
    *ret_shard = shard;
    return PARAMD_OK;
}

void pd_shard_destroy(struct pd_shard *shard)
{
    if (shard == NULL) {
        return;
    }
    struct pd_model *model;
    struct pd_model *next;
    HASH_ITER(by_number, shard->models, model, next) {
        pd_shard_drop_model(shard, model);
    }
    struct pd_link *link;
    while ((link = pd_list_pop(&shard->dropped)) != NULL) {
        model = PD_CONTAINER(link, struct pd_model, dropped_link);
        pd_model_free(model, &shard->options.memory);
    }
    pd_cursors_deinit(shard);
    pd_pool_deinit(&shard->copies);
    free(shard->snapshot);
    free(shard->loaded);
    free(shard);
}

void pd_peer_init(struct pd_peer *peer, struct pd_conn_id id)
{
    *peer = (struct pd_peer){.id = id};
    pd_link_init(&peer->cursors);
}

/* ---- answers ---- */

void pd_reply(struct pd_effects *effects, enum pd_kind kind, const ProtobufCMessage *header)
{
    PD_ASSERT(effects->reply_count < PD_REPLIES_MAX);
    effects->replies[effects->reply_count++] = (struct pd_reply){kind, header};
}

void pd_reply_error(struct pd_effects *effects, uint64_t request_id, enum paramd_status status,
                    const char *message)
{
    Paramd__Error *error = pd_arena_take(effects->arena, sizeof *error);
    size_t count = strlen(message) + 1;
    char *text = pd_arena_take(effects->arena, count);
    if (error == NULL || text == NULL) {
        effects->verdict = PD_VERDICT_CLOSE;
        effects->reason = "no memory for an answer";
        return;
    }
    memcpy(text, message, count);
    paramd__error__init(error);
    error->request_id = request_id;
    error->status = status;
    error->message = text;
    pd_reply(effects, PD_KIND_ERROR, &error->base);
}

void pd_reply_done(struct pd_effects *effects, uint64_t request_id)
{
    Paramd__Done *done = pd_arena_take(effects->arena, sizeof *done);
    if (done == NULL) {
        effects->verdict = PD_VERDICT_CLOSE;
        effects->reason = "no memory for an answer";
        return;
    }
    paramd__done__init(done);
    done->request_id = request_id;
    pd_reply(effects, PD_KIND_DONE, &done->base);
}

void pd_reply_moved(struct pd_shard *shard, struct pd_effects *effects, uint64_t request_id)
{
    Paramd__Moved *moved = pd_arena_take(effects->arena, sizeof *moved);
    Paramd__SlotMap *map = pd_arena_take(effects->arena, sizeof *map);
    if (moved == NULL || map == NULL) {
        effects->verdict = PD_VERDICT_CLOSE;
        effects->reason = "no memory for an answer";
        return;
    }
    paramd__slot_map__init(map);
    map->epoch = 1;
    map->shards = shard->options.shards;
    paramd__moved__init(moved);
    moved->request_id = request_id;
    moved->slot_map = map;
    pd_reply(effects, PD_KIND_MOVED, &moved->base);
}

void pd_close(struct pd_effects *effects, enum paramd_status status, const char *reason)
{
    effects->reply_count = 0;
    pd_reply_error(effects, 0, status, reason);
    effects->verdict = PD_VERDICT_CLOSE;
    effects->reason = reason;
}

struct pd_message *pd_tell(struct pd_shard *shard, struct pd_effects *effects,
                           enum pd_message_kind kind)
{
    struct pd_message *message = pd_message_create(kind, shard->options.shard);
    if (message != NULL) {
        pd_list_push(&effects->to_control, &message->link);
    }
    return message;
}

/* ---- looking things up ---- */

struct pd_attachment *pd_peer_attachment(struct pd_peer *peer, uint64_t model_number)
{
    for (uint32_t i = 0; i < peer->attachment_count; i++) {
        if (peer->attachments[i].model_number == model_number) {
            return &peer->attachments[i];
        }
    }
    return NULL;
}

struct pd_model *pd_shard_model(struct pd_shard *shard, uint64_t number)
{
    struct pd_model *model = NULL;
    HASH_FIND(by_number, shard->models, &number, sizeof number, model);
    return model;
}

struct pd_attachment *pd_attachment_for(struct pd_shard *shard, const struct pd_event *event,
                                        uint64_t model_number, struct pd_effects *effects)
{
    uint64_t request_id = pd_request_id(event->header);
    struct pd_attachment *attachment = pd_peer_attachment(event->peer, model_number);
    if (attachment != NULL && !attachment->session->ended) {
        attachment->session->seen = true;
        return attachment;
    }
    if (pd_shard_model(shard, model_number) == NULL) {
        pd_reply_error(effects, request_id, PARAMD_NOT_FOUND,
                       "no model has this number: it was deleted, or belongs to an earlier start "
                       "of the daemon; CREATE it anew");
    } else if (attachment != NULL) {
        pd_reply_error(effects, request_id, PARAMD_SESSION_EXPIRED,
                       "the session was ended: ATTACH a new one");
    } else {
        pd_reply_error(effects, request_id, PARAMD_NOT_ATTACHED,
                       "no session of this model on this connection: ATTACH first");
    }
    return NULL;
}

/* ---- the step ---- */

static void hello(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Hello *hello = (const Paramd__Hello *)event->header;
    Paramd__Welcome *welcome = pd_arena_take(effects->arena, sizeof *welcome);
    Paramd__SlotMap *map = pd_arena_take(effects->arena, sizeof *map);
    Paramd__Limits *limits = pd_arena_take(effects->arena, sizeof *limits);
    if (welcome == NULL || map == NULL || limits == NULL) {
        pd_close(effects, PARAMD_RESOURCE_EXHAUSTED, "no memory for an answer");
        return;
    }
    paramd__slot_map__init(map);
    map->epoch = 1;
    map->shards = shard->options.shards;
    paramd__limits__init(limits);
    limits->header_bytes = PD_HEADER_BYTES_MAX;
    limits->payload_bytes = PD_PAYLOAD_BYTES_MAX;
    limits->entries = PD_ENTRIES_MAX;
    limits->unanswered = PD_UNANSWERED_MAX;
    limits->lease_us = shard->options.lease_us;
    limits->retention_us = shard->options.retention_us;
    paramd__welcome__init(welcome);
    welcome->request_id = hello->request_id;
    welcome->server = (char *)(uintptr_t)shard->options.version;
    welcome->shard = shard->options.shard;
    welcome->slot_map = map;
    welcome->limits = limits;
    event->peer->greeted = true;
    pd_reply(effects, PD_KIND_WELCOME, &welcome->base);
}

static void ping(const struct pd_event *event, struct pd_effects *effects)
{
    Paramd__Pong *pong = pd_arena_take(effects->arena, sizeof *pong);
    if (pong == NULL) {
        pd_close(effects, PARAMD_RESOURCE_EXHAUSTED, "no memory for an answer");
        return;
    }
    paramd__pong__init(pong);
    pong->request_id = pd_request_id(event->header);
    pd_reply(effects, PD_KIND_PONG, &pong->base);
}

/* Why a frame of its kind cannot be like this, or now; NULL if it can. */
static const char *find_fault(const struct pd_event *event)
{
    const struct pd_peer *peer = event->peer;
    unsigned kind = event->frame_kind;
    bool has_payload = kind == PD_KIND_PUSH || kind == PD_KIND_PUSH_PULL || kind == PD_KIND_INIT ||
                       kind == PD_KIND_CREATE;
    if (!peer->greeted && kind != PD_KIND_HELLO) {
        return "the first frame is not HELLO";
    }
    if (pd_request_id(event->header) == 0) {
        return "a request whose id is 0: ids begin with 1";
    }
    if (peer->definition != NULL && kind != PD_KIND_CREATE) {
        return "another frame came between the frames of a CREATE";
    }
    if (event->payload_count != 0 && !has_payload) {
        return "a payload with a kind that has none";
    }
    return event->more && kind != PD_KIND_CREATE ? "a frame goes on whose kind cannot" : NULL;
}

static void request(struct pd_shard *shard, const struct pd_event *event,
                    struct pd_effects *effects)
{
    struct pd_peer *peer = event->peer;
    const char *fault = find_fault(event);
    if (fault != NULL) {
        pd_close(effects, PARAMD_PROTOCOL, fault);
        return;
    }
    for (uint32_t i = 0; i < peer->attachment_count; i++) {
        peer->attachments[i].session->seen = true;
    }
    switch (event->frame_kind) {
    case PD_KIND_PUSH:
    case PD_KIND_PUSH_PULL:
        pd_shard_push(shard, event, effects);
        break;
    case PD_KIND_PULL:
        pd_shard_pull(shard, event, effects);
        break;
    case PD_KIND_SKIP:
        pd_shard_skip(shard, event, effects);
        break;
    case PD_KIND_INIT:
        pd_shard_init(shard, event, effects);
        break;
    case PD_KIND_HELLO:
        hello(shard, event, effects);
        break;
    case PD_KIND_PING:
        ping(event, effects);
        break;
    case PD_KIND_REPORT:
        pd_shard_forward_of(shard, event, ((const Paramd__Report *)event->header)->model, effects);
        break;
    case PD_KIND_CREATE:
        pd_shard_create_request(shard, event, effects);
        break;
    case PD_KIND_GOODBYE:
        pd_shard_forward_of(shard, event, ((const Paramd__Goodbye *)event->header)->model, effects);
        break;
    case PD_KIND_ATTACH:
    case PD_KIND_SET:
    case PD_KIND_LIST:
    case PD_KIND_STAT:
    case PD_KIND_DELETE:
    case PD_KIND_SNAPSHOT:
        pd_shard_forward(shard, event, effects);
        break;
    default:
        pd_close(effects, PARAMD_PROTOCOL, "a frame of a kind that only the server sends");
        break;
    }
}

static void gone(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    struct pd_peer *peer = event->peer;
    while (!pd_link_alone(&peer->cursors)) {
        pd_cursor_destroy(shard, peer, PD_CONTAINER(peer->cursors.next, struct pd_cursor, link));
    }
    for (uint32_t i = 0; i < peer->attachment_count; i++) {
        pd_session_detach(shard, peer->attachments[i].session);
    }
    free(peer->attachments);
    shard->definition_bytes -= peer->definition_bytes;
    free(peer->definition);
    pd_peer_init(peer, peer->id);
    effects->room = true;
}

/* Tells control which sessions are in use: those with traffic for their lease, those with a
 * connection for their retention. */
static void tell_seen(struct pd_shard *shard, uint64_t now_us, struct pd_effects *effects)
{
    bool all = now_us - shard->connected_us >=
               at_most(CONNECTED_EVERY_US, shard->options.retention_us / 4);
    shard->seen_us = now_us;
    if (all) {
        shard->connected_us = now_us;
    }
    for (struct pd_model *model = shard->models; model != NULL; model = model->by_number.next) {
        struct pd_session *session = model->sessions;
        for (; session != NULL; session = session->by_bits.next) {
            if (!session->seen && !(all && session->attachments > 0)) {
                continue;
            }
            struct pd_message *message = pd_tell(shard, effects, PD_MESSAGE_SEEN);
            if (message == NULL) {
                return;
            }
            message->model = model->number;
            message->session = session->key;
            message->status = session->seen ? PARAMD_OK : PARAMD_PENDING;
            session->seen = false;
        }
    }
}

/* Gives back one chunk of a deleted model; true if there is more. */
static bool free_step(struct pd_shard *shard, struct pd_effects *effects)
{
    struct pd_link *link = shard->dropped.next;
    for (; link != &shard->dropped; link = link->next) {
        struct pd_model *model = PD_CONTAINER(link, struct pd_model, dropped_link);
        if (model->users > 0) {
            continue;
        }
        if (model->chunk_count > 0) {
            (void)pd_model_free_step(model, &shard->options.memory);
            return true;
        }
        struct pd_message *message = pd_tell(shard, effects, PD_MESSAGE_FREED);
        if (message == NULL) {
            return false; /* later: control would count this memory as taken for good */
        }
        message->model = model->number;
        shard->memory_bytes -= model->bytes;
        pd_link_remove(&model->dropped_link);
        (void)pd_model_free_step(model, &shard->options.memory);
        return !pd_link_alone(&shard->dropped);
    }
    return false;
}

static void passed(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    uint64_t shorter_us = at_most(shard->options.lease_us, shard->options.retention_us);
    uint64_t seen_every_us = at_most(SEEN_EVERY_US, shorter_us / 4);
    uint64_t wait_us = at_most(seen_every_us, pd_shard_initialise_step(shard, event, effects));
    if (free_step(shard, effects)) {
        wait_us = 0;
    }
    if (event->now_us - shard->seen_us >= seen_every_us) {
        tell_seen(shard, event->now_us, effects);
    }
    effects->wake_us = event->now_us + wait_us;
    effects->room = true;
}

uint64_t pd_shard_memory_bytes(const struct pd_shard *shard)
{
    return shard->memory_bytes;
}

uint64_t pd_shard_applied_count(const struct pd_shard *shard)
{
    return shard->applied_count;
}

void pd_shard_step(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    switch (event->kind) {
    case PD_EVENT_REQUEST:
        request(shard, event, effects);
        break;
    case PD_EVENT_MESSAGE:
        pd_shard_message(shard, event, effects);
        break;
    case PD_EVENT_SEND:
        pd_shard_send(shard, event, effects);
        break;
    case PD_EVENT_SENT:
        pd_shard_sent(shard, event, effects);
        break;
    case PD_EVENT_GONE:
        gone(shard, event, effects);
        break;
    case PD_EVENT_TIME:
        passed(shard, event, effects);
        break;
    }
}
