/* PULL, and the values that answer it. A queued answer is a cursor over blocks; each time the
 * connection has room for a frame, the next block is looked at (a view, no copy), or small ones are
 * packed into a buffer. */
#include <stdlib.h>

#include "proto/slot.h"
#include "server/base/assert.h"
#include "server/core/shard_state.h"

enum {
    VIEW_BYTES_MIN = 16 * 1024, /* below it a copy costs less than a frame of its own */
    SPARE_CURSORS_MAX = 256,    /* kept for the next requests */
    SPARE_CURSOR_BYTES = 1024,  /* larger ones are not kept */
    HEADER_ROOM = PD_HEADER_BYTES_MAX - 1024, /* for the arrays of a BLOCKS header */
    ALL_PARTS = (1 << PD_PARTS_MAX) - 1
};

const uint8_t *pd_blocks_body(const struct pd_blocks_frame *frame)
{
    if (frame->view == NULL) {
        return frame->buffer;
    }
    const struct pd_block *block = frame->view->block;
    return (const uint8_t *)(frame->view->parts + (size_t)frame->part * block->stride);
}

/* Requests repeat in kind, so that the cursor kept last mostly fits. */
static struct pd_cursor *take_cursor(struct pd_shard *shard, size_t bytes, size_t *ret_bytes)
{
    struct pd_cursor *last = PD_CONTAINER(shard->spare_cursors.prev, struct pd_cursor, link);
    if (shard->spare_cursor_count == 0 || last->bytes < bytes) {
        *ret_bytes = bytes;
        return malloc(bytes);
    }
    *ret_bytes = last->bytes;
    shard->spare_cursor_count--;
    pd_link_remove(&last->link);
    return last;
}

struct pd_cursor *pd_cursor_create(struct pd_shard *shard, struct pd_peer *peer,
                                   struct pd_model *model, uint32_t count)
{
    size_t bytes = sizeof(struct pd_cursor) + count * sizeof(struct pd_cursor_entry);
    struct pd_cursor *cursor = take_cursor(shard, bytes, &bytes);
    if (cursor == NULL) {
        return NULL;
    }
    *cursor = (struct pd_cursor){.model = model, .count = count, .bytes = bytes};
    pd_link_init(&cursor->link);
    model->users++;
    pd_list_push(&peer->cursors, &cursor->link);
    peer->cursor_bytes += bytes;
    return cursor;
}

void pd_cursors_deinit(struct pd_shard *shard)
{
    struct pd_link *link = shard->spare_cursors.next;
    while (link != &shard->spare_cursors) {
        struct pd_cursor *cursor = PD_CONTAINER(link, struct pd_cursor, link);
        link = link->next;
        free(cursor);
    }
}

static void end_view(struct pd_shard *shard, struct pd_view *view, struct pd_effects *effects)
{
    if (pd_view_end(view, &shard->copies) && effects != NULL) {
        effects->room = true;
    }
}

void pd_cursor_destroy(struct pd_shard *shard, struct pd_peer *peer, struct pd_cursor *cursor)
{
    if (cursor->view != NULL) {
        end_view(shard, cursor->view, NULL);
    }
    pd_link_remove(&cursor->link);
    peer->cursor_bytes -= cursor->bytes;
    pd_model_release(shard, cursor->model);
    if (cursor->bytes > SPARE_CURSOR_BYTES || shard->spare_cursor_count == SPARE_CURSORS_MAX) {
        free(cursor);
        return;
    }
    pd_list_push(&shard->spare_cursors, &cursor->link);
    shard->spare_cursor_count++;
}

/* ---- the request ---- */

static bool fill_cursor(struct pd_cursor *cursor, const struct pd_model *model,
                        const Paramd__Pull *pull, bool *ret_moved)
{
    bool versions_hold = pull->generation == model->generation;
    for (uint32_t i = 0; i < cursor->count; i++) {
        uint64_t in_model;
        if (!pd_model_locate(model, pull->tensor[i], pull->block[i], &in_model)) {
            return false;
        }
        struct pd_cursor_entry *entry = &cursor->entries[i];
        entry->block = pd_model_block(model, in_model);
        entry->newer_than = pull->n_newer_than > 0 && versions_hold ? pull->newer_than[i] : 0;
        if (entry->block == NULL) {
            *ret_moved = true;
        }
    }
    return true;
}

