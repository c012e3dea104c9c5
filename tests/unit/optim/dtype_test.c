/* 16-bit floats against their definition: sign, exponent and fraction taken apart with ldexp, for
 * every value there is, with denormals as IEEE has them and with denormals taken for zero. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/dtype.h"
#include "tests/support/check_main.h"
#include "tests/unit/optim/support.h"

enum { VALUES = 65536 };

/* What the 16 bits mean, for finite ones and infinities. */
static double meaning(enum pd_dtype dtype, unsigned h)
{
    int fraction_bits = dtype == PD_F16 ? 10 : 7;
    int exponent_most = dtype == PD_F16 ? 31 : 255;
    int bias = exponent_most / 2;
    int exponent = (int)(h & 0x7fffu) >> fraction_bits;
    int fraction = (int)h & ((1 << fraction_bits) - 1);
    double sign = h & 0x8000u ? -1.0 : 1.0;
    if (exponent == exponent_most) {
        return fraction != 0 ? NAN : sign * INFINITY;
    }
    if (exponent == 0) {
        return sign * ldexp(fraction, 1 - bias - fraction_bits);
    }
    return sign * ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

static uint32_t bits_of(float f)
{
    uint32_t word;
    memcpy(&word, &f, sizeof word);
    return word;
}

START_TEST(every_16_bit_value_widens_exactly)
{
    enum pd_dtype dtype = (enum pd_dtype)_i;
    static uint16_t src[VALUES];
    static float dst[VALUES];
    static float expected[VALUES];
    for (unsigned h = 0; h < VALUES; h++) {
        src[h] = (uint16_t)h;
        expected[h] = (float)meaning(dtype, h);
    }
    for (int flushing = 0; flushing < 2; flushing++) {
        pd_dtype_widen(dtype, src, dst, VALUES);
        for (unsigned h = 0; h < VALUES; h++) {
            if (isnan(expected[h])) {
                ck_assert(isnan(dst[h]));
            } else {
                ck_assert_msg(bits_of(dst[h]) == bits_of(expected[h]), "%04x", h);
            }
        }
        pd_optim_enter_thread();
    }
}
END_TEST

/* The nearest 16-bit value, ties to the even one; candidates are neighbours of what truncation
 * gives. */
static unsigned nearest(enum pd_dtype dtype, float f)
{
    unsigned infinity = dtype == PD_F16 ? 0x7c00u : 0x7f80u;
    unsigned low = 0, high = infinity;
    double x = fabs((double)f);
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (meaning(dtype, middle) <= x) {
            low = middle;
        } else {
            high = middle;
        }
    }
    /* Beyond the largest finite value the next step of the same size counts as infinity. */
    double step = high == infinity ? meaning(dtype, low) - meaning(dtype, low - 1)
                                   : meaning(dtype, high) - meaning(dtype, low);
    double past = x - meaning(dtype, low);
    bool up = past > step / 2 || (past == step / 2 && low % 2 == 1);
    return (up ? high : low) | (signbit(f) ? 0x8000u : 0);
}

static void check_narrow(enum pd_dtype dtype, float f)
{
    uint16_t is = 0;
    pd_dtype_narrow(dtype, &f, &is, 1);
    ck_assert_msg(is == nearest(dtype, f), "%a becomes %04x, not %04x", (double)f, is,
                  nearest(dtype, f));
}

START_TEST(narrowing_rounds_to_nearest_even)
{
    enum pd_dtype dtype = (enum pd_dtype)_i;
    unsigned infinity = dtype == PD_F16 ? 0x7c00u : 0x7f80u;
    uint64_t seed = 23;
    for (unsigned h = 0; h + 1 < infinity; h++) {
        double a = meaning(dtype, h), b = meaning(dtype, h + 1);
        float middle = (float)((a + b) / 2);
        check_narrow(dtype, (float)a);
        check_narrow(dtype, middle);
        check_narrow(dtype, -nextafterf(middle, INFINITY));
        check_narrow(dtype, nextafterf(middle, 0.0f));
    }
    for (int i = 0; i < 100000; i++) {
        uint32_t word = (uint32_t)random_word(&seed);
        float f;
        memcpy(&f, &word, sizeof f);
        if (isfinite(f)) {
            check_narrow(dtype, f);
        }
    }
}
END_TEST

