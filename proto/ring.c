/* Rings in shared memory. Positions and flags are sequentially consistent: whoever publishes a
 * position looks at the flag afterwards, whoever sets the flag looks at the position afterwards, so
 * that one of the two sees the other. */
#include "proto/ring.h"

#include <string.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "atomics are shared between processes");
_Static_assert(2 * sizeof(struct pd_ring_control) <= PD_RINGS_CONTROL_BYTES,
               "the control page holds both rings' positions");

bool pd_ring_bytes_valid(uint32_t ring_bytes)
{
    return ring_bytes >= PD_RING_BYTES_MIN && ring_bytes <= PD_RING_BYTES_MAX &&
           (ring_bytes & (ring_bytes - 1)) == 0;
}

size_t pd_rings_memory_bytes(uint32_t ring_bytes)
{
    return PD_RINGS_CONTROL_BYTES + 2 * (size_t)ring_bytes;
}

static struct pd_ring ring(void *memory, uint32_t ring_bytes, unsigned index)
{
    struct pd_ring_control *controls = memory;
    uint8_t *bytes = (uint8_t *)memory + PD_RINGS_CONTROL_BYTES;
    return (struct pd_ring){._control = &controls[index],
                            ._bytes = bytes + index * (size_t)ring_bytes};
}

void pd_rings_init(struct pd_rings *rings, void *memory, uint32_t ring_bytes,
                   enum pd_rings_side side)
{
    /* Ring 0 goes to the server. */
    *rings = (struct pd_rings){._capacity = ring_bytes,
                               ._in = ring(memory, ring_bytes, side == PD_RINGS_CLIENT),
                               ._out = ring(memory, ring_bytes, side == PD_RINGS_SERVER)};
}

/* Bytes that have arrived. A head that went back, or is further ahead than the ring is long, cannot
 * be. */
static size_t readable(struct pd_rings *rings)
{
    struct pd_ring *in = &rings->_in;
    uint64_t head = atomic_load(&in->_control->head);
    uint64_t bytes = head - in->_own;
    if (rings->broken || bytes < in->_other - in->_own || bytes > rings->_capacity) {
        rings->broken = true;
        return 0;
    }
    in->_other = head;
    return (size_t)bytes;
}

/* Bytes there is room for. A tail that went back, or is beyond what was written, cannot be. */
static size_t writable(struct pd_rings *rings)
{
    struct pd_ring *out = &rings->_out;
    uint64_t tail = atomic_load(&out->_control->tail);
    uint64_t unread = out->_own - tail;
    if (rings->broken || unread > out->_own - out->_other) {
        rings->broken = true;
        return 0;
    }
    out->_other = tail;
    return (size_t)(rings->_capacity - unread);
}

/* Between the ring, from its own position on, and memory. */
static void copy(const struct pd_rings *rings, struct pd_ring *ring, uint8_t *memory, size_t bytes)
{
    bool reads = ring == &rings->_in;
    while (bytes > 0) {
        size_t offset = (size_t)(ring->_own & (rings->_capacity - 1));
        size_t step = (size_t)rings->_capacity - offset;
        step = step < bytes ? step : bytes;
        memcpy(reads ? memory : ring->_bytes + offset, reads ? ring->_bytes + offset : memory,
               step);
        ring->_own += step;
        memory += step;
        bytes -= step;
    }
}

static size_t move(const struct pd_rings *rings, struct pd_ring *ring, const struct pd_span *spans,
                   size_t count, size_t bytes_max)
{
    size_t left = bytes_max < PD_RING_PIECE_BYTES ? bytes_max : PD_RING_PIECE_BYTES;
    uint64_t before = ring->_own;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t step = spans[i].bytes < left ? spans[i].bytes : left;
        copy(rings, ring, spans[i].data, step);
        left -= step;
    }
    return (size_t)(ring->_own - before);
}

size_t pd_rings_read(struct pd_rings *rings, const struct pd_span *spans, size_t count)
{
    size_t moved = move(rings, &rings->_in, spans, count, readable(rings));
    if (moved > 0) {
        atomic_store(&rings->_in._control->tail, rings->_in._own);
    }
    return moved;
}

size_t pd_rings_write(struct pd_rings *rings, const struct pd_span *spans, size_t count)
{
    size_t moved = move(rings, &rings->_out, spans, count, writable(rings));
    if (moved > 0) {
        atomic_store(&rings->_out._control->head, rings->_out._own);
    }
    return moved;
}

static bool take_flag(_Atomic uint32_t *flag)
{
    bool set = atomic_load(flag) != 0;
    if (set) {
        atomic_store(flag, 0);
    }
    return set;
}

bool pd_rings_wants_bell(struct pd_rings *rings)
{
    struct pd_ring *in = &rings->_in;
    struct pd_ring *out = &rings->_out;
    bool bell = out->_own != out->_other && take_flag(&out->_control->reader_sleeps);
    if (in->_other - in->_own <= rings->_capacity / 2) {
        bell = take_flag(&in->_control->writer_sleeps) || bell;
    }
    return bell;
}

bool pd_rings_sleep(struct pd_rings *rings, bool for_bytes, bool for_room)
{
    atomic_store(&rings->_in._control->reader_sleeps, for_bytes);
    atomic_store(&rings->_out._control->writer_sleeps, for_room);
    bool bytes = for_bytes && readable(rings) > 0;
    bool room = for_room && writable(rings) >= rings->_capacity / 2;
    return !bytes && !room && !rings->broken;
}