static bool lengths_agree(const Paramd__Pull *pull)
{
    size_t count = pull->n_tensor;
    return count > 0 && count <= PD_ENTRIES_MAX && pull->n_block == count &&
           (pull->n_newer_than == 0 || pull->n_newer_than == count);
}

void pd_shard_pull(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Pull *pull = (const Paramd__Pull *)event->header;
    struct pd_attachment *attachment = pd_attachment_for(shard, event, pull->model, effects);
    if (attachment == NULL) {
        return;
    }
    struct pd_model *model = attachment->session->model;
    if (!lengths_agree(pull) || !pd_dtype_valid(pull->dtype) ||
        (pull->parts & ~(unsigned)ALL_PARTS) != 0) {
        pd_close(effects, PARAMD_PROTOCOL, "a PULL whose arrays, dtype or parts do not exist");
        return;
    }
    if (!model->ready) {
        pd_reply_error(effects, pull->request_id, PARAMD_NOT_READY,
                       "the model has no values yet: send this again later");
        return;
    }
    struct pd_cursor *cursor =
        pd_cursor_create(shard, event->peer, model, (uint32_t)pull->n_tensor);
    if (cursor == NULL) {
        pd_reply_error(effects, pull->request_id, PARAMD_RESOURCE_EXHAUSTED,
                       "no memory for this pull: send it again later");
        return;
    }
    bool moved = false;
    cursor->request_id = pull->request_id;
    cursor->dtype = (enum pd_dtype)pull->dtype;
    cursor->parts = pull->parts != 0 ? pull->parts : 1U << PARAMD__PART__WEIGHTS;
    if (!fill_cursor(cursor, model, pull, &moved)) {
        pd_cursor_destroy(shard, event->peer, cursor);
        pd_close(effects, PARAMD_PROTOCOL, "a PULL of a block that does not exist");
    } else if (moved) {
        pd_cursor_destroy(shard, event->peer, cursor);
        pd_reply_moved(shard, effects, pull->request_id);
    }
}

/* ---- the answer ---- */

/* The arrays of a BLOCKS header, with room for so many entries. */
static Paramd__Blocks *blocks_create(struct pd_arena *arena, const struct pd_cursor *cursor,
                                     uint32_t room)
{
    Paramd__Blocks *blocks = pd_arena_take(arena, sizeof *blocks);
    if (blocks == NULL) {
        return NULL;
    }
    paramd__blocks__init(blocks);
    blocks->request_id = cursor->request_id;
    blocks->model = cursor->model->number;
    blocks->generation = cursor->model->generation;
    blocks->dtype = cursor->dtype;
    blocks->tensor = pd_arena_take(arena, room * sizeof *blocks->tensor);
    blocks->block = pd_arena_take(arena, room * sizeof *blocks->block);
    blocks->version = pd_arena_take(arena, room * sizeof *blocks->version);
    blocks->step = pd_arena_take(arena, room * sizeof *blocks->step);
    if (blocks->tensor == NULL || blocks->block == NULL || blocks->version == NULL ||
        blocks->step == NULL) {
        return NULL;
    }
    return blocks;
}

static void blocks_add(Paramd__Blocks *blocks, const struct pd_block *block)
{
    size_t i = blocks->n_tensor;
    blocks->tensor[i] = block->tensor;
    blocks->block[i] = block->block;
    blocks->version[i] = block->version;
    blocks->step[i] = block->step;
    blocks->n_tensor = blocks->n_block = blocks->n_version = blocks->n_step = i + 1;
}

static size_t header_bytes_of(const struct pd_block *block)
{
    return pd_varint_bytes(block->tensor) + pd_varint_bytes(block->block) +
           pd_varint_bytes(block->version) + pd_varint_bytes(block->step);
}

