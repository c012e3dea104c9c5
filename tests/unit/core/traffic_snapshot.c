/* Snapshots while the traffic goes on: pieces are kept as bytes, and beside them what each slot
 * held when it was copied. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/traffic.h"

size_t traffic_write_header(struct written_record *written, const ProtobufCMessage *header)
{
    size_t count = protobuf_c_message_get_packed_size(header);
    ck_assert_uint_le(count, PD_RECORD_HEADER_BYTES_MAX);
    *written = (struct written_record){.header = malloc(count + 1)};
    ck_assert_ptr_nonnull(written->header);
    return protobuf_c_message_pack(header, written->header);
}

static void write_piece(void *context, const struct pd_piece *piece)
{
    struct traffic *traffic = context;
    struct traffic_snapshot *snapshot = traffic->snapshots[traffic->snapshot_count - 1];
    ck_assert_uint_lt(snapshot->piece_count, TRAFFIC_PIECES_MAX);
    struct written_record *written = &snapshot->pieces[snapshot->piece_count++];
    size_t header_count = traffic_write_header(written, piece->header);
    size_t count = 0;
    for (size_t i = 0; i < piece->span_count; i++) {
        count += piece->payload[i].bytes;
    }
    written->payload = aligned_alloc(64, (count + 64) / 64 * 64);
    ck_assert_ptr_nonnull(written->payload);
    uint8_t *to = written->payload;
    for (size_t i = 0; i < piece->span_count; i++) {
        memcpy(to, piece->payload[i].data, piece->payload[i].bytes);
        to += piece->payload[i].bytes;
    }
    written->logged = (struct pd_logged){.kind = piece->kind,
                                         .header = written->header,
                                         .header_count = header_count,
                                         .payload = written->payload,
                                         .payload_count = count};
    ck_assert_uint_le(header_count + count + PD_PIECE_OVERHEAD_BYTES, traffic->piece_room);
    traffic->piece_room -= header_count + count + PD_PIECE_OVERHEAD_BYTES;
}

void traffic_snapshot_forget(struct traffic *traffic)
{
    struct traffic_snapshot *snapshot = traffic->snapshots[--traffic->snapshot_count];
    for (uint32_t i = 0; i < snapshot->piece_count; i++) {
        free(snapshot->pieces[i].header);
        free(snapshot->pieces[i].payload);
    }
    free(snapshot->copied);
    free(snapshot);
}

static void begin_snapshot(struct traffic *traffic)
{
    struct traffic_snapshot *snapshot = calloc(1, sizeof *snapshot);
    ck_assert_ptr_nonnull(snapshot);
    snapshot->start = traffic->record_count;
    traffic->snapshots[traffic->snapshot_count++] = snapshot;
    traffic->piece_room = pd_shard_snapshot_begin_bytes(traffic->shard);
    ck_assert_int_eq(pd_shard_snapshot_begin(traffic->shard, write_piece, traffic), PARAMD_OK);
}

static void remember(struct traffic_snapshot *snapshot, struct copied copied)
{
    if ((snapshot->copied_count & (snapshot->copied_count - 1)) == 0) {
        snapshot->copied =
            realloc(snapshot->copied, 2 * (snapshot->copied_count + 1) * sizeof copied);
        ck_assert_ptr_nonnull(snapshot->copied);
    }
    snapshot->copied[snapshot->copied_count++] = copied;
}

/* What the slot holds of a model now. */
static void remember_slot(struct traffic *traffic, const struct made_model *made, uint32_t slot)
{
    struct traffic_snapshot *snapshot = traffic->snapshots[traffic->snapshot_count - 1];
    struct pd_model *model = pd_shard_model(traffic->shard, made->number);
    if (model == NULL || !model->in_snapshot) {
        return;
    }
    struct copied copied = {.model = made->number, .attempt = model->attempt, .slot = slot};
    for (uint32_t i = 0; i < model->block_count; i++) {
        const struct pd_block *block = &model->blocks[i];
        if (block->slot == slot && block->version > 0) {
            copied.block = model->definition->tensors[block->tensor].first_block + block->block;
            copied.hash = pd_block_hash(block);
            remember(snapshot, copied);
        }
    }
    copied.block = UINT64_MAX;
    for (unsigned i = 0; i < TRAFFIC_SESSIONS; i++) {
        const struct pd_session *session = pd_session_find(model, traffic->keys[i].bits);
        const struct pd_slot_ids *ids = session != NULL ? pd_session_ids(session, slot) : NULL;
        if (ids != NULL) {
            copied.session = i;
            copied.opening = session->opening;
            copied.ids = *ids;
            remember(snapshot, copied);
        }
    }
}

/* The slots that hold nothing, and one that does. */
static void copy_slot(struct traffic *traffic)
{
    enum { NOTHING = 1024 };
    struct traffic_snapshot *snapshot = traffic->snapshots[traffic->snapshot_count - 1];
    uint32_t slot = traffic->options.shard;
    for (uint32_t i = 0; i < snapshot->piece_count; i++) {
        slot += snapshot->pieces[i].logged.kind == PD_PIECE_SLOT ? traffic->options.shards : 0;
    }
    bool copied = false;
    while (!copied && (traffic->piece_room = pd_shard_snapshot_next_bytes(traffic->shard)) > 0) {
        copied = traffic->piece_room > NOTHING;
        for (uint32_t i = 0; i < traffic->made_count; i++) {
            remember_slot(traffic, &traffic->made[i], slot);
        }
        pd_shard_snapshot_next(traffic->shard, traffic->record_count, write_piece, traffic);
        slot += traffic->options.shards;
    }
    if (!copied) {
        pd_shard_snapshot_end(traffic->shard);
        snapshot->end = traffic->record_count;
    }
}

void traffic_snapshot_go_on(struct traffic *traffic)
{
    uint64_t what = traffic_random(&traffic->snapshot_random) % 32;
    if (!traffic->snapshots_wanted) {
        return;
    }
    if (pd_shard_snapshot_spoilt(traffic->shard)) {
        pd_shard_snapshot_end(traffic->shard);
        traffic_snapshot_forget(traffic);
        traffic->spoilt++;
    } else if (traffic->shard->snapshot != NULL && what < 12) {
        copy_slot(traffic);
    } else if (traffic->shard->snapshot == NULL && what == 12 &&
               traffic->snapshot_count < TRAFFIC_SNAPSHOTS_MAX) {
        begin_snapshot(traffic);
    }
}
