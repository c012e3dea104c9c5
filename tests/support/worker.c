/* Requests as a worker makes them. */
#include "tests/support/worker.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"

/* ---- plans ---- */

uint32_t pd_plan_block_elements(const struct pd_plan *plan)
{
    return plan->block_elements != 0 ? plan->block_elements : 1024;
}

uint64_t pd_plan_blocks(const struct pd_plan *plan, uint32_t tensor)
{
    return pd_tensor_blocks(plan->tensor[tensor].elements, pd_plan_block_elements(plan));
}

uint32_t pd_plan_elements(const struct pd_plan *plan, uint32_t tensor, uint64_t block)
{
    return pd_block_elements(plan->tensor[tensor].elements, pd_plan_block_elements(plan), block);
}

uint32_t pd_plan_slot(const struct pd_plan *plan, uint32_t tensor, uint64_t block)
{
    uint64_t in_model = block;
    for (uint32_t i = 0; i < tensor; i++) {
        in_model += pd_plan_blocks(plan, i);
    }
    return pd_slot_of_block(pd_slot_first(plan->name), in_model);
}

struct pd_plan pd_plan_ledger(const char *name, uint64_t elements)
{
    return (struct pd_plan){
        .name = name,
        .tensors = 1,
        .tensor = {{.elements = elements, .init = PARAMD__INITIALISER__ZEROS}},
    };
}

static void fill_group(const struct pd_plan_group *plan, unsigned place, char name[16],
                       Paramd__Group *group, Paramd__Hyper *hypers, Paramd__Hyper **pointers)
{
    (void)snprintf(name, 16, "g%u", place);
    paramd__group__init(group);
    group->name = plan->name != NULL ? (char *)(uintptr_t)plan->name : name;
    group->optimizer = (char *)(uintptr_t)(plan->optimizer != NULL ? plan->optimizer : "sgd");
    group->hypers = pointers;
    for (unsigned i = 0; i < plan->hypers; i++) {
        paramd__hyper__init(&hypers[i]);
        hypers[i].name = (char *)(uintptr_t)plan->hyper[i].name;
        hypers[i].number = plan->hyper[i].number;
        if (plan->hyper[i].text != NULL) {
            hypers[i].text = (char *)(uintptr_t)plan->hyper[i].text;
        }
        pointers[i] = &hypers[i];
    }
    group->n_hypers = plan->hypers;
    if (plan->optimizer == NULL && plan->hypers == 0) {
        paramd__hyper__init(&hypers[0]);
        hypers[0].name = "maximize";
        hypers[0].number = 1;
        paramd__hyper__init(&hypers[1]);
        hypers[1].name = "lr";
        hypers[1].number = 1;
        pointers[0] = &hypers[0];
        pointers[1] = &hypers[1];
        group->n_hypers = 2;
    }
}

uint8_t *pd_plan_bytes(const struct pd_plan *plan, size_t *ret_count)
{
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    Paramd__Group groups[PD_PLAN_GROUPS];
    Paramd__Group *group_pointers[PD_PLAN_GROUPS];
    Paramd__Hyper hypers[PD_PLAN_GROUPS][PD_PLAN_HYPERS];
    Paramd__Hyper *hyper_pointers[PD_PLAN_GROUPS][PD_PLAN_HYPERS];
    Paramd__Tensor tensors[PD_PLAN_TENSORS];
    Paramd__Tensor *tensor_pointers[PD_PLAN_TENSORS];
    uint64_t shapes[PD_PLAN_TENSORS];
    char names[PD_PLAN_TENSORS + PD_PLAN_GROUPS][16];
    message.n_groups = plan->groups != 0 ? plan->groups : 1;
    message.groups = group_pointers;
    for (unsigned i = 0; i < message.n_groups; i++) {
        fill_group(&plan->group[i], i, names[PD_PLAN_TENSORS + i], &groups[i], hypers[i],
                   hyper_pointers[i]);
        group_pointers[i] = &groups[i];
    }
    message.n_tensors = plan->tensors;
    message.tensors = tensor_pointers;
    message.block_elements = pd_plan_block_elements(plan);
    message.ack_level = plan->logged ? PARAMD__ACK_LEVEL__LOGGED : PARAMD__ACK_LEVEL__APPLIED;
    for (unsigned i = 0; i < plan->tensors; i++) {
        const struct pd_plan_tensor *tensor = &plan->tensor[i];
        (void)snprintf(names[i], sizeof names[i], "t%u", i);
        paramd__tensor__init(&tensors[i]);
        tensors[i].name = names[i];
        shapes[i] = tensor->elements;
        tensors[i].shape = &shapes[i];
        tensors[i].n_shape = 1;
        tensors[i].group = tensor->group;
        tensors[i].init = tensor->init;
        tensors[i].a = tensor->a;
        tensors[i].b = tensor->b;
        tensors[i].seed = tensor->seed;
        tensor_pointers[i] = &tensors[i];
    }
    uint8_t *bytes = malloc(protobuf_c_message_get_packed_size(&message.base));
    ck_assert_ptr_nonnull(bytes);
    *ret_count = protobuf_c_message_pack(&message.base, bytes);
    return bytes;
}

