/* The connection half of the fake daemon: frames in, frames out, and the control requests. */
#include "tests/unit/client/fake_server.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/client/fake_data.h"

void fake_server_init(struct fake_server *server, unsigned shards)
{
    *server = (struct fake_server){
        .shards = shards, .epoch = 1, .number = 41, .generation = 7, .lease_us = 30 * 1000 * 1000};
}

void fake_server_forget(struct fake_server *server)
{
    if (server->definition != NULL) {
        for (uint64_t i = 0; i < server->definition->block_count; i++) {
            for (unsigned part = 0; part < FAKE_PARTS; part++) {
                free(server->blocks[i].parts[part]);
            }
        }
    }
    free(server->blocks);
    free(server->definition_bytes);
    pd_definition_destroy(server->definition);
    server->blocks = NULL;
    server->definition_bytes = NULL;
    server->definition = NULL;
    server->ready = false;
    memset(server->sessions, 0, sizeof server->sessions);
}

void fake_server_deinit(struct fake_server *server)
{
    fake_server_forget(server);
}

void fake_server_lose(struct fake_server *server, uint64_t last)
{
    server->generation++;
    for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
        for (unsigned slot = 0; slot < PD_SLOTS; slot++) {
            uint64_t *id = &server->sessions[i].last[slot];
            *id = *id > last ? last : *id;
        }
    }
}

struct fake_conn *fake_conn_create(struct fake_server *server)
{
    struct fake_conn *conn = calloc(1, sizeof *conn);
    conn->server = server;
    conn->payload = malloc(PD_PAYLOAD_BYTES_MAX);
    pd_frame_reader_init(&conn->reader,
                         PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX);
    pd_arena_init(&conn->arena, PD_DECODED_BYTES_MAX);
    return conn;
}

void fake_conn_destroy(struct fake_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    pd_frame_reader_deinit(&conn->reader);
    pd_arena_deinit(&conn->arena);
    free(conn->payload);
    free(conn->definition);
    free(conn->out);
    free(conn);
}

/* ---- Out ---- */

void fake_conn_send_raw(struct fake_conn *conn, const void *bytes, size_t count)
{
    if (conn->out_bytes + count > conn->out_capacity) {
        conn->out_capacity = 2 * (conn->out_bytes + count);
        conn->out = realloc(conn->out, conn->out_capacity);
    }
    if (count > 0) {
        memcpy(conn->out + conn->out_bytes, bytes, count);
    }
    conn->out_bytes += count;
}

void fake_conn_send(struct fake_conn *conn, enum pd_kind kind, const ProtobufCMessage *header,
                    const void *payload, size_t payload_bytes, unsigned flags)
{
    size_t head_bytes = pd_frame_head_bytes(header);
    uint8_t *head = malloc(head_bytes);
    struct pd_span span = {(uint8_t *)(uintptr_t)payload, payload_bytes};
    uint64_t sum = 0;
    if (conn->server->send_payload_sums && payload_bytes > 0) {
        flags |= PD_FRAME_PAYLOAD_SUM;
        sum = pd_payload_sum(&span, 1);
    }
    pd_frame_head_write(head, kind, flags, header, (uint32_t)payload_bytes, sum);
    fake_conn_send_raw(conn, head, head_bytes);
    fake_conn_send_raw(conn, payload, payload_bytes);
    free(head);
}

size_t fake_conn_take(struct fake_conn *conn, uint8_t *bytes, size_t count)
{
    size_t take = conn->out_bytes < count ? conn->out_bytes : count;
    if (take > 0) {
        memcpy(bytes, conn->out, take);
        memmove(conn->out, conn->out + take, conn->out_bytes - take);
    }
    conn->out_bytes -= take;
    return take;
}

void fake_error(struct fake_conn *conn, int status, const char *text)
{
    Paramd__Error error = PARAMD__ERROR__INIT;
    error.request_id = pd_request_id(conn->message);
    error.status = status;
    error.message = (char *)(uintptr_t)text;
    fake_conn_send(conn, PD_KIND_ERROR, &error.base, NULL, 0, 0);
}

