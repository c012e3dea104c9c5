/* One addition for each load and store, in one vector form: PD_OPTIM_FORM is baseline, v3 or v4. */
#include "tests/bench/add.h"
#include "server/optim/rule.h"

enum { LINE_ELEMENTS = 16, AHEAD_ELEMENTS = 128 };

static void add1(float *restrict a, const float *restrict g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        a[i] += g[i];
    }
}

static void add2(float *restrict a, float *restrict b, const float *restrict g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        a[i] += g[i];
        b[i] += g[i];
    }
}

static void add3(float *restrict a, float *restrict b, float *restrict c, const float *restrict g,
                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        a[i] += g[i];
        b[i] += g[i];
        c[i] += g[i];
    }
}

static void add4(float *restrict a, float *restrict b, float *restrict c, float *restrict d,
                 const float *restrict g, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        a[i] += g[i];
        b[i] += g[i];
        c[i] += g[i];
        d[i] += g[i];
    }
}

static inline void add_run(float *const *arrays, unsigned count, const float *g, size_t first,
                           size_t n)
{
    switch (count) {
    case 1:
        add1(arrays[0] + first, g + first, n);
        break;
    case 2:
        add2(arrays[0] + first, arrays[1] + first, g + first, n);
        break;
    case 3:
        add3(arrays[0] + first, arrays[1] + first, arrays[2] + first, g + first, n);
        break;
    default:
        add4(arrays[0] + first, arrays[1] + first, arrays[2] + first, arrays[3] + first, g + first,
             n);
        break;
    }
}

static void plain(float *const *arrays, unsigned count, const float *g, size_t n)
{
    add_run(arrays, count, g, 0, n);
}

/* A prefetch beyond the end of the memory does nothing. */
static inline void prefetch(const float *at)
{
    __builtin_prefetch(at + AHEAD_ELEMENTS, 1);
}

static void prefetched(float *const *arrays, unsigned count, const float *g, size_t n)
{
    for (size_t first = 0; first < n; first += LINE_ELEMENTS) {
        size_t run = n - first < LINE_ELEMENTS ? n - first : LINE_ELEMENTS;
        for (unsigned a = 0; a < count; a++) {
            prefetch(arrays[a] + first);
        }
        add_run(arrays, count, g, first, run);
    }
}

const struct pd_add_form PD_FORM(pd_add_form) = {.plain = plain, .prefetched = prefetched};