/* ---- frames ---- */

uint8_t *pd_frame_bytes(enum pd_kind kind, unsigned flags, const ProtobufCMessage *header,
                        const void *payload, size_t payload_bytes, size_t *ret_count)
{
    size_t head_bytes = pd_frame_head_bytes(header);
    struct pd_span span = {(uint8_t *)(uintptr_t)payload, payload_bytes};
    ck_assert_uint_gt(head_bytes, 0);
    uint8_t *bytes = malloc(head_bytes + payload_bytes);
    ck_assert_ptr_nonnull(bytes);
    uint64_t sum = (flags & PD_FRAME_PAYLOAD_SUM) != 0 ? pd_payload_sum(&span, 1) : 0;
    pd_frame_head_write(bytes, kind, flags, header, (uint32_t)payload_bytes, sum);
    if (payload_bytes > 0) {
        memcpy(bytes + head_bytes, payload, payload_bytes);
    }
    *ret_count = head_bytes + payload_bytes;
    return bytes;
}

void pd_send(struct pd_wire *wire, enum pd_kind kind, const ProtobufCMessage *header,
             const void *payload, size_t payload_bytes)
{
    size_t count;
    uint8_t *bytes = pd_frame_bytes(kind, payload_bytes > 0 ? PD_FRAME_PAYLOAD_SUM : 0, header,
                                    payload, payload_bytes, &count);
    pd_wire_send(wire, bytes, count);
    free(bytes);
}

/* ---- models and sessions ---- */

struct pd_worker pd_worker_named(unsigned number)
{
    struct pd_worker worker = {.nonce = 1000 + number};
    for (unsigned i = 0; i < PD_SESSION_BYTES; i++) {
        worker.bits[i] = (uint8_t)(number * 31 + i);
    }
    return worker;
}

void pd_send_create(struct pd_wire *wire, const struct pd_worker *worker,
                    const struct pd_plan *plan)
{
    Paramd__Create create = PARAMD__CREATE__INIT;
    size_t count;
    uint8_t *definition = pd_plan_bytes(plan, &count);
    create.request_id = pd_wire_request_id(wire);
    create.model = (char *)(uintptr_t)plan->name;
    create.session.data = (uint8_t *)(uintptr_t)worker->bits;
    create.session.len = PD_SESSION_BYTES;
    create.nonce = worker->nonce;
    pd_send(wire, PD_KIND_CREATE, &create.base, definition, count);
    free(definition);
}

const Paramd__Created *pd_create(struct pd_wire *wire, struct pd_worker *worker,
                                 const struct pd_plan *plan)
{
    pd_send_create(wire, worker, plan);
    const Paramd__Created *created = pd_wire_expect(wire, PD_KIND_CREATED);
    ck_assert_uint_eq(created->request_id, wire->request_id);
    worker->model = created->model;
    worker->generation = created->generation;
    worker->attempt = created->attempt;
    return created;
}

void pd_send_attach(struct pd_wire *wire, const struct pd_worker *worker, const char *model,
                    Paramd__AttachMode mode)
{
    Paramd__Attach attach = PARAMD__ATTACH__INIT;
    attach.request_id = pd_wire_request_id(wire);
    attach.model = (char *)(uintptr_t)model;
    attach.session.data = (uint8_t *)(uintptr_t)worker->bits;
    attach.session.len = PD_SESSION_BYTES;
    attach.nonce = worker->nonce;
    attach.mode = mode;
    pd_send(wire, PD_KIND_ATTACH, &attach.base, NULL, 0);
}

