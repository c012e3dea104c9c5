/* What the fuzz targets share: the entry that libFuzzer (or replay.c) calls, a check that ends the
 * process, and a small language in which an input says what happens. An input is never wrong: past
 * its end everything is 0. */
#ifndef PARAMD_TESTS_FUZZ_FUZZ_H
#define PARAMD_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says where and what, and aborts: the fuzzer keeps the input. */
#define PD_FUZZ_CHECK(condition)                                                                   \
    ((condition) ? (void)0 : pd_fuzz_fail(__FILE__, __LINE__, #condition))
_Noreturn void pd_fuzz_fail(const char *file, int line, const char *what);

struct pd_input {
    const uint8_t *at;
    const uint8_t *end;
};

uint8_t pd_input_byte(struct pd_input *input);
uint16_t pd_input_number(struct pd_input *input); /* two bytes, little-endian */
/* As many as there are, up to wanted. */
const uint8_t *pd_input_bytes(struct pd_input *input, size_t wanted, size_t *ret_count);

/* Above the flags of a frame, in the byte that holds them. */
enum pd_input_frame_flags {
    PD_INPUT_UNKNOWN_FLAG = 0x10, /* a flag of a later version */
    PD_INPUT_WRONG_SUM = 0x20     /* of the payload if that is valid, else of the header */
};

enum { PD_INPUT_FRAME_BYTES = 32 + 2 * UINT16_MAX };

/* Writes a frame, at most PD_INPUT_FRAME_BYTES, and returns its length: kind (a byte), flags (a
 * byte), header (a number, that many bytes), payload (a number, and a byte of which it is full;
 * 255: its bytes follow). The sums are right unless the flags say otherwise. */
size_t pd_input_frame(struct pd_input *input, uint8_t *ret_frame);

#endif
