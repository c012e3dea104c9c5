/* Ops (what the public header calls tickets) and their units, one for each block: started,
 * finished, cancelled. */
#include "client/core/state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* ---- Lists of units ---- */

/* The same number from a unit's start to its end in a list: neither depends on `answered` or
 * `cancelled`. */
static size_t out_bytes(const struct pd_unit *unit)
{
    return unit->op->kind == PD_OP_PULL ? 0 : pd_unit_bytes(unit);
}

void pd_units_append(struct pd_units *units, struct pd_unit *unit)
{
    DL_APPEND(units->head, unit);
    unit->home = units;
    units->count++;
    units->bytes += out_bytes(unit);
}

static void prepend(struct pd_units *units, struct pd_unit *unit)
{
    DL_PREPEND(units->head, unit);
    unit->home = units;
    units->count++;
    units->bytes += out_bytes(unit);
}

void pd_unit_unlink(struct pd_unit *unit)
{
    struct pd_units *units = unit->home;
    DL_DELETE(units->head, unit);
    units->count--;
    units->bytes -= out_bytes(unit);
    unit->home = NULL;
}

void pd_units_move_front(struct pd_units *to, struct pd_units *from)
{
    while (from->head != NULL) {
        struct pd_unit *last = from->head->prev;
        pd_unit_unlink(last);
        prepend(to, last);
    }
}

/* ---- What a unit is ---- */

static const struct pd_op_entry *entry_of(const struct pd_unit *unit)
{
    return &unit->op->entries[unit->entry];
}

static const struct pd_tensor_def *tensor_of(const struct pd_unit *unit)
{
    return &unit->op->session->definition->tensors[entry_of(unit)->tensor];
}

uint32_t pd_unit_tensor(const struct pd_unit *unit)
{
    return entry_of(unit)->tensor;
}

static size_t block_offset(const struct pd_unit *unit)
{
    return (size_t)(unit->block - entry_of(unit)->first_block) *
           unit->op->session->definition->block_elements * pd_dtype_bytes(unit->op->dtype);
}

size_t pd_unit_bytes(const struct pd_unit *unit)
{
    uint32_t block_elements = unit->op->session->definition->block_elements;
    uint32_t elements = pd_block_elements(tensor_of(unit)->elements, block_elements, unit->block);
    return elements * pd_dtype_bytes(unit->op->dtype);
}

bool pd_unit_pushes(const struct pd_unit *unit)
{
    return (unit->op->kind == PD_OP_PUSH || unit->op->kind == PD_OP_PUSH_PULL) && !unit->answered;
}

bool pd_unit_skips(const struct pd_unit *unit)
{
    return (unit->op->cancelled || unit->refused) && pd_unit_pushes(unit);
}

const uint8_t *pd_unit_out(const struct pd_unit *unit)
{
    return entry_of(unit)->gradient + block_offset(unit);
}

uint8_t *pd_unit_place(const struct pd_unit *unit, unsigned part)
{
    return entry_of(unit)->parts_to[part] + block_offset(unit);
}

static uint64_t block_in_model(const struct pd_unit *unit)
{
    return tensor_of(unit)->first_block + unit->block;
}

uint32_t pd_unit_slot(const struct pd_unit *unit)
{
    return pd_slot_of_block(unit->op->session->definition->first_slot, block_in_model(unit));
}

uint64_t pd_unit_step(const struct pd_unit *unit)
{
    const struct pd_op_entry *entry = entry_of(unit);
    return entry->steps != NULL ? entry->steps[unit->block - entry->first_block] : entry->step;
}

struct pd_block_state *pd_unit_block(const struct pd_unit *unit)
{
    return &unit->op->session->blocks[block_in_model(unit)];
}

void pd_unit_restart(struct pd_unit *unit)
{
    unit->parts_missing = unit->op->kind == PD_OP_PUSH_PULL ? 1 : entry_of(unit)->parts;
    unit->version = 0;
}

/* ---- The end of a unit, and of an op ---- */

static void op_free(struct pd_op *op)
{
    struct pd_client *client = op->client;
    if (op->session != NULL) {
        DL_DELETE(op->session->ops, op);
    } else {
        DL_DELETE(client->orphans, op);
    }
    free(op->text);
    if (op->capacity > PD_SPARE_OP_BYTES || client->spare_op_count == PD_SPARE_OPS_MAX) {
        free(op);
        return;
    }
    op->next = client->spare_ops;
    client->spare_ops = op;
    client->spare_op_count++;
}

