/* The twins: every event is given to both, a frame cut into one for each shard. See twins.h. */
#include "tests/unit/core/twins.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"

enum { ENTRIES_MAX = 6, BLOCK_ELEMENTS = 1024, GROUPS = 2, TENSORS = 3, GENERATION = 7 };

static const char *const optimizers[] = {"sgd",   "momentum", "adagrad", "rmsprop", "adam",
                                         "nadam", "amsgrad",  "lion",    "ftrl",    "adadelta"};

/* A block of a frame, with what goes with it. */
struct entry {
    uint32_t tensor;
    uint64_t block;
    uint64_t id;
    uint64_t base;
    uint64_t step;
    uint32_t slot;
    uint32_t elements;
    float values[BLOCK_ELEMENTS];
    int status; /* the answer */
};

uint64_t twins_draw(struct twins *twins, uint64_t below)
{
    uint64_t z = (twins->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static bool chance(struct twins *twins, unsigned percent)
{
    return twins_draw(twins, 100) < percent;
}

static void *take(void *context, size_t bytes)
{
    (void)context;
    void *memory = aligned_alloc(64, bytes);
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

static void give(void *context, void *memory, size_t bytes)
{
    (void)context;
    memset(memory, 0xff, bytes); /* nobody may look any more */
    free(memory);
}

struct pd_shard *twins_shard(uint32_t shard, uint32_t shards)
{
    struct pd_shard_options options = {.shard = shard,
                                       .shards = shards,
                                       .copies_max = 1 << 26,
                                       .push_ids_max = 1 << 26,
                                       .lease_us = 30000000,
                                       .retention_us = 3600000000,
                                       .memory = {take, give, NULL},
                                       .records = true,
                                       .version = "test"};
    struct pd_shard *made;
    ck_assert_int_eq(pd_shard_create(&options, &made), PARAMD_OK);
    return made;
}

static const struct pd_definition *find(void *context, uint64_t number)
{
    const struct twins *twins = context;
    return number > 0 && number <= twins->model_count && twins->models[number - 1].alive
               ? twins->models[number - 1].definition
               : NULL;
}

struct pd_definitions twins_definitions(struct twins *twins)
{
    return (struct pd_definitions){find, twins};
}

/* ---- one event ---- */

static void step(struct twins *twins, struct twin *twin, uint32_t shard, struct pd_event event)
{
    pd_arena_reset(&twins->arena);
    twins->effects = (struct pd_effects){.arena = &twins->arena};
    pd_link_init(&twins->effects.to_control);
    event.now_us = twins->now_us;
    event.log_room = UINT64_MAX;
    pd_shard_step(twin->shards[shard], &event, &twins->effects);
    for (unsigned i = 0; i < twins->effects.record_count; i++) {
        const struct pd_record *record = &twins->effects.records[i];
        struct pd_span payload = {(uint8_t *)(uintptr_t)record->payload, record->payload_count};
        twin_write_down(&twin->epochs[twin->epoch_count - 1].logs[shard], record->kind,
                        record->header, &payload, 1);
    }
    struct pd_link *link;
    while ((link = pd_list_pop(&twins->effects.to_control)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

/* The same to all shards of a twin; to the connection of a session, or none (-1). */
static void tell_all(struct twins *twins, struct twin *twin, const struct pd_message *like,
                     int session)
{
    for (uint32_t i = 0; i < twin->count; i++) {
        struct pd_message *message = pd_message_create(like->kind, i);
        ck_assert_ptr_nonnull(message);
        struct pd_link link = message->link;
        *message = *like;
        message->link = link;
        pd_link_init(&message->link);
        message->hypers = like->hyper_count > 0 ? malloc(sizeof(struct pd_hyper) * GROUPS) : NULL;
        for (size_t j = 0; j < like->hyper_count; j++) {
            message->hypers[j] = like->hypers[j];
        }
        step(twins, twin, i,
             (struct pd_event){.kind = PD_EVENT_MESSAGE,
                               .message = message,
                               .peer = session >= 0 ? &twin->peers[i][session] : NULL});
    }
}

static void tell(struct twins *twins, const struct pd_message *like)
{
    tell_all(twins, &twins->one, like, -1);
    tell_all(twins, &twins->other, like, -1);
}

static void request(struct twins *twins, struct twin *twin, uint32_t shard, unsigned session,
                    enum pd_kind kind, const ProtobufCMessage *header, const float *payload,
                    size_t count)
{
    static uint8_t bytes[PD_HEADER_BYTES_MAX];
    struct pd_event event = {.kind = PD_EVENT_REQUEST,
                             .peer = &twin->peers[shard][session],
                             .frame_kind = kind,
                             .header = header,
                             .header_bytes = bytes,
                             .header_count = protobuf_c_message_pack(header, bytes),
                             .payload = (const uint8_t *)payload,
                             .payload_count = count};
    step(twins, twin, shard, event);
    ck_assert_int_eq(twins->effects.verdict, PD_VERDICT_DONE);
    ck_assert_int_ne(twins->effects.replies[0].kind, PD_KIND_ERROR);
}

/* ---- models ---- */

static struct pd_message message_for(const struct twin_model *model, enum pd_message_kind kind)
{
    return (struct pd_message){.kind = kind, .model = model->number, .attempt = model->attempt};
}

static void make_definition(struct twins *twins, struct twin_model *model)
{
    Paramd__Definition definition = PARAMD__DEFINITION__INIT;
    Paramd__Group groups[GROUPS];
    Paramd__Tensor tensors[TENSORS];
    Paramd__Group *group_list[] = {&groups[0], &groups[1]};
    Paramd__Tensor *tensor_list[] = {&tensors[0], &tensors[1], &tensors[2]};
    uint64_t shapes[] = {1 + twins_draw(twins, 9000), 1 + twins_draw(twins, 40),
                         chance(twins, 20) ? 90000 : 1 + twins_draw(twins, 2500)};
    char error[PD_ERROR_TEXT_BYTES];
    char name[] = "model-a";
    name[6] = (char)('a' + twins_draw(twins, 26));
    for (unsigned i = 0; i < GROUPS; i++) {
        paramd__group__init(&groups[i]);
        groups[i].name = i == 0 ? "first" : "second";
        groups[i].optimizer = (char *)(uintptr_t)
            optimizers[twins_draw(twins, sizeof optimizers / sizeof optimizers[0])];
        const struct pd_optimizer *optimizer = pd_optimizer_find(groups[i].optimizer);
        pd_hyper_defaults(optimizer, &model->hypers[i]);
        ck_assert_int_eq(pd_hyper_set(optimizer, &model->hypers[i], "staleness_max", i == 0 ? 0 : 9,
                                      NULL, error, sizeof error),
                         PARAMD_OK);
    }
    for (unsigned i = 0; i < TENSORS; i++) {
        paramd__tensor__init(&tensors[i]);
        tensors[i].name = i == 0 ? "a" : i == 1 ? "b" : "c";
        tensors[i].shape = &shapes[i];
        tensors[i].n_shape = 1;
        tensors[i].group = (uint32_t)twins_draw(twins, GROUPS);
    }
    tensors[2].init = PARAMD__INITIALISER__NORMAL;
    tensors[2].b = 1;
    definition.groups = group_list;
    definition.n_groups = GROUPS;
    definition.tensors = tensor_list;
    definition.n_tensors = TENSORS;
    definition.block_elements = BLOCK_ELEMENTS;
    definition.ack_level = PARAMD__ACK_LEVEL__LOGGED;
    ck_assert_int_eq(pd_definition_create(name, &definition, &model->definition, error), PARAMD_OK);
}

static void open_session(struct twins *twins, struct twin *twin, const struct twin_model *model,
                         unsigned session)
{
    struct pd_message message = message_for(model, PD_MESSAGE_OPEN_SESSION);
    message.session = twins->keys[session];
    message.opening = model->openings[session];
    message.request_id = ++twins->request_id;
    tell_all(twins, twin, &message, (int)session);
    ck_assert_int_eq(twins->effects.replies[0].kind, PD_KIND_ATTACHED);
}

static void open_anew(struct twins *twins, struct twin_model *model, unsigned session)
{
    model->openings[session] = ++model->opening;
    open_session(twins, &twins->one, model, session);
    open_session(twins, &twins->other, model, session);
}

static void make_model(struct twins *twins)
{
    ck_assert_uint_lt(twins->model_count, TWIN_MODELS_MAX);
    struct twin_model *model = &twins->models[twins->model_count];
    make_definition(twins, model);
    model->number = ++twins->model_count;
    model->attempt = 1;
    model->alive = true;
    struct pd_message message = message_for(model, PD_MESSAGE_CREATE_MODEL);
    message.generation = GENERATION;
    message.session = twins->keys[0];
    message.definition = model->definition;
    message.hypers = model->hypers;
    message.hyper_count = GROUPS;
    tell(twins, &message);
    for (unsigned i = 0; i < TWIN_SESSIONS; i++) {
        open_anew(twins, model, i);
    }
}

static void set(struct twins *twins, struct twin_model *model)
{
    static const char *const names[] = {"lr", "weight_decay", "clip_norm", "staleness_max"};
    uint32_t group = (uint32_t)twins_draw(twins, GROUPS);
    const char *name = names[twins_draw(twins, 4)];
    double value = (double)twins_draw(twins, 4) / 4 + (strcmp(name, "lr") == 0 ? 0.01 : 0);
    struct pd_hyper hyper = model->hypers[group];
    char error[PD_ERROR_TEXT_BYTES];
    if (pd_hyper_set(pd_optimizer_find(model->definition->groups[group].optimizer), &hyper, name,
                     value, NULL, error, sizeof error) != PARAMD_OK) {
        return;
    }
    model->hypers[group] = hyper;
    struct pd_message message = message_for(model, PD_MESSAGE_SET_HYPERS);
    message.group = group;
    message.hypers = &hyper;
    message.hyper_count = 1;
    tell(twins, &message);
}

static struct pd_model *model_on(const struct twin *twin, uint32_t shard, uint64_t number)
{
    struct pd_model *model = pd_shard_model(twin->shards[shard], number);
    ck_assert_ptr_nonnull(model);
    return model;
}

static bool complete(const struct twin *twin, uint64_t number)
{
    uint32_t incomplete = 0;
    for (uint32_t i = 0; i < twin->count; i++) {
        incomplete += model_on(twin, i, number)->incomplete;
    }
    return incomplete == 0;
}

void twins_settle(struct twins *twins)
{
    struct twin *both[] = {&twins->one, &twins->other};
    for (unsigned i = 0; i < 2; i++) {
        for (uint32_t shard = 0; shard < both[i]->count; shard++) {
            do {
                step(twins, both[i], shard, (struct pd_event){.kind = PD_EVENT_TIME});
            } while (twins->effects.wake_us == twins->now_us);
        }
    }
}

static struct pd_model *model_of_slot(const struct twin *twin, uint32_t slot, uint64_t number)
{
    ck_assert_uint_gt(twin->count, 0);
    return model_on(twin, slot % twin->count, number);
}

/* ---- frames ---- */

static const struct pd_slot_ids *ids_of(const struct twin *twin, const struct twin_model *model,
                                        const struct pd_session_key *key, uint32_t slot)
{
    static const struct pd_slot_ids none;
    struct pd_model *on = model_of_slot(twin, slot, model->number);
    const struct pd_session *session = pd_session_find(on, key->bits);
    const struct pd_slot_ids *ids = session != NULL ? pd_session_ids(session, slot) : NULL;
    return ids != NULL ? ids : &none;
}

static void draw_entry(struct twins *twins, const struct twin_model *model, uint32_t tensor,
                       uint64_t block, unsigned session, struct entry *ret_entry)
{
    const struct pd_definition *definition = model->definition;
    const struct pd_tensor_def *def = &definition->tensors[tensor];
    uint32_t slot = pd_slot_of_block(definition->first_slot, def->first_block + block);
    uint64_t last = ids_of(&twins->one, model, &twins->keys[session], slot)->last;
    uint64_t odd = twins_draw(twins, 20);
    ret_entry->tensor = tensor;
    ret_entry->block = block;
    ret_entry->slot = slot;
    ret_entry->id = odd == 0 ? last + 2 : odd == 1 && last > 0 ? last : last + 1;
    ret_entry->base = twins_draw(twins, 30);
    ret_entry->step = twins_draw(twins, 50);
    ret_entry->elements = pd_block_elements(def->elements, BLOCK_ELEMENTS, block);
    for (uint32_t i = 0; i < ret_entry->elements; i++) {
        ret_entry->values[i] = (float)twins_draw(twins, 2001) / 1000.0F - 1.0F;
    }
}

/* Those entries that are of one shard, in the arrays of a frame. */
struct frame {
    uint32_t tensor[64];
    uint64_t block[64];
    uint64_t id[64];
    uint64_t base[64];
    uint64_t step[64];
    uint32_t place[64];
    size_t count;
    size_t bytes;
    _Alignas(64) float payload[64 * BLOCK_ELEMENTS];
};

static void fill_frame(struct frame *frame, const struct twin *twin, uint32_t shard,
                       const struct entry *entries, uint32_t count)
{
    frame->count = 0;
    frame->bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i];
        if (entry->slot % twin->count == shard) {
            frame->tensor[frame->count] = entry->tensor;
            frame->block[frame->count] = entry->block;
            frame->id[frame->count] = entry->id;
            frame->base[frame->count] = entry->base;
            frame->step[frame->count] = entry->step;
            frame->place[frame->count++] = i;
            memcpy((char *)frame->payload + frame->bytes, entry->values,
                   entry->elements * sizeof(float));
            frame->bytes += entry->elements * sizeof(float);
        }
    }
}

static void push_to(struct twins *twins, struct twin *twin, const struct twin_model *model,
                    unsigned session, struct entry *entries, uint32_t count)
{
    static struct frame frame;
    for (uint32_t shard = 0; shard < twin->count; shard++) {
        fill_frame(&frame, twin, shard, entries, count);
        Paramd__Push push = PARAMD__PUSH__INIT;
        push.request_id = ++twins->request_id;
        push.model = model->number;
        push.generation = GENERATION;
        push.tensor = frame.tensor;
        push.block = frame.block;
        push.push_id = frame.id;
        push.base_version = frame.base;
        push.n_tensor = push.n_block = push.n_push_id = push.n_base_version = frame.count;
        if (frame.count == 0) {
            continue;
        }
        request(twins, twin, shard, session, PD_KIND_PUSH, &push.base, frame.payload, frame.bytes);
        const Paramd__Ack *ack = (const Paramd__Ack *)twins->effects.replies[0].header;
        for (size_t i = 0; i < frame.count; i++) {
            entries[frame.place[i]].status = ack->status[i];
        }
    }
}

static void push(struct twins *twins, struct twin_model *model, unsigned session)
{
    static struct entry entries[ENTRIES_MAX];
    uint32_t count = 1 + (uint32_t)twins_draw(twins, ENTRIES_MAX);
    int status[ENTRIES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tensor = (uint32_t)twins_draw(twins, TENSORS);
        uint64_t block = twins_draw(twins, model->definition->tensors[tensor].blocks);
        draw_entry(twins, model, tensor, block, session, &entries[i]);
        entries[i].values[0] = chance(twins, 5) ? NAN : entries[i].values[0];
        twins->duplicates += entries[i].id > 1;
    }
    push_to(twins, &twins->one, model, session, entries, count);
    for (uint32_t i = 0; i < count; i++) {
        status[i] = entries[i].status;
        twins->applied += status[i] == PARAMD_OK;
        twins->refused += status[i] == PARAMD_NOT_FINITE;
    }
    push_to(twins, &twins->other, model, session, entries, count);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_msg(entries[i].status == status[i], "seed %lu: entry %u: %d, not %d", twins->seed,
                      i, entries[i].status, status[i]);
    }
}

static void init_to(struct twins *twins, struct twin *twin, const struct twin_model *model,
                    uint32_t part, const struct entry *entries, uint32_t count)
{
    static struct frame frame;
    for (uint32_t shard = 0; shard < twin->count; shard++) {
        fill_frame(&frame, twin, shard, entries, count);
        Paramd__Init init = PARAMD__INIT__INIT;
        init.request_id = ++twins->request_id;
        init.model = model->number;
        init.attempt = model->attempt;
        init.part = (Paramd__Part)part;
        init.tensor = frame.tensor;
        init.block = frame.block;
        init.step = frame.step;
        init.n_tensor = init.n_block = init.n_step = frame.count;
        if (frame.count > 0) {
            request(twins, twin, shard, 0, PD_KIND_INIT, &init.base, frame.payload, frame.bytes);
        }
    }
}

/* First values of some blocks; moments where all groups have them. */
static void init(struct twins *twins, struct twin_model *model)
{
    static struct entry entries[64];
    uint32_t count = 0;
    const struct pd_model *on = model_on(&twins->one, 0, model->number);
    bool moments = on->groups[0].moments > 0 && on->groups[1].moments > 0;
    for (uint32_t tensor = 0; tensor < 2; tensor++) {
        for (uint64_t block = 0; block < model->definition->tensors[tensor].blocks; block++) {
            if (chance(twins, 60)) {
                draw_entry(twins, model, tensor, block, 0, &entries[count++]);
            }
        }
    }
    uint32_t part = moments && chance(twins, 20) ? PARAMD__PART__MOMENT0 : PARAMD__PART__WEIGHTS;
    init_to(twins, &twins->one, model, part, entries, count);
    init_to(twins, &twins->other, model, part, entries, count);
}

static void skip(struct twins *twins, struct twin_model *model, unsigned session)
{
    uint32_t slot = pd_slot_of_block(model->definition->first_slot, twins_draw(twins, 20));
    uint64_t last = ids_of(&twins->one, model, &twins->keys[session], slot)->last;
    struct twin *both[] = {&twins->one, &twins->other};
    Paramd__Skip header = PARAMD__SKIP__INIT;
    header.request_id = ++twins->request_id;
    header.model = model->number;
    header.slot = slot;
    header.from = last + 1;
    header.to = last + 1 + twins_draw(twins, 70);
    for (unsigned i = 0; i < 2; i++) {
        request(twins, both[i], slot % both[i]->count, session, PD_KIND_SKIP, &header.base, NULL,
                0);
        const Paramd__Skipped *skipped = (const Paramd__Skipped *)twins->effects.replies[0].header;
        ck_assert_int_eq(skipped->status, PARAMD_OK);
    }
}

/* ---- the whole ---- */

static void end_session(struct twins *twins, struct twin_model *model, unsigned session)
{
    struct pd_message message = message_for(model, PD_MESSAGE_END_SESSION);
    message.session = twins->keys[session];
    tell(twins, &message);
    open_anew(twins, model, session);
}

static void reconnect(struct twins *twins, struct twin *twin, unsigned session)
{
    for (uint32_t i = 0; i < twin->count; i++) {
        struct pd_peer *peer = &twin->peers[i][session];
        step(twins, twin, i, (struct pd_event){.kind = PD_EVENT_GONE, .peer = peer});
        peer->greeted = true;
    }
    for (uint32_t i = 0; i < twins->model_count; i++) {
        if (twins->models[i].alive) {
            open_session(twins, twin, &twins->models[i], session);
        }
    }
}

static void restart_init(struct twins *twins, struct twin_model *model)
{
    model->attempt++;
    struct pd_message message = message_for(model, PD_MESSAGE_RESTART_INIT);
    message.session = twins->keys[0];
    tell(twins, &message);
}

static void get_ready(struct twins *twins, struct twin_model *model)
{
    uint64_t what = twins_draw(twins, 10);
    bool done = complete(&twins->one, model->number) && complete(&twins->other, model->number);
    if (done && what < 8) {
        struct pd_message message = message_for(model, PD_MESSAGE_READY);
        tell(twins, &message);
        model->ready = true;
    } else if (what == 8) {
        restart_init(twins, model);
    } else if (what < 8) {
        init(twins, model);
    } else {
        step(twins, &twins->other, 0, (struct pd_event){.kind = PD_EVENT_TIME});
    }
}

void twins_act(struct twins *twins)
{
    twins_snapshots_go_on(twins);
    unsigned session = (unsigned)twins_draw(twins, TWIN_SESSIONS);
    struct twin_model *model;
    do {
        model = &twins->models[twins_draw(twins, twins->model_count)];
    } while (!model->alive);
    uint64_t what = twins_draw(twins, 100);
    twins->now_us += 1 + twins_draw(twins, 1000);
    if (what == 0 && twins->model_count < TWIN_MODELS_MAX) {
        struct pd_message message = message_for(model, PD_MESSAGE_DROP_MODEL);
        model->alive = false;
        tell(twins, &message);
        make_model(twins);
    } else if (what < 4) {
        end_session(twins, model, session);
    } else if (what < 7) {
        /* The initialiser is the first of them, under its first nonce. */
        twins->keys[session].nonce += session > 0 ? twins_draw(twins, 2) : 0;
        reconnect(twins, &twins->one, session);
        reconnect(twins, &twins->other, session);
    } else if (what < 14) {
        twins_settle(twins);
        set(twins, model);
    } else if (what < 20) {
        skip(twins, model, session);
    } else if (!model->ready) {
        get_ready(twins, model);
    } else {
        push(twins, model, session);
    }
}

static void compare_model(struct twins *twins, const struct twin_model *model)
{
    const struct pd_definition *definition = model->definition;
    const struct pd_model *one = model_on(&twins->one, 0, model->number);
    struct twin *other = &twins->other;
    for (uint32_t i = 0; i < other->count; i++) {
        const struct pd_model *on = model_on(other, i, model->number);
        ck_assert_msg(on->attempt == one->attempt && on->ready == one->ready &&
                          memcmp(&on->initialiser, &one->initialiser, sizeof on->initialiser) == 0,
                      "seed %lu: attempt or ready", twins->seed);
        for (size_t j = 0; j < GROUPS; j++) {
            ck_assert_mem_eq(&on->groups[j].hyper, &one->groups[j].hyper, sizeof(struct pd_hyper));
        }
    }
    for (uint64_t i = 0; i < definition->block_count; i++) {
        uint32_t slot = pd_slot_of_block(definition->first_slot, i);
        const struct pd_model *on = model_of_slot(other, slot, model->number);
        ck_assert_msg(pd_block_hash(pd_model_block(one, i)) == pd_block_hash(pd_model_block(on, i)),
                      "seed %lu: block %lu of model %lu", twins->seed, i, model->number);
    }
    for (unsigned i = 0; i < TWIN_SESSIONS; i++) {
        for (uint32_t slot = 0; slot < PD_SLOTS; slot++) {
            const struct pd_slot_ids *a = ids_of(&twins->one, model, &twins->keys[i], slot);
            const struct pd_slot_ids *b = ids_of(other, model, &twins->keys[i], slot);
            ck_assert_msg(a->last == b->last && a->refused == b->refused,
                          "seed %lu: slot %u of session %u: %lu, not %lu", twins->seed, slot, i,
                          b->last, a->last);
        }
    }
}

void twins_compare(struct twins *twins)
{
    twins_settle(twins);
    for (uint32_t i = 0; i < twins->model_count; i++) {
        if (twins->models[i].alive) {
            compare_model(twins, &twins->models[i]);
        }
    }
}

static void connect(struct twin *twin)
{
    for (uint32_t i = 0; i < twin->count; i++) {
        for (unsigned j = 0; j < TWIN_SESSIONS; j++) {
            pd_peer_init(&twin->peers[i][j], (struct pd_conn_id){i, j});
            twin->peers[i][j].greeted = true;
        }
    }
}

static void begin(struct twin *twin, uint32_t shards)
{
    ck_assert_uint_lt(twin->epoch_count, TWIN_EPOCHS_MAX);
    twin->epochs[twin->epoch_count++] = (struct twin_epoch){.shards = shards};
    twin->count = shards;
    for (uint32_t i = 0; i < shards; i++) {
        twin->shards[i] = twins_shard(i, shards);
    }
    connect(twin);
}

static void stop(struct twins *twins, struct twin *twin)
{
    for (uint32_t i = 0; i < twin->count; i++) {
        for (unsigned j = 0; j < TWIN_SESSIONS; j++) {
            step(twins, twin, i,
                 (struct pd_event){.kind = PD_EVENT_GONE, .peer = &twin->peers[i][j]});
        }
        pd_shard_destroy(twin->shards[i]);
    }
}

void twins_restart(struct twins *twins, uint32_t shards)
{
    struct twin *twin = &twins->other;
    stop(twins, twin);
    begin(twin, shards);
    twins_recover(twins);
    for (unsigned i = 0; i < TWIN_SESSIONS; i++) {
        reconnect(twins, twin, i);
    }
}

void twins_create(struct twins *twins, uint64_t seed, uint32_t shards)
{
    memset(twins, 0, sizeof *twins);
    twins->random = twins->seed = seed;
    pd_arena_init(&twins->arena, PD_DECODED_BYTES_MAX);
    for (unsigned i = 0; i < TWIN_SESSIONS; i++) {
        twins->keys[i].bits[0] = (uint8_t)(i + 1);
    }
    begin(&twins->one, 1);
    begin(&twins->other, shards);
    make_model(twins);
    make_model(twins);
}

void twins_destroy(struct twins *twins)
{
    struct twin *both[] = {&twins->one, &twins->other};
    for (unsigned i = 0; i < 2; i++) {
        stop(twins, both[i]);
        for (uint32_t j = 0; j < both[i]->epoch_count * TWIN_SHARDS_MAX; j++) {
            struct twin_epoch *epoch = &both[i]->epochs[j / TWIN_SHARDS_MAX];
            twin_forget(&epoch->logs[j % TWIN_SHARDS_MAX]);
            twin_forget(&epoch->pieces[j % TWIN_SHARDS_MAX]);
        }
    }
    for (uint32_t i = 0; i < twins->model_count; i++) {
        pd_definition_destroy(twins->models[i].definition);
    }
    pd_arena_deinit(&twins->arena);
}
