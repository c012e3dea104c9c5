/* The traffic: every step draws what happens next, gives it to the shard, and writes down what it
 * asks to be logged. */
#include "tests/unit/core/traffic.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"

enum {
    ENTRIES_MAX = 6,
    BLOCK_ELEMENTS = 1024,
    PAYLOAD_BYTES_MAX = ENTRIES_MAX * BLOCK_ELEMENTS * 4
};

static const char *const optimizers[] = {"sgd",   "momentum", "adagrad", "rmsprop", "adam",
                                         "nadam", "amsgrad",  "lion",    "ftrl",    "adadelta"};

uint64_t traffic_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t draw(struct traffic *traffic, uint64_t below)
{
    return traffic_random(&traffic->random) % below;
}

static bool chance(struct traffic *traffic, unsigned percent)
{
    return draw(traffic, 100) < percent;
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
    (void)bytes;
    free(memory);
}

struct pd_shard *traffic_shard(const struct traffic *traffic)
{
    struct pd_shard *shard;
    ck_assert_int_eq(pd_shard_create(&traffic->options, &shard), PARAMD_OK);
    return shard;
}

static const struct pd_definition *find(void *context, uint64_t number)
{
    const struct traffic *traffic = context;
    for (uint32_t i = 0; i < traffic->made_count; i++) {
        if (traffic->made[i].number == number) {
            return traffic->made[i].definition;
        }
    }
    return NULL;
}

struct pd_definitions traffic_definitions(struct traffic *traffic)
{
    return (struct pd_definitions){find, traffic};
}

uint64_t traffic_hash(const struct traffic *traffic, struct pd_shard *shard)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < traffic->made_count; i++) {
        sum += pd_shard_hash(shard, traffic->made[i].number);
    }
    return sum;
}

/* ---- one event ---- */

static uint8_t *copy(const uint8_t *bytes, size_t count)
{
    uint8_t *to = aligned_alloc(64, (count + 64) / 64 * 64);
    ck_assert_ptr_nonnull(to);
    if (count > 0) {
        memcpy(to, bytes, count);
    }
    return to;
}

static void write_down(struct traffic *traffic, const struct pd_record *record)
{
    ck_assert_uint_lt(traffic->record_count, TRAFFIC_RECORDS_MAX);
    struct written_record *written = &traffic->records[traffic->record_count++];
    size_t count = traffic_write_header(written, record->header);
    written->payload = copy(record->payload, record->payload_count);
    written->logged = (struct pd_logged){.lsn = traffic->record_count,
                                         .kind = record->kind,
                                         .header = written->header,
                                         .header_count = count,
                                         .payload = written->payload,
                                         .payload_count = record->payload_count};
    traffic->kinds[record->kind]++;
    if (record->kind == PD_RECORD_PUSH) {
        const Paramd__RecordPush *push = (const Paramd__RecordPush *)record->header;
        for (size_t i = 0; i < push->results.len; i++) {
            traffic->results[push->results.data[i]]++;
        }
    }
}

static struct made_model *of_number(struct traffic *traffic, uint64_t number)
{
    for (uint32_t i = 0; i < traffic->made_count; i++) {
        if (traffic->made[i].number == number) {
            return &traffic->made[i];
        }
    }
    return NULL;
}

static void take_messages(struct traffic *traffic)
{
    struct pd_link *link;
    while ((link = pd_list_pop(&traffic->effects.to_control)) != NULL) {
        struct pd_message *message = PD_CONTAINER(link, struct pd_message, link);
        struct made_model *made = of_number(traffic, message->model);
        if (message->kind == PD_MESSAGE_INITIALISED && made->attempt == message->attempt) {
            ck_assert(traffic->effects.wait);
            made->initialised = true;
        }
        pd_message_destroy(message);
    }
}

