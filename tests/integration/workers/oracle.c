/* What comes back through the wire against the optimizer called right here: pushes random gradients
 * to a model, applies the same ones to memory of its own, and compares every bit of weights and
 * moments. The only worker that links a layer of the server.
 *
 *     oracle ADDRESS CASE STEPS SEED
 *
 * CASE is one of the names in the table below; each is a model of its own. */
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"
#include "tests/integration/workers/worker.h"

enum { TENSORS = 6, BLOCK = 1024, HYPERS_MAX = 6, ALIGNMENT = 64 };

static const uint64_t elements[TENSORS] = {1, 7, BLOCK - 1, BLOCK + 1, 5 * BLOCK, 70001};

struct oracle_case {
    const char *optimizer;
    enum paramd_dtype dtype;
    float scale;
    struct paramd_hyper hypers[HYPERS_MAX];
};

static const struct oracle_case cases[] = {
    {"adam",
     PARAMD_F32,
     0,
     {{.name = "lr", .number = 0.01}, {.name = "weight_decay", .number = 0.1}}},
    {"adamw",
     PARAMD_BF16,
     0.25F,
     {{.name = "lr", .number = 0.02},
      {.name = "schedule", .text = "cosine"},
      {.name = "warmup", .number = 20},
      {.name = "total", .number = 150},
      {.name = "final_ratio", .number = 0.1}}},
    {"momentum",
     PARAMD_F16,
     -0.5F,
     {{.name = "lr", .number = 0.1},
      {.name = "momentum", .number = 0.8},
      {.name = "clip_norm", .number = 3}}},
};

/* One block as the daemon should hold it. */
struct mirror {
    struct pd_optim_block block;
    uint32_t tensor;
    uint64_t first; /* element of the tensor */
};

static struct {
    const struct oracle_case *chosen;
    const struct pd_optimizer *optimizer;
    struct pd_hyper hyper;
    unsigned moments;
    uint64_t random;
    struct mirror *mirrors;
    size_t mirror_count;
    float *values[TENSORS];
    float *parts[TENSORS][PARAMD_MOMENTS_MAX];
    void *gradients[TENSORS];
    struct paramd_model *model;
} oracle;

static size_t hyper_count(void)
{
    size_t count = 0;
    while (count < HYPERS_MAX && oracle.chosen->hypers[count].name != NULL) {
        count++;
    }
    return count;
}

static void choose(const char *name)
{
    char error[200] = "no such case";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].optimizer, name) == 0) {
            oracle.chosen = &cases[i];
        }
    }
    oracle.optimizer = oracle.chosen != NULL ? pd_optimizer_find(name) : NULL;
    if (oracle.optimizer == NULL || pd_optim_choose_isa(NULL) != PARAMD_OK) {
        pd_worker_fail("%s: %s", name, error);
    }
    pd_optim_enter_thread();
    pd_hyper_defaults(oracle.optimizer, &oracle.hyper);
    for (size_t i = 0; i < hyper_count(); i++) {
        const struct paramd_hyper *hyper = &oracle.chosen->hypers[i];
        if (pd_hyper_set(oracle.optimizer, &oracle.hyper, hyper->name, hyper->number, hyper->text,
                         error, sizeof error) != PARAMD_OK) {
            pd_worker_fail("%s: %s", name, error);
        }
    }
    oracle.moments = pd_optimizer_moments(oracle.optimizer, &oracle.hyper);
}

static float random_value(void)
{
    return (float)((double)(pd_worker_random(&oracle.random) >> 11) * 0x1p-53 * 4 - 2);
}

