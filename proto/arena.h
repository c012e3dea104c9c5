/* Memory for one decoded message: taken piece by piece, given back all at once, never more than a
 * quota. A hostile header can make protobuf-c ask for a lot; the arena then says no and the message
 * is refused. */
#ifndef PARAMD_PROTO_ARENA_H
#define PARAMD_PROTO_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

struct pd_arena_chunk;

struct pd_arena {
    ProtobufCAllocator allocator; /* hand this to protobuf-c */
    struct pd_arena_chunk *_first;
    struct pd_arena_chunk *_current;
    size_t _used; /* of the quota, since the last reset */
    size_t _quota;
};

/* The arena must not move after init. Allocates nothing yet. */
void pd_arena_init(struct pd_arena *arena, size_t quota_bytes);
void pd_arena_deinit(struct pd_arena *arena);
/* 16-byte aligned, not zeroed; NULL beyond the quota or when the process has no memory. */
void *pd_arena_take(struct pd_arena *arena, size_t bytes);
/* Everything taken is gone; the first 64 KiB stay allocated for the next message. */
void pd_arena_reset(struct pd_arena *arena);

#endif
