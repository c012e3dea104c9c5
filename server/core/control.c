/* The control core's step function: requests that concern the whole daemon, and questions to all
 * shards until all have answered. Models, sessions and counters have files of their own. */
#include "server/core/control.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "server/core/control_state.h"

static void ask_destroy(struct pd_control_ask *ask)
{
    pd_message_destroy(ask->request);
    free(ask->count);
    free(ask);
}

enum paramd_status pd_control_create(const struct pd_control_options *options,
                                     struct pd_control **ret_control)
{
    struct pd_control *control = calloc(1, sizeof *control);
    if (control == NULL) {
        return PARAMD_NO_MEMORY;
    }
    control->options = *options;
    control->next_number = options->records ? 0 : options->start_us;
    control->generation = control->next_number;
    control->next_ask = 1;
    pd_control_snapshots_init(&control->snapshots);
    pd_arena_init(&control->arena, PD_DEFINITION_DECODED_MAX);
    *ret_control = control;
    return PARAMD_OK;
}

void pd_control_destroy(struct pd_control *control)
{
    if (control == NULL) {
        return;
    }
    struct pd_control_ask *ask = control->asks;
    HASH_CLEAR(by_number, control->asks);
    while (ask != NULL) {
        struct pd_control_ask *next = ask->by_number.next;
        ask_destroy(ask);
        ask = next;
    }
    struct pd_control_session *session = control->sessions;
    HASH_CLEAR(by_id, control->sessions);
    while (session != NULL) {
        struct pd_control_session *next = session->by_id.next;
        free(session);
        session = next;
    }
    struct pd_control_model *model = control->numbers;
    HASH_CLEAR(by_name, control->models);
    HASH_CLEAR(by_number, control->numbers);
    while (model != NULL) {
        struct pd_control_model *next = model->by_number.next;
        pd_control_model_destroy(model);
        model = next;
    }
    pd_control_snapshots_deinit(&control->snapshots);
    pd_arena_deinit(&control->arena);
    free(control);
}

/* ---- answers ---- */

void pd_control_answer_payload(struct pd_control_effects *effects, struct pd_conn_id conn,
                               enum pd_kind kind, const ProtobufCMessage *header,
                               const uint8_t *payload, size_t count)
{
    size_t head_bytes = pd_frame_head_bytes(header);
    do {
        size_t piece = count > PD_PACKED_BYTES ? PD_PACKED_BYTES : count;
        struct pd_message *message = pd_message_create(PD_MESSAGE_ANSWER, conn.shard);
        uint8_t *bytes = malloc(head_bytes + piece + 1);
        if (message == NULL || bytes == NULL || head_bytes == 0) {
            /* Nothing can be said without memory: the asker loses its connection and asks again. */
            free(bytes);
            pd_message_destroy(message);
            effects->unanswered = true;
            return;
        }
        unsigned flags = count > piece ? PD_FRAME_MORE : 0;
        pd_frame_head_write(bytes, kind, flags, header, (uint32_t)piece, 0);
        if (piece > 0) {
            memcpy(bytes + head_bytes, payload, piece);
            payload += piece;
        }
        message->conn = conn;
        message->bytes = bytes;
        message->byte_count = head_bytes + piece;
        pd_list_push(&effects->messages, &message->link);
        count -= piece;
    } while (count > 0);
}

void pd_control_answer(struct pd_control_effects *effects, struct pd_conn_id conn,
                       enum pd_kind kind, const ProtobufCMessage *header)
{
    pd_control_answer_payload(effects, conn, kind, header, NULL, 0);
}

void pd_control_done(struct pd_control_effects *effects, struct pd_conn_id conn,
                     uint64_t request_id)
{
    Paramd__Done done = PARAMD__DONE__INIT;
    done.request_id = request_id;
    pd_control_answer(effects, conn, PD_KIND_DONE, &done.base);
}

void pd_control_error(struct pd_control_effects *effects, struct pd_conn_id conn,
                      uint64_t request_id, enum paramd_status status, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    Paramd__Error error = PARAMD__ERROR__INIT;
    error.request_id = request_id;
    error.status = status;
    error.message = text;
    pd_control_answer(effects, conn, PD_KIND_ERROR, &error.base);
}

void pd_control_note(struct pd_control_effects *effects, enum pd_note_level level,
                     const char *format, ...)
{
    struct pd_note *note = calloc(1, sizeof *note);
    if (note == NULL) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(note->text, sizeof note->text, format, arguments);
    va_end(arguments);
    note->level = level;
    pd_link_init(&note->link);
    pd_list_push(&effects->notes, &note->link);
}

/* ---- questions ---- */