void fake_moved(struct fake_conn *conn, uint64_t request_id)
{
    Paramd__SlotMap map = PARAMD__SLOT_MAP__INIT;
    Paramd__Moved moved = PARAMD__MOVED__INIT;
    map.epoch = conn->server->epoch;
    map.shards = conn->server->shards;
    moved.request_id = request_id;
    moved.slot_map = &map;
    fake_conn_send(conn, PD_KIND_MOVED, &moved.base, NULL, 0, 0);
}

void fake_done(struct fake_conn *conn)
{
    Paramd__Done message = PARAMD__DONE__INIT;
    message.request_id = pd_request_id(conn->message);
    fake_conn_send(conn, PD_KIND_DONE, &message.base, NULL, 0, 0);
}

/* ---- Control ---- */

static void hello(struct fake_conn *conn)
{
    Paramd__Welcome welcome = PARAMD__WELCOME__INIT;
    Paramd__SlotMap map = PARAMD__SLOT_MAP__INIT;
    Paramd__Limits limits = PARAMD__LIMITS__INIT;
    map.epoch = conn->server->epoch;
    map.shards = conn->server->shards;
    limits.lease_us = conn->server->lease_us;
    welcome.request_id = pd_request_id(conn->message);
    welcome.server = (char *)(uintptr_t) "fake";
    welcome.shard = conn->shard;
    welcome.slot_map = &map;
    welcome.limits = &limits;
    conn->greeted = true;
    fake_conn_send(conn, PD_KIND_WELCOME, &welcome.base, NULL, 0, 0);
}

static void make_model(struct fake_conn *conn, const Paramd__Create *create)
{
    struct fake_server *server = conn->server;
    struct pd_arena arena;
    char text[PD_ERROR_TEXT_BYTES];
    pd_arena_init(&arena, PD_DEFINITION_DECODED_MAX);
    const ProtobufCMessage *message = pd_decode(&paramd__definition__descriptor, &arena,
                                                conn->definition, conn->definition_bytes);
    if (pd_definition_create(create->model, (const Paramd__Definition *)message,
                             &server->definition, text) != PARAMD_OK) {
        abort();
    }
    pd_arena_deinit(&arena);
    server->definition_bytes = malloc(conn->definition_bytes);
    memcpy(server->definition_bytes, conn->definition, conn->definition_bytes);
    server->definition_count = conn->definition_bytes;
    fake_data_make_blocks(server);
    server->number++;
    server->attempt = 1;
    memcpy(server->initialiser, create->session.data, PD_SESSION_BYTES);
    server->initialiser_dead = false;
    fake_data_check_ready(server);
}

static void create_model(struct fake_conn *conn, const Paramd__Create *create)
{
    struct fake_server *server = conn->server;
    size_t bytes = conn->reader.payload_bytes;
    conn->definition = realloc(conn->definition, conn->definition_bytes + bytes + 1);
    memcpy(conn->definition + conn->definition_bytes, conn->payload, bytes);
    conn->definition_bytes += bytes;
    if ((conn->reader.flags & PD_FRAME_MORE) != 0) {
        return;
    }
    bool created = server->definition == NULL;
    if (created) {
        make_model(conn, create);
    } else if (!server->ready && server->initialiser_dead) {
        memcpy(server->initialiser, create->session.data, PD_SESSION_BYTES);
        server->initialiser_dead = false;
        server->attempt++;
        fake_data_drop_values(server);
    }
    conn->definition_bytes = 0;
    Paramd__Created answer = PARAMD__CREATED__INIT;
    answer.request_id = create->request_id;
    answer.model = server->number;
    answer.generation = server->generation;
    answer.ready = server->ready;
    answer.initialiser = memcmp(server->initialiser, create->session.data, PD_SESSION_BYTES) == 0;
    answer.attempt = server->attempt;
    answer.created = created;
    fake_conn_send(conn, PD_KIND_CREATED, &answer.base, NULL, 0, 0);
}