static void op_finish(struct pd_op *op)
{
    struct pd_client *client = op->client;
    op->session->unfinished--;
    client->tickets--;
    client->finished++;
    if (op->done == NULL || op->released) {
        return;
    }
    op->in_done = true;
    if (client->done == NULL) {
        client->done = op;
    } else {
        client->done_last->done_next = op;
    }
    client->done_last = op;
}

void pd_unit_finish(struct pd_unit *unit, int status)
{
    struct pd_op *op = unit->op;
    if (unit->finished) {
        return;
    }
    unit->finished = true;
    unit->status = status;
    if (status == PARAMD_OK) {
        op->result.done++;
    } else {
        if (status == PARAMD_UNKNOWN || status == PARAMD_CANCELLED) {
            op->result.unknown++;
        } else {
            op->result.refused++;
        }
        if (op->bad == NULL || unit < op->bad) {
            op->bad = unit;
            op->result.status = status;
            op->result.tensor = pd_unit_tensor(unit);
            op->result.block = unit->block;
        }
    }
    if (--op->open == 0) {
        op_finish(op);
    }
}

void pd_unit_leave(struct pd_unit *unit)
{
    struct pd_op *op = unit->op;
    pd_unit_unlink(unit);
    if (--op->in_core == 0 && op->released) {
        op_free(op);
    }
}

void pd_unit_drop(struct pd_unit *unit, int status)
{
    if (unit->answered) {
        /* Of a push_pull whose values will not come any more the push still counts, if nobody wants
         * them. */
        bool missed = unit->status == PARAMD_OK && status != PARAMD_CANCELLED;
        pd_unit_finish(unit, missed ? status : unit->status);
    } else if (pd_unit_pushes(unit) && status != PARAMD_NOT_FOUND) {
        pd_unit_finish(unit, unit->push_id == 0 ? PARAMD_CANCELLED : PARAMD_UNKNOWN);
    } else {
        pd_unit_finish(unit, status);
    }
    pd_unit_leave(unit);
}

/* ---- Start ---- */

static uint8_t entry_parts(const struct paramd_io *io)
{
    uint8_t parts = io->values != NULL ? 1 : 0;
    for (unsigned i = 0; i < PARAMD_MOMENTS_MAX; i++) {
        parts |= (uint8_t)((io->moments[i] != NULL) << (i + 1));
    }
    return parts;
}

/* Blocks of a tensor that an entry is about; 0: there are no such blocks. */
static uint64_t blocks_of(const struct pd_tensor_def *tensor, uint64_t first_block, uint64_t count)
{
    if (first_block >= tensor->blocks || count > tensor->blocks - first_block) {
        return 0;
    }
    return count != 0 ? count : tensor->blocks - first_block;
}

static int check_entry(struct pd_client_session *session, enum pd_op_kind kind,
                       const struct paramd_io *io, size_t place, uint64_t mark, char *text)
{
    if (io->tensor >= session->definition->tensor_count) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "entry %zu: the model has no tensor %u", place,
                       (unsigned)io->tensor);
        return PARAMD_INVALID;
    }
    const struct pd_tensor_def *tensor = &session->definition->tensors[io->tensor];
    const char *wrong = NULL;
    if (session->tensor_mark[io->tensor] == mark) {
        wrong = "occurs twice in the call";
    } else if (blocks_of(tensor, io->first_block, io->block_count) == 0) {
        wrong = "has no such blocks";
    } else if (kind != PD_OP_PULL && io->gradient == NULL) {
        wrong = "has no gradient";
    } else if (kind == PD_OP_PUSH_PULL && io->values == NULL) {
        wrong = "has no place for its values";
    } else if (kind == PD_OP_PULL && entry_parts(io) == 0) {
        wrong = "has no place for values or moments";
    }
    session->tensor_mark[io->tensor] = mark;
    if (wrong != NULL) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "entry %zu: tensor %s %s", place, tensor->name,
                       wrong);
        return PARAMD_INVALID;
    }
    return PARAMD_OK;
}

