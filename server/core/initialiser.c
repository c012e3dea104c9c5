/* Counter-based random numbers: element i of a tensor gets splitmix64's i-th output for the seed
 * (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Normal numbers by
 * Box and Muller (1958), one of each pair. */
#include "server/core/initialiser.h"

#include <math.h>

#include "server/base/assert.h"
#include "server/optim/portable_math.h"

static uint64_t mix(uint64_t seed, uint64_t i)
{
    uint64_t z = seed + (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* In [0, 1), a multiple of 2^-53. */
static double unit(uint64_t seed, uint64_t i)
{
    return (double)(mix(seed, i) >> 11) * 0x1p-53;
}

static float uniform(const struct pd_tensor_def *tensor, uint64_t i)
{
    return (float)(tensor->a + (tensor->b - tensor->a) * unit(tensor->seed, i));
}

static float normal(const struct pd_tensor_def *tensor, uint64_t i)
{
    const double pi = 3.14159265358979323846;
    double u = 1.0 - unit(tensor->seed, 2 * i); /* in (0, 1] */
    double v = unit(tensor->seed, 2 * i + 1);
    double z = sqrt(-2.0 * pd_log(u)) * pd_cos(2.0 * pi * v);
    return (float)(tensor->a + tensor->b * z);
}

void pd_initialise(const struct pd_tensor_def *tensor, uint64_t first, float *out, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        switch (tensor->init) {
        case PARAMD__INITIALISER__ZEROS:
            out[i] = 0.0F;
            break;
        case PARAMD__INITIALISER__CONSTANT:
            out[i] = (float)tensor->a;
            break;
        case PARAMD__INITIALISER__UNIFORM:
            out[i] = uniform(tensor, first + i);
            break;
        default:
            PD_ASSERT(tensor->init == PARAMD__INITIALISER__NORMAL);
            out[i] = normal(tensor, first + i);
            break;
        }
    }
}
