/* A worker that pushes to two models in turns, each push to all tensors, and waits for each. So at
 * any one moment no two blocks of both models are more than one version apart. Many tensors, so
 * that they take many slots and a snapshot has many parts; small ones, so that what goes to one
 * shard is one frame. Works until a line comes or stdin ends.
 *
 *     lockstep ADDRESS */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/integration/workers/worker.h"

enum { MODELS = 2, TENSORS = 1500, ELEMENTS = 4, STEPS_A_LINE = 20 };

static atomic_bool over;

static void *wait_for_end(void *arg)
{
    (void)arg;
    pd_worker_wait_for_line();
    atomic_store(&over, true);
    return NULL;
}

static struct paramd_model *join(struct paramd_client *client, const char *name)
{
    static char names[TENSORS][8];
    static struct paramd_tensor tensors[TENSORS];
    struct paramd_definition definition = {.name = name,
                                           .groups = pd_worker_adding_group(),
                                           .group_count = 1,
                                           .tensors = tensors,
                                           .tensor_count = TENSORS};
    struct paramd_model *model;
    for (unsigned i = 0; i < TENSORS; i++) {
        (void)snprintf(names[i], sizeof names[i], "t%u", i);
        tensors[i] = (struct paramd_tensor){
            .name = names[i], .rank = 1, .shape = {ELEMENTS}, .init = PARAMD_INIT_ZEROS};
    }
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, &model), "join");
    return model;
}

int main(int argc, char **argv)
{
    static const float ones[ELEMENTS] = {1, 1, 1, 1};
    static struct paramd_io entries[TENSORS];
    if (argc != 2) {
        pd_worker_fail("usage: lockstep ADDRESS");
    }
    struct paramd_client *client = pd_worker_open(argv[1]);
    struct paramd_model *models[MODELS] = {join(client, "even"), join(client, "odd")};
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_end, NULL) != 0) {
        pd_worker_fail("no thread");
    }
    for (unsigned i = 0; i < TENSORS; i++) {
        entries[i] = (struct paramd_io){.tensor = i, .gradient = ones};
    }
    for (uint64_t step = 1; !atomic_load(&over); step++) {
        for (unsigned i = 0; i < MODELS; i++) {
            pd_worker_check(
                paramd_push_wait(models[i], entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, NULL),
                "push");
        }
        if (step % STEPS_A_LINE == 0) {
            pd_worker_say("step %llu", (unsigned long long)step);
        }
    }
    (void)pthread_join(thread, NULL);
    paramd_close(client);
    return EXIT_SUCCESS;
}
