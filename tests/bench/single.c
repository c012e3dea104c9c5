/* The client of single.h. */
#include <err.h>
#include <stdlib.h>

#include "tests/bench/single.h"

enum { OUTSTANDING_MAX = 1024 };

struct pd_single {
    struct paramd_client *client;
    struct paramd_model *model;
    size_t tensors;
    size_t bytes; /* of one tensor: they all get the same gradient */
    float *gradient;
    struct paramd_ticket *tickets[OUTSTANDING_MAX];
};

struct pd_single *pd_single_create(const struct pd_member_way *way, const char *model,
                                   size_t tensors, size_t tensor_bytes)
{
    struct pd_single *single = calloc(1, sizeof *single);
    if (single == NULL) {
        err(1, "client");
    }
    single->tensors = tensors;
    single->bytes = tensor_bytes;
    single->gradient = pd_memory_take(tensor_bytes);
    pd_gradient_fill(single->gradient, tensor_bytes / sizeof(float));
    single->client = pd_member_open(way);
    single->model = pd_member_join(single->client, model, tensors, tensor_bytes / sizeof(float),
                                   PARAMD_ACK_APPLIED);
    return single;
}

void pd_single_destroy(struct pd_single *single)
{
    pd_member_leave(single->client, single->model);
    pd_memory_give(single->gradient, single->bytes);
    free(single);
}

double pd_single_push_us(struct pd_single *single)
{
    const struct paramd_io io = {.gradient = single->gradient};
    double begin_s = pd_now_s();
    pd_member_check(paramd_push_wait(single->model, &io, 1, NULL, PD_MEMBER_TIMEOUT_MS, NULL),
                    "push");
    return (pd_now_s() - begin_s) * 1e6;
}

static void finish(struct paramd_ticket *ticket)
{
    pd_member_check(paramd_wait(ticket, PD_MEMBER_TIMEOUT_MS, NULL), "push");
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
            pd_member_check(paramd_push(single->model, &io, 1, NULL, ticket), "push");
        }
    }
    return pushes / (pd_now_s() - begin_s);
}
