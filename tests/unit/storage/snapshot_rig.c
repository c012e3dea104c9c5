/* Bytes of piece n are a function of n, so that any piece that is read can be checked. */
#include "tests/unit/storage/snapshot_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { PERIOD = 509, PATTERN_BYTES = 4 * 1024 * 1024 };

static uint8_t pattern[PERIOD + PATTERN_BYTES];

/* Header and payload of a piece. */
static uint8_t *bytes_of_piece(unsigned piece)
{
    return pattern + piece * 121 % PERIOD;
}

static uint16_t kind_of_piece(unsigned piece)
{
    return (uint16_t)(1 + piece % 5);
}

struct pd_snapshot_rig *pd_snapshot_rig_create(uint64_t seed)
{
    struct pd_snapshot_rig *rig = calloc(1, sizeof *rig);
    ck_assert_ptr_nonnull(rig);
    if (pattern[sizeof pattern - 1] == 0) {
        for (size_t i = 0; i < sizeof pattern; i++) {
            pattern[i] = (uint8_t)(i * 31 >> 1 | 1);
        }
    }
    rig->sim = pd_sim_disk_create(seed);
    rig->disk = pd_sim_disk_of(rig->sim);
    rig->manifest = calloc(1, sizeof *rig->manifest);
    ck_assert_ptr_nonnull(rig->manifest);
    rig->manifest->directory_id = 0xd1d2;
    rig->manifest->epoch_count = 1;
    rig->manifest->epochs[0] =
        (struct pd_manifest_epoch){.number = PD_RIG_EPOCH, .shards = PD_RIG_SHARDS};
    return rig;
}

static void drop_snapshot(struct pd_snapshot_rig *rig)
{
    if (rig->snapshot != NULL) {
        pd_snapshot_files_deinit(&rig->files);
        pd_snapshot_destroy(rig->snapshot);
        rig->snapshot = NULL;
    }
}

void pd_snapshot_rig_destroy(struct pd_snapshot_rig *rig)
{
    drop_snapshot(rig);
    free(rig->manifest);
    pd_sim_disk_destroy(rig->sim);
    free(rig);
}

void pd_rig_begin(struct pd_snapshot_rig *rig, uint32_t shard)
{
    drop_snapshot(rig);
    uint32_t number = rig->manifest->last_snapshot + 1;
    struct pd_snapshot_config config = {
        .head = {.directory_id = rig->manifest->directory_id,
                 .number = number,
                 .epoch = PD_RIG_EPOCH,
                 .shard = shard,
                 .shards = PD_RIG_SHARDS,
                 .start_lsn = 1000 + shard},
        .buffer_bytes = PD_RIG_BUFFER_BYTES,
    };
    rig->snapshot = pd_snapshot_create(&config);
    ck_assert_ptr_nonnull(rig->snapshot);
    pd_snapshot_files_init(&rig->files, rig->disk, number, shard);
    rig->shard = shard;
    rig->piece_count = 0;
}

bool pd_rig_run_one(struct pd_snapshot_rig *rig)
{
    struct pd_snapshot_job job;
    if (!pd_snapshot_take_job(rig->snapshot, &job)) {
        return false;
    }
    pd_snapshot_job_done(rig->snapshot, pd_snapshot_files_run(&rig->files, &job).status);
    return true;
}

enum paramd_status pd_rig_append(struct pd_snapshot_rig *rig, uint32_t header_bytes,
                                 uint32_t payload_bytes)
{
    size_t bytes = (size_t)header_bytes + payload_bytes + PD_SNAPSHOT_PIECE_BYTES;
    ck_assert(rig->piece_count < PD_RIG_PIECES_MAX && bytes <= PATTERN_BYTES);
    enum paramd_status status = pd_snapshot_reserve(rig->snapshot, bytes);
    while (status == PARAMD_BUSY) {
        ck_assert(pd_rig_run_one(rig));
        status = pd_snapshot_reserve(rig->snapshot, bytes);
    }
    if (status != PARAMD_OK) {
        return status;
    }
    unsigned piece = ++rig->piece_count;
    uint8_t *at = bytes_of_piece(piece);
    /* In two spans, as blocks lie. */
    size_t half = payload_bytes / 2;
    struct pd_span spans[] = {{at + header_bytes, half},
                              {at + header_bytes + half, payload_bytes - half}};
    pd_snapshot_append(rig->snapshot, kind_of_piece(piece), at, header_bytes, spans, 2);
    rig->header_bytes[piece - 1] = header_bytes;
    rig->payload_bytes[piece - 1] = payload_bytes;
    return PARAMD_OK;
}

enum paramd_status pd_rig_run(struct pd_snapshot_rig *rig)
{
    while (pd_rig_run_one(rig)) {
    }
    return pd_snapshot_status(rig->snapshot);
}

enum paramd_status pd_rig_end(struct pd_snapshot_rig *rig)
{
    pd_snapshot_end(rig->snapshot);
    enum paramd_status status = pd_rig_run(rig);
    if (status == PARAMD_OK) {
        pd_rig_note_published(rig);
    }
    return status;
}

void pd_rig_note_published(struct pd_snapshot_rig *rig)
{
    rig->published.files[rig->shard] = pd_snapshot_file(rig->snapshot);
}

void pd_rig_add(struct pd_snapshot_rig *rig)
{
    rig->published.number = rig->manifest->last_snapshot + 1;
    rig->published.epoch = PD_RIG_EPOCH;
    rig->published.shards = PD_RIG_SHARDS;
    pd_manifest_add_snapshot(rig->manifest, &rig->published);
}

/* Check notes every assertion that holds, with a system call: one is enough for a piece. */
static void check_piece(const struct pd_snapshot_rig *rig, const struct pd_snapshot_piece *read,
                        unsigned piece)
{
    const uint8_t *at = bytes_of_piece(piece);
    bool right = piece <= rig->piece_count && read->kind == kind_of_piece(piece) &&
                 read->header_bytes == rig->header_bytes[piece - 1] &&
                 read->payload_bytes == rig->payload_bytes[piece - 1] &&
                 memcmp(read->header, at, read->header_bytes) == 0 &&
                 memcmp(read->payload, at + read->header_bytes, read->payload_bytes) == 0;
    if (!right) {
        ck_abort_msg("piece %u is not what was appended", piece);
    }
}

struct pd_snapshot_reading pd_rig_read(struct pd_snapshot_rig *rig,
                                       const struct pd_manifest_snapshot *snapshot, uint32_t shard)
{
    struct pd_snapshot_reader reader;
    struct pd_snapshot_piece piece;
    struct pd_snapshot_reading reading = {.pieces = 0};
    reading.status = pd_snapshot_reader_init(&reader, rig->disk, rig->manifest, snapshot, shard);
    while (reading.status == PARAMD_OK &&
           (reading.status = pd_snapshot_reader_next(&reader, &piece)) == PARAMD_OK) {
        check_piece(rig, &piece, ++reading.pieces);
    }
    if (reading.status == PARAMD_NOT_FOUND) {
        ck_assert_uint_eq(reader.offset, snapshot->files[shard].bytes);
        ck_assert_uint_eq(reading.pieces, rig->piece_count);
        reading.status = PARAMD_OK;
    }
    reading.error = reader.error;
    pd_snapshot_reader_deinit(&reader);
    return reading;
}