static int check_call(struct pd_client_session *session, enum pd_op_kind kind,
                      const struct paramd_io *entries, size_t count, const struct paramd_call *call,
                      char *text)
{
    if (session->gone != PARAMD_OK) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "model %s: %s", session->definition->name,
                       pd_gone_text(session->gone));
        return session->gone;
    }
    if (session->client->tickets >= PD_TICKETS_MAX) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "%d tickets are unfinished: wait for some",
                       PD_TICKETS_MAX);
        return PARAMD_BUSY;
    }
    const char *wrong = NULL;
    if (count == 0) {
        wrong = "the call names no tensor";
    } else if (!pd_dtype_valid((uint32_t)call->dtype)) {
        wrong = "the dtype is none of f32, bf16, f16";
    } else if (!isfinite(call->scale)) {
        wrong = "the scale is not finite";
    } else if (!(isfinite(call->weight) && call->weight >= 0)) {
        wrong = "the weight is below 0 or not finite";
    }
    if (wrong != NULL) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "%s", wrong);
        return PARAMD_INVALID;
    }
    uint64_t mark = ++session->calls_started;
    for (size_t i = 0; i < count; i++) {
        int status = check_entry(session, kind, &entries[i], i, mark, text);
        if (status != PARAMD_OK) {
            return status;
        }
    }
    return PARAMD_OK;
}

/* Zeroed memory for an op. Calls repeat in kind, so that the one freed last mostly fits. */
static struct pd_op *op_take(struct pd_client *client, size_t bytes)
{
    struct pd_op *op = client->spare_ops;
    size_t capacity = bytes;
    if (op != NULL && op->capacity >= bytes) {
        capacity = op->capacity;
        client->spare_ops = op->next;
        client->spare_op_count--;
        memset(op, 0, bytes);
    } else {
        op = calloc(1, bytes);
    }
    if (op != NULL) {
        op->capacity = capacity;
    }
    return op;
}

static struct pd_op *op_create(struct pd_client_session *session, enum pd_op_kind kind,
                               size_t entry_count, size_t unit_count)
{
    size_t bytes = sizeof(struct pd_op) + unit_count * sizeof(struct pd_unit) +
                   entry_count * sizeof(struct pd_op_entry);
    struct pd_op *op = op_take(session->client, bytes);
    if (op == NULL) {
        return NULL;
    }
    op->units = (struct pd_unit *)(void *)(op + 1);
    op->entries = (struct pd_op_entry *)(void *)(op->units + unit_count);
    op->client = session->client;
    op->session = session;
    op->kind = kind;
    op->entry_count = entry_count;
    op->unit_count = unit_count;
    op->open = unit_count;
    op->result.blocks = unit_count;
    DL_APPEND(session->ops, op);
    session->unfinished++;
    session->client->tickets++;
    return op;
}

/* The units of all entries, in order. */
static void make_units(struct pd_op *op, bool if_newer)
{
    struct pd_unit *unit = op->units;
    for (size_t i = 0; i < op->entry_count; i++) {
        const struct pd_op_entry *entry = &op->entries[i];
        uint64_t in_model = op->session->definition->tensors[entry->tensor].first_block;
        const struct pd_block_state *blocks = &op->session->blocks[in_model];
        uint64_t end = entry->first_block + entry->block_count;
        for (uint64_t block = entry->first_block; block < end; block++, unit++) {
            unit->op = op;
            unit->entry = (uint32_t)i;
            unit->block = block;
            unit->known_version = op->kind != PD_OP_PULL || if_newer ? blocks[block].pulled : 0;
            pd_unit_restart(unit);
        }
    }
}

static void enter(struct pd_op *op, bool if_newer)
{
    make_units(op, if_newer);
    bool pushes = op->kind == PD_OP_PUSH || op->kind == PD_OP_PUSH_PULL;
    if (pushes && op->session->sets_pending > 0) {
        op->waits_for_set = true;
    } else {
        pd_op_submit(op);
    }
}

void pd_op_submit(struct pd_op *op)
{
    op->waits_for_set = false;
    op->in_core = op->unit_count;
    for (size_t i = 0; i < op->unit_count; i++) {
        pd_lane_submit(pd_client_session_lane(op->session, &op->units[i]), &op->units[i]);
    }
}

int pd_op_start(struct pd_client_session *session, enum pd_op_kind kind,
                const struct paramd_io *entries, size_t count, const struct paramd_call *call,
                struct pd_op **ret_op, char text[PD_CALL_TEXT_BYTES])
{
    int status = check_call(session, kind, entries, count, call, text);
    if (status != PARAMD_OK) {
        return status;
    }
    const struct pd_tensor_def *tensors = session->definition->tensors;
    size_t unit_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct paramd_io *io = &entries[i];
        unit_count += blocks_of(&tensors[io->tensor], io->first_block, io->block_count);
    }
    struct pd_op *op = op_create(session, kind, count, unit_count);
    if (op == NULL) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "no memory for %zu blocks", unit_count);
        return PARAMD_NO_MEMORY;
    }
    op->dtype = (enum pd_dtype)call->dtype;
    op->scale = call->scale;
    op->weight = call->weight;
    op->done = call->done;
    op->arg = call->arg;
    for (size_t i = 0; i < count; i++) {
        struct pd_op_entry *entry = &op->entries[i];
        entry->tensor = entries[i].tensor;
        entry->gradient = entries[i].gradient;
        entry->parts = entry_parts(&entries[i]);
        entry->first_block = entries[i].first_block;
        entry->block_count =
            blocks_of(&tensors[entry->tensor], entry->first_block, entries[i].block_count);
        entry->parts_to[0] = entries[i].values;
        for (unsigned j = 0; j < PARAMD_MOMENTS_MAX; j++) {
            entry->parts_to[j + 1] = entries[i].moments[j];
        }
    }
    enter(op, call->if_newer);
    *ret_op = op;
    return PARAMD_OK;
}

