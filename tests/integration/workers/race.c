/* One of many workers that start at once: joins a model with first values of its own, and says
 * whose values the model has. Every value names its worker and its place, so that a mix shows.
 *
 *     race ADDRESS MODEL WORKER ELEMENTS */
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { TENSORS = 3, PLACES = 8192 };

static struct {
    uint64_t elements[TENSORS];
    float *values[TENSORS];
} race;

/* Exact in f32 for up to 1,023 workers. */
static float value_of(unsigned worker, unsigned tensor, uint64_t at)
{
    return (float)(worker * PLACES + (at * 7 + tensor) % PLACES);
}

static struct paramd_model *join(struct paramd_client *client, const char *name, unsigned worker)
{
    static const char *const names[TENSORS] = {"small", "odd", "large"};
    struct paramd_tensor tensors[TENSORS];
    struct paramd_values initial[TENSORS];
    memset(tensors, 0, sizeof tensors);
    memset(initial, 0, sizeof initial);
    for (unsigned t = 0; t < TENSORS; t++) {
        tensors[t].name = names[t];
        tensors[t].rank = 1;
        tensors[t].shape[0] = race.elements[t];
        race.values[t] = pd_worker_memory(race.elements[t] * sizeof(float));
        for (uint64_t i = 0; i < race.elements[t]; i++) {
            race.values[t][i] = value_of(worker, t, i);
        }
        initial[t].weights = race.values[t];
    }
    const struct paramd_definition definition = {.name = name,
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = tensors,
                                                 .tensor_count = TENSORS};
    struct paramd_model *model;
    pd_worker_check(paramd_join(client, &definition, initial, PD_WORKER_TIMEOUT_MS, &model),
                    "join");
    return model;
}

/* The worker whose values these are, all of them. */
static unsigned owner(void)
{
    unsigned first = (unsigned)(race.values[0][0]) / PLACES;
    for (unsigned t = 0; t < TENSORS; t++) {
        for (uint64_t i = 0; i < race.elements[t]; i++) {
            if (race.values[t][i] != value_of(first, t, i)) {
                pd_worker_fail("values of worker %u, but tensor %u has %g at %llu", first, t,
                               (double)race.values[t][i], (unsigned long long)i);
            }
        }
    }
    return first;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        pd_worker_fail("usage: race ADDRESS MODEL WORKER ELEMENTS");
    }
    struct paramd_client *client = pd_worker_open(argv[1]);
    uint64_t elements = strtoull(argv[4], NULL, 10);
    race.elements[0] = 10;
    race.elements[1] = elements / 10 + 7;
    race.elements[2] = elements;
    pd_worker_wait_for_line();
    struct paramd_model *model = join(client, argv[2], (unsigned)strtoul(argv[3], NULL, 10));
    struct paramd_io entries[TENSORS];
    for (uint32_t t = 0; t < TENSORS; t++) {
        memset(race.values[t], 0, race.elements[t] * sizeof(float));
        entries[t] = (struct paramd_io){.tensor = t, .values = race.values[t]};
    }
    pd_worker_check(paramd_pull_wait(model, entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, NULL),
                    "pull");
    pd_worker_say("owner %u", owner());
    paramd_model_close(model);
    paramd_close(client);
    for (unsigned t = 0; t < TENSORS; t++) {
        free(race.values[t]);
    }
    return 0;
}