static unsigned find_session(struct fake_server *server, const uint8_t *id)
{
    for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
        if (server->sessions[i].known &&
            memcmp(server->sessions[i].id, id, PD_SESSION_BYTES) == 0) {
            return i;
        }
    }
    return FAKE_SESSIONS_MAX;
}

static unsigned new_session(struct fake_server *server, const Paramd__Attach *attach)
{
    for (unsigned i = 0; i < FAKE_SESSIONS_MAX; i++) {
        if (!server->sessions[i].known) {
            memset(&server->sessions[i], 0, sizeof server->sessions[i]);
            server->sessions[i].known = true;
            server->sessions[i].nonce = attach->nonce;
            memcpy(server->sessions[i].id, attach->session.data, PD_SESSION_BYTES);
            return i;
        }
    }
    abort();
}

static void attach_session(struct fake_conn *conn, const Paramd__Attach *attach)
{
    struct fake_server *server = conn->server;
    if (server->faults.attach_status != PARAMD_OK) {
        fake_error(conn, server->faults.attach_status, "as the test wants it");
        return;
    }
    if (server->definition == NULL) {
        fake_error(conn, PARAMD_NOT_FOUND, "no such model");
        return;
    }
    unsigned session = find_session(server, attach->session.data);
    if (session == FAKE_SESSIONS_MAX && attach->mode == PARAMD__ATTACH_MODE__RESUME) {
        fake_error(conn, PARAMD_SESSION_EXPIRED, "forgotten");
        return;
    }
    if (session == FAKE_SESSIONS_MAX) {
        session = new_session(server, attach);
    } else if (server->sessions[session].nonce != attach->nonce) {
        fake_error(conn, PARAMD_SESSION_IN_USE, "another process is alive");
        return;
    }
    conn->attached = true;
    conn->session = session;
    uint32_t slots[PD_SLOTS];
    uint64_t ids[PD_SLOTS];
    Paramd__Attached answer = PARAMD__ATTACHED__INIT;
    for (uint32_t slot = conn->shard; slot < PD_SLOTS; slot += server->shards) {
        if (server->sessions[session].last[slot] > 0) {
            slots[answer.n_slot] = slot;
            ids[answer.n_slot++] = server->sessions[session].last[slot];
        }
    }
    answer.request_id = attach->request_id;
    answer.model = server->number;
    answer.generation = server->generation;
    answer.ready = server->ready;
    answer.slot = slots;
    answer.push_id = ids;
    answer.n_push_id = answer.n_slot;
    fake_conn_send(conn, PD_KIND_ATTACHED, &answer.base, NULL, 0, 0);
}

static void model_info(const struct fake_server *server, Paramd__ModelInfo *ret_info)
{
    paramd__model_info__init(ret_info);
    ret_info->name = server->definition->name;
    ret_info->number = server->number;
    ret_info->generation = server->generation;
    ret_info->ready = server->ready;
    ret_info->tensors = server->definition->tensor_count;
    ret_info->blocks = server->definition->block_count;
}

