/* A worker that pushes what it is told: reads records from stdin until it ends, each a tensor's
 * number, its first block and their count (u64, 0: all from there on), then that many f32. Every
 * one is applied before the next is sent.
 *
 *     ctl_pusher ADDRESS MODEL */
#include <stdio.h>
#include <stdlib.h>

#include "client/include/paramd.h"

enum { TIMEOUT_MS = 20000 };

static int fail(const char *what)
{
    (void)fprintf(stderr, "ctl_pusher: %s: %s\n", what, paramd_error());
    return 1;
}

static uint64_t elements_of(const struct paramd_definition *definition, const uint64_t record[3])
{
    const struct paramd_tensor *tensor = &definition->tensors[record[0]];
    uint64_t elements = 1;
    uint64_t first = record[1] * definition->block_elements;
    uint64_t most = record[2] * definition->block_elements;
    for (unsigned i = 0; i < tensor->rank; i++) {
        elements *= tensor->shape[i];
    }
    elements -= first;
    return most != 0 && most < elements ? most : elements;
}

static int push_all(struct paramd_model *model)
{
    uint64_t record[3];
    int status = PARAMD_OK;
    while (status == PARAMD_OK && fread(record, sizeof record, 1, stdin) == 1) {
        size_t elements = (size_t)elements_of(paramd_model_definition(model), record);
        float *gradient = malloc(elements * sizeof *gradient);
        if (gradient == NULL || fread(gradient, sizeof *gradient, elements, stdin) != elements) {
            free(gradient);
            return fail("a record without its values");
        }
        struct paramd_io io = {.tensor = (uint32_t)record[0],
                               .gradient = gradient,
                               .first_block = record[1],
                               .block_count = record[2]};
        status = paramd_push_wait(model, &io, 1, NULL, TIMEOUT_MS, NULL);
        free(gradient);
    }
    return status == PARAMD_OK ? 0 : fail("push");
}

int main(int argc, char **argv)
{
    struct paramd_client *client;
    struct paramd_model *model;
    if (argc != 3) {
        (void)fputs("usage: ctl_pusher ADDRESS MODEL\n", stderr);
        return 2;
    }
    if (paramd_open(&(struct paramd_options){.address = argv[1]}, &client) != PARAMD_OK ||
        paramd_attach(client, argv[2], TIMEOUT_MS, &model) != PARAMD_OK) {
        return fail("attach");
    }
    int outcome = push_all(model);
    if (outcome == 0 && paramd_leave(model, TIMEOUT_MS) != PARAMD_OK) {
        outcome = fail("leave");
    }
    paramd_close(client);
    return outcome;
}
