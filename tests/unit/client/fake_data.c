/* Blocks and push ids as a right daemon keeps them, in the plainest way. */
#include "tests/unit/client/fake_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"

void fake_data_make_blocks(struct fake_server *server)
{
    const struct pd_definition *definition = server->definition;
    server->blocks = calloc(definition->block_count, sizeof *server->blocks);
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const struct pd_tensor_def *tensor = &definition->tensors[i];
        for (uint64_t block = 0; block < tensor->blocks; block++) {
            struct fake_block *to = &server->blocks[tensor->first_block + block];
            to->elements = pd_block_elements(tensor->elements, definition->block_elements, block);
            for (unsigned part = 0; part < FAKE_PARTS; part++) {
                to->parts[part] = calloc(to->elements, sizeof(float));
            }
            to->version = tensor->init != PARAMD__INITIALISER__CLIENT;
        }
    }
}

void fake_data_drop_values(struct fake_server *server)
{
    for (uint64_t i = 0; i < server->definition->block_count; i++) {
        server->blocks[i].version = 0;
        for (unsigned part = 0; part < FAKE_PARTS; part++) {
            memset(server->blocks[i].parts[part], 0, server->blocks[i].elements * sizeof(float));
        }
    }
}

void fake_data_check_ready(struct fake_server *server)
{
    for (uint64_t i = 0; i < server->definition->block_count; i++) {
        if (server->blocks[i].version == 0) {
            return;
        }
    }
    server->ready = true;
}

static uint64_t block_number(const struct fake_server *server, uint32_t tensor, uint64_t block)
{
    if (tensor >= server->definition->tensor_count ||
        block >= server->definition->tensors[tensor].blocks) {
        abort(); /* a client that asks for what is not there */
    }
    return server->definition->tensors[tensor].first_block + block;
}

static uint32_t slot_of(const struct fake_server *server, uint64_t number)
{
    return pd_slot_of_block(server->definition->first_slot, number);
}

/* ---- BLOCKS ---- */

struct answer {
    struct fake_conn *conn;
    uint64_t request_id;
    uint32_t dtype;
    uint32_t tensor[PD_ENTRIES_MAX];
    uint64_t block[PD_ENTRIES_MAX];
    uint64_t version[PD_ENTRIES_MAX];
    uint64_t step[PD_ENTRIES_MAX];
    size_t count;
};

static void send_blocks(const struct answer *answer, size_t from, size_t count, uint32_t part,
                        bool last)
{
    const struct fake_server *server = answer->conn->server;
    size_t width = pd_dtype_bytes((enum pd_dtype)answer->dtype);
    uint8_t *payload = malloc(PD_PAYLOAD_BYTES_MAX);
    size_t bytes = 0;
    for (size_t i = from; i < from + count; i++) {
        const struct fake_block *block =
            &server->blocks[block_number(server, answer->tensor[i], answer->block[i])];
        pd_dtype_narrow((enum pd_dtype)answer->dtype, block->parts[part], payload + bytes,
                        block->elements);
        bytes += block->elements * width;
    }
    Paramd__Blocks blocks = PARAMD__BLOCKS__INIT;
    blocks.request_id = answer->request_id;
    blocks.model = server->number;
    blocks.generation = server->generation;
    blocks.dtype = answer->dtype;
    blocks.part = (Paramd__Part)part;
    blocks.n_tensor = blocks.n_block = blocks.n_version = blocks.n_step = count;
    blocks.tensor = (uint32_t *)(uintptr_t)(answer->tensor + from);
    blocks.block = (uint64_t *)(uintptr_t)(answer->block + from);
    blocks.version = (uint64_t *)(uintptr_t)(answer->version + from);
    blocks.step = (uint64_t *)(uintptr_t)(answer->step + from);
    blocks.last = last;
    fake_conn_send(answer->conn, PD_KIND_BLOCKS, &blocks.base, payload, bytes, 0);
    free(payload);
}

/* Runs of blocks up to 256 KiB, each part in a frame of its own, and an empty last frame. */
static void send_answer(struct answer *answer, uint32_t parts)
{
    const struct fake_server *server = answer->conn->server;
    for (size_t from = 0; from < answer->count;) {
        size_t count = 0;
        size_t bytes = 0;
        while (from + count < answer->count && (count == 0 || bytes < PD_PACKED_BYTES / 2)) {
            size_t i = from + count++;
            bytes +=
                server->blocks[block_number(server, answer->tensor[i], answer->block[i])].elements *
                4;
        }
        for (uint32_t part = 0; part < FAKE_PARTS; part++) {
            if ((parts >> part & 1) != 0) {
                send_blocks(answer, from, count, part, false);
            }
        }
        from += count;
    }
    send_blocks(answer, 0, 0, 0, true);
}