static void step(struct traffic *traffic, struct pd_event *event)
{
    uint64_t before = traffic->hash;
    pd_arena_reset(&traffic->arena);
    traffic->effects = (struct pd_effects){.arena = &traffic->arena};
    pd_link_init(&traffic->effects.to_control);
    event->now_us = traffic->now_us;
    pd_shard_step(traffic->shard, event, &traffic->effects);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < traffic->effects.record_count; i++) {
        const struct pd_record *record = &traffic->effects.records[i];
        ck_assert(traffic->effects.wait);
        write_down(traffic, record);
        bytes += protobuf_c_message_get_packed_size(record->header) + record->payload_count;
    }
    ck_assert_msg(bytes <= event->log_room, "seed %llu: more was recorded than there was room for",
                  (unsigned long long)traffic->seed);
    take_messages(traffic);
    traffic->hash = traffic_hash(traffic, traffic->shard);
    if (traffic->effects.record_count > 0) {
        struct written_record *last = &traffic->records[traffic->record_count - 1];
        last->cut = true;
        last->hash = traffic->hash;
    } else if (traffic->level == PARAMD__ACK_LEVEL__LOGGED) {
        ck_assert_msg(traffic->hash == before, "seed %llu: the state changed without a record",
                      (unsigned long long)traffic->seed);
        traffic->unchanged += event->kind == PD_EVENT_REQUEST;
    }
    traffic_snapshot_go_on(traffic);
}

static void tell(struct traffic *traffic, struct pd_message *message, struct pd_peer *peer)
{
    struct pd_event event = {
        .kind = PD_EVENT_MESSAGE, .peer = peer, .message = message, .log_room = UINT64_MAX};
    step(traffic, &event);
}

static struct pd_message *message_for(struct made_model *made, enum pd_message_kind kind)
{
    struct pd_message *message = pd_message_create(kind, 0);
    ck_assert_ptr_nonnull(message);
    message->model = made->number;
    message->attempt = made->attempt;
    return message;
}

static void request(struct traffic *traffic, unsigned session, enum pd_kind kind,
                    const ProtobufCMessage *header, const uint8_t *payload, size_t count)
{
    uint8_t *bytes = malloc(PD_HEADER_BYTES_MAX);
    ck_assert_ptr_nonnull(bytes);
    struct pd_event event = {.kind = PD_EVENT_REQUEST,
                             .peer = &traffic->peers[session],
                             .frame_kind = kind,
                             .header = header,
                             .header_bytes = bytes,
                             .header_count = protobuf_c_message_pack(header, bytes),
                             .payload = payload,
                             .payload_count = count,
                             .log_room =
                                 chance(traffic, 5) ? draw(traffic, count + 2048) : UINT64_MAX};
    step(traffic, &event);
    ck_assert_int_eq(traffic->effects.verdict, PD_VERDICT_DONE);
    const struct pd_reply *reply = &traffic->effects.replies[0];
    if (reply->kind == PD_KIND_ERROR &&
        ((const Paramd__Error *)reply->header)->status == PARAMD_RESOURCE_EXHAUSTED) {
        ck_assert_uint_ne(event.log_room, UINT64_MAX);
        ck_assert_uint_eq(traffic->effects.record_count, 0);
        traffic->refused_for_room++;
    }
    free(bytes);
}

/* ---- models ---- */

