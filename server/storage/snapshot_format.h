/* The bytes of a snapshot file: its head and the prefix of each piece. Layout: README.md. No I/O.
 */
#ifndef PARAMD_SERVER_STORAGE_SNAPSHOT_FORMAT_H
#define PARAMD_SERVER_STORAGE_SNAPSHOT_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "proto/paramd_status.h"

enum {
    PD_SNAPSHOT_FORMAT = 1,
    PD_SNAPSHOT_PAGE_BYTES = 4096, /* the head has one; files and writes end with a whole one */
    PD_SNAPSHOT_PREFIX_BYTES = 40,
    PD_SNAPSHOT_ALIGNMENT = 8,    /* of a piece */
    PD_SNAPSHOT_PIECE_BYTES = 64, /* a piece takes less than that beside header and payload */
    PD_SNAPSHOT_HEADER_BYTES_MAX = 128 * 1024,
    PD_SNAPSHOT_END = 0, /* the kind of the last piece */
    PD_SNAPSHOT_END_HEADER_BYTES = 16
};

/* What file this is. */
struct pd_snapshot_head {
    uint64_t directory_id;
    uint32_t number;
    uint32_t epoch;
    uint32_t shard;
    uint32_t shards;
    uint64_t start_lsn;
};

struct pd_snapshot_prefix {
    uint16_t kind;
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint64_t serial; /* 1, 2, 3, ... */
    uint64_t payload_sum;
};

/* Bytes of a piece with its padding. */
static inline size_t pd_snapshot_piece_bytes(size_t header_bytes, size_t payload_bytes)
{
    size_t bytes = PD_SNAPSHOT_PREFIX_BYTES + header_bytes + payload_bytes;
    return (bytes + PD_SNAPSHOT_ALIGNMENT - 1) / PD_SNAPSHOT_ALIGNMENT * PD_SNAPSHOT_ALIGNMENT;
}

/* Returns its sum, from which that of the first piece goes on. */
uint64_t pd_snapshot_head_write(const struct pd_snapshot_head *head,
                                uint8_t out[PD_SNAPSHOT_PAGE_BYTES]);
/* OK; VERSION: of a newer format; CORRUPT. */
enum paramd_status pd_snapshot_head_read(const uint8_t in[PD_SNAPSHOT_PAGE_BYTES],
                                         struct pd_snapshot_head *ret_head, uint64_t *ret_sum)
    __attribute__((warn_unused_result));

/* The header stands behind it already. chain: the sum of what came before; returns its own. */
uint64_t pd_snapshot_prefix_write(const struct pd_snapshot_prefix *prefix, uint64_t chain,
                                  uint8_t *out);
/* Reads a prefix without believing it. */
void pd_snapshot_prefix_read(const uint8_t in[PD_SNAPSHOT_PREFIX_BYTES],
                             struct pd_snapshot_prefix *ret_prefix, uint64_t *ret_sum);
/* The sum of a prefix and the header behind it, as it has to be. */
uint64_t pd_snapshot_prefix_sum(const uint8_t *prefix_and_header, uint32_t header_bytes,
                                uint64_t chain);

#endif
