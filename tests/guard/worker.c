/* A worker of the public library that does a fixed amount of work against a daemon, to be counted
 * from outside: guard-worker ADDRESS push|pull|push_pull ROUNDS. A round is one call on a tensor of
 * 64 blocks of 256 KiB under Adam. */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "paramd.h"

enum { ELEMENTS = 64 * 65536, TIMEOUT_MS = 60000 };

static void check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "%s: %s", what, paramd_error());
    }
}

typedef int operation(struct paramd_model *, const struct paramd_io *, size_t,
                      const struct paramd_call *, int, struct paramd_result *);

static operation *operation_named(const char *name)
{
    if (strcmp(name, "push") == 0) {
        return paramd_push_wait;
    }
    if (strcmp(name, "pull") == 0) {
        return paramd_pull_wait;
    }
    if (strcmp(name, "push_pull") == 0) {
        return paramd_push_pull_wait;
    }
    errx(2, "%s is no operation", name);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        errx(2, "usage: guard-worker ADDRESS push|pull|push_pull ROUNDS");
    }
    operation *operate = operation_named(argv[2]);
    unsigned long rounds = strtoul(argv[3], NULL, 10);
    const struct paramd_options options = {.address = argv[1]};
    const struct paramd_group group = {.name = "all", .optimizer = "adam"};
    const struct paramd_tensor tensor = {
        .name = "t", .rank = 1, .shape = {ELEMENTS}, .init = PARAMD_INIT_ZEROS};
    const struct paramd_definition definition = {
        .name = "guard", .groups = &group, .group_count = 1, .tensors = &tensor, .tensor_count = 1};
    float *gradient = calloc(ELEMENTS, sizeof *gradient);
    float *values = calloc(ELEMENTS, sizeof *values);
    if (gradient == NULL || values == NULL) {
        err(1, "memory");
    }
    const struct paramd_io entry = {.gradient = gradient, .values = values};
    struct paramd_client *client = NULL;
    struct paramd_model *model = NULL;
    check(paramd_open(&options, &client), "open");
    check(paramd_join(client, &definition, NULL, TIMEOUT_MS, &model), "join");
    for (unsigned long i = 0; i < rounds; i++) {
        check(operate(model, &entry, 1, NULL, TIMEOUT_MS, NULL), argv[2]);
    }
    check(paramd_leave(model, TIMEOUT_MS), "leave");
    paramd_close(client);
    free(gradient);
    free(values);
    return 0;
}