static void make_definition(struct traffic *traffic, struct made_model *made)
{
    Paramd__Definition definition = PARAMD__DEFINITION__INIT;
    Paramd__Group groups[2];
    Paramd__Tensor tensors[3];
    Paramd__Group *group_list[] = {&groups[0], &groups[1]};
    Paramd__Tensor *tensor_list[] = {&tensors[0], &tensors[1], &tensors[2]};
    uint64_t shapes[] = {1 + draw(traffic, 3000), 1 + draw(traffic, 40),
                         chance(traffic, 10) ? 90000 : 1 + draw(traffic, 2500)};
    char error[PD_ERROR_TEXT_BYTES];
    for (unsigned i = 0; i < 2; i++) {
        paramd__group__init(&groups[i]);
        groups[i].name = i == 0 ? "first" : "second";
        groups[i].optimizer =
            (char *)(uintptr_t)optimizers[draw(traffic, sizeof optimizers / sizeof optimizers[0])];
    }
    for (unsigned i = 0; i < 3; i++) {
        paramd__tensor__init(&tensors[i]);
        tensors[i].name = i == 0 ? "a" : i == 1 ? "b" : "c";
        tensors[i].shape = &shapes[i];
        tensors[i].n_shape = 1;
        tensors[i].group = (uint32_t)draw(traffic, 2);
    }
    tensors[2].init = PARAMD__INITIALISER__NORMAL;
    tensors[2].b = 1;
    definition.groups = group_list;
    definition.n_groups = 2;
    definition.tensors = tensor_list;
    definition.n_tensors = 3;
    definition.block_elements = BLOCK_ELEMENTS;
    definition.ack_level = traffic->level;
    ck_assert_int_eq(pd_definition_create("model", &definition, &made->definition, error),
                     PARAMD_OK);
    for (unsigned i = 0; i < 2; i++) {
        const struct pd_optimizer *optimizer = pd_optimizer_find(groups[i].optimizer);
        pd_hyper_defaults(optimizer, &made->hypers[i]);
        ck_assert_int_eq(pd_hyper_set(optimizer, &made->hypers[i], "staleness_max", i == 0 ? 0 : 9,
                                      NULL, error, sizeof error),
                         PARAMD_OK);
        ck_assert_int_eq(pd_hyper_set(optimizer, &made->hypers[i], "staleness", 0, "inverse", error,
                                      sizeof error),
                         PARAMD_OK);
    }
}

static void open_session(struct traffic *traffic, struct made_model *made, unsigned session)
{
    struct pd_message *message = message_for(made, PD_MESSAGE_OPEN_SESSION);
    message->session = traffic->keys[session];
    message->opening = made->openings[session];
    message->request_id = ++traffic->request_id;
    tell(traffic, message, &traffic->peers[session]);
    ck_assert_int_eq(traffic->effects.replies[0].kind, PD_KIND_ATTACHED);
}

static void open_anew(struct traffic *traffic, struct made_model *made, unsigned session)
{
    made->openings[session] = ++made->opening;
    open_session(traffic, made, session);
}

static void make_model(struct traffic *traffic)
{
    struct made_model *made = &traffic->made[traffic->made_count];
    ck_assert_uint_lt(traffic->made_count, TRAFFIC_MADE_MAX);
    make_definition(traffic, made);
    made->number = ++traffic->made_count;
    made->attempt = 1;
    made->alive = true;
    struct pd_message *message = message_for(made, PD_MESSAGE_CREATE_MODEL);
    message->generation = 7;
    message->session = traffic->keys[0];
    message->definition = made->definition;
    message->hypers = malloc(sizeof made->hypers);
    ck_assert_ptr_nonnull(message->hypers);
    memcpy(message->hypers, made->hypers, sizeof made->hypers);
    message->hyper_count = 2;
    tell(traffic, message, NULL);
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        open_anew(traffic, made, i);
    }
}

/* A block of this model, which may be another shard's. */
static void draw_block(struct traffic *traffic, const struct made_model *made, uint32_t *ret_tensor,
                       uint64_t *ret_block)
{
    uint32_t tensor = (uint32_t)draw(traffic, 3);
    *ret_tensor = tensor;
    *ret_block = draw(traffic, made->definition->tensors[tensor].blocks);
}

static uint32_t elements_of(const struct made_model *made, uint32_t tensor, uint64_t block)
{
    return pd_block_elements(made->definition->tensors[tensor].elements, BLOCK_ELEMENTS, block);
}

static size_t fill(struct traffic *traffic, float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        values[i] = (float)draw(traffic, 2001) / 1000.0F - 1.0F;
    }
    return count * sizeof *values;
}

