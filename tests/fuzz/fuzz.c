/* The input language of the fuzz targets, and the end of a failed check, of libcheck's too: the
 * rig and the fake daemon assert by it, and here no test is running that could catch that. */
#include "tests/fuzz/fuzz.h"

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

/* The frame's first bytes as they lie in memory on the little-endian machines this is built for. */
struct prefix {
    uint32_t magic;
    uint16_t kind;
    uint16_t flags;
    uint32_t header_bytes;
    uint32_t payload_bytes;
    uint64_t header_sum;
    uint64_t payload_sum;
};
_Static_assert(sizeof(struct prefix) == PD_PREFIX_BYTES, "the prefix has no gaps");
_Static_assert(PD_INPUT_FRAME_BYTES == PD_PREFIX_BYTES + 2 * UINT16_MAX, "two numbers of bytes");

void pd_fuzz_fail(const char *file, int line, const char *what)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

/* Called by libcheck's asserts that hold. */
void _mark_point(const char *file, int line)
{
    (void)file;
    (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    if (msg != NULL) {
        va_list arguments;
        va_start(arguments, msg);
        /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it was started, see above */
        (void)vfprintf(stderr, msg, arguments);
        va_end(arguments);
        (void)fputc('\n', stderr);
    }
    pd_fuzz_fail(file, line, expr);
}

uint8_t pd_input_byte(struct pd_input *input)
{
    return input->at < input->end ? *input->at++ : 0;
}

uint16_t pd_input_number(struct pd_input *input)
{
    unsigned low = pd_input_byte(input);
    return (uint16_t)(low | (unsigned)pd_input_byte(input) << 8);
}

const uint8_t *pd_input_bytes(struct pd_input *input, size_t wanted, size_t *ret_count)
{
    const uint8_t *bytes = input->at;
    size_t left = (size_t)(input->end - input->at);
    *ret_count = wanted < left ? wanted : left;
    input->at += *ret_count;
    return bytes;
}

size_t pd_input_frame(struct pd_input *input, uint8_t *ret_frame)
{
    struct prefix prefix = {.magic = PD_FRAME_MAGIC, .kind = pd_input_byte(input)};
    unsigned flags = pd_input_byte(input);
    prefix.flags =
        flags & (PD_FRAME_PAYLOAD_SUM | PD_FRAME_SKIPPABLE | PD_FRAME_MORE | PD_INPUT_UNKNOWN_FLAG);
    size_t header_wanted = pd_input_number(input);
    size_t header_bytes;
    const uint8_t *header = pd_input_bytes(input, header_wanted, &header_bytes);
    size_t payload_bytes = pd_input_number(input);
    uint8_t fill = pd_input_byte(input);
    const uint8_t *literal =
        fill == UINT8_MAX ? pd_input_bytes(input, payload_bytes, &payload_bytes) : NULL;

    struct pd_span spans[] = {{(uint8_t *)&prefix, 16},
                              {ret_frame + sizeof prefix, header_bytes},
                              {ret_frame + sizeof prefix + header_bytes, payload_bytes}};
    memcpy(spans[1].data, header, header_bytes);
    if (literal != NULL) {
        memcpy(spans[2].data, literal, payload_bytes);
    } else {
        memset(spans[2].data, fill, payload_bytes);
    }
    prefix.header_bytes = (uint32_t)header_bytes;
    prefix.payload_bytes = (uint32_t)payload_bytes;
    uint64_t wrong = (flags & PD_INPUT_WRONG_SUM) != 0;
    prefix.header_sum = pd_payload_sum(spans, 2) ^ (wrong & ~(flags & PD_FRAME_PAYLOAD_SUM));
    prefix.payload_sum = pd_payload_sum(&spans[2], 1) ^ wrong;
    memcpy(ret_frame, &prefix, sizeof prefix);
    return sizeof prefix + header_bytes + payload_bytes;
}