static void add_block(struct answer *answer, uint32_t tensor, uint64_t block)
{
    const struct fake_server *server = answer->conn->server;
    const struct fake_block *from = &server->blocks[block_number(server, tensor, block)];
    answer->tensor[answer->count] = tensor;
    answer->block[answer->count] = block;
    answer->version[answer->count] = from->version;
    answer->step[answer->count++] = from->step;
}

/* ---- Requests ---- */

static void on_pull(struct fake_conn *conn, const Paramd__Pull *pull)
{
    struct fake_server *server = conn->server;
    struct answer *answer = calloc(1, sizeof *answer);
    answer->conn = conn;
    answer->request_id = pull->request_id;
    answer->dtype = pull->dtype;
    for (size_t i = 0; i < pull->n_tensor; i++) {
        const struct fake_block *block =
            &server->blocks[block_number(server, pull->tensor[i], pull->block[i])];
        uint64_t newer_than = pull->generation == server->generation ? pull->newer_than[i] : 0;
        if (newer_than == 0 || block->version != newer_than) {
            add_block(answer, pull->tensor[i], pull->block[i]);
        }
    }
    server->entries[PD_KIND_PULL] += (unsigned)pull->n_tensor;
    send_answer(answer, pull->parts == 0 ? 1 : pull->parts);
    free(answer);
}

static void apply(struct fake_server *server, struct fake_block *block, const Paramd__Push *push,
                  const uint8_t *bytes)
{
    float *gradient = malloc(block->elements * sizeof(float));
    pd_dtype_widen((enum pd_dtype)push->dtype, bytes, gradient, block->elements);
    float scale = push->scale < 0 || push->scale > 0 ? push->scale : 1;
    for (uint32_t i = 0; i < block->elements; i++) {
        block->parts[0][i] += scale * gradient[i];
    }
    free(gradient);
    block->version++;
    block->step++;
    server->applied++;
}

/* The result of one entry; ret_version goes into the ACK. */
static int push_entry(struct fake_conn *conn, const Paramd__Push *push, size_t i,
                      const uint8_t *bytes, uint64_t *ret_version)
{
    struct fake_server *server = conn->server;
    uint64_t number = block_number(server, push->tensor[i], push->block[i]);
    struct fake_block *block = &server->blocks[number];
    struct fake_session *session = &server->sessions[conn->session];
    uint32_t slot = slot_of(server, number);
    uint64_t *last = &session->last[slot];
    *ret_version = block->version;
    server->base_version = push->base_version[i];
    if (server->faults.moved_entries > 0) {
        server->faults.moved_entries--;
        return PARAMD_MOVED;
    }
    if (push->push_id[i] <= *last) {
        uint64_t back = *last - push->push_id[i];
        return back < 64 && (session->refused[slot] >> back & 1) != 0 ? PARAMD_REFUSED : PARAMD_OK;
    }
    if (push->push_id[i] != *last + 1) {
        *ret_version = *last + 1;
        return PARAMD_EXPECTED;
    }
    float first;
    pd_dtype_widen((enum pd_dtype)push->dtype, bytes, &first, 1);
    ++*last;
    session->refused[slot] <<= 1;
    if (server->faults.refuse_not_finite && !isfinite(first)) {
        session->refused[slot] |= 1;
        return PARAMD_NOT_FINITE;
    }
    apply(server, block, push, bytes);
    *ret_version = block->version;
    return PARAMD_OK;
}

static void on_push(struct fake_conn *conn, const Paramd__Push *push)
{
    struct fake_server *server = conn->server;
    uint32_t *slots = calloc(push->n_tensor, sizeof *slots);
    int32_t *statuses = calloc(push->n_tensor, sizeof *statuses);
    uint64_t *versions = calloc(push->n_tensor, sizeof *versions);
    struct answer *answer = calloc(1, sizeof *answer);
    answer->conn = conn;
    answer->request_id = push->request_id;
    answer->dtype = push->dtype;
    const uint8_t *bytes = conn->payload;
    bool moved = false;
    for (size_t i = 0; i < push->n_tensor; i++) {
        uint64_t number = block_number(server, push->tensor[i], push->block[i]);
        slots[i] = slot_of(server, number);
        statuses[i] = push_entry(conn, push, i, bytes, &versions[i]);
        bytes += server->blocks[number].elements * pd_dtype_bytes((enum pd_dtype)push->dtype);
        moved |= statuses[i] == PARAMD_MOVED;
        if (statuses[i] != PARAMD_MOVED && statuses[i] != PARAMD_EXPECTED) {
            add_block(answer, push->tensor[i], push->block[i]);
        }
    }
    server->entries[conn->reader.kind] += (unsigned)push->n_tensor;
    server->weight += push->weight;
    Paramd__Ack ack = PARAMD__ACK__INIT;
    ack.request_id = push->request_id;
    ack.model = server->number;
    ack.n_slot = ack.n_push_id = ack.n_status = ack.n_version = push->n_tensor;
    ack.slot = slots;
    ack.push_id = push->push_id;
    ack.status = statuses;
    ack.version = versions;
    if (server->faults.cut_after_apply > 0) {
        server->faults.cut_after_apply--;
        conn->closed = true;
    } else {
        fake_conn_send(conn, PD_KIND_ACK, &ack.base, NULL, 0, 0);
        if (conn->reader.kind == PD_KIND_PUSH_PULL) {
            send_answer(answer, 1);
        }
        if (moved) {
            fake_moved(conn, 0);
        }
    }
    free(slots);
    free(statuses);
    free(versions);
    free(answer);
}