static void send_init(struct traffic *traffic, struct made_model *made)
{
    static _Alignas(64) float values[PAYLOAD_BYTES_MAX / 4];
    Paramd__Init init = PARAMD__INIT__INIT;
    uint32_t tensor[ENTRIES_MAX];
    uint64_t block[ENTRIES_MAX];
    uint64_t steps[ENTRIES_MAX];
    size_t elements = 0;
    for (uint32_t t = 0; t < 2; t++) {
        for (uint64_t b = 0; b < made->definition->tensors[t].blocks; b++) {
            uint64_t in_model = made->definition->tensors[t].first_block + b;
            uint32_t slot = pd_slot_of_block(made->definition->first_slot, in_model);
            if (pd_slot_shard(slot, traffic->options.shards) == traffic->options.shard &&
                chance(traffic, 60)) {
                tensor[init.n_tensor] = t;
                steps[init.n_tensor] = draw(traffic, 50);
                block[init.n_tensor++] = b;
                elements += elements_of(made, t, b);
            }
        }
    }
    if (init.n_tensor == 0) {
        return;
    }
    init.request_id = ++traffic->request_id;
    init.model = made->number;
    init.attempt = made->attempt;
    init.part = chance(traffic, 20) ? PARAMD__PART__MOMENT0 : PARAMD__PART__WEIGHTS;
    init.tensor = tensor;
    init.block = block;
    init.n_block = init.n_tensor;
    init.step = steps;
    init.n_step = chance(traffic, 50) ? init.n_tensor : 0;
    size_t bytes = fill(traffic, values, elements);
    request(traffic, 0, PD_KIND_INIT, &init.base, (const uint8_t *)values, bytes);
}

static void restart(struct traffic *traffic, struct made_model *made)
{
    made->attempt++;
    made->initialised = false;
    struct pd_message *message = message_for(made, PD_MESSAGE_RESTART_INIT);
    message->session = traffic->keys[0];
    tell(traffic, message, NULL);
}

static void set(struct traffic *traffic, struct made_model *made)
{
    static const char *const names[] = {
        "lr",      "weight_decay", "clip_norm", "staleness_max", "initial_accumulator_value",
        "momentum"};
    struct pd_message *message = message_for(made, PD_MESSAGE_SET_HYPERS);
    uint32_t group = (uint32_t)draw(traffic, 2);
    const char *name = names[draw(traffic, sizeof names / sizeof names[0])];
    double value = (double)draw(traffic, 4) / 4 + (strcmp(name, "staleness_max") == 0 ? 0 : 0.01);
    const struct pd_optimizer *optimizer =
        pd_optimizer_find(made->definition->groups[group].optimizer);
    struct pd_hyper hyper = made->hypers[group];
    char error[PD_ERROR_TEXT_BYTES];
    if (pd_hyper_set(optimizer, &hyper, name, value, NULL, error, sizeof error) == PARAMD_OK &&
        pd_optimizer_moments(optimizer, &hyper) ==
            pd_optimizer_moments(optimizer, &made->hypers[group])) {
        made->hypers[group] = hyper;
    }
    message->group = group;
    message->hypers = malloc(sizeof hyper);
    ck_assert_ptr_nonnull(message->hypers);
    message->hypers[0] = made->hypers[group];
    message->hyper_count = 1;
    tell(traffic, message, NULL);
}

static void drop_model(struct traffic *traffic, struct made_model *made)
{
    made->alive = false;
    tell(traffic, message_for(made, PD_MESSAGE_DROP_MODEL), NULL);
}

/* ---- pushes ---- */

static uint64_t last_id(struct traffic *traffic, const struct made_model *made, unsigned session,
                        uint32_t slot)
{
    struct pd_model *model = pd_shard_model(traffic->shard, made->number);
    struct pd_session *of = pd_session_find(model, traffic->keys[session].bits);
    const struct pd_slot_ids *ids = pd_session_ids(of, slot);
    return ids != NULL ? ids->last : 0;
}

