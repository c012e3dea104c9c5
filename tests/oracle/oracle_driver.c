/* Runs one optimizer over many steps for oracle.py: hyper-parameters as arguments, weights in on
 * stdin, weights out on stdout. The tensors of all sizes lie one after the other; each is a block
 * of its own here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"

struct run {
    const struct pd_optimizer *optimizer;
    struct pd_hyper hyper;
    size_t elements;
    size_t blocks;
    struct pd_optim_block *block;
};

static void give_up(const char *why, const char *what)
{
    fprintf(stderr, "oracle_driver: %s: %s\n", why, what);
    exit(EXIT_FAILURE);
}

static void *allocate(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == NULL) {
        give_up("no memory", "");
    }
    return memory;
}

/* "name=value" */
static void set(struct run *run, const char *pair)
{
    char name[64], error[200];
    const char *equals = strchr(pair, '=');
    if (equals == NULL || (size_t)(equals - pair) >= sizeof name) {
        give_up("not name=value", pair);
    }
    memcpy(name, pair, (size_t)(equals - pair));
    name[equals - pair] = '\0';
    char *end;
    double number = strtod(equals + 1, &end);
    const char *text = *end != '\0' ? equals + 1 : "";
    if (pd_hyper_set(run->optimizer, &run->hyper, name, number, text, error, sizeof error) !=
        PARAMD_OK) {
        give_up("refused", error);
    }
}

/* "1,2,70000" */
static void lay_out(struct run *run, const char *sizes)
{
    run->block = allocate(strlen(sizes) * sizeof *run->block);
    while (*sizes != '\0') {
        char *end;
        struct pd_optim_block block = {.elements = (uint32_t)strtoul(sizes, &end, 10)};
        block.p = allocate(block.elements * sizeof(float));
        for (unsigned i = 0; i < PD_MOMENTS_MAX; i++) {
            block.moments[i] = allocate(block.elements * sizeof(float));
        }
        if (fread(block.p, sizeof(float), block.elements, stdin) != block.elements) {
            give_up("too few weights on stdin", sizes);
        }
        pd_optim_start(run->optimizer, &run->hyper, &block);
        run->block[run->blocks++] = block;
        run->elements += block.elements;
        sizes = *end == ',' ? end + 1 : end;
    }
}

static float *read_gradients(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "rb");
    float *g = allocate(bytes);
    if (file == NULL || fread(g, 1, bytes, file) != bytes) {
        give_up("cannot read gradients", path);
    }
    fclose(file);
    return g;
}

static void step(struct run *run, const float *g)
{
    for (size_t b = 0; b < run->blocks; b++) {
        struct pd_optim_block *block = &run->block[b];
        struct pd_optim_push push = {g, PD_F32, 1.0f, 0};
        if (pd_optim_apply(run->optimizer, &run->hyper, block, &push) != PARAMD_OK) {
            give_up("push refused", pd_optimizer_name(run->optimizer));
        }
        g += block->elements;
    }
}

static void finish(struct run *run)
{
    for (size_t b = 0; b < run->blocks; b++) {
        struct pd_optim_block *block = &run->block[b];
        if (fwrite(block->p, sizeof(float), block->elements, stdout) != block->elements) {
            give_up("cannot write", "stdout");
        }
        free(block->p);
        for (unsigned i = 0; i < PD_MOMENTS_MAX; i++) {
            free(block->moments[i]);
        }
    }
    free(run->block);
}

/* oracle_driver OPTIMIZER STEPS SIZES GRADIENTS ROUNDS [NAME=VALUE...]: step t uses round t mod
 * ROUNDS of the file. */
int main(int argc, char **argv)
{
    struct run run = {0};
    if (argc < 6) {
        give_up("usage", "OPTIMIZER STEPS SIZES GRADIENTS ROUNDS [NAME=VALUE...]");
    }
    run.optimizer = pd_optimizer_find(argv[1]);
    if (run.optimizer == NULL || pd_optim_choose_isa(NULL) != PARAMD_OK) {
        give_up("no such optimizer", argv[1]);
    }
    pd_optim_enter_thread();
    pd_hyper_defaults(run.optimizer, &run.hyper);
    for (int i = 6; i < argc; i++) {
        set(&run, argv[i]);
    }
    lay_out(&run, argv[3]);
    size_t steps = strtoul(argv[2], NULL, 10);
    size_t rounds = strtoul(argv[5], NULL, 10);
    float *g = read_gradients(argv[4], rounds * run.elements * sizeof(float));
    for (size_t t = 0; t < steps; t++) {
        step(&run, g + t % rounds * run.elements);
    }
    free(g);
    finish(&run);
    return EXIT_SUCCESS;
}
