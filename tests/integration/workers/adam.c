/* One worker whose pushes are the same in the same order whenever it runs: noise from a seed, to
 * all or some tensors of a model under Adam, some of it as bf16, several under way at a time. So
 * what it leaves behind can be compared bit for bit.
 *
 *     adam ADDRESS MODEL PUSHES SEED LEVEL
 *
 * Before each BATCH of pushes it waits for a line; it says "push" for each that was applied, and at
 * its end how many blocks the daemon told it that it had lost. */
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { TENSORS = 3, WINDOW = 4, BATCH = 24, BLOCK = 1024 };

static const uint64_t sizes[TENSORS] = {5, 7 * BLOCK, 40 * BLOCK + 3};

struct slot {
    struct paramd_ticket *ticket;
    float *gradients[TENSORS];
    uint16_t *narrow[TENSORS];
};

static struct slot slots[WINDOW];

static struct paramd_model *join(struct paramd_client *client, const char *name, const char *level)
{
    static const struct paramd_hyper lr = {.name = "lr", .number = 0.01};
    static const struct paramd_group group = {
        .name = "all", .optimizer = "adam", .hypers = &lr, .hyper_count = 1};
    static const char *const names[TENSORS] = {"few", "some", "many"};
    struct paramd_tensor tensors[TENSORS];
    struct paramd_model *model;
    memset(tensors, 0, sizeof tensors);
    for (unsigned t = 0; t < TENSORS; t++) {
        tensors[t] = (struct paramd_tensor){.name = names[t],
                                            .rank = 1,
                                            .shape = {sizes[t]},
                                            .init = PARAMD_INIT_NORMAL,
                                            .b = 0.1,
                                            .seed = t};
    }
    const struct paramd_definition definition = {.name = name,
                                                 .groups = &group,
                                                 .group_count = 1,
                                                 .tensors = tensors,
                                                 .tensor_count = TENSORS,
                                                 .block_elements = BLOCK,
                                                 .ack_level = pd_worker_ack_level(level)};
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, &model), "join");
    return model;
}

static void finish(struct slot *slot)
{
    if (slot->ticket != NULL) {
        pd_worker_check(paramd_wait(slot->ticket, PD_WORKER_TIMEOUT_MS, NULL), "push");
        paramd_release(slot->ticket);
        slot->ticket = NULL;
        pd_worker_say("push");
    }
}

/* Numbers in [-1, 1) with few bits, which bf16 holds as they are: its are the upper half's. */
static void fill(struct slot *slot, unsigned tensor, uint64_t *random)
{
    for (uint64_t i = 0; i < sizes[tensor]; i++) {
        float value = (float)(int)(pd_worker_random(random) % 256) / 128 - 1;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        slot->gradients[tensor][i] = value;
        slot->narrow[tensor][i] = (uint16_t)(bits >> 16);
    }
}

static void push(struct paramd_model *model, struct slot *slot, uint64_t *random)
{
    struct paramd_io entries[TENSORS];
    const struct paramd_call call = {
        .dtype = pd_worker_once_in(random, 3) ? PARAMD_BF16 : PARAMD_F32, .scale = 0.5F};
    size_t count = 0;
    for (unsigned t = 0; t < TENSORS; t++) {
        if (t == TENSORS - 1 || pd_worker_once_in(random, 2)) {
            fill(slot, t, random);
            entries[count++] = (struct paramd_io){
                .tensor = t,
                .gradient = call.dtype == PARAMD_BF16 ? (const void *)slot->narrow[t]
                                                      : (const void *)slot->gradients[t]};
        }
    }
    pd_worker_check(paramd_push(model, entries, count, &call, &slot->ticket), "push");
}

/* A pull of everything takes every connection, so that all is told that was lost. */
static void tell_lost(struct paramd_model *model)
{
    struct paramd_io entries[TENSORS];
    struct paramd_counters counters;
    for (uint32_t t = 0; t < TENSORS; t++) {
        entries[t] = (struct paramd_io){.tensor = t, .values = slots[0].gradients[t]};
    }
    pd_worker_check(paramd_pull_wait(model, entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, NULL),
                    "pull");
    paramd_model_counters(model, &counters);
    pd_worker_say("lost %llu resent %llu", (unsigned long long)counters.lost,
                  (unsigned long long)counters.resent);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        pd_worker_fail("usage: adam ADDRESS MODEL PUSHES SEED LEVEL");
    }
    unsigned pushes = (unsigned)strtoul(argv[3], NULL, 10);
    uint64_t random = strtoull(argv[4], NULL, 10);
    for (unsigned i = 0; i < WINDOW * TENSORS; i++) {
        struct slot *slot = &slots[i / TENSORS];
        slot->gradients[i % TENSORS] = pd_worker_memory(sizes[i % TENSORS] * sizeof(float));
        slot->narrow[i % TENSORS] = pd_worker_memory(sizes[i % TENSORS] * sizeof(uint16_t));
    }
    struct paramd_client *client = pd_worker_open(argv[1]);
    struct paramd_model *model = join(client, argv[2], argv[5]);
    for (unsigned number = 0; number < pushes; number++) {
        if (number % BATCH == 0) {
            pd_worker_wait_for_line();
        }
        finish(&slots[number % WINDOW]);
        push(model, &slots[number % WINDOW], &random);
    }
    for (unsigned i = 0; i < WINDOW; i++) {
        finish(&slots[(pushes + i) % WINDOW]);
    }
    tell_lost(model);
    pd_worker_check(paramd_leave(model, PD_WORKER_TIMEOUT_MS), "leave");
    paramd_close(client);
    for (unsigned i = 0; i < WINDOW * TENSORS; i++) {
        free(slots[i / TENSORS].gradients[i % TENSORS]);
        free(slots[i / TENSORS].narrow[i % TENSORS]);
    }
    return 0;
}
