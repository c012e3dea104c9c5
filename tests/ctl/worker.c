/* A worker for paramctl to look at: makes a model, pushes three times and once what is refused,
 * says so on stdout and stays until its stdin ends. */
#include <math.h>
#include <stdio.h>

#include "client/include/paramd.h"

enum { WIDE = 10 * 784, NARROW = 10, PUSHES = 3, TIMEOUT_MS = 20000 };

static float wide_gradient[WIDE];
static float narrow_gradient[NARROW];
static float wide[WIDE];
static float narrow[NARROW];

static int fail(const char *what)
{
    (void)fprintf(stderr, "ctl_worker: %s: %s\n", what, paramd_error());
    return 1;
}

static int join(struct paramd_client *client, const char *name, struct paramd_model **ret_model)
{
    struct paramd_hyper rates[] = {{.name = "lr", .number = 0.25},
                                   {.name = "schedule", .text = "inverse_sqrt"}};
    struct paramd_group groups[] = {
        {.name = "weights", .optimizer = "adam", .hypers = rates, .hyper_count = 2},
        {.name = "biases", .optimizer = "sgd", .hypers = rates, .hyper_count = 1},
    };
    struct paramd_tensor tensors[] = {
        {.name = "layer.w", .rank = 2, .shape = {10, 784}, .init = PARAMD_INIT_ZEROS},
        {.name = "layer.b", .rank = 1, .shape = {10}, .group = 1, .init = PARAMD_INIT_ZEROS},
    };
    struct paramd_definition definition = {.name = name,
                                           .groups = groups,
                                           .group_count = 2,
                                           .tensors = tensors,
                                           .tensor_count = 2,
                                           .block_elements = 1024};
    return paramd_join(client, &definition, NULL, TIMEOUT_MS, ret_model);
}

/* Three good pushes of both tensors, and one of the narrow one that is not finite. */
static int train(struct paramd_model *model)
{
    struct paramd_io all[] = {{.tensor = 0, .gradient = wide_gradient, .values = wide},
                              {.tensor = 1, .gradient = narrow_gradient, .values = narrow}};
    if (paramd_pull_wait(model, all, 2, NULL, TIMEOUT_MS, NULL) != PARAMD_OK) {
        return fail("pull");
    }
    for (int i = 0; i < PUSHES; i++) {
        if (paramd_push_pull_wait(model, all, 2, NULL, TIMEOUT_MS, NULL) != PARAMD_OK) {
            return fail("push");
        }
    }
    narrow_gradient[3] = NAN;
    if (paramd_push_wait(model, &all[1], 1, NULL, TIMEOUT_MS, NULL) != PARAMD_NOT_FINITE) {
        return fail("a push that is not finite");
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct paramd_client *client;
    struct paramd_model *model;
    if (argc != 3) {
        (void)fputs("usage: ctl_worker ADDRESS MODEL\n", stderr);
        return 2;
    }
    if (paramd_open(&(struct paramd_options){.address = argv[1]}, &client) != PARAMD_OK) {
        return fail("open");
    }
    int outcome = join(client, argv[2], &model) != PARAMD_OK ? fail("join") : train(model);
    if (outcome == 0) {
        (void)puts("ready");
        (void)fflush(stdout);
        (void)getchar();
    }
    paramd_close(client);
    return outcome;
}
