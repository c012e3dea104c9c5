/* Fuzzes the frame reader: the input makes a stream of frames and other bytes, which is read twice,
 * in one piece and in pieces with the payload scattered, and must give the same frames. */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

enum { STREAM_MAX = 16 * 1024, SPANS_MAX = 3 };

/* What a reader has seen, folded into a sum. */
struct trace {
    unsigned frames;
    uint64_t sum;
    enum pd_frame_state state;
    enum paramd_status error;
};

static void note(struct trace *trace, const struct pd_frame_reader *reader, uint8_t *payload)
{
    uint64_t words[] = {trace->sum, reader->kind, reader->flags, reader->header_bytes};
    struct pd_span spans[] = {{(uint8_t *)words, sizeof words},
                              {(uint8_t *)(uintptr_t)reader->header, reader->header_bytes},
                              {payload, reader->payload_bytes}};
    trace->sum = pd_payload_sum(spans, 3);
    trace->frames++;
}

/* Cuts the payload into spans; some may be empty. */
static size_t scatter(uint8_t *payload, size_t bytes, unsigned way, struct pd_span spans[SPANS_MAX])
{
    size_t count = bytes == 0 ? way % 2 : 1 + way % SPANS_MAX;
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        size_t step = i + 1 == count ? bytes - taken : (bytes - taken) * (way % 5) / 4;
        spans[i] = (struct pd_span){payload + taken, step};
        taken += step;
    }
    return count;
}

/* Fills the rest of a payload without feeding it, as readv does. */
static size_t fill(struct pd_frame_reader *reader, const uint8_t *bytes, size_t count)
{
    struct pd_span rest[SPANS_MAX];
    size_t spans = pd_frame_reader_rest(reader, rest, SPANS_MAX);
    size_t taken = 0;
    for (size_t i = 0; i < spans && taken < count; i++) {
        size_t step = rest[i].bytes < count - taken ? rest[i].bytes : count - taken;
        memcpy(rest[i].data, bytes + taken, step);
        taken += step;
    }
    pd_frame_reader_filled(reader, taken);
    return taken;
}

/* ways empty: all in one piece. */
static struct trace read_stream(const uint8_t *bytes, size_t count, struct pd_input ways)
{
    struct pd_frame_reader reader;
    struct pd_span spans[SPANS_MAX];
    struct trace trace = {0};
    uint8_t *payload = NULL;
    bool whole = ways.at == ways.end;
    size_t taken = 0;
    pd_frame_reader_init(&reader, PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX);
    while (reader.state != PD_FRAME_FAILED) {
        unsigned way = pd_input_byte(&ways);
        size_t step = whole || way == 0 ? count - taken : 1 + way % 61;
        step = step < count - taken ? step : count - taken;
        if (reader.state == PD_FRAME_WANTS_PAYLOAD) {
            PD_FUZZ_CHECK(payload == NULL);
            payload = malloc((size_t)reader.payload_bytes + 1);
            PD_FUZZ_CHECK(payload != NULL);
            size_t places = scatter(payload, reader.payload_bytes, way, spans);
            pd_frame_reader_place(&reader, spans, places);
        } else if (reader.state == PD_FRAME_WHOLE) {
            note(&trace, &reader, payload);
            free(payload);
            payload = NULL;
            pd_frame_reader_next(&reader);
            if ((way & 0x40) != 0) {
                pd_frame_reader_shrink(&reader);
            }
        } else if (taken == count) {
            break;
        } else if (reader.state == PD_FRAME_PAYLOAD && (way & 0x80) != 0) {
            taken += fill(&reader, bytes + taken, step);
        } else {
            size_t moved = pd_frame_reader_feed(&reader, bytes + taken, step);
            PD_FUZZ_CHECK(moved <= step);
            taken += moved;
        }
    }
    trace.state = reader.state;
    trace.error = reader.error;
    PD_FUZZ_CHECK((reader.state == PD_FRAME_FAILED) == (reader.error_text != NULL));
    free(payload);
    pd_frame_reader_deinit(&reader);
    return trace;
}

static void check_preamble(const uint8_t *bytes, size_t count)
{
    struct pd_preamble preamble;
    uint8_t written[PD_PREAMBLE_BYTES];
    uint32_t ring_bytes;
    if (count >= PD_PREAMBLE_BYTES && pd_preamble_read(bytes, &preamble) == PARAMD_OK) {
        pd_preamble_write(&preamble, written);
        PD_FUZZ_CHECK(memcmp(bytes, written, sizeof written) == 0);
    }
    if (count >= PD_SHARED_ANSWER_BYTES && pd_shared_answer_read(bytes, &ring_bytes)) {
        pd_shared_answer_write(ring_bytes, written);
        PD_FUZZ_CHECK(memcmp(bytes, written, PD_SHARED_ANSWER_BYTES) == 0);
    }
}

/* Writes what the input says next: a frame, or bytes as they are. */
static size_t append(struct pd_input *input, uint8_t *ret_bytes)
{
    if (pd_input_byte(input) % 4 != 0) {
        return pd_input_frame(input, ret_bytes);
    }
    size_t wanted = pd_input_byte(input);
    size_t count;
    const uint8_t *bytes = pd_input_bytes(input, wanted, &count);
    memcpy(ret_bytes, bytes, count);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t stream[STREAM_MAX + PD_INPUT_FRAME_BYTES];
    struct pd_input input = {data, data + size};
    struct pd_input ways = {NULL, NULL};
    size_t way_count;
    size_t count = 0;
    check_preamble(data, size);
    size_t ways_wanted = pd_input_byte(&input);
    ways.at = pd_input_bytes(&input, ways_wanted, &way_count);
    ways.end = ways.at + way_count;
    while (input.at < input.end && count < STREAM_MAX) {
        count += append(&input, stream + count);
    }
    struct trace whole = read_stream(stream, count, (struct pd_input){NULL, NULL});
    struct trace pieces = read_stream(stream, count, ways);
    PD_FUZZ_CHECK(whole.frames == pieces.frames && whole.sum == pieces.sum);
    PD_FUZZ_CHECK(whole.state == pieces.state && whole.error == pieces.error);
    return 0;
}
