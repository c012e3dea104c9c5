/* Heads and prefixes. Each sum begins from the one before, so that a piece is good only in its
 * place in its file, and the last one vouches for all. */
#include "server/storage/snapshot_format.h"

#include <string.h>

#include "server/storage/little_endian.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

#define HEAD_MAGIC UINT64_C(0x50414e53444d4450) /* "PDMDSNAP" on disk */
#define PIECE_MAGIC UINT32_C(0x504e5350)        /* "PSNP" on disk */

/* Where the fields are. */
enum {
    HEAD_FORMAT = 8,
    HEAD_SHARD = 12,
    HEAD_DIRECTORY_ID = 16,
    HEAD_NUMBER = 24,
    HEAD_EPOCH = 28,
    HEAD_SHARDS = 32,
    HEAD_START_LSN = 40,
    HEAD_SUM = PD_SNAPSHOT_PAGE_BYTES - 8,

    PREFIX_SUM = 0, /* of all behind it, header included */
    PREFIX_SUMMED = 8,
    PREFIX_MAGIC = 8,
    PREFIX_KIND = 12,
    PREFIX_RESERVED = 14,
    PREFIX_HEADER_BYTES = 16,
    PREFIX_PAYLOAD_BYTES = 20,
    PREFIX_SERIAL = 24,
    PREFIX_PAYLOAD_SUM = 32
};

uint64_t pd_snapshot_head_write(const struct pd_snapshot_head *head,
                                uint8_t out[PD_SNAPSHOT_PAGE_BYTES])
{
    memset(out, 0, PD_SNAPSHOT_PAGE_BYTES);
    pd_store(out, HEAD_MAGIC, 8);
    pd_store(out + HEAD_FORMAT, PD_SNAPSHOT_FORMAT, 4);
    pd_store(out + HEAD_SHARD, head->shard, 4);
    pd_store(out + HEAD_DIRECTORY_ID, head->directory_id, 8);
    pd_store(out + HEAD_NUMBER, head->number, 4);
    pd_store(out + HEAD_EPOCH, head->epoch, 4);
    pd_store(out + HEAD_SHARDS, head->shards, 4);
    pd_store(out + HEAD_START_LSN, head->start_lsn, 8);
    uint64_t sum = XXH3_64bits(out, HEAD_SUM);
    pd_store(out + HEAD_SUM, sum, 8);
    return sum;
}

enum paramd_status pd_snapshot_head_read(const uint8_t in[PD_SNAPSHOT_PAGE_BYTES],
                                         struct pd_snapshot_head *ret_head, uint64_t *ret_sum)
{
    if (pd_load(in, 8) != HEAD_MAGIC) {
        return PARAMD_CORRUPT;
    }
    /* Before the sum: only magic and format stay where they are in every format. */
    if (pd_load(in + HEAD_FORMAT, 4) > PD_SNAPSHOT_FORMAT) {
        return PARAMD_VERSION;
    }
    uint64_t sum = XXH3_64bits(in, HEAD_SUM);
    if (pd_load(in + HEAD_SUM, 8) != sum) {
        return PARAMD_CORRUPT;
    }
    *ret_head = (struct pd_snapshot_head){
        .directory_id = pd_load(in + HEAD_DIRECTORY_ID, 8),
        .number = (uint32_t)pd_load(in + HEAD_NUMBER, 4),
        .epoch = (uint32_t)pd_load(in + HEAD_EPOCH, 4),
        .shard = (uint32_t)pd_load(in + HEAD_SHARD, 4),
        .shards = (uint32_t)pd_load(in + HEAD_SHARDS, 4),
        .start_lsn = pd_load(in + HEAD_START_LSN, 8),
    };
    *ret_sum = sum;
    return PARAMD_OK;
}

uint64_t pd_snapshot_prefix_write(const struct pd_snapshot_prefix *prefix, uint64_t chain,
                                  uint8_t *out)
{
    pd_store(out + PREFIX_MAGIC, PIECE_MAGIC, 4);
    pd_store(out + PREFIX_KIND, prefix->kind, 2);
    pd_store(out + PREFIX_RESERVED, 0, 2);
    pd_store(out + PREFIX_HEADER_BYTES, prefix->header_bytes, 4);
    pd_store(out + PREFIX_PAYLOAD_BYTES, prefix->payload_bytes, 4);
    pd_store(out + PREFIX_SERIAL, prefix->serial, 8);
    pd_store(out + PREFIX_PAYLOAD_SUM, prefix->payload_sum, 8);
    uint64_t sum = pd_snapshot_prefix_sum(out, prefix->header_bytes, chain);
    pd_store(out + PREFIX_SUM, sum, 8);
    return sum;
}

void pd_snapshot_prefix_read(const uint8_t in[PD_SNAPSHOT_PREFIX_BYTES],
                             struct pd_snapshot_prefix *ret_prefix, uint64_t *ret_sum)
{
    *ret_prefix = (struct pd_snapshot_prefix){
        .kind = (uint16_t)pd_load(in + PREFIX_KIND, 2),
        .header_bytes = (uint32_t)pd_load(in + PREFIX_HEADER_BYTES, 4),
        .payload_bytes = (uint32_t)pd_load(in + PREFIX_PAYLOAD_BYTES, 4),
        .serial = pd_load(in + PREFIX_SERIAL, 8),
        .payload_sum = pd_load(in + PREFIX_PAYLOAD_SUM, 8),
    };
    *ret_sum = pd_load(in + PREFIX_SUM, 8);
}

uint64_t pd_snapshot_prefix_sum(const uint8_t *prefix_and_header, uint32_t header_bytes,
                                uint64_t chain)
{
    size_t bytes = (size_t)PD_SNAPSHOT_PREFIX_BYTES - PREFIX_SUMMED + header_bytes;
    return XXH3_64bits_withSeed(prefix_and_header + PREFIX_SUMMED, bytes, chain);
}
