/* The frame reader and the writer of heads. A frame is believed piece by piece: magic, lengths
 * against their limits, the header sum, and only then the rest. */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

/* The streaming state on the stack needs its size. */
#define XXH_STATIC_LINKING_ONLY
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* the same sums in the CPU's widest vectors: four times as fast */
#else
#include <xxhash.h>
#endif

enum {
    SUMMED_BYTES = 16, /* of the prefix, by the header sum */
    HEAD_KEPT_BYTES = 4096,
    FLAGS_KNOWN = PD_FRAME_PAYLOAD_SUM | PD_FRAME_SKIPPABLE | PD_FRAME_MORE
};

static uint32_t load32(const uint8_t *in)
{
    return (uint32_t)in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16 | (uint32_t)in[3] << 24;
}

static uint64_t load64(const uint8_t *in)
{
    return (uint64_t)load32(in) | (uint64_t)load32(in + 4) << 32;
}

static void store16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)value;
    out[1] = (uint8_t)(value >> 8);
}

static void store32(uint8_t *out, uint32_t value)
{
    store16(out, (uint16_t)value);
    store16(out + 2, (uint16_t)(value >> 16));
}

static void store64(uint8_t *out, uint64_t value)
{
    store32(out, (uint32_t)value);
    store32(out + 4, (uint32_t)(value >> 32));
}

void pd_preamble_write(const struct pd_preamble *preamble, uint8_t out[PD_PREAMBLE_BYTES])
{
    store32(out, PD_PREAMBLE_MAGIC);
    store32(out + 4, preamble->version);
    store32(out + 8, preamble->flags);
    store32(out + 12, preamble->shard);
}

enum paramd_status pd_preamble_read(const uint8_t in[PD_PREAMBLE_BYTES],
                                    struct pd_preamble *ret_preamble)
{
    if (load32(in) != PD_PREAMBLE_MAGIC) {
        return PARAMD_PROTOCOL;
    }
    ret_preamble->version = load32(in + 4);
    ret_preamble->flags = load32(in + 8);
    ret_preamble->shard = load32(in + 12);
    if (ret_preamble->version != PD_PROTOCOL_VERSION) {
        return PARAMD_VERSION;
    }
    bool known = (ret_preamble->flags & ~(uint32_t)PD_PREAMBLE_SHARED_MEMORY) == 0;
    return known ? PARAMD_OK : PARAMD_PROTOCOL;
}

void pd_shared_answer_write(uint32_t ring_bytes, uint8_t out[PD_SHARED_ANSWER_BYTES])
{
    store32(out, PD_SHARED_MAGIC);
    store32(out + 4, ring_bytes);
}

bool pd_shared_answer_read(const uint8_t in[PD_SHARED_ANSWER_BYTES], uint32_t *ret_ring_bytes)
{
    *ret_ring_bytes = load32(in + 4);
    return load32(in) == PD_SHARED_MAGIC;
}

static void fail(struct pd_frame_reader *reader, enum paramd_status status, const char *text)
{
    reader->state = PD_FRAME_FAILED;
    reader->error = status;
    reader->error_text = text;
}

void pd_frame_reader_init(struct pd_frame_reader *reader, uint32_t frame_bytes_max)
{
    *reader = (struct pd_frame_reader){.frame_bytes_max = frame_bytes_max};
}

void pd_frame_reader_deinit(struct pd_frame_reader *reader)
{
    free(reader->_head);
    reader->_head = NULL;
    reader->_head_capacity = 0;
}

static bool head_reserve(struct pd_frame_reader *reader, size_t bytes)
{
    if (bytes <= reader->_head_capacity) {
        return true;
    }
    size_t capacity = bytes > HEAD_KEPT_BYTES ? PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX
                      : bytes > 512           ? HEAD_KEPT_BYTES
                                              : 512;
    uint8_t *head = realloc(reader->_head, capacity);
    if (head == NULL) {
        fail(reader, PARAMD_RESOURCE_EXHAUSTED, "no memory for a frame header");
        return false;
    }
    reader->_head = head;
    reader->_head_capacity = capacity;
    return true;
}

/* Adds bytes to the head until it has `wanted`; returns how many it took. */
static size_t head_fill(struct pd_frame_reader *reader, size_t wanted, const uint8_t *bytes,
                        size_t count)
{
    size_t take = wanted - reader->_head_bytes;
    if (take > count) {
        take = count;
    }
    if (take == 0 || !head_reserve(reader, wanted)) {
        return 0;
    }
    memcpy(reader->_head + reader->_head_bytes, bytes, take);
    reader->_head_bytes += take;
    return take;
}