const Paramd__Attached *pd_attach(struct pd_wire *wire, struct pd_worker *worker, const char *model,
                                  Paramd__AttachMode mode)
{
    pd_send_attach(wire, worker, model, mode);
    const Paramd__Attached *attached = pd_wire_expect(wire, PD_KIND_ATTACHED);
    ck_assert_uint_eq(attached->request_id, wire->request_id);
    worker->model = attached->model;
    worker->generation = attached->generation;
    return attached;
}

void pd_join(struct pd_wire *wire, struct pd_worker *worker, const struct pd_plan *plan)
{
    (void)pd_create(wire, worker, plan);
    (void)pd_attach(wire, worker, plan->name, PARAMD__ATTACH_MODE__NEW);
    pd_rig_pass(wire->rig, 1);
}

void pd_send_init(struct pd_wire *wire, const struct pd_worker *worker, const struct pd_plan *plan,
                  uint32_t tensor, uint64_t block, Paramd__Part part, float value, uint64_t step)
{
    Paramd__Init init = PARAMD__INIT__INIT;
    uint32_t elements = pd_plan_elements(plan, tensor, block);
    float *values = malloc(elements * sizeof *values);
    ck_assert_ptr_nonnull(values);
    for (uint32_t i = 0; i < elements; i++) {
        values[i] = value;
    }
    init.request_id = pd_wire_request_id(wire);
    init.model = worker->model;
    init.attempt = worker->attempt;
    init.part = part;
    init.n_tensor = init.n_block = init.n_step = 1;
    init.tensor = &tensor;
    init.block = &block;
    init.step = &step;
    pd_send(wire, PD_KIND_INIT, &init.base, values, elements * sizeof *values);
    free(values);
}

/* ---- pushes ---- */

void pd_push_begin(struct pd_push *push, const struct pd_worker *worker, enum pd_kind kind)
{
    paramd__push__init(&push->header);
    push->kind = kind;
    push->header.model = worker->model;
    push->header.generation = worker->generation;
    push->header.tensor = push->tensor;
    push->header.block = push->block;
    push->header.push_id = push->push_id;
    push->header.base_version = push->base_version;
    push->payload = NULL;
    push->payload_bytes = 0;
}

void pd_push_add_values(struct pd_push *push, uint32_t tensor, uint64_t block, uint64_t push_id,
                        uint64_t base_version, const void *values, size_t bytes)
{
    size_t i = push->header.n_tensor;
    ck_assert_uint_lt(i, PD_PUSH_ENTRIES);
    push->tensor[i] = tensor;
    push->block[i] = block;
    push->push_id[i] = push_id;
    push->base_version[i] = base_version;
    push->header.n_tensor = push->header.n_block = push->header.n_push_id =
        push->header.n_base_version = i + 1;
    uint8_t *payload = realloc(push->payload, push->payload_bytes + bytes);
    ck_assert_ptr_nonnull(payload);
    memcpy(payload + push->payload_bytes, values, bytes);
    push->payload = payload;
    push->payload_bytes += bytes;
}

void pd_push_add(struct pd_push *push, const struct pd_plan *plan, uint32_t tensor, uint64_t block,
                 uint64_t push_id, uint64_t base_version, float value)
{
    enum pd_dtype dtype = (enum pd_dtype)push->header.dtype;
    uint32_t elements = pd_plan_elements(plan, tensor, block);
    size_t bytes = elements * pd_dtype_bytes(dtype);
    uint8_t *values = malloc(bytes);
    ck_assert_ptr_nonnull(values);
    for (uint32_t i = 0; i < elements; i++) {
        pd_dtype_narrow(dtype, &value, values + i * pd_dtype_bytes(dtype), 1);
    }
    pd_push_add_values(push, tensor, block, push_id, base_version, values, bytes);
    free(values);
}

uint8_t *pd_push_bytes(struct pd_push *push, struct pd_wire *wire, size_t *ret_count)
{
    push->header.request_id = pd_wire_request_id(wire);
    uint8_t *bytes = pd_frame_bytes(push->kind, PD_FRAME_PAYLOAD_SUM, &push->header.base,
                                    push->payload, push->payload_bytes, ret_count);
    free(push->payload);
    push->payload = NULL;
    return bytes;
}

void pd_push_send(struct pd_push *push, struct pd_wire *wire)
{
    size_t count;
    uint8_t *bytes = pd_push_bytes(push, wire, &count);
    pd_wire_send(wire, bytes, count);
    free(bytes);
}