static const float *init_values(const struct pd_tensor_def *tensor,
                                const struct paramd_values *values, uint32_t part)
{
    if (tensor->init != PARAMD__INITIALISER__CLIENT) {
        return NULL;
    }
    return part == 0 ? values->weights : values->moments[part - 1];
}

int pd_op_start_init(struct pd_client_session *session, const struct paramd_values *initial,
                     uint32_t part, struct pd_op **ret_op)
{
    const struct pd_definition *definition = session->definition;
    size_t entry_count = 0;
    size_t unit_count = 0;
    for (size_t i = 0; i < definition->tensor_count; i++) {
        if (initial != NULL && init_values(&definition->tensors[i], &initial[i], part) != NULL) {
            entry_count++;
            unit_count += definition->tensors[i].blocks;
        }
    }
    if (entry_count == 0) {
        *ret_op = NULL;
        return PARAMD_OK;
    }
    struct pd_op *op = op_create(session, PD_OP_INIT, entry_count, unit_count);
    if (op == NULL) {
        return PARAMD_NO_MEMORY;
    }
    op->part = part;
    struct pd_op_entry *entry = op->entries;
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const float *values = init_values(&definition->tensors[i], &initial[i], part);
        if (values != NULL) {
            *entry++ = (struct pd_op_entry){.tensor = (uint32_t)i,
                                            .gradient = (const uint8_t *)values,
                                            .block_count = definition->tensors[i].blocks,
                                            .step = initial[i].step};
        }
    }
    enter(op, false);
    *ret_op = op;
    return PARAMD_OK;
}

static int check_fill(const struct pd_client_session *session, uint32_t part,
                      const struct paramd_fill *fill, size_t place, char *text)
{
    const char *wrong = NULL;
    if (part > PARAMD_MOMENTS_MAX) {
        wrong = "the part does not exist";
    } else if (fill->tensor >= session->definition->tensor_count) {
        wrong = "the model has no such tensor";
    } else if (blocks_of(&session->definition->tensors[fill->tensor], fill->first_block,
                         fill->block_count) == 0) {
        wrong = "the tensor has no such blocks";
    } else if (fill->values == NULL) {
        wrong = "no values are given";
    }
    if (wrong == NULL) {
        return PARAMD_OK;
    }
    (void)snprintf(text, PD_CALL_TEXT_BYTES, "entry %zu: %s", place, wrong);
    return PARAMD_INVALID;
}

int pd_op_start_fill(struct pd_client_session *session, uint32_t part,
                     const struct paramd_fill *entries, size_t count, struct pd_op **ret_op,
                     char text[PD_CALL_TEXT_BYTES])
{
    const struct pd_tensor_def *tensors = session->definition->tensors;
    size_t unit_count = 0;
    for (size_t i = 0; i < count; i++) {
        int status = check_fill(session, part, &entries[i], i, text);
        if (status != PARAMD_OK) {
            return status;
        }
        unit_count +=
            blocks_of(&tensors[entries[i].tensor], entries[i].first_block, entries[i].block_count);
    }
    if (count == 0 || session->gone != PARAMD_OK) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "model %s: %s", session->definition->name,
                       count == 0 ? "the call names no tensor" : pd_gone_text(session->gone));
        return count == 0 ? PARAMD_INVALID : session->gone;
    }
    struct pd_op *op = op_create(session, PD_OP_INIT, count, unit_count);
    if (op == NULL) {
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "no memory for %zu blocks", unit_count);
        return PARAMD_NO_MEMORY;
    }
    op->part = part;
    for (size_t i = 0; i < count; i++) {
        const struct paramd_fill *fill = &entries[i];
        op->entries[i] = (struct pd_op_entry){
            .tensor = fill->tensor,
            .gradient = (const uint8_t *)fill->values,
            .first_block = fill->first_block,
            .block_count = blocks_of(&tensors[fill->tensor], fill->first_block, fill->block_count),
            .steps = fill->steps};
    }
    enter(op, false);
    *ret_op = op;
    return PARAMD_OK;
}