static void read_prefix(struct pd_frame_reader *reader)
{
    const uint8_t *in = reader->_head;
    if (load32(in) != PD_FRAME_MAGIC) {
        fail(reader, PARAMD_PROTOCOL, "a frame does not begin with its magic");
        return;
    }
    reader->kind = (uint16_t)load32(in + 4);
    reader->flags = (uint16_t)(load32(in + 4) >> 16);
    reader->header_bytes = load32(in + 8);
    reader->payload_bytes = load32(in + 12);
    reader->payload_sum = load64(in + 24);
    if (reader->header_bytes > PD_HEADER_BYTES_MAX) {
        fail(reader, PARAMD_TOO_LARGE, "a frame header is above 64 KiB");
    } else if (reader->payload_bytes > PD_PAYLOAD_BYTES_MAX) {
        fail(reader, PARAMD_TOO_LARGE, "a frame payload is above 1 MiB");
    } else if (reader->header_bytes + reader->payload_bytes >
               reader->frame_bytes_max - PD_PREFIX_BYTES) {
        fail(reader, PARAMD_TOO_LARGE,
             "a frame is larger than this connection may send yet: say HELLO first");
    }
}

static uint64_t header_sum(const uint8_t *head, size_t header_bytes)
{
    /* In one piece where it is small, as it nearly always is: the streaming form costs more than
     * such a header. */
    uint8_t joined[SUMMED_BYTES + 496];
    if (header_bytes <= sizeof joined - SUMMED_BYTES) {
        memcpy(joined, head, SUMMED_BYTES);
        memcpy(joined + SUMMED_BYTES, head + PD_PREFIX_BYTES, header_bytes);
        return XXH3_64bits(joined, SUMMED_BYTES + header_bytes);
    }
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, head, SUMMED_BYTES);
    XXH3_64bits_update(&state, head + PD_PREFIX_BYTES, header_bytes);
    return XXH3_64bits_digest(&state);
}

static void head_complete(struct pd_frame_reader *reader)
{
    if (header_sum(reader->_head, reader->header_bytes) != load64(reader->_head + 16)) {
        fail(reader, PARAMD_PROTOCOL, "a header sum is wrong");
    } else if ((reader->flags & ~FLAGS_KNOWN) != 0) {
        fail(reader, PARAMD_PROTOCOL, "a frame has flags of a later version");
    } else {
        reader->header = reader->_head + PD_PREFIX_BYTES;
        reader->state = PD_FRAME_WANTS_PAYLOAD;
    }
}

static size_t feed_head(struct pd_frame_reader *reader, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;
    if (reader->_head_bytes < PD_PREFIX_BYTES) {
        taken = head_fill(reader, PD_PREFIX_BYTES, bytes, count);
        if (reader->_head_bytes < PD_PREFIX_BYTES || reader->state == PD_FRAME_FAILED) {
            return taken;
        }
        read_prefix(reader);
        if (reader->state == PD_FRAME_FAILED) {
            return taken;
        }
    }
    size_t wanted = PD_PREFIX_BYTES + (size_t)reader->header_bytes;
    taken += head_fill(reader, wanted, bytes + taken, count - taken);
    if (reader->_head_bytes == wanted && reader->state != PD_FRAME_FAILED) {
        head_complete(reader);
    }
    return taken;
}

uint64_t pd_payload_sum(const struct pd_span *spans, size_t count)
{
    if (count == 1) {
        return XXH3_64bits(spans[0].data, spans[0].bytes);
    }
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_64bits_reset(&state);
    for (size_t i = 0; i < count; i++) {
        XXH3_64bits_update(&state, spans[i].data, spans[i].bytes);
    }
    return XXH3_64bits_digest(&state);
}

static void payload_complete(struct pd_frame_reader *reader)
{
    if ((reader->flags & PD_FRAME_PAYLOAD_SUM) != 0 &&
        pd_payload_sum(reader->_spans, reader->_span_count) != reader->payload_sum) {
        fail(reader, PARAMD_PROTOCOL, "a payload sum is wrong");
        return;
    }
    reader->state = PD_FRAME_WHOLE;
}