/* Moves past blocks that the reader has already. Those before the first frame count, too. */
static void pass_unchanged(struct pd_cursor *cursor)
{
    while (cursor->next < cursor->count) {
        const struct pd_cursor_entry *entry = &cursor->entries[cursor->next];
        if (entry->newer_than == 0 || entry->newer_than != entry->block->version) {
            return;
        }
        cursor->next++;
        cursor->model->count.blocks_unchanged++;
    }
}

static size_t wire_bytes(const struct pd_cursor *cursor, const struct pd_block *block)
{
    return block->elements * pd_dtype_bytes(cursor->dtype);
}

/* Whether a block is sent from where it lies, in a frame of its own. */
static bool wants_view(const struct pd_cursor *cursor, const struct pd_block *block)
{
    return cursor->parts != 1U << PARAMD__PART__WEIGHTS ||
           (cursor->dtype == PD_F32 && wire_bytes(cursor, block) >= VIEW_BYTES_MIN);
}

/* How many entries from cursor->next on go into one packed frame, and their bytes. */
static uint32_t packable(const struct pd_cursor *cursor, size_t *ret_bytes)
{
    size_t bytes = 0;
    size_t header = 0;
    uint32_t i = cursor->next;
    for (; i < cursor->count && i - cursor->next < PD_ENTRIES_MAX; i++) {
        const struct pd_cursor_entry *entry = &cursor->entries[i];
        size_t more = wire_bytes(cursor, entry->block);
        if (i > cursor->next &&
            (wants_view(cursor, entry->block) || bytes + more > PD_PACKED_BYTES ||
             header + header_bytes_of(entry->block) > HEADER_ROOM)) {
            break;
        }
        header += header_bytes_of(entry->block);
        bytes += more;
    }
    *ret_bytes = bytes;
    return i - cursor->next;
}

/* Copies small or narrowed blocks into one buffer. False: no room now. */
static bool send_packed(struct pd_shard *shard, struct pd_cursor *cursor,
                        struct pd_effects *effects)
{
    size_t bytes;
    uint32_t end = cursor->next + packable(cursor, &bytes);
    uint8_t *buffer = pd_pool_take(&shard->copies, bytes);
    Paramd__Blocks *blocks = blocks_create(effects->arena, cursor, end - cursor->next);
    if (buffer == NULL || blocks == NULL) {
        pd_pool_give(&shard->copies, buffer, bytes);
        return false;
    }
    size_t offset = 0;
    while (cursor->next < end) {
        const struct pd_cursor_entry *entry = &cursor->entries[cursor->next++];
        const struct pd_block *block = entry->block;
        if (entry->newer_than != 0 && entry->newer_than == block->version) {
            cursor->model->count.blocks_unchanged++;
            continue;
        }
        pd_optim_narrow(cursor->dtype, block->parts, buffer + offset, block->elements);
        offset += wire_bytes(cursor, block);
        blocks_add(blocks, block);
    }
    effects->frame = (struct pd_blocks_frame){
        .header = blocks, .buffer = buffer, .bytes = offset, .buffer_bytes = bytes};
    return true;
}

/* The first or next part of one block, from a view; narrowed parts go through a buffer. */
static bool send_part(struct pd_shard *shard, struct pd_cursor *cursor, struct pd_effects *effects)
{
    struct pd_block *block = cursor->entries[cursor->next].block;
    size_t bytes = wire_bytes(cursor, block);
    Paramd__Blocks *blocks = blocks_create(effects->arena, cursor, 1);
    if (blocks == NULL) {
        return false;
    }
    uint8_t *buffer = NULL;
    if (cursor->dtype != PD_F32) {
        buffer = pd_pool_take(&shard->copies, bytes);
        if (buffer == NULL) {
            return false;
        }
    }
    if (cursor->view == NULL) {
        cursor->view = pd_view_begin(block);
        if (cursor->view == NULL) {
            pd_pool_give(&shard->copies, buffer, bytes);
            return false;
        }
        cursor->view_version = block->version;
        cursor->view_step = block->step;
        cursor->next_part = 0;
    }
    while ((cursor->parts >> cursor->next_part & 1) == 0) {
        cursor->next_part++;
    }
    unsigned part = cursor->next_part++;
    blocks_add(blocks, block);
    blocks->version[0] = cursor->view_version;
    blocks->step[0] = cursor->view_step;
    blocks->part = (Paramd__Part)part;
    effects->frame = (struct pd_blocks_frame){.header = blocks, .bytes = bytes, .part = part};
    if (buffer != NULL) {
        pd_optim_narrow(cursor->dtype, cursor->view->parts + (size_t)part * block->stride, buffer,
                        block->elements);
        effects->frame.buffer = buffer;
        effects->frame.buffer_bytes = bytes;
    } else {
        effects->frame.view = cursor->view;
        cursor->view->readers++;
    }
    if (cursor->parts >> cursor->next_part == 0) {
        end_view(shard, cursor->view, effects);
        cursor->view = NULL;
        cursor->next++;
    }
    return true;
}