/* Figures, with one tensor a page. */
static void stat_figures(struct fake_conn *conn, const Paramd__Stat *stat)
{
    struct fake_server *server = conn->server;
    const struct pd_definition *definition = server->definition;
    Paramd__ModelInfo info;
    Paramd__Counter counter = PARAMD__COUNTER__INIT;
    Paramd__Hyper hyper = PARAMD__HYPER__INIT;
    Paramd__GroupHypers group = PARAMD__GROUP_HYPERS__INIT;
    Paramd__TensorInfo tensor = PARAMD__TENSOR_INFO__INIT;
    Paramd__Counter *counters[1] = {&counter};
    Paramd__Hyper *hypers[1] = {&hyper};
    Paramd__GroupHypers *groups[1] = {&group};
    Paramd__TensorInfo *tensors[1] = {&tensor};
    char *optimizers[1] = {definition->groups[0].optimizer};
    Paramd__Stated answer = PARAMD__STATED__INIT;
    const struct pd_tensor_def *from = &definition->tensors[stat->first_tensor];
    model_info(server, &info);
    counter.name = (char *)(uintptr_t) "pushes_applied";
    counter.value = (double)server->applied;
    hyper.name = (char *)(uintptr_t) "lr";
    hyper.number = (double)server->learning_rate;
    group.group = definition->groups[0].name;
    group.n_hypers = 1;
    group.hypers = hypers;
    tensor.name = from->name;
    tensor.group = group.group;
    tensor.n_shape = from->rank;
    tensor.shape = (uint64_t *)(uintptr_t)from->shape;
    tensor.blocks = from->blocks;
    answer.request_id = stat->request_id;
    answer.model = &info;
    answer.n_counters = answer.n_groups = answer.n_optimizers = answer.n_tensors = 1;
    answer.counters = counters;
    answer.groups = groups;
    answer.optimizers = optimizers;
    answer.tensors = tensors;
    answer.more = stat->first_tensor + 1 < definition->tensor_count;
    fake_conn_send(conn, PD_KIND_STATED, &answer.base, NULL, 0, 0);
}

/* The definition goes out in two frames, so that pieces are put together. */
static void stat_definition(struct fake_conn *conn, const Paramd__Stat *stat)
{
    struct fake_server *server = conn->server;
    Paramd__ModelInfo info;
    Paramd__Stated answer = PARAMD__STATED__INIT;
    answer.request_id = stat->request_id;
    if (server->definition == NULL || strcmp(stat->model, server->definition->name) != 0) {
        fake_error(conn, PARAMD_NOT_FOUND, "no such model");
        return;
    }
    if (!stat->definition) {
        stat_figures(conn, stat);
        return;
    }
    model_info(server, &info);
    answer.model = &info;
    size_t half = server->definition_count / 2;
    fake_conn_send(conn, PD_KIND_STATED, &answer.base, server->definition_bytes, half,
                   PD_FRAME_MORE);
    fake_conn_send(conn, PD_KIND_STATED, &answer.base, server->definition_bytes + half,
                   server->definition_count - half, 0);
}

static void list_models(struct fake_conn *conn)
{
    Paramd__ModelInfo info;
    Paramd__ModelInfo *infos[1] = {&info};
    Paramd__Listed listed = PARAMD__LISTED__INIT;
    listed.request_id = pd_request_id(conn->message);
    if (conn->server->definition != NULL) {
        model_info(conn->server, &info);
        listed.n_models = 1;
        listed.models = infos;
    }
    fake_conn_send(conn, PD_KIND_LISTED, &listed.base, NULL, 0, 0);
}

static void pong(struct fake_conn *conn)
{
    Paramd__Pong message = PARAMD__PONG__INIT;
    message.request_id = pd_request_id(conn->message);
    fake_conn_send(conn, PD_KIND_PONG, &message.base, NULL, 0, 0);
}

static void snapshot(struct fake_conn *conn, const Paramd__Snapshot *message)
{
    Paramd__Snapshotted answer = PARAMD__SNAPSHOTTED__INIT;
    if (conn->server->faults.mute_snapshots > 0) {
        conn->server->faults.mute_snapshots--;
        return;
    }
    answer.request_id = message->request_id;
    answer.number = 3;
    answer.bytes = 1000;
    answer.us = 20;
    answer.held_us = message->pause ? 10 : 0;
    fake_conn_send(conn, PD_KIND_SNAPSHOTTED, &answer.base, NULL, 0, 0);
}

