/* Two byte streams through memory that two processes share, one in each direction: a ring and two
 * positions each. Nothing but memory: who maps it, and who wakes whom, is the caller's. The other
 * side is trusted for values only: its positions are checked before use, a copy of the own ones is
 * kept outside the shared memory, and there are no pointers in it. Layout in proto/README.md. */
#ifndef PARAMD_PROTO_RING_H
#define PARAMD_PROTO_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

enum {
    /* What the daemon makes. Less and both sides wait for each other, more and it falls out of the
     * second-level cache. */
    PD_RING_BYTES = 1024 * 1024,
    /* What a client accepts: powers of two. */
    PD_RING_BYTES_MIN = 64 * 1024,
    PD_RING_BYTES_MAX = 64 * 1024 * 1024,
    PD_RINGS_CONTROL_BYTES = 4096,
    /* Moved at a time: then the position is published and the other side can go on. */
    PD_RING_PIECE_BYTES = 64 * 1024,
    /* Two cache lines, since processors fetch them in pairs. */
    PD_RING_LINE_BYTES = 128
};

/* Positions count bytes since the beginning and never wrap. Each field has one writer but for the
 * flags: who sleeps sets its own, who wakes it clears it. */
struct pd_ring_control {
    alignas(PD_RING_LINE_BYTES) _Atomic uint64_t head; /* written so far: the writing side's */
    alignas(PD_RING_LINE_BYTES) _Atomic uint64_t tail; /* read so far: the reading side's */
    alignas(PD_RING_LINE_BYTES) _Atomic uint32_t reader_sleeps;
    alignas(PD_RING_LINE_BYTES) _Atomic uint32_t writer_sleeps;
};

enum pd_rings_side { PD_RINGS_SERVER = 0, PD_RINGS_CLIENT = 1 };

/* One ring as one side sees it. */
struct pd_ring {
    struct pd_ring_control *_control;
    uint8_t *_bytes;
    uint64_t _own;   /* this side's position */
    uint64_t _other; /* the other side's, as last seen */
};

/* One side of the shared memory. */
struct pd_rings {
    bool broken; /* the other side's positions made no sense: nothing moves any more */
    uint64_t _capacity;
    struct pd_ring _in;
    struct pd_ring _out;
};

/* Whether a ring may have this size. */
bool pd_ring_bytes_valid(uint32_t ring_bytes);
/* Of the whole memory, with rings of ring_bytes each. */
size_t pd_rings_memory_bytes(uint32_t ring_bytes);

/* memory is page-aligned, was zero when both sides began and outlives rings. ring_bytes is valid.
 */
void pd_rings_init(struct pd_rings *rings, void *memory, uint32_t ring_bytes,
                   enum pd_rings_side side);

/* Copies what has arrived into the spans, or the spans' bytes to the other side: one piece at most,
 * so call it until it moves nothing. Returns how many bytes; 0: empty or full, or broken. */
size_t pd_rings_read(struct pd_rings *rings, const struct pd_span *spans, size_t count);
size_t pd_rings_write(struct pd_rings *rings, const struct pd_span *spans, size_t count);

/* After read or write: whether the other side sleeps and has reason to wake, which it is told once.
 */
bool pd_rings_wants_bell(struct pd_rings *rings);

/* Before this side sleeps: says what it waits for. False: that is there already (or the rings are
 * broken, which reading will show). Room is there when half of the ring is free, so that a writer
 * is not woken for each piece. */
bool pd_rings_sleep(struct pd_rings *rings, bool for_bytes, bool for_room);

#endif
