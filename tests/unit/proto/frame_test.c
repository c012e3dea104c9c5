/* The frame reader finds frames in any split of the bytes, believes nothing that is beyond a limit
 * or has a wrong sum, and once it has failed it stays so. */
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

#include "proto/paramd.pb-c.h"
#include "tests/support/check_main.h"

enum { FRAMES = 40, PAYLOAD_MAX = 5000, STREAM_MAX = FRAMES * (PAYLOAD_MAX + 1200) };

static const uint32_t ANY_FRAME = PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX + PD_PAYLOAD_BYTES_MAX;

static uint64_t random_state;

static unsigned below(unsigned bound)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)((random_state >> 33) % bound);
}

/* One frame: HELLO with this request id, whose header may be padded, and a payload. */
static size_t write_frame(uint8_t *out, uint64_t request_id, size_t padding, unsigned flags,
                          const uint8_t *payload, size_t payload_bytes)
{
    static char text[70000];
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    struct pd_span span = {(uint8_t *)(uintptr_t)payload, payload_bytes};
    memset(text, 'x', padding);
    text[padding] = '\0';
    hello.request_id = request_id;
    hello.client = text;
    pd_frame_head_write(out, PD_KIND_HELLO, flags, &hello.base, (uint32_t)payload_bytes,
                        pd_payload_sum(&span, 1));
    size_t head_bytes = pd_frame_head_bytes(&hello.base);
    if (payload_bytes > 0) {
        memcpy(out + head_bytes, payload, payload_bytes);
    }
    return head_bytes + payload_bytes;
}

/* The sum over the first 16 bytes and the header, anew. */
static void sum_again(uint8_t *frame, size_t header_bytes)
{
    struct pd_span spans[] = {{frame, 16}, {frame + PD_PREFIX_BYTES, header_bytes}};
    uint64_t sum = pd_payload_sum(spans, 2);
    memcpy(frame + 16, &sum, sizeof sum);
}

/* ---- splits ---- */

/* Feeds what is left of the piece; payloads go to three spans, some of them empty. */
struct sink {
    struct pd_frame_reader reader;
    uint8_t payload[PAYLOAD_MAX];
    struct pd_span spans[3];
    unsigned found;
    const uint8_t *payloads; /* what they must be: the i-th is of i * 119 bytes */
};

static void act(struct sink *sink)
{
    struct pd_frame_reader *reader = &sink->reader;
    if (reader->state == PD_FRAME_WANTS_PAYLOAD) {
        size_t first = below(reader->payload_bytes + 1);
        sink->spans[0] = (struct pd_span){sink->payload, first};
        sink->spans[1] = (struct pd_span){sink->payload + first, 0};
        sink->spans[2] = (struct pd_span){sink->payload + first, reader->payload_bytes - first};
        pd_frame_reader_place(reader, sink->spans, reader->payload_bytes > 0 ? 3 : 0);
    } else if (reader->state == PD_FRAME_WHOLE) {
        Paramd__Hello *hello = paramd__hello__unpack(NULL, reader->header_bytes, reader->header);
        ck_assert_ptr_nonnull(hello);
        ck_assert_uint_eq(hello->request_id, sink->found + 1);
        paramd__hello__free_unpacked(hello, NULL);
        ck_assert_uint_eq(reader->kind, PD_KIND_HELLO);
        ck_assert_uint_eq(reader->payload_bytes, sink->found * 119);
        ck_assert_mem_eq(sink->payload, sink->payloads, reader->payload_bytes);
        sink->found++;
        pd_frame_reader_next(reader);
    }
}

