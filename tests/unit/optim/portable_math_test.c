/* Our exp, log, cos and powers against libm's, over the ranges their header names. */
#include <float.h>
#include <math.h>

#include "server/optim/portable_math.h"
#include "tests/support/check_main.h"
#include "tests/unit/optim/support.h"

enum { SAMPLES = 200000 };

/* Uniform in [low, high). */
static double between(double low, double high, uint64_t *seed)
{
    return low + (high - low) * ((double)(random_word(seed) >> 11) * 0x1p-53);
}

/* How far apart, in units of the last place of right. */
static double ulps(double is, double right)
{
    return fabs(is - right) / (nextafter(fabs(right), INFINITY) - fabs(right));
}

START_TEST(exp_is_within_two_ulps)
{
    uint64_t seed = 1;
    for (int i = 0; i < SAMPLES; i++) {
        double x = between(-700, 700, &seed) * (i % 2 ? 1 : 1e-3);
        ck_assert_msg(ulps(pd_exp(x), exp(x)) <= 2, "exp(%.17g) = %.17g", x, pd_exp(x));
    }
    ck_assert(pd_exp(0) == 1);
    ck_assert(pd_exp(-701) == 0 && pd_exp(-INFINITY) == 0);
    ck_assert(pd_exp(701) == DBL_MAX && pd_exp(INFINITY) == DBL_MAX);
}
END_TEST

START_TEST(log_is_within_two_ulps)
{
    uint64_t seed = 2;
    for (int i = 0; i < SAMPLES; i++) {
        double x = i % 2 ? between(0.4, 2.5, &seed) : exp(between(-708, 709, &seed));
        ck_assert_msg(ulps(pd_log(x), log(x)) <= 2, "log(%.17g) = %.17g", x, pd_log(x));
    }
    ck_assert(pd_log(1) == 0);
    ck_assert(ulps(pd_log(DBL_MAX), log(DBL_MAX)) <= 2);
    ck_assert(ulps(pd_log(0x1p-1070), log(0x1p-1070)) <= 2);
}
END_TEST

START_TEST(cos_is_within_1e_15)
{
    static const double ranges[] = {1, 7, 1e3, 1e6};
    uint64_t seed = 3;
    for (int i = 0; i < SAMPLES; i++) {
        double range = ranges[i % 4];
        double x = between(-range, range, &seed);
        ck_assert_msg(fabs(pd_cos(x) - cos(x)) <= 1e-15, "cos(%.17g) = %.17g", x, pd_cos(x));
    }
    ck_assert(pd_cos(0) == 1);
}
END_TEST

START_TEST(powers_agree_with_pow)
{
    static const double bases[] = {0, 0.5, 0.9, 0.999, 1, 0.999999999, 1.5};
    for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++) {
        for (uint64_t n = 0; n < 1500; n++) {
            double right = pow(bases[b], (double)n);
            /* Squaring doubles the relative error each time: about n ulps in the worst case. */
            ck_assert(fabs(pd_pow_int(bases[b], n) - right) <= (double)(n + 1) * 2.3e-16 * right);
        }
    }
    ck_assert(pd_pow_int(0.999, UINT64_MAX) == 0);
    ck_assert(pd_pow_int(0, 0) == 1);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("portable math");
    TCase *all = tcase_create("all");
    tcase_add_test(all, exp_is_within_two_ulps);
    tcase_add_test(all, log_is_within_two_ulps);
    tcase_add_test(all, cos_is_within_1e_15);
    tcase_add_test(all, powers_agree_with_pow);
    suite_add_tcase(suite, all);
    return suite;
}