/* A BLOCKS frame without entries: everything was unchanged, or nothing had a final result. */
static bool send_empty(struct pd_cursor *cursor, struct pd_effects *effects)
{
    effects->frame.header = blocks_create(effects->arena, cursor, 1);
    return effects->frame.header != NULL;
}

static bool parts_exist(const struct pd_cursor *cursor)
{
    for (uint32_t i = 0; i < cursor->count; i++) {
        if (cursor->parts >> cursor->entries[i].block->part_count != 0) {
            return false;
        }
    }
    return true;
}

/* An answer that cannot be given any more, or asks for moments that the optimizer does not have. */
static bool refuse(struct pd_shard *shard, struct pd_peer *peer, struct pd_cursor *cursor,
                   struct pd_effects *effects)
{
    if (cursor->model->dropped) {
        pd_reply_error(effects, cursor->request_id, PARAMD_NOT_FOUND, "the model was deleted");
    } else if (cursor->next == 0 && cursor->view == NULL && !parts_exist(cursor)) {
        pd_reply_error(effects, cursor->request_id, PARAMD_INVALID,
                       "a part that a block does not have: its optimizer keeps fewer moments");
    } else {
        return false;
    }
    pd_cursor_destroy(shard, peer, cursor);
    return true;
}

void pd_shard_send(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    struct pd_peer *peer = event->peer;
    if (pd_link_alone(&peer->cursors)) {
        return;
    }
    struct pd_cursor *cursor = PD_CONTAINER(peer->cursors.next, struct pd_cursor, link);
    if (cursor->after_lsn > event->durable_lsn) {
        effects->after_lsn = cursor->after_lsn;
        return;
    }
    if (refuse(shard, peer, cursor, effects)) {
        return;
    }
    if (cursor->view == NULL) {
        pass_unchanged(cursor);
    }
    bool made;
    if (cursor->next == cursor->count) {
        made = send_empty(cursor, effects);
    } else if (cursor->view != NULL || wants_view(cursor, cursor->entries[cursor->next].block)) {
        made = send_part(shard, cursor, effects);
    } else {
        made = send_packed(shard, cursor, effects);
    }
    if (!made) {
        effects->stalled = true;
        return;
    }
    cursor->model->count.blocks_pulled += effects->frame.header->n_tensor;
    cursor->model->count.bytes_pulled += effects->frame.bytes;
    if (cursor->view == NULL) {
        pass_unchanged(cursor);
    }
    if (cursor->next == cursor->count) {
        effects->frame.header->last = 1;
        pd_cursor_destroy(shard, peer, cursor);
    }
}

void pd_shard_sent(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    struct pd_blocks_frame *frame = event->frame;
    if (frame->view != NULL) {
        end_view(shard, frame->view, effects);
        frame->view = NULL;
    }
    if (frame->buffer != NULL) {
        pd_pool_give(&shard->copies, frame->buffer, frame->buffer_bytes);
        frame->buffer = NULL;
        effects->room = true;
    }
}

bool pd_peer_reads_deleted(const struct pd_peer *peer, const struct pd_blocks_frame *frame)
{
    bool deleted = frame->view != NULL && frame->view->block->model->dropped;
    const struct pd_link *link = peer->cursors.next;
    for (; link != &peer->cursors && !deleted; link = link->next) {
        deleted = PD_CONTAINER(link, struct pd_cursor, link)->model->dropped;
    }
    return deleted;
}
