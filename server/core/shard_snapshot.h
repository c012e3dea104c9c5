/* Snapshots of a shard, made while it works: what it knows first, then slot by slot what each
 * holds, in pieces that somebody writes down. Loaded into a fresh shard, with the log from where
 * the snapshot began replayed behind it, they give the same bits. */
#ifndef PARAMD_SERVER_CORE_SHARD_SNAPSHOT_H
#define PARAMD_SERVER_CORE_SHARD_SNAPSHOT_H

#include "proto/frame.h"
#include "server/core/shard.h"
#include "server/core/snapshot.pb-c.h"

/* X(NAME, number, message), as PD_RECORD_LIST. */
/* clang-format off */
#define PD_PIECE_LIST(X) \
    X(MODEL,    1, snapshot_model) \
    X(SESSIONS, 2, snapshot_sessions) \
    X(SLOT,     3, snapshot_slot) \
    X(BLOCKS,   4, snapshot_blocks) \
    X(IDS,      5, snapshot_ids)
/* clang-format on */

enum pd_piece_kind {
#define PD_PIECE_ENUM(name, number, message) PD_PIECE_##name = (number),
    PD_PIECE_LIST(PD_PIECE_ENUM)
#undef PD_PIECE_ENUM
};

enum {
    PD_PIECE_ITEMS_MAX = 1024,               /* blocks or sessions in one */
    PD_PIECE_PAYLOAD_MAX = 64 * 1024 * 1024, /* more than a block */
    PD_PIECE_OVERHEAD_BYTES = 64             /* what who writes it down may add to each */
};

/* To be written down at once: header and payload are the shard's, for this call. The header has at
 * most PD_RECORD_HEADER_BYTES_MAX bytes. */
struct pd_piece {
    enum pd_piece_kind kind;
    const ProtobufCMessage *header;
    const struct pd_span *payload;
    size_t span_count;
};

typedef void pd_piece_sink(void *context, const struct pd_piece *piece);

/* How much pd_shard_snapshot_begin writes at most, with the overhead of each piece. */
size_t pd_shard_snapshot_begin_bytes(const struct pd_shard *shard);

/* Begins a snapshot, of which there is one at a time. Its log begins behind the last record that
 * the shard has asked for up to now. PARAMD_OK, or PARAMD_NO_MEMORY. */
enum paramd_status pd_shard_snapshot_begin(struct pd_shard *shard, pd_piece_sink *sink,
                                           void *context) __attribute__((warn_unused_result));

/* The same for the next slot; 0: there is none, the snapshot is complete. Looks at what the slot
 * holds and at the model's sessions, not at other blocks. */
size_t pd_shard_snapshot_next_bytes(const struct pd_shard *shard);

/* Writes the next slot, whole. position: the LSN of the last record that the shard has asked for.
 * A snapshot is good only once the log is durable up to the last position. */
void pd_shard_snapshot_next(struct pd_shard *shard, uint64_t position, pd_piece_sink *sink,
                            void *context);

/* Something has happened that this snapshot cannot tell (an attempt to initialise began anew): it
 * is to be given up, and begun again. */
bool pd_shard_snapshot_spoilt(const struct pd_shard *shard);

/* The snapshot is complete, or given up. Fine if there is none. */
void pd_shard_snapshot_end(struct pd_shard *shard);

/* Takes one piece into a shard that had nothing and whose place among the shards is that of the one
 * that wrote it; the piece is as a record is for pd_shard_replay, but for the LSN. All pieces in
 * order, then pd_shard_replay of all records behind the snapshot's beginning, then
 * pd_shard_replay_end. Returns what pd_shard_replay does. */
enum paramd_status pd_shard_snapshot_load(struct pd_shard *shard, const struct pd_logged *piece,
                                          const struct pd_definitions *definitions,
                                          struct pd_arena *arena, const char **ret_text)
    __attribute__((warn_unused_result));

#endif