START_TEST(infinities_and_nan_stay_what_they_are)
{
    enum pd_dtype dtype = (enum pd_dtype)_i;
    uint32_t nan_words[] = {0x7fc00000u, 0x7f800001u, 0xffffffffu, 0xff800001u};
    float src[7] = {INFINITY, -INFINITY, 3.4028234664e38f}, back[7];
    uint16_t narrow[7];
    memcpy(src + 3, nan_words, sizeof nan_words);
    pd_dtype_narrow(dtype, src, narrow, 7);
    pd_dtype_widen(dtype, narrow, back, 7);
    ck_assert(back[0] == INFINITY && back[1] == -INFINITY && back[2] == INFINITY);
    for (int i = 3; i < 7; i++) {
        ck_assert(isnan(back[i]));
    }
}
END_TEST

START_TEST(arrays_of_every_length_are_converted_whole_and_no_further)
{
    enum pd_dtype dtype = (enum pd_dtype)_i;
    float wide[70], back[71];
    uint16_t narrow[142];
    for (size_t n = 0; n <= 70; n++) {
        for (size_t i = 0; i < n; i++) {
            wide[i] = (float)i - 20.0f;
        }
        back[n] = 77.0f;
        memset(narrow, 0x55, sizeof narrow);
        pd_dtype_narrow(dtype, wide, narrow, n);
        ck_assert_uint_eq(narrow[n * pd_dtype_bytes(dtype) / 2], 0x5555);
        pd_dtype_widen(dtype, narrow, back, n);
        ck_assert(n == 0 || memcmp(wide, back, n * sizeof(float)) == 0);
        ck_assert(back[n] == 77.0f);
    }
}
END_TEST

START_TEST(every_vector_form_narrows_to_the_same_bits)
{
    enum { N = 70000, GUARD = 0x5555 };
    enum pd_dtype dtype = (enum pd_dtype)_i;
    static const uint32_t sizes[] = {0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 1000, N};
    static float wide[N];
    static uint16_t expected[2 * N], narrow[2 * N + 1];
    const char *form;
    uint64_t seed = 29;
    pd_optim_enter_thread();
    for (size_t i = 0; i < N; i++) {
        uint32_t word = (uint32_t)random_word(&seed);
        memcpy(&wide[i], &word, sizeof word);
    }
    pd_dtype_narrow(dtype, wide, expected, N);
    for (unsigned f = 0; next_form(&f, &form);) {
        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            size_t bytes = sizes[s] * pd_dtype_bytes(dtype);
            memset(narrow, 0x55, sizeof narrow);
            pd_optim_narrow(dtype, wide, narrow, sizes[s]);
            ck_assert_msg(memcmp(narrow, expected, bytes) == 0, "%s, %u elements", form, sizes[s]);
            ck_assert_uint_eq(narrow[bytes / 2], GUARD);
        }
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("dtype");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, every_16_bit_value_widens_exactly, PD_BF16, PD_F16 + 1);
    tcase_add_loop_test(all, narrowing_rounds_to_nearest_even, PD_BF16, PD_F16 + 1);
    tcase_add_loop_test(all, infinities_and_nan_stay_what_they_are, PD_BF16, PD_F16 + 1);
    tcase_add_loop_test(all, arrays_of_every_length_are_converted_whole_and_no_further, PD_F32,
                        PD_F16 + 1);
    tcase_add_loop_test(all, every_vector_form_narrows_to_the_same_bits, PD_F32, PD_F16 + 1);
    suite_add_tcase(suite, all);
    return suite;
}