void pd_push_one(struct pd_wire *wire, struct pd_worker *worker, const struct pd_plan *plan,
                 uint32_t tensor, uint64_t block, float value)
{
    struct pd_push push;
    pd_push_begin(&push, worker, PD_KIND_PUSH);
    pd_push_add(&push, plan, tensor, block, ++worker->ids[pd_plan_slot(plan, tensor, block)], 0,
                value);
    pd_push_send(&push, wire);
}

/* ---- pulls ---- */

void pd_send_pull(struct pd_wire *wire, const struct pd_worker *worker, uint32_t tensor,
                  uint64_t block, unsigned parts, uint64_t newer_than)
{
    Paramd__Pull pull = PARAMD__PULL__INIT;
    pull.request_id = pd_wire_request_id(wire);
    pull.model = worker->model;
    pull.generation = worker->generation;
    pull.parts = parts;
    pull.n_tensor = pull.n_block = pull.n_newer_than = 1;
    pull.tensor = &tensor;
    pull.block = &block;
    pull.newer_than = &newer_than;
    pd_send(wire, PD_KIND_PULL, &pull.base, NULL, 0);
}

const Paramd__Blocks *pd_pull(struct pd_wire *wire, const struct pd_worker *worker, uint32_t tensor,
                              uint64_t block, unsigned parts)
{
    pd_send_pull(wire, worker, tensor, block, parts, 0);
    const Paramd__Blocks *blocks = pd_wire_expect(wire, PD_KIND_BLOCKS);
    ck_assert_uint_eq(blocks->request_id, wire->request_id);
    ck_assert_uint_eq(blocks->n_tensor, 1);
    ck_assert_uint_eq(blocks->tensor[0], tensor);
    ck_assert_uint_eq(blocks->block[0], block);
    return blocks;
}

const float *pd_values(const struct pd_wire *wire)
{
    return (const float *)(const void *)wire->answer.payload;
}

/* ---- the rest ---- */

void pd_send_skip(struct pd_wire *wire, const struct pd_worker *worker, uint32_t slot,
                  uint64_t from, uint64_t to)
{
    Paramd__Skip skip = PARAMD__SKIP__INIT;
    skip.request_id = pd_wire_request_id(wire);
    skip.model = worker->model;
    skip.slot = slot;
    skip.from = from;
    skip.to = to;
    pd_send(wire, PD_KIND_SKIP, &skip.base, NULL, 0);
}

void pd_send_set(struct pd_wire *wire, const char *model, const char *group, const char *name,
                 double number, uint64_t clock)
{
    Paramd__Set set = PARAMD__SET__INIT;
    Paramd__Hyper hyper = PARAMD__HYPER__INIT;
    Paramd__Hyper *hypers[] = {&hyper};
    hyper.name = (char *)(uintptr_t)name;
    hyper.number = number;
    set.request_id = pd_wire_request_id(wire);
    set.model = (char *)(uintptr_t)model;
    set.group = (char *)(uintptr_t)group;
    set.hypers = hypers;
    set.n_hypers = 1;
    set.clock = clock;
    pd_send(wire, PD_KIND_SET, &set.base, NULL, 0);
}

void pd_send_delete(struct pd_wire *wire, const char *model, uint64_t number)
{
    Paramd__Delete message = PARAMD__DELETE__INIT;
    message.request_id = pd_wire_request_id(wire);
    message.model = (char *)(uintptr_t)model;
    message.number = number;
    pd_send(wire, PD_KIND_DELETE, &message.base, NULL, 0);
}

double pd_counter(struct pd_wire *wire, const char *model, const char *name)
{
    Paramd__Stat stat = PARAMD__STAT__INIT;
    stat.request_id = pd_wire_request_id(wire);
    if (model != NULL) {
        stat.model = (char *)(uintptr_t)model;
    }
    pd_send(wire, PD_KIND_STAT, &stat.base, NULL, 0);
    const Paramd__Stated *stated = pd_wire_expect(wire, PD_KIND_STATED);
    for (size_t i = 0; i < stated->n_counters; i++) {
        if (strcmp(stated->counters[i]->name, name) == 0) {
            return stated->counters[i]->value;
        }
    }
    ck_abort_msg("no counter is named %s", name);
    return 0;
}
