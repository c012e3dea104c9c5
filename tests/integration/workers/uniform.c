/* A worker whose pushes add 1 to every element, so that a whole block is one number, its version
 * less 1, and a torn or half-applied one shows two. Works until a line comes or stdin ends.
 *
 *     uniform ADDRESS MODEL ELEMENTS push|pull|both
 *
 * push: keeps some pushes under way; pull: pulls, saying "begin N" and "end N"; both: push_pull. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { BLOCK = 65536, WINDOW = 3 };

static struct {
    struct paramd_model *model;
    uint64_t elements;
    float *ones;
    float *values;
    uint64_t blocks;
    uint64_t applied; /* blocks of pushes that were acknowledged */
    atomic_bool stop;
} uniform;

static void *wait_for_end(void *arg)
{
    (void)arg;
    pd_worker_wait_for_line();
    atomic_store(&uniform.stop, true);
    return NULL;
}

static void join(struct paramd_client *client, const char *name)
{
    const struct paramd_tensor tensor = {
        .name = "t0", .rank = 1, .shape = {uniform.elements}, .init = PARAMD_INIT_ZEROS};
    const struct paramd_definition definition = {.name = name,
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = &tensor,
                                                 .tensor_count = 1};
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, &uniform.model),
                    "join");
}

/* Each block is one number, not below that of the last time. */
static void check_blocks(void)
{
    for (uint64_t block = 0; block < uniform.blocks; block++) {
        uint64_t end =
            (block + 1) * BLOCK < uniform.elements ? (block + 1) * BLOCK : uniform.elements;
        float value = uniform.values[block * BLOCK];
        struct paramd_block_info info;
        pd_worker_check(paramd_block(uniform.model, 0, block, &info), "block");
        if (value != (float)(info.step)) {
            pd_worker_fail("block %llu holds %g after %llu steps", (unsigned long long)block,
                           (double)value, (unsigned long long)info.step);
        }
        for (uint64_t i = block * BLOCK; i < end; i++) {
            if (uniform.values[i] != value) {
                pd_worker_fail("block %llu is torn: %g and %g", (unsigned long long)block,
                               (double)value, (double)uniform.values[i]);
            }
        }
    }
}

static void finish_push(struct paramd_ticket *ticket)
{
    struct paramd_result result;
    if (ticket == NULL) {
        return;
    }
    pd_worker_check(paramd_wait(ticket, PD_WORKER_TIMEOUT_MS, &result), "push");
    uniform.applied += result.done;
    paramd_release(ticket);
    pd_worker_say("pushed");
}

static void push_on(void)
{
    struct paramd_ticket *tickets[WINDOW] = {NULL};
    const struct paramd_io entry = {.gradient = uniform.ones};
    for (unsigned i = 0; !atomic_load(&uniform.stop); i = (i + 1) % WINDOW) {
        finish_push(tickets[i]);
        pd_worker_check(paramd_push(uniform.model, &entry, 1, NULL, &tickets[i]), "push");
    }
    for (unsigned i = 0; i < WINDOW; i++) {
        finish_push(tickets[i]);
    }
}

static void pull_on(void)
{
    const struct paramd_io entry = {.values = uniform.values};
    for (unsigned long number = 1; !atomic_load(&uniform.stop); number++) {
        pd_worker_say("begin %lu", number);
        pd_worker_check(
            paramd_pull_wait(uniform.model, &entry, 1, NULL, 2 * PD_WORKER_TIMEOUT_MS, NULL),
            "pull");
        pd_worker_say("end %lu", number);
        check_blocks();
    }
}

static void push_and_pull_on(void)
{
    const struct paramd_io entry = {.gradient = uniform.ones, .values = uniform.values};
    while (!atomic_load(&uniform.stop)) {
        struct paramd_result result;
        pd_worker_check(
            paramd_push_pull_wait(uniform.model, &entry, 1, NULL, PD_WORKER_TIMEOUT_MS, &result),
            "push_pull");
        uniform.applied += result.done;
        check_blocks();
        pd_worker_say("pushed");
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        pd_worker_fail("usage: uniform ADDRESS MODEL ELEMENTS push|pull|both");
    }
    struct paramd_client *client = pd_worker_open(argv[1]);
    uniform.elements = strtoull(argv[3], NULL, 10);
    uniform.blocks = (uniform.elements + BLOCK - 1) / BLOCK;
    uniform.ones = pd_worker_memory(uniform.elements * sizeof(float));
    uniform.values = pd_worker_memory(uniform.elements * sizeof(float));
    for (uint64_t i = 0; i < uniform.elements; i++) {
        uniform.ones[i] = 1;
    }
    join(client, argv[2]);
    pd_worker_say("joined");
    pthread_t waiter;
    if (pthread_create(&waiter, NULL, wait_for_end, NULL) != 0) {
        pd_worker_fail("no thread");
    }
    if (strcmp(argv[4], "push") == 0) {
        push_on();
    } else if (strcmp(argv[4], "pull") == 0) {
        pull_on();
    } else {
        push_and_pull_on();
    }
    (void)pthread_join(waiter, NULL);
    struct paramd_counters counters;
    paramd_model_counters(uniform.model, &counters);
    pd_worker_say("applied %llu reconnects %llu", (unsigned long long)uniform.applied,
                  (unsigned long long)counters.reconnects);
    pd_worker_check(paramd_leave(uniform.model, PD_WORKER_TIMEOUT_MS), "leave");
    paramd_close(client);
    free(uniform.ones);
    free(uniform.values);
    return 0;
}
