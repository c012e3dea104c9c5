/* The scripted world of the control core: see control_world.h. */
#include "tests/unit/core/control_world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/frame.h"

enum { WORKERS = 9, LOG_ROOM = 1 << 30 };

uint64_t pd_world_random(struct pd_world *world, uint64_t below)
{
    world->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = world->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* ---- requests ---- */

static struct pd_session_key key_of(unsigned worker)
{
    struct pd_session_key key = {.nonce = 1 + worker % 2};
    memset(key.bits, (int)(1 + worker / 2), sizeof key.bits);
    return key;
}

struct pd_message *pd_world_request(struct pd_world *world, unsigned kind,
                                    const ProtobufCMessage *header)
{
    struct pd_message *message =
        pd_message_create(PD_MESSAGE_REQUEST, (uint32_t)pd_world_random(world, world->shards));
    ck_assert_ptr_nonnull(message);
    message->frame_kind = kind;
    message->conn = (struct pd_conn_id){message->shard, 1};
    message->request_id = ++world->request_id;
    message->header_bytes = protobuf_c_message_get_packed_size(header);
    message->header = malloc(message->header_bytes + 1);
    ck_assert_ptr_nonnull(message->header);
    protobuf_c_message_pack(header, message->header);
    return message;
}

struct pd_message *pd_world_create_request(struct pd_world *world, unsigned name, unsigned form,
                                           unsigned worker)
{
    const struct pd_definition *definition = world->definitions[name][form];
    struct pd_session_key key = key_of(worker);
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.model = definition->name;
    create.session = (ProtobufCBinaryData){sizeof key.bits, key.bits};
    create.nonce = key.nonce;
    struct pd_message *message = pd_world_request(world, PD_KIND_CREATE, &create.base);
    ck_assert_int_eq(pd_definition_encode(definition, &message->bytes, &message->byte_count),
                     PARAMD_OK);
    return message;
}

struct pd_message *pd_world_set_request(struct pd_world *world, const char *name, unsigned group,
                                        double lr, uint64_t clock)
{
    static const char *const groups[] = {"g0", "g1"};
    Paramd__Hyper hyper = PARAMD__HYPER__INIT;
    Paramd__Hyper *hypers = &hyper;
    Paramd__Set set = PARAMD__SET__INIT;
    hyper.name = "lr";
    hyper.number = lr;
    set.model = (char *)(uintptr_t)name;
    set.group = (char *)(uintptr_t)groups[group];
    set.clock = clock;
    set.hypers = &hypers;
    set.n_hypers = 1;
    return pd_world_request(world, PD_KIND_SET, &set.base);
}

static struct pd_message *attach_request(struct pd_world *world, const char *name, unsigned worker,
                                         Paramd__AttachMode mode)
{
    struct pd_session_key key = key_of(worker);
    Paramd__Attach attach = PARAMD__ATTACH__INIT;
    attach.model = (char *)(uintptr_t)name;
    attach.session = (ProtobufCBinaryData){sizeof key.bits, key.bits};
    attach.nonce = key.nonce;
    attach.mode = mode;
    return pd_world_request(world, PD_KIND_ATTACH, &attach.base);
}

/* Definitions: form f of a name has f + 1 tensors in two groups; form 1 is `logged`. */
static struct pd_definition *define(char *name, unsigned form)
{
    static char *const groups[] = {"g0", "g1"};
    static char *const tensors[] = {"t0", "t1"};
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    Paramd__Group group[PD_WORLD_GROUPS];
    Paramd__Group *group_pointers[PD_WORLD_GROUPS];
    Paramd__Tensor tensor[2];
    Paramd__Tensor *tensor_pointers[2];
    uint64_t shape = 5;
    char error[PD_ERROR_TEXT_BYTES];
    struct pd_definition *definition = NULL;
    for (unsigned i = 0; i < 2; i++) {
        paramd__group__init(&group[i]);
        group[i].name = groups[i];
        group[i].optimizer = i == 0 ? "rmsprop" : "adam";
        group_pointers[i] = &group[i];
        paramd__tensor__init(&tensor[i]);
        tensor[i].name = tensors[i];
        tensor[i].group = i;
        tensor[i].shape = &shape;
        tensor[i].n_shape = 1;
        tensor_pointers[i] = &tensor[i];
    }
    message.groups = group_pointers;
    message.n_groups = PD_WORLD_GROUPS;
    message.tensors = tensor_pointers;
    message.n_tensors = form + 1;
    message.ack_level = form == 1 ? PARAMD__ACK_LEVEL__LOGGED : PARAMD__ACK_LEVEL__APPLIED;
    ck_assert_int_eq(pd_definition_create(name, &message, &definition, error), PARAMD_OK);
    return definition;
}

/* ---- what was told ---- */

static struct pd_told_model *find_told(struct pd_told *told, uint64_t number)
{
    for (uint64_t i = 0; i < told->model_count; i++) {
        if (told->models[i].number == number) {
            return &told->models[i];
        }
    }
    return NULL;
}

static struct pd_session_of_model *find_session(struct pd_told *told, uint64_t model,
                                                const uint8_t *bits)
{
    for (uint64_t i = 0; i < told->session_count; i++) {
        if (told->sessions[i].model == model &&
            memcmp(told->sessions[i].key.bits, bits, PD_SESSION_BYTES) == 0) {
            return &told->sessions[i];
        }
    }
    return NULL;
}

static void forget_session(struct pd_told *told, struct pd_session_of_model *session)
{
    struct pd_session_of_model *last = &told->sessions[--told->session_count];
    memmove(session, session + 1, (size_t)(last - session) * sizeof *session);
    memset(last, 0, sizeof *last);
}

static void forget_model(struct pd_told *told, uint64_t number)
{
    struct pd_told_model *model = find_told(told, number);
    if (model != NULL) {
        struct pd_told_model *last = &told->models[--told->model_count];
        memmove(model, model + 1, (size_t)(last - model) * sizeof *model);
        memset(last, 0, sizeof *last);
        for (uint64_t i = told->session_count; i-- > 0;) {
            if (told->sessions[i].model == number) {
                forget_session(told, &told->sessions[i]);
            }
        }
    }
}

/* What CREATE_MODEL says; the definition must be one of ours, to the last detail. */
static struct pd_told_model told_of(const struct pd_world *world, const struct pd_message *message)
{
    struct pd_told_model model;
    char difference[PD_ERROR_TEXT_BYTES];
    memset(&model, 0, sizeof model);
    model.number = message->model;
    model.generation = message->generation;
    model.attempt = message->attempt;
    model.initialiser = message->session;
    model.form = message->definition->tensor_count - 1;
    model.name[0] = message->definition->name[0];
    const struct pd_definition *ours = world->definitions[model.name[0] - 'a'][model.form];
    ck_assert_msg(pd_definition_same(ours, message->definition, difference), "%s", difference);
    ck_assert_uint_eq(message->hyper_count, PD_WORLD_GROUPS);
    memcpy(model.hyper, message->hypers, sizeof model.hyper);
    return model;
}

static void note_opened(struct pd_told *told, const struct pd_message *message)
{
    struct pd_session_of_model *session = find_session(told, message->model, message->session.bits);
    if (session == NULL) {
        ck_assert_uint_lt(told->session_count, PD_WORLD_SESSIONS_MAX);
        session = &told->sessions[told->session_count++];
        struct pd_told_model *model = find_told(told, message->model);
        ck_assert_uint_gt(message->opening, model->opening);
        model->opening = message->opening;
    }
    *session = (struct pd_session_of_model){message->model, message->session, message->opening};
}

static void note_answer(struct pd_world *world, const struct pd_message *message)
{
    struct pd_arena arena;
    unsigned kind = message->bytes[4];
    pd_arena_init(&arena, PD_DECODED_BYTES_MAX);
    uint32_t count;
    memcpy(&count, message->bytes + 8, sizeof count);
    const ProtobufCMessage *header =
        pd_decode(pd_kind_descriptor(kind), &arena, message->bytes + PD_PREFIX_BYTES, count);
    ck_assert_ptr_nonnull(header);
    world->answers[kind]++;
    const Paramd__Created *created = (const Paramd__Created *)header;
    if (kind == PD_KIND_ERROR) {
        world->errors[-((const Paramd__Error *)header)->status]++;
    } else if (kind == PD_KIND_CREATED && created->created) {
        unsigned i = world->made_count;
        do {
            ck_assert_uint_gt(i, 0);
        } while (world->made[--i].number != created->model);
        ck_assert_uint_lt(world->told.model_count, PD_WORLD_MODELS_MAX);
        world->told.models[world->told.model_count++] = world->made[i];
    } else if (kind == PD_KIND_CREATED) {
        ck_assert_ptr_nonnull(find_told(&world->told, created->model));
    }
    pd_arena_deinit(&arena);
}

/* What a message to any shard makes known. */
static void note(struct pd_world *world, const struct pd_message *message)
{
    struct pd_told *told = &world->told;
    struct pd_told_model *model = find_told(told, message->model);
    switch (message->kind) {
    case PD_MESSAGE_CREATE_MODEL:
        if (message->shard == 0 && model == NULL) {
            ck_assert_uint_gt(message->model, world->number_max);
            world->number_max = message->model;
            ck_assert_uint_lt(world->made_count, PD_WORLD_MADE_MAX);
            world->made[world->made_count++] = told_of(world, message);
        }
        break;
    case PD_MESSAGE_RESTART_INIT:
        model->attempt = message->attempt;
        model->initialiser = message->session;
        break;
    case PD_MESSAGE_READY:
        model->ready = 1;
        break;
    case PD_MESSAGE_SET_HYPERS:
        if (model->set[message->group] < message->set && world->set_clock != 0) {
            model->clock[message->group] = world->set_clock;
        }
        model->hyper[message->group] = message->hypers[0];
        model->set[message->group] = message->set;
        break;
    case PD_MESSAGE_DROP_MODEL:
        forget_model(told, message->model);
        break;
    case PD_MESSAGE_OPEN_SESSION:
        note_opened(told, message);
        break;
    case PD_MESSAGE_END_SESSION:
        if (message->shard == 0) {
            forget_session(told, find_session(told, message->model, message->session.bits));
        }
        break;
    case PD_MESSAGE_ANSWER:
        note_answer(world, message);
        break;
    default:
        break;
    }
}

static void free_notes(struct pd_link *notes)
{
    for (struct pd_link *link = notes->next; link != notes;) {
        struct pd_note *note = PD_CONTAINER(link, struct pd_note, link);
        link = link->next;
        free(note);
    }
    pd_link_init(notes);
}

/* Records go to the log and messages to the shards; nobody is told what is in no record. */
static void carry_out(struct pd_world *world)
{
    struct pd_told before = world->told;
    bool recorded = !pd_link_alone(&world->effects.records);
    struct pd_link *link;
    while ((link = pd_list_pop(&world->effects.records)) != NULL) {
        struct pd_control_record *record = PD_CONTAINER(link, struct pd_control_record, link);
        ck_assert_uint_lt(world->log_count, PD_WORLD_RECORDS_MAX - 1);
        ck_assert_uint_le(record->header_count + record->payload_count, world->log_room);
        world->log_room -= record->header_count + record->payload_count;
        world->log[world->log_count++] = record;
        world->told_at[world->log_count] = false;
    }
    while ((link = pd_list_pop(&world->effects.messages)) != NULL) {
        struct pd_message *message = PD_CONTAINER(link, struct pd_message, link);
        note(world, message);
        pd_list_push(&world->shard[message->shard].in, &message->link);
    }
    free_notes(&world->effects.notes);
    ck_assert_msg(recorded || memcmp(&before, &world->told, sizeof before) == 0,
                  "told without a record");
    world->history[world->log_count] = world->told;
    world->told_at[world->log_count] = true;
    world->number_max_at[world->log_count] = world->number_max;
}

/* ---- shards ---- */

static int place_of(const struct pd_world_shard *shard, uint64_t number)
{
    int place = (int)shard->model_count - 1;
    while (place >= 0 && shard->models[place].number != number) {
        place--;
    }
    return place;
}

/* A shard takes one message and says so; some have no memory for a new model. */
static void take(struct pd_world *world, struct pd_world_shard *shard, struct pd_message *message)
{
    int place = place_of(shard, message->model);
    enum pd_message_kind kind = message->kind;
    message->kind = PD_MESSAGE_TOOK;
    message->status = PARAMD_OK;
    if (kind == PD_MESSAGE_CREATE_MODEL) {
        if (find_told(&world->told, message->model) == NULL && pd_world_random(world, 8) == 0) {
            message->status = PARAMD_RESOURCE_EXHAUSTED;
        } else {
            ck_assert_uint_lt(shard->model_count, PD_WORLD_MADE_MAX);
            shard->models[shard->model_count].number = message->model;
            shard->models[shard->model_count].initialised = 0;
            shard->models[shard->model_count++].attempt = message->attempt;
        }
    } else if (kind == PD_MESSAGE_RESTART_INIT && place >= 0) {
        shard->models[place].attempt = message->attempt;
    } else if (kind == PD_MESSAGE_DROP_MODEL && place < 0) {
        message->status = PARAMD_NOT_FOUND;
    } else if (kind == PD_MESSAGE_DROP_MODEL) {
        struct pd_message *freed = pd_message_create(PD_MESSAGE_FREED, message->shard);
        ck_assert_ptr_nonnull(freed);
        freed->model = message->model;
        pd_list_push(&shard->out, &message->link);
        pd_list_push(&shard->out, &freed->link);
        shard->models[place] = shard->models[--shard->model_count];
        return;
    } else if (kind != PD_MESSAGE_SET_HYPERS && kind != PD_MESSAGE_END_SESSION &&
               kind != PD_MESSAGE_RESTART_INIT) {
        pd_message_destroy(message);
        return;
    }
    pd_list_push(&shard->out, &message->link);
}

/* Tells of the values of one of its models, once for each attempt. */
static void initialise(struct pd_world *world, uint32_t number)
{
    struct pd_world_shard *shard = &world->shard[number];
    if (shard->model_count == 0) {
        return;
    }
    uint64_t place = pd_world_random(world, shard->model_count);
    if (shard->models[place].initialised != shard->models[place].attempt) {
        shard->models[place].initialised = shard->models[place].attempt;
        struct pd_message *message = pd_message_create(PD_MESSAGE_INITIALISED, number);
        ck_assert_ptr_nonnull(message);
        message->model = shard->models[place].number;
        message->attempt = shard->models[place].attempt;
        pd_list_push(&shard->out, &message->link);
    }
}

static void empty(struct pd_link *list)
{
    struct pd_link *link;
    while ((link = pd_list_pop(list)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

/* ---- steps ---- */

static void control_step(struct pd_world *world, struct pd_message *message)
{
    bool full = pd_world_random(world, 16) == 0;
    world->log_room =
        full ? pd_world_random(world, UINT64_C(2) << pd_world_random(world, 12)) : LOG_ROOM;
    world->effects.log_room = world->log_room;
    pd_control_step(world->control, message, world->now_us, &world->effects);
    carry_out(world);
    world->set_clock = 0;
}

static struct pd_message *random_request(struct pd_world *world)
{
    char name[2] = {(char)('a' + pd_world_random(world, PD_WORLD_NAMES)), '\0'};
    unsigned worker = (unsigned)pd_world_random(world, WORKERS);
    unsigned choice = (unsigned)pd_world_random(world, 16);
    if (choice < 4) {
        unsigned form = pd_world_random(world, 4) == 0;
        return pd_world_create_request(world, (unsigned)(name[0] - 'a'), form, worker);
    }
    if (choice < 8) {
        unsigned group = (unsigned)pd_world_random(world, PD_WORLD_GROUPS);
        double lr = (double)pd_world_random(world, 4) / 8;
        world->set_clock = pd_world_random(world, 2) * (1 + pd_world_random(world, 20));
        return pd_world_set_request(world, name, group, lr, world->set_clock);
    }
    if (choice < 13) {
        return attach_request(world, name, worker,
                              pd_world_random(world, 3) == 0 ? PARAMD__ATTACH_MODE__RESUME
                                                             : PARAMD__ATTACH_MODE__NEW);
    }
    if (choice < 15 && world->told.session_count > 0) {
        uint64_t place = pd_world_random(world, world->told.session_count);
        Paramd__Goodbye goodbye = PARAMD__GOODBYE__INIT;
        struct pd_message *message = pd_world_request(world, PD_KIND_GOODBYE, &goodbye.base);
        message->model = world->told.sessions[place].model;
        message->session = world->told.sessions[place].key;
        return message;
    }
    Paramd__Delete delete = PARAMD__DELETE__INIT;
    delete.model = name;
    return pd_world_request(world, PD_KIND_DELETE, &delete.base);
}

void pd_world_step(struct pd_world *world)
{
    uint32_t number = (uint32_t)pd_world_random(world, world->shards);
    struct pd_world_shard *shard = &world->shard[number];
    struct pd_link *link;
    switch (pd_world_random(world, 16)) {
    case 0:
    case 1:
    case 2:
        control_step(world, random_request(world));
        break;
    case 3:
        world->now_us += pd_world_random(world, PD_WORLD_LEASE_US * 3 / 2);
        control_step(world, NULL);
        break;
    case 4:
    case 5:
        initialise(world, number);
        break;
    default:
        if (pd_world_random(world, 2) == 0 && (link = pd_list_pop(&shard->in)) != NULL) {
            take(world, shard, PD_CONTAINER(link, struct pd_message, link));
        } else if ((link = pd_list_pop(&shard->out)) != NULL) {
            control_step(world, PD_CONTAINER(link, struct pd_message, link));
        }
        break;
    }
}

/* ---- starts ---- */

struct pd_control *pd_world_control(const struct pd_world *world)
{
    struct pd_control *control = NULL;
    struct pd_control_options options = {.shards = world->shards,
                                         .models_max = PD_WORLD_MODELS_MAX,
                                         .sessions_max = PD_WORLD_SESSIONS_MAX,
                                         .lease_us = PD_WORLD_LEASE_US,
                                         .retention_us = PD_WORLD_RETENTION_US,
                                         .start_us = world->start_us,
                                         .records = true,
                                         .version = "paramd/test"};
    ck_assert_int_eq(pd_control_create(&options, &control), PARAMD_OK);
    return control;
}

struct pd_logged pd_world_logged(const struct pd_control_record *record)
{
    return (struct pd_logged){.kind = record->kind,
                              .header = record->bytes,
                              .header_count = record->header_count,
                              .payload = record->bytes + record->header_count,
                              .payload_count = record->payload_count};
}

struct pd_told pd_world_recovered(struct pd_world *world, struct pd_control_effects *effects)
{
    struct pd_told told;
    memset(&told, 0, sizeof told);
    for (struct pd_link *link = effects->messages.next; link != &effects->messages;
         link = link->next) {
        const struct pd_message *message = PD_CONTAINER(link, struct pd_message, link);
        struct pd_told_model *model = find_told(&told, message->model);
        if (message->shard != 0) {
            continue;
        }
        switch (message->kind) {
        case PD_MESSAGE_CREATE_MODEL:
            ck_assert_uint_lt(told.model_count, PD_WORLD_MODELS_MAX);
            told.models[told.model_count++] = told_of(world, message);
            break;
        case PD_MESSAGE_SET_HYPERS:
            ck_assert_mem_eq(&model->hyper[message->group], message->hypers,
                             sizeof *message->hypers);
            model->set[message->group] = message->set;
            break;
        case PD_MESSAGE_READY:
            model->ready = 1;
            break;
        default:
            ck_assert_int_eq(message->kind, PD_MESSAGE_RECOVERED);
            ck_assert_uint_le(message->session_count, PD_WORLD_SESSIONS_MAX);
            for (; told.session_count < message->session_count; told.session_count++) {
                told.sessions[told.session_count] = message->sessions[told.session_count];
            }
            break;
        }
    }
    return told;
}

void pd_world_discard(struct pd_control_effects *effects)
{
    empty(&effects->messages);
    free_notes(&effects->notes);
    for (struct pd_link *link = effects->records.next; link != &effects->records;) {
        struct pd_control_record *record = PD_CONTAINER(link, struct pd_control_record, link);
        link = link->next;
        free(record);
    }
    pd_link_init(&effects->records);
}

static void start(struct pd_world *world)
{
    char error[PD_ERROR_TEXT_BYTES];
    world->start_us = 1000 + pd_world_random(world, 1000000);
    world->control = pd_world_control(world);
    for (unsigned i = 0; i < world->log_count; i++) {
        struct pd_logged logged = pd_world_logged(world->log[i]);
        ck_assert_msg(pd_control_replay(world->control, &logged, error) == PARAMD_OK, "%s", error);
    }
    ck_assert(world->log_count == 0 || pd_control_state_complete(world->control));
    while (world->log_count > 0) {
        free(world->log[--world->log_count]);
    }
    world->log_room = LOG_ROOM;
    world->effects.log_room = LOG_ROOM;
    ck_assert_int_eq(pd_control_recovered(world->control, pd_world_random(world, 2) == 0,
                                          world->now_us, &world->effects),
                     PARAMD_OK);
    struct pd_told known = pd_world_recovered(world, &world->effects);
    for (uint64_t i = 0; i < known.model_count; i++) {
        struct pd_told_model *model = find_told(&world->told, known.models[i].number);
        ck_assert_ptr_nonnull(model);
        model->generation = known.models[i].generation;
    }
    carry_out(world);
}

void pd_world_crash(struct pd_world *world, unsigned records)
{
    ck_assert(world->told_at[records]);
    pd_control_destroy(world->control);
    pd_world_discard(&world->effects);
    for (uint32_t i = 0; i < world->shards; i++) {
        empty(&world->shard[i].in);
        empty(&world->shard[i].out);
        world->shard[i].model_count = 0;
    }
    while (world->log_count > records) {
        free(world->log[--world->log_count]);
    }
    world->told = world->history[records];
    world->number_max = world->number_max_at[records];
    start(world);
}

struct pd_world *pd_world_create(uint64_t seed)
{
    struct pd_world *world = calloc(1, sizeof *world);
    ck_assert_ptr_nonnull(world);
    world->random = seed;
    world->shards = 1 + (uint32_t)pd_world_random(world, PD_WORLD_SHARDS_MAX);
    world->now_us = 1;
    pd_link_init(&world->effects.records);
    pd_link_init(&world->effects.messages);
    pd_link_init(&world->effects.notes);
    for (uint32_t i = 0; i < PD_WORLD_SHARDS_MAX; i++) {
        pd_link_init(&world->shard[i].in);
        pd_link_init(&world->shard[i].out);
    }
    for (unsigned name = 0; name < PD_WORLD_NAMES; name++) {
        char text[2] = {(char)('a' + name), '\0'};
        for (unsigned form = 0; form < PD_WORLD_FORMS; form++) {
            world->definitions[name][form] = define(text, form);
        }
    }
    start(world);
    return world;
}

void pd_world_destroy(struct pd_world *world)
{
    pd_control_destroy(world->control);
    pd_world_discard(&world->effects);
    for (uint32_t i = 0; i < world->shards; i++) {
        empty(&world->shard[i].in);
        empty(&world->shard[i].out);
    }
    while (world->log_count > 0) {
        free(world->log[--world->log_count]);
    }
    for (unsigned name = 0; name < PD_WORLD_NAMES; name++) {
        for (unsigned form = 0; form < PD_WORLD_FORMS; form++) {
            pd_definition_destroy(world->definitions[name][form]);
        }
    }
    free(world);
}
