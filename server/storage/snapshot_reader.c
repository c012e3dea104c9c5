/* Pieces are shown in a window on the file: first as much as a prefix and its header can be, then,
 * since those vouch for the size, the whole. */
#include "server/storage/snapshot_reader.h"

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "server/storage/data_dir.h"
#include "server/storage/little_endian.h"

/* What is looked at at once: a prefix with its header, and the padding behind the end. */
enum {
    HEAD_BYTES_MAX =
        PD_SNAPSHOT_PREFIX_BYTES + PD_SNAPSHOT_HEADER_BYTES_MAX + PD_SNAPSHOT_PAGE_BYTES
};

static enum paramd_status fail(struct pd_snapshot_reader *reader, enum paramd_status status,
                               uint64_t offset, const char *text)
{
    reader->_status = status;
    return pd_storage_fail(&reader->error, status, reader->_name, offset, text);
}

static enum paramd_status corrupt(struct pd_snapshot_reader *reader, uint64_t offset,
                                  const char *text)
{
    return fail(reader, PARAMD_CORRUPT, offset, text);
}

/* So many bytes from the offset on, or as many as the file has; they stay until the next call.
 * NULL: failed. */
static const uint8_t *view(struct pd_snapshot_reader *reader, size_t wanted, size_t *ret_count)
{
    uint64_t rest = reader->_expected.bytes - reader->offset;
    uint8_t *shown;
    *ret_count = wanted < rest ? wanted : (size_t)rest;
    struct pd_disk_result result =
        pd_window_show(&reader->_window, reader->offset, *ret_count, &shown);
    if (result.status != PARAMD_OK) {
        (void)fail(reader, result.status, reader->offset, result.text);
        return NULL;
    }
    return shown;
}

static bool all_zeros(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static enum paramd_status read_head(struct pd_snapshot_reader *reader,
                                    const struct pd_snapshot_head *expected)
{
    if (reader->_expected.bytes < PD_SNAPSHOT_PAGE_BYTES) {
        return corrupt(reader, 0, "the file has no head");
    }
    size_t count;
    const uint8_t *page = view(reader, PD_SNAPSHOT_PAGE_BYTES, &count);
    if (page == NULL) {
        return reader->_status;
    }
    struct pd_snapshot_head *head = &reader->head;
    enum paramd_status status = pd_snapshot_head_read(page, head, &reader->_sum);
    if (status == PARAMD_VERSION) {
        return fail(reader, status, 0,
                    "the snapshot has a newer format than this paramd knows: use the newer paramd");
    }
    if (status != PARAMD_OK) {
        return corrupt(reader, 0, "the head of the file is damaged");
    }
    if (head->directory_id != expected->directory_id || head->number != expected->number ||
        head->shard != expected->shard || head->epoch != expected->epoch ||
        head->shards != expected->shards || head->start_lsn != expected->start_lsn) {
        return corrupt(reader, 0, "the file belongs to another snapshot, shard or directory");
    }
    reader->offset = PD_SNAPSHOT_PAGE_BYTES;
    return PARAMD_OK;
}

static enum paramd_status open_file(struct pd_snapshot_reader *reader)
{
    const struct pd_disk *disk = reader->_disk;
    struct pd_disk_result result =
        disk->open(disk->context, reader->_name, PD_DISK_READ_PAGES, &reader->_file);
    if (result.status == PARAMD_NOT_FOUND) {
        return corrupt(reader, 0, "a file of the snapshot is missing");
    }
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, 0, result.text);
    }
    reader->_open = true;
    uint64_t bytes;
    result = disk->size(disk->context, reader->_file, &bytes);
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, 0, result.text);
    }
    uint64_t expected = reader->_expected.bytes;
    if (bytes != expected) {
        return corrupt(reader, bytes < expected ? bytes : expected, "the file has not its size");
    }
    pd_window_open(&reader->_window, disk, reader->_file, bytes);
    return PARAMD_OK;
}

enum paramd_status pd_snapshot_reader_init(struct pd_snapshot_reader *reader,
                                           const struct pd_disk *disk,
                                           const struct pd_manifest *manifest,
                                           const struct pd_manifest_snapshot *snapshot,
                                           uint32_t shard)
{
    *reader = (struct pd_snapshot_reader){._disk = disk, ._expected = snapshot->files[shard]};
    pd_snapshot_name(snapshot->number, shard, reader->_name);
    struct pd_snapshot_head head = {
        .directory_id = manifest->directory_id,
        .number = snapshot->number,
        .epoch = snapshot->epoch,
        .shard = shard,
        .shards = snapshot->shards,
        .start_lsn = snapshot->files[shard].start_lsn,
    };
    return open_file(reader) == PARAMD_OK ? read_head(reader, &head) : reader->_status;
}

