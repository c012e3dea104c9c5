/* The clients of crowd.h. */
#include <err.h>
#include <stdlib.h>

#include "tests/bench/crowd.h"

enum { TENSOR_ELEMENTS = 16, PUSHES_MAX = 100000 };

struct one {
    struct paramd_client *client;
    struct paramd_model *model;
    struct paramd_ticket *ticket;
    double begin_s;
};

struct pd_crowd {
    unsigned clients;
    struct one *ones;
    float gradient[TENSOR_ELEMENTS];
    double times_us[PUSHES_MAX];
};

struct pd_crowd *pd_crowd_create(const struct pd_member_way *way, const char *model,
                                 unsigned clients, enum paramd_ack_level ack_level)
{
    struct pd_crowd *crowd = calloc(1, sizeof *crowd);
    struct one *ones = calloc(clients, sizeof *ones);
    if (crowd == NULL || ones == NULL) {
        err(1, "clients");
    }
    crowd->clients = clients;
    crowd->ones = ones;
    pd_gradient_fill(crowd->gradient, TENSOR_ELEMENTS);
    for (unsigned i = 0; i < clients; i++) {
        ones[i].client = pd_member_open(way);
        ones[i].model = pd_member_join(ones[i].client, model, clients, TENSOR_ELEMENTS, ack_level);
    }
    return crowd;
}

void pd_crowd_destroy(struct pd_crowd *crowd)
{
    for (unsigned i = 0; i < crowd->clients; i++) {
        pd_member_leave(crowd->ones[i].client, crowd->ones[i].model);
    }
    free(crowd->ones);
    free(crowd);
}

/* Alone, a client sends when it waits; among others it has a turn of its own for it. */
static void push(const struct pd_crowd *crowd, unsigned index)
{
    struct one *one = &crowd->ones[index];
    const struct paramd_io io = {.tensor = index, .gradient = crowd->gradient};
    one->begin_s = pd_now_s();
    pd_member_check(paramd_push(one->model, &io, 1, NULL, &one->ticket), "push");
    if (crowd->clients > 1 && paramd_run(one->client, 0) == PARAMD_INVALID) {
        errx(1, "push: %s", paramd_error());
    }
}

/* Clients are waited for in turns: those that share one write to the disk are answered together. */
void pd_crowd_measure(struct pd_crowd *crowd, unsigned pushes, struct pd_pace *pace)
{
    double begin_s = pd_now_s();
    double now_s = begin_s;
    for (unsigned i = 0; i < crowd->clients; i++) {
        push(crowd, i);
    }
    unsigned next = 0;
    for (unsigned i = 0; i < pushes; i++) {
        struct one *one = &crowd->ones[next];
        pd_member_check(paramd_wait(one->ticket, PD_MEMBER_TIMEOUT_MS, NULL), "push");
        paramd_release(one->ticket);
        now_s = pd_now_s();
        crowd->times_us[i] = (now_s - one->begin_s) * 1e6;
        if (i + crowd->clients < pushes) {
            push(crowd, next);
        }
        next = next + 1 < crowd->clients ? next + 1 : 0;
    }
    pd_pace_add(pace, crowd->times_us, pushes, now_s - begin_s);
}