static void on_init(struct fake_conn *conn, const Paramd__Init *init)
{
    struct fake_server *server = conn->server;
    if (init->attempt != server->attempt ||
        memcmp(server->initialiser, server->sessions[conn->session].id, PD_SESSION_BYTES) != 0) {
        fake_error(conn, PARAMD_NOT_INITIALISER, "another session initialises");
        return;
    }
    const uint8_t *bytes = conn->payload;
    for (size_t i = 0; i < init->n_tensor; i++) {
        struct fake_block *block =
            &server->blocks[block_number(server, init->tensor[i], init->block[i])];
        if (block->version == 0) {
            memcpy(block->parts[init->part], bytes, block->elements * sizeof(float));
        }
        bytes += block->elements * sizeof(float);
        if (init->part == PARAMD__PART__WEIGHTS && block->version == 0) {
            block->version = 1;
            block->step = init->step[i];
        }
    }
    fake_data_check_ready(server);
    fake_done(conn);
}

static void on_skip(struct fake_conn *conn, const Paramd__Skip *skip)
{
    struct fake_session *session = &conn->server->sessions[conn->session];
    uint64_t *last = &session->last[skip->slot];
    Paramd__Skipped answer = PARAMD__SKIPPED__INIT;
    answer.request_id = skip->request_id;
    if (skip->from <= *last) {
        answer.status = PARAMD_ALREADY;
    } else if (skip->from != *last + 1) {
        answer.status = PARAMD_EXPECTED;
    } else {
        for (; *last < skip->to; ++*last) {
            session->refused[skip->slot] = session->refused[skip->slot] << 1 | 1;
        }
    }
    answer.last = *last;
    answer.refused_mask = session->refused[skip->slot];
    if (conn->server->faults.cut_after_skip > 0) {
        conn->server->faults.cut_after_skip--;
        conn->closed = true;
        return;
    }
    fake_conn_send(conn, PD_KIND_SKIPPED, &answer.base, NULL, 0, 0);
}

/* Refuses the whole frame if a fault says so. */
static bool refused(struct fake_conn *conn)
{
    struct fake_faults *faults = &conn->server->faults;
    enum pd_kind kind = (enum pd_kind)conn->reader.kind;
    if (faults->not_attached > 0 || !conn->attached) {
        faults->not_attached -= faults->not_attached > 0;
        conn->attached = false;
        fake_error(conn, PARAMD_NOT_ATTACHED, "send ATTACH first");
    } else if (conn->server->definition == NULL) {
        fake_error(conn, PARAMD_NOT_FOUND, "no such model");
    } else if (faults->busy_frames > 0 && kind != PD_KIND_SKIP) {
        faults->busy_frames--;
        fake_error(conn, PARAMD_BUSY, "try again");
    } else if (faults->moved_requests > 0 && kind == PD_KIND_PULL) {
        faults->moved_requests--;
        fake_moved(conn, pd_request_id(conn->message));
    } else if (faults->invalid_frames > 0 && kind == PD_KIND_PUSH) {
        faults->invalid_frames--;
        fake_error(conn, PARAMD_INVALID, "a value is not allowed");
    } else if (!conn->server->ready && kind != PD_KIND_INIT && kind != PD_KIND_SKIP) {
        fake_error(conn, PARAMD_NOT_READY, "no values yet");
    } else {
        return false;
    }
    return true;
}

void fake_data_frame(struct fake_conn *conn)
{
    if (refused(conn)) {
        return;
    }
    switch (conn->reader.kind) {
    case PD_KIND_PULL:
        on_pull(conn, (const Paramd__Pull *)conn->message);
        break;
    case PD_KIND_INIT:
        on_init(conn, (const Paramd__Init *)conn->message);
        break;
    case PD_KIND_SKIP:
        on_skip(conn, (const Paramd__Skip *)conn->message);
        break;
    default:
        on_push(conn, (const Paramd__Push *)conn->message);
        break;
    }
}
