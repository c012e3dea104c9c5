/* exp, log, cos and integer powers from additions, multiplications and divisions alone: IEEE fixes
 * each of those, so the bits are the same on every machine, which libm does not promise. It knows
 * nothing of optimizers. */
#include "server/optim/portable_math.h"

#include <float.h>

union bits {
    double number;
    uint64_t word;
};

/* ln 2 in two parts: the high one has 32 significant bits, so that k * LN2_HIGH is exact for |k| <
 * 2^20. */
static const double LN2_HIGH = 0x1.62e42feep-1;
static const double LN2_LOW = 0x1.a39ef35793c76p-33;

/* 2^k for -1022 <= k <= 1023. */
static double power_of_two(int64_t k)
{
    union bits b = {.word = (uint64_t)(k + 1023) << 52};
    return b.number;
}

/* To the nearest whole number; libm's rint would do, but it is a call. |x| < 2^62. */
static int64_t nearest(double x)
{
    return (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
}

/* c[0] + c[1] x + ... + c[n-1] x^(n-1) */
static double polynomial(const double *c, int n, double x)
{
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--) {
        sum = sum * x + c[i];
    }
    return sum;
}

double pd_pow_int(double base, uint64_t n)
{
    double power = 1.0;
    for (; n > 0; n >>= 1) {
        if (n & 1) {
            power *= base;
        }
        base *= base;
    }
    return power;
}

/* e^x = 2^k e^r with |r| <= ln 2 / 2, and e^r by its Taylor series: the first term left out is
 * below 2^-57. */
double pd_exp(double x)
{
    static const double c[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,
                               1.0 / 720,     1.0 / 5040,     1.0 / 40320,     1.0 / 362880,
                               1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800};
    if (x < -700.0) {
        return 0.0;
    }
    if (x > 700.0) {
        return DBL_MAX;
    }
    int64_t k = nearest(x * 0x1.71547652b82fep0);
    double r = (x - (double)k * LN2_HIGH) - (double)k * LN2_LOW;
    double e = 1.0 + (r + r * r * polynomial(c, 12, r));
    return e * power_of_two(k);
}

/* log x = k ln 2 + log(1+f), 1+f in [sqrt 1/2, sqrt 2], and with s = f/(2+f), z = s^2:
 * log(1+f) = f - f^2/2 + s (f^2/2 + R), R = 2/3 z + 2/5 z^2 + ... (the arrangement of Sun's fdlibm,
 * e_log.c). */
double pd_log(double x)
{
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                               2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
    int64_t k = 0;
    if (x < DBL_MIN) {
        x *= 0x1p54;
        k = -54;
    }
    union bits b = {.number = x};
    k += (int64_t)(b.word >> 52) - 1023;
    b.word = (b.word & 0xfffffffffffffu) | ((uint64_t)1023 << 52);
    if (b.number > 0x1.6a09e667f3bcdp0) {
        b.number *= 0.5;
        k += 1;
    }
    double f = b.number - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double half = 0.5 * f * f;
    double rest = s * (half + z * polynomial(c, 10, z)) + (double)k * LN2_LOW;
    return (double)k * LN2_HIGH - ((half - rest) - f);
}

/* x = n pi/2 + r, pi/2 in three parts of 33 bits or fewer, so that n times each of the first two is
 * exact. */
double pd_cos(double x)
{
    static const double cosine[] = {1.0,
                                    -1.0 / 2,
                                    1.0 / 24,
                                    -1.0 / 720,
                                    1.0 / 40320,
                                    -1.0 / 3628800,
                                    1.0 / 479001600,
                                    -1.0 / 87178291200.0,
                                    1.0 / 20922789888000.0};
    static const double sine[] = {1.0,
                                  -1.0 / 6,
                                  1.0 / 120,
                                  -1.0 / 5040,
                                  1.0 / 362880,
                                  -1.0 / 39916800,
                                  1.0 / 6227020800.0,
                                  -1.0 / 1307674368000.0,
                                  1.0 / 355687428096000.0};
    int64_t n = nearest(x * 0x1.45f306dc9c883p-1);
    double r = x - (double)n * 0x1.921fb544p0;
    r -= (double)n * 0x1.0b4611a6p-34;
    r -= (double)n * 0x1.3198a2e037073p-69;
    double z = r * r;
    double value = (n & 1) ? r * polynomial(sine, 9, z) : polynomial(cosine, 9, z);
    return ((n + 1) & 2) ? -value : value;
}