/* False without memory. */
static bool copy_array(const void *array, size_t bytes, void **ret_copy)
{
    *ret_copy = bytes > 0 ? malloc(bytes) : NULL;
    if (*ret_copy != NULL) {
        memcpy(*ret_copy, array, bytes);
    }
    return bytes == 0 || *ret_copy != NULL;
}

/* A copy of `like` for one shard; what it points to is copied or shared as message.h says. */
static struct pd_message *copy_for(const struct pd_message *like, uint32_t shard)
{
    struct pd_message *message = pd_message_create(like->kind, shard);
    if (message == NULL) {
        return NULL;
    }
    struct pd_link link = message->link;
    *message = *like;
    message->link = link;
    message->shard = shard;
    message->hypers = NULL;
    message->sessions = NULL;
    message->count = NULL;
    pd_link_init(&message->link);
    void *hypers;
    void *sessions = NULL;
    bool copied =
        copy_array(like->hypers, like->hyper_count * sizeof *like->hypers, &hypers) &&
        copy_array(like->sessions, like->session_count * sizeof *like->sessions, &sessions);
    message->hypers = hypers;
    message->sessions = sessions;
    if (copied && like->count != NULL) {
        message->count = pd_count_create(like->count->first_tensor, like->count->tensor_count);
        copied = message->count != NULL;
    }
    if (!copied) {
        pd_message_destroy(message);
        return NULL;
    }
    if (message->count != NULL) {
        message->count->first_block = like->count->first_block;
        message->count->hash_count = like->count->hash_count;
    }
    return message;
}

/* One message for each shard in a list of its own, so that all are there or none. */
static bool copies_for_all(const struct pd_control *control, const struct pd_message *like,
                           struct pd_link *list)
{
    pd_link_init(list);
    for (uint32_t shard = 0; shard < control->options.shards; shard++) {
        struct pd_message *message = copy_for(like, shard);
        if (message == NULL && shard > 0 && like->kind == PD_MESSAGE_SET_HYPERS &&
            pd_plant(set_on_one_shard)) {
            return true;
        }
        if (message == NULL) {
            struct pd_link *link;
            while ((link = pd_list_pop(list)) != NULL) {
                pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
            }
            return false;
        }
        pd_list_push(list, &message->link);
    }
    return true;
}

bool pd_control_tell_all(struct pd_control *control, const struct pd_message *like,
                         struct pd_control_effects *effects)
{
    struct pd_link list;
    if (!copies_for_all(control, like, &list)) {
        return false;
    }
    pd_list_move(&effects->messages, &list);
    return true;
}

struct pd_control_ask *pd_control_ask_all(struct pd_control *control, const struct pd_message *like,
                                          const struct pd_control_request *request,
                                          struct pd_control_effects *effects)
{
    struct pd_control_ask *ask = calloc(1, sizeof *ask);
    if (ask == NULL) {
        return NULL;
    }
    struct pd_message numbered = *like;
    ask->number = control->next_ask++;
    ask->kind = like->kind;
    ask->waiting = control->options.shards;
    ask->model = like->model;
    numbered.ask = ask->number;
    struct pd_link list;
    if (!copies_for_all(control, &numbered, &list)) {
        free(ask);
        return NULL;
    }
    HASH_ADD(by_number, control->asks, number, sizeof ask->number, ask);
    if (ask->by_number.tbl == NULL) {
        struct pd_link *link;
        while ((link = pd_list_pop(&list)) != NULL) {
            pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
        }
        free(ask);
        return NULL;
    }
    pd_list_move(&effects->messages, &list);
    if (request != NULL) {
        ask->request = control->in_hand;
        ask->conn = request->conn;
        ask->request_id = request->request_id;
        control->in_hand = NULL;
    }
    return ask;
}

struct pd_control_ask *pd_control_decide(struct pd_control *control, enum pd_record_kind kind,
                                         const Paramd__RecordDecided *decided,
                                         const struct pd_message *like,
                                         const struct pd_control_request *request,
                                         struct pd_control_effects *effects)
{
    if (!pd_control_log(control, kind, &decided->base, NULL, 0, effects)) {
        return NULL;
    }
    struct pd_control_ask *ask = pd_control_ask_all(control, like, request, effects);
    if (ask == NULL) {
        pd_control_unlog(control, effects);
    }
    return ask;
}

struct pd_control_model *pd_control_find(struct pd_control *control, const char *name)
{
    struct pd_control_model *model = NULL;
    HASH_FIND(by_name, control->models, name, strlen(name), model);
    return model;
}

struct pd_control_model *pd_control_find_number(struct pd_control *control, uint64_t number)
{
    struct pd_control_model *model = NULL;
    HASH_FIND(by_number, control->numbers, &number, sizeof number, model);
    return model;
}

/* ---- the step ---- */