/* ---- Looking, cancelling, releasing ---- */

bool pd_op_finished(const struct pd_op *op)
{
    return op->open == 0;
}

void pd_op_result(const struct pd_op *op, struct paramd_result *ret_result)
{
    *ret_result = op->result;
    if (op->open > 0) {
        ret_result->status = PARAMD_PENDING;
    }
}

void pd_op_set_text(struct pd_op *op, const char *text)
{
    if (op->text == NULL && text[0] != '\0') {
        op->text = strdup(text); /* without memory the status speaks for itself */
    }
}

void pd_op_text(const struct pd_op *op, char text[PD_CALL_TEXT_BYTES])
{
    const struct paramd_result *result = &op->result;
    const char *what = op->text != NULL ? op->text : pd_gone_text(result->status);
    unsigned long long block = result->block;
    if (op->session == NULL) { /* with it went the names */
        (void)snprintf(text, PD_CALL_TEXT_BYTES, "tensor %u, block %llu: %s",
                       (unsigned)result->tensor, block, what);
        return;
    }
    const struct pd_definition *definition = op->session->definition;
    (void)snprintf(text, PD_CALL_TEXT_BYTES, "model %s, tensor %s, block %llu: %s",
                   definition->name, definition->tensors[result->tensor].name, block, what);
}

/* What became of a unit that is cancelled where it is; false: that is only known when its push is
 * answered. */
static bool cancelled_here(const struct pd_unit *unit, int *ret_status)
{
    *ret_status = unit->answered ? unit->status : PARAMD_CANCELLED;
    return !pd_unit_pushes(unit) || unit->push_id == 0;
}

void pd_op_cancel(struct pd_op *op)
{
    if (op->open == 0 || op->cancelled) {
        return;
    }
    op->cancelled = true;
    for (unsigned i = 0; i < op->client->links_end; i++) {
        if (op->client->links[i] != NULL) {
            pd_link_revoke(op->client->links[i], op, NULL);
        }
    }
    op->waits_for_set = false;
    for (size_t i = 0; i < op->unit_count; i++) {
        struct pd_unit *unit = &op->units[i];
        int status;
        if (unit->finished || !cancelled_here(unit, &status)) {
            continue;
        }
        enum pd_place place = unit->home == NULL ? PD_IN_FLIGHT : unit->home->place;
        bool admitted = place == PD_READY && pd_unit_pushes(unit);
        pd_unit_finish(unit, status);
        if (place != PD_IN_FLIGHT) {
            if (admitted) {
                pd_lane_slot_done(pd_client_session_lane(op->session, unit), unit);
            }
            pd_unit_leave(unit);
        }
    }
}

void pd_op_abandon(struct pd_op *op)
{
    for (size_t i = 0; i < op->unit_count && op->open > 0; i++) {
        pd_unit_finish(&op->units[i], PARAMD_UNKNOWN);
    }
}

static void done_remove(struct pd_op *op)
{
    struct pd_client *client = op->client;
    struct pd_op *before = NULL;
    for (struct pd_op *at = client->done; at != op; at = at->done_next) {
        before = at;
    }
    if (before == NULL) {
        client->done = op->done_next;
    } else {
        before->done_next = op->done_next;
    }
    if (client->done_last == op) {
        client->done_last = before;
    }
    op->in_done = false;
    op->done_next = NULL;
}

void pd_op_release(struct pd_op *op)
{
    if (op->open > 0) {
        op->done = NULL;
        pd_op_cancel(op);
        pd_op_abandon(op);
    }
    if (op->in_done) {
        done_remove(op);
    }
    op->released = true;
    if (op->in_core == 0) {
        op_free(op);
    }
}

struct pd_op *pd_client_next_done(struct pd_client *client)
{
    struct pd_op *op = client->done;
    if (op != NULL) {
        done_remove(op);
    }
    return op;
}

void (*pd_op_done(const struct pd_op *op, void **ret_arg))(struct paramd_ticket *, void *)
{
    *ret_arg = op->arg;
    return op->done;
}

void pd_op_set_owner(struct pd_op *op, void *owner)
{
    op->owner = owner;
}

void *pd_op_owner(const struct pd_op *op)
{
    return op->owner;
}