void pd_snapshot_reader_deinit(struct pd_snapshot_reader *reader)
{
    if (reader->_open) {
        reader->_disk->close(reader->_disk->context, reader->_file);
    }
    pd_window_deinit(&reader->_window);
}

/* The end vouches for all before it, and MANIFEST for the end. */
static enum paramd_status check_end(struct pd_snapshot_reader *reader, const uint8_t *piece,
                                    const struct pd_snapshot_prefix *prefix, size_t count)
{
    size_t bytes = pd_snapshot_piece_bytes(prefix->header_bytes, prefix->payload_bytes);
    const uint8_t *header = piece + PD_SNAPSHOT_PREFIX_BYTES;
    if (prefix->header_bytes != PD_SNAPSHOT_END_HEADER_BYTES || prefix->payload_bytes != 0 ||
        pd_load(header, 8) != prefix->serial - 1 ||
        pd_load(header + 8, 8) != reader->_expected.bytes ||
        reader->_expected.bytes - reader->offset >= bytes + PD_SNAPSHOT_PAGE_BYTES ||
        !all_zeros(piece + bytes, count - bytes)) {
        return corrupt(reader, reader->offset, "the end of the file is damaged");
    }
    if (reader->_sum != reader->_expected.sum) {
        return corrupt(reader, reader->offset, "MANIFEST names another file: it was exchanged");
    }
    reader->offset = reader->_expected.bytes;
    return reader->_status = PARAMD_NOT_FOUND;
}

/* The piece at the offset; its prefix and header are good. */
static enum paramd_status take_piece(struct pd_snapshot_reader *reader,
                                     const struct pd_snapshot_prefix *prefix,
                                     struct pd_snapshot_piece *ret_piece)
{
    size_t bytes = pd_snapshot_piece_bytes(prefix->header_bytes, prefix->payload_bytes);
    size_t count;
    const uint8_t *piece = view(reader, bytes, &count);
    if (piece == NULL) {
        return reader->_status;
    }
    const uint8_t *header = piece + PD_SNAPSHOT_PREFIX_BYTES;
    const uint8_t *payload = header + prefix->header_bytes;
    const uint8_t *end = payload + prefix->payload_bytes;
    struct pd_span span = {(uint8_t *)(uintptr_t)payload, prefix->payload_bytes};
    if (pd_payload_sum(&span, 1) != prefix->payload_sum ||
        !all_zeros(end, (size_t)(piece + bytes - end))) {
        return corrupt(reader, reader->offset + (uint64_t)(payload - piece),
                       "the payload of a piece is damaged");
    }
    *ret_piece = (struct pd_snapshot_piece){.kind = prefix->kind,
                                            .header = header,
                                            .header_bytes = prefix->header_bytes,
                                            .payload = payload,
                                            .payload_bytes = prefix->payload_bytes};
    reader->offset += bytes;
    return PARAMD_OK;
}

enum paramd_status pd_snapshot_reader_next(struct pd_snapshot_reader *reader,
                                           struct pd_snapshot_piece *ret_piece)
{
    if (reader->_status != PARAMD_OK) {
        return reader->_status;
    }
    size_t count;
    const uint8_t *piece = view(reader, HEAD_BYTES_MAX, &count);
    if (piece == NULL) {
        return reader->_status;
    }
    struct pd_snapshot_prefix prefix = {0};
    uint64_t sum = 0;
    if (count >= PD_SNAPSHOT_PREFIX_BYTES) {
        pd_snapshot_prefix_read(piece, &prefix, &sum);
    }
    uint64_t rest = reader->_expected.bytes - reader->offset;
    if (prefix.serial != reader->_serial + 1 ||
        prefix.header_bytes > PD_SNAPSHOT_HEADER_BYTES_MAX ||
        pd_snapshot_piece_bytes(prefix.header_bytes, prefix.payload_bytes) > rest ||
        sum != pd_snapshot_prefix_sum(piece, prefix.header_bytes, reader->_sum)) {
        return corrupt(reader, reader->offset, "a piece is damaged, missing or out of its place");
    }
    reader->_serial = prefix.serial;
    reader->_sum = sum;
    return prefix.kind == PD_SNAPSHOT_END ? check_end(reader, piece, &prefix, count)
                                          : take_piece(reader, &prefix, ret_piece);
}