/* Moves past the spans that are full; empty ones too. */
static void settle(struct pd_frame_reader *reader)
{
    while (reader->_span < reader->_span_count &&
           reader->_span_offset == reader->_spans[reader->_span].bytes) {
        reader->_span++;
        reader->_span_offset = 0;
    }
    if (reader->_payload_have == reader->payload_bytes) {
        payload_complete(reader);
    }
}

static size_t feed_payload(struct pd_frame_reader *reader, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;
    while (taken < count && reader->state == PD_FRAME_PAYLOAD) {
        const struct pd_span *span = &reader->_spans[reader->_span];
        size_t take = span->bytes - reader->_span_offset;
        if (take > count - taken) {
            take = count - taken;
        }
        memcpy(span->data + reader->_span_offset, bytes + taken, take);
        taken += take;
        reader->_span_offset += take;
        reader->_payload_have += take;
        settle(reader);
    }
    return taken;
}

size_t pd_frame_reader_feed(struct pd_frame_reader *reader, const uint8_t *bytes, size_t count)
{
    size_t taken = 0;
    if (reader->state == PD_FRAME_HEAD) {
        taken = feed_head(reader, bytes, count);
    }
    if (reader->state == PD_FRAME_PAYLOAD) {
        taken += feed_payload(reader, bytes + taken, count - taken);
    }
    return taken;
}

void pd_frame_reader_place(struct pd_frame_reader *reader, const struct pd_span *spans,
                           size_t count)
{
    reader->_spans = spans;
    reader->_span_count = count;
    reader->_span = 0;
    reader->_span_offset = 0;
    reader->_payload_have = 0;
    reader->state = PD_FRAME_PAYLOAD;
    settle(reader);
}

size_t pd_frame_reader_rest(const struct pd_frame_reader *reader, struct pd_span *ret_spans,
                            size_t max)
{
    size_t offset = reader->_span_offset;
    size_t count = 0;
    for (size_t i = reader->_span; i < reader->_span_count && count < max; i++) {
        const struct pd_span *span = &reader->_spans[i];
        if (span->bytes > offset) {
            ret_spans[count].data = span->data + offset;
            ret_spans[count].bytes = span->bytes - offset;
            count++;
        }
        offset = 0;
    }
    return count;
}

void pd_frame_reader_filled(struct pd_frame_reader *reader, size_t count)
{
    reader->_payload_have += count;
    while (count > 0) {
        size_t left = reader->_spans[reader->_span].bytes - reader->_span_offset;
        size_t step = left < count ? left : count;
        reader->_span_offset += step;
        count -= step;
        if (reader->_span_offset == reader->_spans[reader->_span].bytes) {
            reader->_span++;
            reader->_span_offset = 0;
        }
    }
    settle(reader);
}

void pd_frame_reader_next(struct pd_frame_reader *reader)
{
    reader->state = PD_FRAME_HEAD;
    reader->header = NULL;
    reader->_head_bytes = 0;
    reader->_spans = NULL;
    reader->_span_count = 0;
}

bool pd_frame_reader_idle(const struct pd_frame_reader *reader)
{
    return reader->state == PD_FRAME_HEAD && reader->_head_bytes == 0;
}

void pd_frame_reader_shrink(struct pd_frame_reader *reader)
{
    if (pd_frame_reader_idle(reader)) {
        pd_frame_reader_deinit(reader);
    }
}

size_t pd_frame_head_bytes(const ProtobufCMessage *header)
{
    size_t bytes = protobuf_c_message_get_packed_size(header);
    return bytes > PD_HEADER_BYTES_MAX ? 0 : PD_PREFIX_BYTES + bytes;
}

void pd_frame_head_write(uint8_t *out, enum pd_kind kind, unsigned flags,
                         const ProtobufCMessage *header, uint32_t payload_bytes,
                         uint64_t payload_sum)
{
    size_t header_bytes = protobuf_c_message_pack(header, out + PD_PREFIX_BYTES);
    store32(out, PD_FRAME_MAGIC);
    store16(out + 4, (uint16_t)kind);
    store16(out + 6, (uint16_t)flags);
    store32(out + 8, (uint32_t)header_bytes);
    store32(out + 12, payload_bytes);
    store64(out + 16, header_sum(out, header_bytes));
    store64(out + 24, (flags & PD_FRAME_PAYLOAD_SUM) != 0 ? payload_sum : 0);
}
