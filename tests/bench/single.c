/* The client of single.h. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/single.h"

enum { TIMEOUT_MS = 30000, TENSORS_MAX = 64, OUTSTANDING_MAX = 1024, NAME_BYTES = 24 };

struct pd_single {
    struct paramd_client *client;
    struct paramd_model *model;
    size_t tensors;
    size_t bytes; /* of one tensor: they all get the same gradient */
    float *gradient;
    struct paramd_ticket *tickets[OUTSTANDING_MAX];
};

static void check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "%s: %s", what, paramd_error());
    }
}

struct pd_single *pd_single_create(const char *address, const char *model, size_t tensors,
                                   size_t tensor_bytes, bool threaded)
{
    struct pd_single *single = calloc(1, sizeof *single);
    const struct paramd_group group = {.name = "all", .optimizer = "adam"};
    struct paramd_tensor list[TENSORS_MAX];
    char names[TENSORS_MAX][NAME_BYTES];
    if (single == NULL || tensors > TENSORS_MAX) {
        errx(1, "no memory for %zu tensors", tensors);
    }
    for (size_t i = 0; i < tensors; i++) {
        (void)snprintf(names[i], NAME_BYTES, "w%zu", i);
        list[i] = (struct paramd_tensor){.name = names[i],
                                         .rank = 1,
                                         .shape = {tensor_bytes / sizeof(float)},
                                         .init = PARAMD_INIT_ZEROS};
    }
    const struct paramd_definition definition = {.name = model,
                                                 .groups = &group,
                                                 .group_count = 1,
                                                 .tensors = list,
                                                 .tensor_count = tensors};
    const struct paramd_options options = {.address = address, .no_thread = !threaded};
    single->tensors = tensors;
    single->bytes = tensor_bytes;
    single->gradient = pd_memory_take(tensor_bytes);
    pd_gradient_fill(single->gradient, tensor_bytes / sizeof(float));
    check(paramd_open(&options, &single->client), "open");
    check(paramd_join(single->client, &definition, NULL, TIMEOUT_MS, &single->model), "join");
    return single;
}

void pd_single_destroy(struct pd_single *single)
{
    check(paramd_leave(single->model, TIMEOUT_MS), "leave");
    paramd_close(single->client);
    pd_memory_give(single->gradient, single->bytes);
    free(single);
}

double pd_single_push_us(struct pd_single *single)
{
    const struct paramd_io io = {.gradient = single->gradient};
    double begin_s = pd_now_s();
    check(paramd_push_wait(single->model, &io, 1, NULL, TIMEOUT_MS, NULL), "push");
    return (pd_now_s() - begin_s) * 1e6;
}

static void finish(struct paramd_ticket *ticket)
{
    check(paramd_wait(ticket, TIMEOUT_MS, NULL), "push");
    paramd_release(ticket);
}

double pd_single_push_rate(struct pd_single *single, unsigned outstanding, unsigned pushes)
{
    double begin_s = pd_now_s();
    for (unsigned i = 0; i < pushes + outstanding; i++) {
        struct paramd_ticket **ticket = &single->tickets[i % outstanding];
        const struct paramd_io io = {.tensor = (uint32_t)(i % single->tensors),
                                     .gradient = single->gradient};
        if (i >= outstanding) {
            finish(*ticket);
        }
        if (i < pushes) {
            check(paramd_push(single->model, &io, 1, NULL, ticket), "push");
        }
    }
    return pushes / (pd_now_s() - begin_s);
}
