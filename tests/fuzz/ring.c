/* Fuzzes the rings in shared memory against a peer that writes whatever it likes into them: no
 * byte beyond them is touched, what is read is what lies there, and what broke stays broken. */
#include "proto/ring.h"

#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { CAPACITY = PD_RING_BYTES_MIN, MEMORY = PD_RINGS_CONTROL_BYTES + 2 * CAPACITY };

enum action { READ, WRITE, SLEEP, BELL, MOVE_HEAD, MOVE_TAIL, SET_FLAGS, FILL, ACTIONS };

static alignas(PD_RINGS_CONTROL_BYTES) uint8_t memory[MEMORY];

/* A position near the true one, or any. */
static uint64_t position(struct pd_input *input, uint64_t now)
{
    uint64_t value = 0;
    switch (pd_input_byte(input) % 4) {
    case 0:
        return now + pd_input_number(input);
    case 1:
        return now - pd_input_number(input);
    case 2:
        return now + ((uint64_t)pd_input_byte(input) << (CAPACITY > 256 ? 9 : 0));
    default:
        for (unsigned i = 0; i < 8; i++) {
            value = value << 8 | pd_input_byte(input);
        }
        return value;
    }
}

static void transfer(struct pd_rings *rings, struct pd_input *input, bool reads)
{
    static uint8_t buffer[2 * CAPACITY];
    size_t first = pd_input_number(input);
    size_t second = pd_input_number(input);
    struct pd_span spans[] = {{buffer, first}, {buffer + CAPACITY, second}};
    bool broken = rings->broken;
    uint64_t before = reads ? rings->_in._own : rings->_out._own;
    size_t moved = reads ? pd_rings_read(rings, spans, 2) : pd_rings_write(rings, spans, 2);
    PD_FUZZ_CHECK(moved <= first + second && moved <= PD_RING_PIECE_BYTES);
    PD_FUZZ_CHECK(!rings->broken || moved == 0);
    PD_FUZZ_CHECK(!broken || rings->broken);
    const uint8_t *ring = reads ? rings->_in._bytes : rings->_out._bytes;
    if (moved > 0) {
        size_t last = moved - 1 < first ? moved - 1 : CAPACITY + moved - 1 - first;
        PD_FUZZ_CHECK(first == 0 || buffer[0] == ring[before % CAPACITY]);
        PD_FUZZ_CHECK(buffer[last] == ring[(before + moved - 1) % CAPACITY]);
    }
}

static void act(struct pd_rings *rings, struct pd_input *input)
{
    uint8_t byte = pd_input_byte(input);
    struct pd_ring *ring = (byte & 0x80) != 0 ? &rings->_in : &rings->_out;
    switch ((enum action)(byte % ACTIONS)) {
    case READ:
        transfer(rings, input, true);
        break;
    case WRITE:
        transfer(rings, input, false);
        break;
    case SLEEP:
        (void)pd_rings_sleep(rings, (byte & 0x40) != 0, (byte & 0x20) != 0);
        break;
    case BELL:
        (void)pd_rings_wants_bell(rings);
        break;
    case MOVE_HEAD:
        atomic_store(&ring->_control->head, position(input, ring->_own));
        break;
    case MOVE_TAIL:
        atomic_store(&ring->_control->tail, position(input, ring->_own));
        break;
    case SET_FLAGS:
        atomic_store(&ring->_control->reader_sleeps, pd_input_byte(input));
        atomic_store(&ring->_control->writer_sleeps, pd_input_byte(input));
        break;
    case FILL:
    default:
        memset(rings->_in._bytes + (size_t)pd_input_byte(input) * 256, byte, 256);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pd_input input = {data, data + size};
    struct pd_rings rings;
    memset(memory, 0, PD_RINGS_CONTROL_BYTES);
    pd_rings_init(&rings, memory, CAPACITY,
                  (pd_input_byte(&input) & 1) != 0 ? PD_RINGS_CLIENT : PD_RINGS_SERVER);
    while (input.at < input.end) {
        act(&rings, &input);
    }
    return 0;
}