void pd_control_give_back(struct pd_message *request, struct pd_control_effects *effects)
{
    free(request->bytes);
    request->bytes = NULL;
    request->kind = PD_MESSAGE_ANSWERED;
    request->status = effects->unanswered ? PARAMD_RESOURCE_EXHAUSTED : PARAMD_OK;
    request->shard = request->conn.shard;
    pd_list_push(&effects->messages, &request->link);
}

static void answered(struct pd_control *control, const struct pd_message *message,
                     struct pd_control_effects *effects)
{
    struct pd_control_ask *ask = NULL;
    HASH_FIND(by_number, control->asks, &message->ask, sizeof message->ask, ask);
    if (ask == NULL) {
        return;
    }
    if (message->status < ask->status) {
        ask->status = message->status;
    }
    if (message->kind == PD_MESSAGE_COUNTED) {
        pd_control_count(ask, message);
    }
    if (ask->kind == PD_MESSAGE_DROP_MODEL && message->status == PARAMD_NOT_FOUND) {
        pd_control_freed(control, message);
    }
    if (--ask->waiting > 0) {
        return;
    }
    HASH_DELETE(by_number, control->asks, ask);
    switch (ask->kind) {
    case PD_MESSAGE_CREATE_MODEL:
        if (ask->request != NULL) {
            pd_control_created(control, ask, effects);
        } else {
            pd_control_restored(control, ask, effects);
        }
        break;
    case PD_MESSAGE_RESTART_INIT:
        pd_control_restarted(control, ask, effects);
        break;
    case PD_MESSAGE_COUNT:
        pd_control_counted(control, ask, effects);
        break;
    default: /* SET_HYPERS, DROP_MODEL, END_SESSION: all shards have it */
        if (ask->request != NULL) {
            pd_control_done(effects, ask->conn, ask->request_id);
        }
        break;
    }
    if (ask->request != NULL) {
        pd_control_give_back(ask->request, effects);
        ask->request = NULL;
    }
    ask_destroy(ask);
}

static void dispatch(struct pd_control *control, const struct pd_message *message,
                     struct pd_control_effects *effects)
{
    struct pd_control_request request = {
        .conn = message->conn, .request_id = message->request_id, .message = message};
    const ProtobufCMessageDescriptor *descriptor = pd_kind_descriptor(message->frame_kind);
    request.header = pd_decode(descriptor, &control->arena, message->header, message->header_bytes);
    if (request.header == NULL) {
        pd_control_error(effects, request.conn, request.request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory for this request: send it again later");
        return;
    }
    switch (message->frame_kind) {
    case PD_KIND_CREATE:
        pd_control_create_request(control, &request, effects);
        break;
    case PD_KIND_ATTACH:
        pd_control_attach(control, &request, effects);
        break;
    case PD_KIND_GOODBYE:
        pd_control_goodbye(control, &request, effects);
        break;
    case PD_KIND_REPORT:
        pd_control_report(control, &request, effects);
        break;
    case PD_KIND_SET:
        pd_control_set(control, &request, effects);
        break;
    case PD_KIND_DELETE:
        pd_control_delete(control, &request, effects);
        break;
    case PD_KIND_SNAPSHOT:
        pd_control_snapshot_request(control, &request, effects);
        break;
    case PD_KIND_LIST:
        pd_control_list(control, &request, effects);
        break;
    default:
        pd_control_stat(control, &request, effects);
        break;
    }
}

static void request(struct pd_control *control, struct pd_message *message,
                    struct pd_control_effects *effects)
{
    control->in_hand = message;
    dispatch(control, message, effects);
    free(message->header);
    message->header = NULL;
    if (control->in_hand != NULL) {
        pd_control_give_back(message, effects);
        control->in_hand = NULL;
    }
}

void pd_control_step(struct pd_control *control, struct pd_message *message, uint64_t now_us,
                     struct pd_control_effects *effects)
{
    control->now_us = now_us;
    if (control->started_us == 0) {
        control->started_us = now_us;
    }
    pd_arena_reset(&control->arena);
    effects->unanswered = false;
    if (message == NULL) {
        pd_control_expire(control, effects);
        pd_control_remind(control, effects);
        return;
    }
    switch (message->kind) {
    case PD_MESSAGE_REQUEST:
        request(control, message, effects);
        return;
    case PD_MESSAGE_TOOK:
    case PD_MESSAGE_COUNTED:
        answered(control, message, effects);
        break;
    case PD_MESSAGE_INITIALISED:
        pd_control_initialised(control, message, effects);
        break;
    case PD_MESSAGE_SEEN:
        pd_control_seen(control, message);
        break;
    case PD_MESSAGE_FREED:
        pd_control_freed(control, message);
        break;
    default:
        break;
    }
    pd_message_destroy(message);
}