static void control(struct fake_conn *conn)
{
    struct fake_server *server = conn->server;
    if (server->faults.busy_calls > 0 && conn->reader.kind != PD_KIND_HELLO &&
        conn->reader.kind != PD_KIND_ATTACH) {
        server->faults.busy_calls--;
        fake_error(conn, PARAMD_BUSY, "try again");
        return;
    }
    switch (conn->reader.kind) {
    case PD_KIND_HELLO:
        hello(conn);
        break;
    case PD_KIND_CREATE:
        create_model(conn, (const Paramd__Create *)conn->message);
        break;
    case PD_KIND_ATTACH:
        attach_session(conn, (const Paramd__Attach *)conn->message);
        break;
    case PD_KIND_SET:
        server->learning_rate = (float)((const Paramd__Set *)conn->message)->hypers[0]->number;
        fake_done(conn);
        break;
    case PD_KIND_STAT:
        stat_definition(conn, (const Paramd__Stat *)conn->message);
        break;
    case PD_KIND_LIST:
        list_models(conn);
        break;
    case PD_KIND_PING:
        pong(conn);
        break;
    case PD_KIND_SNAPSHOT:
        snapshot(conn, (const Paramd__Snapshot *)conn->message);
        break;
    case PD_KIND_DELETE:
        if (server->definition == NULL) {
            fake_error(conn, PARAMD_NOT_FOUND, "no such model");
            break;
        }
        fake_server_forget(server);
        fake_done(conn);
        break;
    case PD_KIND_GOODBYE:
        server->sessions[conn->session].known = false;
        fake_done(conn);
        break;
    default:
        fake_done(conn);
        break;
    }
}

/* ---- In ---- */

static void whole(struct fake_conn *conn)
{
    struct fake_server *server = conn->server;
    server->frames[conn->reader.kind]++;
    server->last_request = pd_request_id(conn->message);
    server->payload_sums_seen |= (conn->reader.flags & PD_FRAME_PAYLOAD_SUM) != 0;
    if (server->faults.mute) {
        return;
    }
    switch (conn->reader.kind) {
    case PD_KIND_INIT:
    case PD_KIND_PUSH:
    case PD_KIND_PUSH_PULL:
    case PD_KIND_PULL:
    case PD_KIND_SKIP:
        fake_data_frame(conn);
        break;
    default:
        control(conn);
        break;
    }
}

static size_t feed_preamble(struct fake_conn *conn, const uint8_t *bytes, size_t count)
{
    size_t take = PD_PREAMBLE_BYTES - conn->preamble_bytes;
    take = take < count ? take : count;
    memcpy(conn->preamble + conn->preamble_bytes, bytes, take);
    conn->preamble_bytes += take;
    if (conn->preamble_bytes == PD_PREAMBLE_BYTES) {
        struct pd_preamble preamble;
        if (pd_preamble_read(conn->preamble, &preamble) != PARAMD_OK) {
            abort();
        }
        if ((preamble.flags & PD_PREAMBLE_SHARED_MEMORY) != 0) {
            uint8_t none[PD_SHARED_ANSWER_BYTES];
            pd_shared_answer_write(0, none);
            fake_conn_send_raw(conn, none, sizeof none);
        }
        conn->shard = preamble.shard < conn->server->shards ? preamble.shard : 0;
    }
    return take;
}

void fake_conn_feed(struct fake_conn *conn, const uint8_t *bytes, size_t count)
{
    size_t taken = conn->preamble_bytes < PD_PREAMBLE_BYTES ? feed_preamble(conn, bytes, count) : 0;
    struct pd_frame_reader *reader = &conn->reader;
    while (!conn->closed) {
        switch (reader->state) {
        case PD_FRAME_HEAD:
        case PD_FRAME_PAYLOAD:
            if (taken == count) {
                return;
            }
            taken += pd_frame_reader_feed(reader, bytes + taken, count - taken);
            break;
        case PD_FRAME_WANTS_PAYLOAD:
            conn->message = pd_decode(pd_kind_descriptor(reader->kind), &conn->arena,
                                      reader->header, reader->header_bytes);
            conn->span = (struct pd_span){conn->payload, reader->payload_bytes};
            pd_frame_reader_place(reader, &conn->span, reader->payload_bytes > 0);
            break;
        case PD_FRAME_WHOLE:
            whole(conn);
            pd_arena_reset(&conn->arena);
            pd_frame_reader_next(reader);
            break;
        case PD_FRAME_FAILED:
            conn->closed = true;
            break;
        }
    }
}
