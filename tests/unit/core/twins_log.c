/* What the twins write down, records and snapshots, and how the other comes back from it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/core/twins.h"

void twin_write_down(struct twin_records *list, unsigned kind, const ProtobufCMessage *header,
                     const struct pd_span *payload, size_t spans)
{
    uint32_t count = list->count++;
    if ((count & (count - 1)) == 0) {
        list->records = realloc(list->records, 2 * (count + 1) * sizeof(struct twin_record));
        ck_assert_ptr_nonnull(list->records);
    }
    struct twin_record *written = &list->records[count];
    size_t header_count = protobuf_c_message_get_packed_size(header);
    size_t payload_count = 0;
    for (size_t i = 0; i < spans; i++) {
        payload_count += payload[i].bytes;
    }
    written->header = malloc(header_count + 1);
    written->payload = aligned_alloc(64, (payload_count + 64) / 64 * 64);
    ck_assert(written->header != NULL && written->payload != NULL);
    (void)protobuf_c_message_pack(header, written->header);
    uint8_t *to = written->payload;
    for (size_t i = 0; i < spans; i++) {
        if (payload[i].bytes > 0) {
            memcpy(to, payload[i].data, payload[i].bytes);
        }
        to += payload[i].bytes;
    }
    written->logged = (struct pd_logged){.lsn = list->count,
                                         .kind = kind,
                                         .header = written->header,
                                         .header_count = header_count,
                                         .payload = written->payload,
                                         .payload_count = payload_count};
}

static void write_piece(void *context, const struct pd_piece *piece)
{
    twin_write_down(context, piece->kind, piece->header, piece->payload, piece->span_count);
}

void twin_forget(struct twin_records *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        free(list->records[i].header);
        free(list->records[i].payload);
    }
    free(list->records);
    *list = (struct twin_records){0};
}

/* The other's shards go on with their snapshots: each now and then by a few slots that hold
 * something. */
static void go_on_with_snapshot(struct twins *twins, uint32_t shard)
{
    enum { NOTHING = 1024 };
    struct twin_epoch *epoch = &twins->other.epochs[twins->other.epoch_count - 1];
    struct pd_shard *on = twins->other.shards[shard];
    if (on->snapshot == NULL) {
        epoch->snapshot_start[shard] = epoch->logs[shard].count;
        ck_assert_int_eq(pd_shard_snapshot_begin(on, write_piece, &epoch->pieces[shard]),
                         PARAMD_OK);
    }
    uint64_t left = twins_draw(twins, 8);
    size_t bytes = 1;
    while (left > 0 && !pd_shard_snapshot_spoilt(on) &&
           (bytes = pd_shard_snapshot_next_bytes(on)) > 0) {
        left -= bytes > NOTHING;
        pd_shard_snapshot_next(on, epoch->logs[shard].count, write_piece, &epoch->pieces[shard]);
    }
    if (pd_shard_snapshot_spoilt(on)) {
        twin_forget(&epoch->pieces[shard]);
        pd_shard_snapshot_end(on);
    } else if (bytes == 0) {
        epoch->snapshot_done[shard] = true;
        pd_shard_snapshot_end(on);
    }
}

void twins_snapshots_go_on(struct twins *twins)
{
    const struct twin_epoch *epoch = &twins->other.epochs[twins->other.epoch_count - 1];
    for (uint32_t i = 0; twins->snapshots && i < twins->other.count; i++) {
        if (!epoch->snapshot_done[i] && twins_draw(twins, 10) < 6) {
            go_on_with_snapshot(twins, i);
        }
    }
}

/* The newest epoch of which all shards have a snapshot, or the first; that is loaded. */
static uint32_t load(struct twins *twins, struct pd_arena *arena, struct pd_shard **ret_shards)
{
    struct pd_definitions definitions = twins_definitions(twins);
    const struct twin *twin = &twins->other;
    const char *text = "";
    uint32_t place = twin->epoch_count - 1; /* that of the shards to be */
    uint32_t done = 0;
    while (place > 0 && done < twin->epochs[place].shards) {
        place--;
        for (done = 0; done < twin->epochs[place].shards && twin->epochs[place].snapshot_done[done];
             done++) {
        }
    }
    const struct twin_epoch *epoch = &twin->epochs[place];
    twins->snapshots_used += done == epoch->shards;
    for (uint32_t i = 0; i < epoch->shards; i++) {
        ret_shards[i] = twins_shard(i, epoch->shards);
        for (uint32_t j = 0; done == epoch->shards && j < epoch->pieces[i].count; j++) {
            ck_assert_msg(pd_shard_snapshot_load(ret_shards[i], &epoch->pieces[i].records[j].logged,
                                                 &definitions, arena, &text) == PARAMD_OK,
                          "seed %lu, shard %u, piece %u: %s", twins->seed, i, j, text);
        }
    }
    return place;
}

static void replay(struct twins *twins, const struct twin_epoch *epoch, struct pd_arena *arena,
                   struct pd_shard **shards)
{
    struct pd_definitions definitions = twins_definitions(twins);
    const char *text = "";
    for (uint32_t i = 0; i < epoch->shards; i++) {
        uint32_t count = epoch->logs[i].count;
        uint32_t j = shards[i]->loaded != NULL ? epoch->snapshot_start[i] : 0;
        for (; j < count; j++) {
            ck_assert_msg(pd_shard_replay(shards[i], &epoch->logs[i].records[j].logged,
                                          &definitions, arena, &text) == PARAMD_OK,
                          "seed %lu, shard %u, record %u: %s", twins->seed, i, j, text);
        }
        ck_assert_msg(pd_shard_replay_end(shards[i], count, &text) == PARAMD_OK,
                      "seed %lu, shard %u: %s", twins->seed, i, text);
    }
}

/* The shards that replayed an epoch become those of the next. */
static void deal(struct twins *twins, uint32_t place, struct pd_shard **shards)
{
    const struct twin *twin = &twins->other;
    uint32_t count = twin->epochs[place].shards;
    uint32_t next = twin->epochs[place + 1].shards;
    struct pd_shard *to[TWIN_SHARDS_MAX] = {NULL};
    for (uint32_t i = 0; i < next; i++) {
        to[i] = place + 2 < twin->epoch_count ? twins_shard(i, next) : twin->shards[i];
    }
    ck_assert_int_eq(pd_shard_reshard(shards, count, to, next), PARAMD_OK);
    for (uint32_t i = 0; i < count; i++) {
        ck_assert_ptr_null(shards[i]->models);
        ck_assert_uint_eq(shards[i]->memory_bytes, 0);
        ck_assert_uint_eq(shards[i]->push_ids_room, shards[i]->options.push_ids_max);
        pd_shard_destroy(shards[i]);
    }
    memcpy(shards, to, sizeof to);
}

void twins_recover(struct twins *twins)
{
    const struct twin *twin = &twins->other;
    struct pd_shard *shards[TWIN_SHARDS_MAX] = {NULL};
    struct pd_arena arena;
    pd_arena_init(&arena, PD_REPLAY_ARENA_BYTES);
    uint32_t place = load(twins, &arena, shards);
    for (; place + 1 < twin->epoch_count; place++) {
        replay(twins, &twin->epochs[place], &arena, shards);
        deal(twins, place, shards);
    }
    pd_arena_deinit(&arena);
}