/* Mostly the next id of the slot, given those of the frame before it. */
static uint64_t draw_id(struct traffic *traffic, uint64_t last)
{
    uint64_t odd = draw(traffic, 20);
    if (odd == 0) {
        return last + 2; /* one is missing */
    }
    return odd == 1 && last > 0 ? 1 + draw(traffic, last) : last + 1;
}

static void drain(struct traffic *traffic, unsigned session)
{
    struct pd_peer *peer = &traffic->peers[session];
    while (!pd_link_alone(&peer->cursors)) {
        struct pd_event send = {.kind = PD_EVENT_SEND, .peer = peer, .durable_lsn = UINT64_MAX};
        step(traffic, &send);
        struct pd_blocks_frame frame = traffic->effects.frame;
        struct pd_event sent = {.kind = PD_EVENT_SENT, .peer = peer, .frame = &frame};
        step(traffic, &sent);
    }
}

static void push(struct traffic *traffic, struct made_model *made, unsigned session)
{
    static _Alignas(64) uint8_t payload[PAYLOAD_BYTES_MAX];
    static float values[BLOCK_ELEMENTS];
    Paramd__Push push = PARAMD__PUSH__INIT;
    uint32_t tensor[ENTRIES_MAX];
    uint64_t block[ENTRIES_MAX];
    uint64_t ids[ENTRIES_MAX];
    uint64_t bases[ENTRIES_MAX];
    size_t count = 1 + draw(traffic, ENTRIES_MAX);
    size_t bytes = 0;
    push.dtype = (uint32_t)draw(traffic, 3);
    ck_assert(pd_dtype_valid(push.dtype));
    for (size_t i = 0; i < count; i++) {
        draw_block(traffic, made, &tensor[i], &block[i]);
        uint64_t in_model = made->definition->tensors[tensor[i]].first_block + block[i];
        uint32_t slot = pd_slot_of_block(made->definition->first_slot, in_model);
        bool mine = pd_slot_shard(slot, traffic->options.shards) == traffic->options.shard;
        ids[i] = draw_id(traffic, mine ? last_id(traffic, made, session, slot) : 0);
        bases[i] = draw(traffic, 30);
        uint32_t elements = elements_of(made, tensor[i], block[i]);
        (void)fill(traffic, values, elements);
        values[0] = chance(traffic, 5) ? NAN : values[0];
        pd_dtype_narrow((enum pd_dtype)push.dtype, values, payload + bytes, elements);
        bytes += elements * pd_dtype_bytes((enum pd_dtype)push.dtype);
    }
    push.request_id = ++traffic->request_id;
    push.model = made->number;
    push.generation = chance(traffic, 80) ? 7 : 6;
    push.scale = chance(traffic, 50) ? 0.5F : 0;
    push.tensor = tensor;
    push.block = block;
    push.push_id = ids;
    push.base_version = bases;
    push.n_tensor = push.n_block = push.n_push_id = push.n_base_version = count;
    bool values_too = chance(traffic, 10);
    request(traffic, session, values_too ? PD_KIND_PUSH_PULL : PD_KIND_PUSH, &push.base, payload,
            bytes);
    if (traffic->effects.replies[0].kind == PD_KIND_ACK) {
        ck_assert_int_eq(traffic->effects.wait, traffic->level == PARAMD__ACK_LEVEL__LOGGED);
    }
    drain(traffic, session);
}

static void skip(struct traffic *traffic, struct made_model *made, unsigned session)
{
    uint32_t tensor;
    uint64_t block;
    draw_block(traffic, made, &tensor, &block);
    uint64_t in_model = made->definition->tensors[tensor].first_block + block;
    Paramd__Skip skip = PARAMD__SKIP__INIT;
    skip.request_id = ++traffic->request_id;
    skip.model = made->number;
    skip.slot = pd_slot_of_block(made->definition->first_slot, in_model);
    bool mine = pd_slot_shard(skip.slot, traffic->options.shards) == traffic->options.shard;
    uint64_t last = mine ? last_id(traffic, made, session, skip.slot) : 0;
    skip.from = draw_id(traffic, last);
    skip.to = skip.from + draw(traffic, chance(traffic, 10) ? 100 : 3);
    request(traffic, session, PD_KIND_SKIP, &skip.base, NULL, 0);
}