/* Gives so many bytes, as a transport would: some directly into the rest of the payload. */
static void give(struct sink *sink, const uint8_t *bytes, size_t count)
{
    struct pd_frame_reader *reader = &sink->reader;
    while (count > 0 || reader->state == PD_FRAME_WHOLE ||
           reader->state == PD_FRAME_WANTS_PAYLOAD) {
        ck_assert_msg(reader->state != PD_FRAME_FAILED, "%s", reader->error_text);
        size_t taken = 0;
        struct pd_span rest[3];
        if (reader->state == PD_FRAME_PAYLOAD && below(2) == 0) {
            size_t spans = pd_frame_reader_rest(reader, rest, 3);
            for (size_t i = 0; i < spans && taken < count; i++) {
                size_t step = rest[i].bytes < count - taken ? rest[i].bytes : count - taken;
                memcpy(rest[i].data, bytes + taken, step);
                taken += step;
            }
            pd_frame_reader_filled(reader, taken);
        } else if (reader->state == PD_FRAME_HEAD || reader->state == PD_FRAME_PAYLOAD) {
            taken = pd_frame_reader_feed(reader, bytes, count);
        }
        bytes += taken;
        count -= taken;
        act(sink);
    }
}

START_TEST(frames_are_found_whole_in_any_split)
{
    static uint8_t stream[STREAM_MAX];
    static uint8_t payload[PAYLOAD_MAX];
    struct sink sink = {.payloads = payload};
    size_t count = 0;
    random_state = (uint64_t)_i; /* Check prints it with a failure */
    for (size_t i = 0; i < PAYLOAD_MAX; i++) {
        payload[i] = (uint8_t)below(256);
    }
    for (unsigned i = 0; i < FRAMES; i++) {
        unsigned flags = below(2) == 0 ? PD_FRAME_PAYLOAD_SUM : 0;
        count += write_frame(stream + count, i + 1, below(1000), flags, payload, i * 119);
    }
    pd_frame_reader_init(&sink.reader, ANY_FRAME);
    unsigned piece_max = 1U << below(14);
    for (size_t at = 0; at < count;) {
        size_t piece = 1 + below(piece_max);
        piece = piece < count - at ? piece : count - at;
        give(&sink, stream + at, piece);
        at += piece;
    }
    ck_assert_uint_eq(sink.found, FRAMES);
    ck_assert(pd_frame_reader_idle(&sink.reader));
    pd_frame_reader_shrink(&sink.reader);
    pd_frame_reader_deinit(&sink.reader);
}
END_TEST

START_TEST(a_reader_takes_nothing_while_its_owner_must_act)
{
    uint8_t frame[256];
    uint8_t payload[8] = "payload";
    uint8_t room[8];
    struct pd_span span = {room, sizeof room};
    struct pd_frame_reader reader;
    size_t count = write_frame(frame, 1, 3, 0, payload, sizeof payload);
    pd_frame_reader_init(&reader, ANY_FRAME);
    ck_assert(pd_frame_reader_idle(&reader));
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame, count), count - 8);
    ck_assert_int_eq(reader.state, PD_FRAME_WANTS_PAYLOAD);
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame, count), 0);
    pd_frame_reader_place(&reader, &span, 1);
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame + count - 8, 9), 8);
    ck_assert_int_eq(reader.state, PD_FRAME_WHOLE);
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame, count), 0);
    ck_assert_mem_eq(room, payload, 8);
    ck_assert(!pd_frame_reader_idle(&reader));
    pd_frame_reader_deinit(&reader);
}
END_TEST

/* ---- what is not believed ---- */

/* Feeds the frame, placing its payload, and expects the failure; it stays. */
static void expect_failure(uint8_t *frame, size_t count, uint32_t frame_bytes_max,
                           enum paramd_status status)
{
    static uint8_t room[PAYLOAD_MAX];
    struct pd_frame_reader reader;
    pd_frame_reader_init(&reader, frame_bytes_max);
    size_t taken = pd_frame_reader_feed(&reader, frame, count);
    struct pd_span span = {room, reader.payload_bytes};
    if (reader.state == PD_FRAME_WANTS_PAYLOAD) {
        ck_assert_uint_le(reader.payload_bytes, PAYLOAD_MAX);
        pd_frame_reader_place(&reader, &span, 1);
        (void)pd_frame_reader_feed(&reader, frame + taken, count - taken);
    }
    ck_assert_int_eq(reader.state, PD_FRAME_FAILED);
    ck_assert_int_eq(reader.error, status);
    ck_assert_str_ne(reader.error_text, "");
    ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame, count), 0);
    ck_assert_int_eq(reader.state, PD_FRAME_FAILED);
    pd_frame_reader_deinit(&reader);
}