static float *aligned_floats(uint32_t count)
{
    size_t bytes = (count * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    float *floats = aligned_alloc(ALIGNMENT, bytes);
    if (floats == NULL) {
        pd_worker_fail("no memory");
    }
    return floats;
}

static void make_mirrors(void)
{
    size_t count = 0;
    for (unsigned t = 0; t < TENSORS; t++) {
        count += (elements[t] + BLOCK - 1) / BLOCK;
    }
    oracle.mirrors = pd_worker_memory(count * sizeof *oracle.mirrors);
    for (uint32_t t = 0; t < TENSORS; t++) {
        for (uint64_t first = 0; first < elements[t]; first += BLOCK) {
            struct mirror *mirror = &oracle.mirrors[oracle.mirror_count++];
            uint64_t rest = elements[t] - first;
            mirror->tensor = t;
            mirror->first = first;
            mirror->block.elements = rest < BLOCK ? (uint32_t)rest : BLOCK;
            mirror->block.p = aligned_floats(mirror->block.elements);
            for (unsigned m = 0; m < oracle.moments; m++) {
                mirror->block.moments[m] = aligned_floats(mirror->block.elements);
            }
            memcpy(mirror->block.p, oracle.values[t] + first,
                   mirror->block.elements * sizeof(float));
            pd_optim_start(oracle.optimizer, &oracle.hyper, &mirror->block);
        }
    }
}

static void join(struct paramd_client *client)
{
    static const char *const names[TENSORS] = {"a", "b", "c", "d", "e", "f"};
    struct paramd_tensor tensors[TENSORS];
    struct paramd_values initial[TENSORS];
    memset(tensors, 0, sizeof tensors);
    memset(initial, 0, sizeof initial);
    for (unsigned t = 0; t < TENSORS; t++) {
        tensors[t].name = names[t];
        tensors[t].rank = 1;
        tensors[t].shape[0] = elements[t];
        oracle.gradients[t] = pd_worker_memory(elements[t] * sizeof(float));
        oracle.values[t] = pd_worker_memory(elements[t] * sizeof(float));
        for (uint64_t i = 0; i < elements[t]; i++) {
            oracle.values[t][i] = random_value();
        }
        initial[t].weights = oracle.values[t];
        for (unsigned m = 0; m < oracle.moments; m++) {
            oracle.parts[t][m] = pd_worker_memory(elements[t] * sizeof(float));
        }
    }
    const struct paramd_group group = {.name = "all",
                                       .optimizer = oracle.chosen->optimizer,
                                       .hypers = oracle.chosen->hypers,
                                       .hyper_count = hyper_count()};
    const struct paramd_definition definition = {.name = oracle.chosen->optimizer,
                                                 .groups = &group,
                                                 .group_count = 1,
                                                 .tensors = tensors,
                                                 .tensor_count = TENSORS,
                                                 .block_elements = BLOCK};
    pd_worker_check(paramd_join(client, &definition, initial, PD_WORKER_TIMEOUT_MS, &oracle.model),
                    "join");
}

/* Random gradients; the 16-bit ones are made of bits, but for exponents of all ones. */
static void fill_gradients(void)
{
    for (unsigned t = 0; t < TENSORS; t++) {
        for (uint64_t i = 0; i < elements[t]; i++) {
            if (oracle.chosen->dtype == PARAMD_F32) {
                ((float *)oracle.gradients[t])[i] = random_value();
                continue;
            }
            uint16_t sign = (uint16_t)(pd_worker_random(&oracle.random) & 0x8000);
            uint16_t bits = (uint16_t)(pd_worker_random(&oracle.random) & 0x7ff);
            uint16_t base = oracle.chosen->dtype == PARAMD_BF16 ? 0x3c00 : 0x3800;
            ((uint16_t *)oracle.gradients[t])[i] = (uint16_t)(sign | (base + bits));
        }
    }
}

static void push_both(void)
{
    struct paramd_io entries[TENSORS];
    const struct paramd_call call = {.dtype = oracle.chosen->dtype, .scale = oracle.chosen->scale};
    size_t element_bytes = oracle.chosen->dtype == PARAMD_F32 ? 4 : 2;
    for (uint32_t t = 0; t < TENSORS; t++) {
        entries[t] = (struct paramd_io){.tensor = t, .gradient = oracle.gradients[t]};
    }
    pd_worker_check(
        paramd_push_wait(oracle.model, entries, TENSORS, &call, PD_WORKER_TIMEOUT_MS, NULL),
        "push");
    for (size_t i = 0; i < oracle.mirror_count; i++) {
        struct mirror *mirror = &oracle.mirrors[i];
        const char *gradient = oracle.gradients[mirror->tensor];
        const struct pd_optim_push push = {
            .gradient = gradient + mirror->first * element_bytes,
            .dtype = (enum pd_dtype)oracle.chosen->dtype,
            .scale = oracle.chosen->scale != 0 ? oracle.chosen->scale : 1.0F,
        };
        pd_worker_check(pd_optim_apply(oracle.optimizer, &oracle.hyper, &mirror->block, &push),
                        "apply");
    }
}

static void check_part(const struct mirror *mirror, const float *mine, const float *theirs,
                       unsigned part, uint64_t step)
{
    if (memcmp(mine, theirs + mirror->first, mirror->block.elements * sizeof(float)) != 0) {
        pd_worker_fail("%s: tensor %u from %llu on, part %u differs after %llu steps",
                       oracle.chosen->optimizer, mirror->tensor, (unsigned long long)mirror->first,
                       part, (unsigned long long)step);
    }
}

static void compare(uint64_t step)
{
    struct paramd_io entries[TENSORS];
    memset(entries, 0, sizeof entries);
    for (uint32_t t = 0; t < TENSORS; t++) {
        entries[t].tensor = t;
        entries[t].values = oracle.values[t];
        for (unsigned m = 0; m < oracle.moments; m++) {
            entries[t].moments[m] = oracle.parts[t][m];
        }
    }
    pd_worker_check(
        paramd_pull_wait(oracle.model, entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, NULL), "pull");
    for (size_t i = 0; i < oracle.mirror_count; i++) {
        const struct mirror *mirror = &oracle.mirrors[i];
        check_part(mirror, mirror->block.p, oracle.values[mirror->tensor], 0, step);
        for (unsigned m = 0; m < oracle.moments; m++) {
            check_part(mirror, mirror->block.moments[m], oracle.parts[mirror->tensor][m], 1 + m,
                       step);
        }
        struct paramd_block_info info;
        pd_worker_check(paramd_block(oracle.model, mirror->tensor, mirror->first / BLOCK, &info),
                        "block");
        if (info.step != step || info.version != step + 1) {
            pd_worker_fail("version %llu and step %llu after %llu pushes",
                           (unsigned long long)info.version, (unsigned long long)info.step,
                           (unsigned long long)step);
        }
    }
}

static void free_all(void)
{
    for (size_t i = 0; i < oracle.mirror_count; i++) {
        free(oracle.mirrors[i].block.p);
        for (unsigned m = 0; m < oracle.moments; m++) {
            free(oracle.mirrors[i].block.moments[m]);
        }
    }
    free(oracle.mirrors);
    for (unsigned t = 0; t < TENSORS; t++) {
        free(oracle.values[t]);
        free(oracle.gradients[t]);
        for (unsigned m = 0; m < oracle.moments; m++) {
            free(oracle.parts[t][m]);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        pd_worker_fail("usage: oracle ADDRESS CASE STEPS SEED");
    }
    choose(argv[2]);
    uint64_t steps = strtoull(argv[3], NULL, 10);
    oracle.random = strtoull(argv[4], NULL, 10);
    struct paramd_client *client = pd_worker_open(argv[1]);
    join(client);
    make_mirrors();
    compare(0);
    for (uint64_t step = 1; step <= steps; step++) {
        fill_gradients();
        push_both();
        if (step % 50 == 0 || step == 1) {
            compare(step);
        }
    }
    compare(steps);
    pd_worker_check(paramd_leave(oracle.model, PD_WORKER_TIMEOUT_MS), "leave");
    paramd_close(client);
    free_all();
    pd_worker_say("equal after %llu steps", (unsigned long long)steps);
    return 0;
}