/* ---- sessions, and the end of the process ---- */

static void end_session(struct traffic *traffic, struct made_model *made, unsigned session)
{
    struct pd_message *message = message_for(made, PD_MESSAGE_END_SESSION);
    message->session = traffic->keys[session];
    tell(traffic, message, NULL);
    open_anew(traffic, made, session);
}

static void reconnect(struct traffic *traffic, unsigned session)
{
    struct pd_event gone = {.kind = PD_EVENT_GONE, .peer = &traffic->peers[session]};
    step(traffic, &gone);
    traffic->peers[session].greeted = true;
    traffic->keys[session].nonce += draw(traffic, 2);
    for (uint32_t i = 0; i < traffic->made_count; i++) {
        if (traffic->made[i].alive) {
            open_session(traffic, &traffic->made[i], session);
        }
    }
}

/* The shard is gone and comes back from what was written down. */
static void crash(struct traffic *traffic)
{
    struct pd_definitions definitions = traffic_definitions(traffic);
    struct pd_arena arena;
    struct pd_shard *shard = traffic_shard(traffic);
    const char *text = "";
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        struct pd_event gone = {.kind = PD_EVENT_GONE, .peer = &traffic->peers[i]};
        step(traffic, &gone);
        traffic->peers[i].greeted = true;
    }
    if (traffic->shard->snapshot != NULL) {
        traffic_snapshot_forget(traffic);
    }
    pd_shard_destroy(traffic->shard);
    for (uint32_t i = 0; i < traffic->record_count; i++) {
        ck_assert_msg(pd_shard_replay(shard, &traffic->records[i].logged, &definitions, &arena,
                                      &text) == PARAMD_OK,
                      "seed %llu, record %u: %s", (unsigned long long)traffic->seed, i, text);
    }
    pd_arena_deinit(&arena);
    traffic->shard = shard;
    ck_assert_msg(traffic->level != PARAMD__ACK_LEVEL__LOGGED ||
                      traffic_hash(traffic, shard) == traffic->hash,
                  "seed %llu: another state after a crash", (unsigned long long)traffic->seed);
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        reconnect(traffic, i);
    }
}

/* ---- the whole ---- */

static void act(struct traffic *traffic)
{
    struct made_model *made = &traffic->made[draw(traffic, traffic->made_count)];
    unsigned session = (unsigned)draw(traffic, TRAFFIC_SESSIONS);
    uint64_t what = draw(traffic, 1000);
    traffic->now_us += draw(traffic, 1000);
    if (what < 100 || !made->alive) {
        struct pd_event passed = {.kind = PD_EVENT_TIME,
                                  .log_room = chance(traffic, 10) ? 100 : UINT64_MAX};
        step(traffic, &passed);
    } else if (what < 160) {
        set(traffic, made);
    } else if (what < 180) {
        reconnect(traffic, session);
    } else if (what < 200) {
        end_session(traffic, made, session);
    } else if (what < 210 && traffic->made_count < TRAFFIC_MADE_MAX) {
        drop_model(traffic, made);
        make_model(traffic);
    } else if (what < 220) {
        crash(traffic);
    } else if (!made->ready && made->initialised) {
        made->ready = true;
        tell(traffic, message_for(made, PD_MESSAGE_READY), NULL);
    } else if (!made->ready && what < 280) {
        restart(traffic, made);
    } else if (!made->ready || what < 230) {
        send_init(traffic, made);
    } else if (what < 300) {
        skip(traffic, made, session);
    } else {
        push(traffic, made, session);
    }
}