START_TEST(any_bit_flipped_in_the_head_or_a_summed_payload_is_noticed)
{
    static const uint8_t payload[20] = "twenty bytes of load";
    uint8_t frame[256];
    size_t count = write_frame(frame, 7, 5, PD_FRAME_PAYLOAD_SUM, payload, sizeof payload);
    for (size_t bit = 0; bit < count * 8; bit++) {
        struct pd_frame_reader reader;
        uint8_t room[20];
        struct pd_span span = {room, sizeof room};
        frame[bit / 8] ^= (uint8_t)(1U << bit % 8);
        pd_frame_reader_init(&reader, ANY_FRAME);
        size_t taken = pd_frame_reader_feed(&reader, frame, count);
        if (reader.state == PD_FRAME_WANTS_PAYLOAD) {
            ck_assert_uint_eq(reader.payload_bytes, sizeof room);
            pd_frame_reader_place(&reader, &span, 1);
            (void)pd_frame_reader_feed(&reader, frame + taken, count - taken);
        }
        /* A longer header than there are bytes is waited for. */
        ck_assert_msg(reader.state == PD_FRAME_FAILED || reader.state == PD_FRAME_HEAD,
                      "bit %zu was not noticed", bit);
        pd_frame_reader_deinit(&reader);
        frame[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}
END_TEST

START_TEST(lengths_above_their_limits_are_refused_from_the_prefix_alone)
{
    uint8_t frame[256];
    uint32_t bytes = PD_HEADER_BYTES_MAX + 1;
    (void)write_frame(frame, 1, 0, 0, NULL, 0);
    memcpy(frame + 8, &bytes, 4);
    expect_failure(frame, PD_PREFIX_BYTES, ANY_FRAME, PARAMD_TOO_LARGE);
    (void)write_frame(frame, 1, 0, 0, NULL, 0);
    bytes = PD_PAYLOAD_BYTES_MAX + 1;
    memcpy(frame + 12, &bytes, 4);
    expect_failure(frame, PD_PREFIX_BYTES, ANY_FRAME, PARAMD_TOO_LARGE);
    bytes = UINT32_MAX;
    memcpy(frame + 8, &bytes, 4);
    memcpy(frame + 12, &bytes, 4);
    expect_failure(frame, PD_PREFIX_BYTES, ANY_FRAME, PARAMD_TOO_LARGE);
}
END_TEST

START_TEST(the_limit_of_the_connection_counts_the_whole_frame)
{
    static uint8_t frame[PAYLOAD_MAX];
    static const uint8_t payload[1000];
    size_t count = write_frame(frame, 1, 100, 0, payload, sizeof payload);
    expect_failure(frame, count, (uint32_t)count - 1, PARAMD_TOO_LARGE);
    struct pd_frame_reader reader;
    pd_frame_reader_init(&reader, (uint32_t)count);
    (void)pd_frame_reader_feed(&reader, frame, count);
    ck_assert_int_eq(reader.state, PD_FRAME_WANTS_PAYLOAD);
    pd_frame_reader_deinit(&reader);
}
END_TEST

START_TEST(flags_of_a_later_version_are_refused)
{
    uint8_t frame[256];
    size_t count = write_frame(frame, 1, 0, 8, NULL, 0);
    expect_failure(frame, count, ANY_FRAME, PARAMD_PROTOCOL);
    count = write_frame(frame, 1, 0, 0, NULL, 0);
    frame[7] = 0x80;
    sum_again(frame, count - PD_PREFIX_BYTES);
    expect_failure(frame, count, ANY_FRAME, PARAMD_PROTOCOL);
}
END_TEST

START_TEST(headers_of_any_size_up_to_the_limit_pass)
{
    static uint8_t frame[PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX];
    static const size_t padding[] = {0, 1, 400, 470, 480, 496, 500, 600, 4000, 4100, 65000};
    for (unsigned i = 0; i < sizeof padding / sizeof padding[0]; i++) {
        struct pd_frame_reader reader;
        size_t count = write_frame(frame, 1, padding[i], 0, NULL, 0);
        pd_frame_reader_init(&reader, ANY_FRAME);
        ck_assert_uint_eq(pd_frame_reader_feed(&reader, frame, count), count);
        ck_assert_int_eq(reader.state, PD_FRAME_WANTS_PAYLOAD);
        pd_frame_reader_deinit(&reader);
        frame[count - 1] ^= 1;
        expect_failure(frame, count, ANY_FRAME, PARAMD_PROTOCOL);
    }
}
END_TEST

START_TEST(a_header_above_the_limit_has_no_frame)
{
    static char text[PD_HEADER_BYTES_MAX];
    Paramd__Hello hello = PARAMD__HELLO__INIT;
    memset(text, 'x', sizeof text - 1);
    hello.client = text;
    ck_assert_uint_eq(pd_frame_head_bytes(&hello.base), 0);
    text[sizeof text - 5] = '\0'; /* a tag and three bytes of length stand before it */
    ck_assert_uint_eq(pd_frame_head_bytes(&hello.base), PD_PREFIX_BYTES + PD_HEADER_BYTES_MAX - 1);
}
END_TEST

START_TEST(a_payload_sum_is_that_of_its_spans_together)
{
    uint8_t bytes[300];
    for (unsigned i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    struct pd_span whole = {bytes, sizeof bytes};
    struct pd_span parts[] = {{bytes, 0}, {bytes, 13}, {bytes + 13, 287}};
    ck_assert_uint_eq(pd_payload_sum(&whole, 1), pd_payload_sum(parts, 3));
    /* The value that any XXH3_64 gives for nothing: an independent witness. */
    ck_assert_uint_eq(pd_payload_sum(&whole, 0), UINT64_C(0x2d06800538d394c2));
}
END_TEST

/* ---- preamble ---- */

START_TEST(a_preamble_comes_back_as_it_was_written)
{
    uint8_t bytes[PD_PREAMBLE_BYTES];
    struct pd_preamble read;
    pd_preamble_write(&(struct pd_preamble){.version = 1, .shard = 0xfffffffe}, bytes);
    ck_assert_mem_eq(bytes, "PMD1\1\0\0\0\0\0\0\0\xfe\xff\xff\xff", 16);
    ck_assert_int_eq(pd_preamble_read(bytes, &read), PARAMD_OK);
    ck_assert_uint_eq(read.shard, 0xfffffffe);
    bytes[4] = 2;
    ck_assert_int_eq(pd_preamble_read(bytes, &read), PARAMD_VERSION);
    ck_assert_uint_eq(read.version, 2);
    bytes[4] = 1;
    bytes[8] = PD_PREAMBLE_SHARED_MEMORY;
    ck_assert_int_eq(pd_preamble_read(bytes, &read), PARAMD_OK);
    ck_assert_uint_eq(read.flags, PD_PREAMBLE_SHARED_MEMORY);
    bytes[8] = 2;
    ck_assert_int_eq(pd_preamble_read(bytes, &read), PARAMD_PROTOCOL);
    bytes[0] = 'p';
    ck_assert_int_eq(pd_preamble_read(bytes, &read), PARAMD_PROTOCOL);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("frame");
    TCase *splits = tcase_create("splits");
    tcase_add_loop_test(splits, frames_are_found_whole_in_any_split, 1, 25);
    tcase_add_test(splits, a_reader_takes_nothing_while_its_owner_must_act);
    suite_add_tcase(suite, splits);
    TCase *refused = tcase_create("refused");
    tcase_add_test(refused, any_bit_flipped_in_the_head_or_a_summed_payload_is_noticed);
    tcase_add_test(refused, lengths_above_their_limits_are_refused_from_the_prefix_alone);
    tcase_add_test(refused, the_limit_of_the_connection_counts_the_whole_frame);
    tcase_add_test(refused, flags_of_a_later_version_are_refused);
    tcase_add_test(refused, headers_of_any_size_up_to_the_limit_pass);
    tcase_add_test(refused, a_header_above_the_limit_has_no_frame);
    suite_add_tcase(suite, refused);
    TCase *rest = tcase_create("rest");
    tcase_add_test(rest, a_payload_sum_is_that_of_its_spans_together);
    tcase_add_test(rest, a_preamble_comes_back_as_it_was_written);
    suite_add_tcase(suite, rest);
    return suite;
}
