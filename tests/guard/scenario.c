/* Does a fixed amount of work through a client's core and a daemon in one process, to be counted
 * from outside: guard-scenario push|pull|push_pull|small ROUNDS. A round moves 16 blocks of 256 KiB
 * under Adam; a round of "small" 64 pushes of 64 bytes, all outstanding at once. */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"
#include "tests/guard/pair.h"

enum { BLOCKS = 16, BLOCK_ELEMENTS = 65536, SMALL_TENSORS = 64, SMALL_ELEMENTS = 16 };

static float *numbers(size_t count)
{
    float *values = malloc(count * sizeof *values);
    if (values == NULL) {
        err(1, "numbers");
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = 0.001F * (float)(i % 1000);
    }
    return values;
}

static void large(enum pd_op_kind kind, unsigned rounds)
{
    struct pd_pair pair;
    float *gradient = numbers((size_t)BLOCKS * BLOCK_ELEMENTS);
    float *values = numbers((size_t)BLOCKS * BLOCK_ELEMENTS);
    const struct paramd_io entry = {.gradient = kind != PD_OP_PULL ? gradient : NULL,
                                    .values = kind != PD_OP_PUSH ? values : NULL};
    pd_pair_open(&pair, 1, (uint64_t)BLOCKS * BLOCK_ELEMENTS);
    for (unsigned i = 0; i < rounds; i++) {
        pd_pair_finish(&pair, pd_pair_start(&pair, kind, &entry));
    }
    pd_pair_close(&pair);
    free(gradient);
    free(values);
}

static void small(unsigned rounds)
{
    struct pd_pair pair;
    struct pd_op *ops[SMALL_TENSORS];
    float *gradient = numbers(SMALL_ELEMENTS);
    pd_pair_open(&pair, SMALL_TENSORS, SMALL_ELEMENTS);
    for (unsigned i = 0; i < rounds; i++) {
        for (uint32_t j = 0; j < SMALL_TENSORS; j++) {
            const struct paramd_io entry = {.tensor = j, .gradient = gradient};
            ops[j] = pd_pair_start(&pair, PD_OP_PUSH, &entry);
        }
        for (uint32_t j = 0; j < SMALL_TENSORS; j++) {
            pd_pair_finish(&pair, ops[j]);
        }
    }
    pd_pair_close(&pair);
    free(gradient);
}

int main(int argc, char **argv)
{
    unsigned rounds = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (rounds == 0) {
        errx(2, "usage: guard-scenario push|pull|push_pull|small ROUNDS");
    }
    /* One form on all machines: the newest that valgrind knows. */
    if (pd_optim_choose_isa("v3") != PARAMD_OK) {
        errx(1, "this processor has no AVX2, for which the figures were recorded");
    }
    if (strcmp(argv[1], "push") == 0) {
        large(PD_OP_PUSH, rounds);
    } else if (strcmp(argv[1], "pull") == 0) {
        large(PD_OP_PULL, rounds);
    } else if (strcmp(argv[1], "push_pull") == 0) {
        large(PD_OP_PUSH_PULL, rounds);
    } else if (strcmp(argv[1], "small") == 0) {
        small(rounds);
    } else {
        errx(2, "%s is no scenario", argv[1]);
    }
    return 0;
}