static void run(struct traffic *traffic, uint64_t seed, Paramd__AckLevel level, unsigned events,
                bool snapshots)
{
    memset(traffic, 0, sizeof *traffic);
    traffic->snapshots_wanted = snapshots;
    traffic->snapshot_random = seed;
    traffic->random = traffic->seed = seed;
    traffic->level = level;
    traffic->options.shards = (uint32_t)draw(traffic, 2) + 1;
    traffic->options.shard = traffic->options.shards - 1;
    traffic->options.copies_max = 64 * 1024 * 1024;
    traffic->options.push_ids_max = 64 * 1024 * 1024;
    traffic->options.lease_us = 30000000;
    traffic->options.retention_us = 3600000000;
    traffic->options.memory = (struct pd_memory){take, give, NULL};
    traffic->options.records = true;
    traffic->options.version = "test";
    traffic->shard = traffic_shard(traffic);
    traffic->now_us = 1000000;
    pd_arena_init(&traffic->arena, PD_DECODED_BYTES_MAX);
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        pd_peer_init(&traffic->peers[i], (struct pd_conn_id){0, i});
        traffic->peers[i].greeted = true;
        traffic->keys[i].bits[0] = (uint8_t)(i + 1);
        traffic->keys[i].nonce = i;
    }
    for (unsigned i = 0; i < TRAFFIC_MODELS; i++) {
        make_model(traffic);
    }
    for (unsigned i = 0; i < events; i++) {
        act(traffic);
    }
}

void traffic_run(struct traffic *traffic, uint64_t seed, Paramd__AckLevel level, unsigned events)
{
    run(traffic, seed, level, events, false);
}

void traffic_run_with_snapshots(struct traffic *traffic, uint64_t seed, Paramd__AckLevel level,
                                unsigned events)
{
    run(traffic, seed, level, events, true);
    if (traffic->shard->snapshot != NULL) {
        pd_shard_snapshot_end(traffic->shard);
        traffic_snapshot_forget(traffic);
    }
    traffic->snapshots_wanted = false;
}

void traffic_finish(struct traffic *traffic)
{
    while (traffic->snapshot_count > 0) {
        traffic_snapshot_forget(traffic);
    }
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        struct pd_event gone = {.kind = PD_EVENT_GONE, .peer = &traffic->peers[i]};
        step(traffic, &gone);
    }
    pd_shard_destroy(traffic->shard);
    for (uint32_t i = 0; i < traffic->record_count; i++) {
        free(traffic->records[i].header);
        free(traffic->records[i].payload);
    }
    for (uint32_t i = 0; i < traffic->made_count; i++) {
        pd_definition_destroy(traffic->made[i].definition);
    }
    pd_arena_deinit(&traffic->arena);
}

struct pd_logged traffic_hurt(const struct pd_logged *logged, uint64_t *random,
                              uint8_t **ret_header, uint8_t **ret_payload)
{
    struct pd_logged copy = *logged;
    uint64_t how = traffic_random(random) % 8;
    uint64_t at = traffic_random(random);
    if (how == 0 && copy.payload_count > 0) {
        copy.payload_count = at % copy.payload_count;
    } else if (how == 1) {
        copy.header_count = at % (copy.header_count + 1);
    } else if (how == 2) {
        copy.kind = (unsigned)(at % 16);
    }
    uint8_t *header = malloc(copy.header_count + 1);
    uint8_t *payload = aligned_alloc(64, (copy.payload_count + 64) / 64 * 64);
    ck_assert(header != NULL && payload != NULL);
    memcpy(header, copy.header, copy.header_count);
    memcpy(payload, copy.payload, copy.payload_count);
    for (uint64_t i = 0; how > 2 && copy.header_count > 0 && i <= how % 3; i++) {
        uint64_t place = traffic_random(random) % copy.header_count;
        uint64_t change = traffic_random(random);
        unsigned flipped = header[place] ^ 1U << change % 8;
        header[place] = (uint8_t)(how < 6 ? flipped : change);
    }
    copy.header = *ret_header = header;
    copy.payload = *ret_payload = payload;
    return copy;
}
