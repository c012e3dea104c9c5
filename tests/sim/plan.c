/* What a seed decides before the first event: how many clients and shards, the models, the limits,
 * the faults. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"
#include "tests/sim/sim.h"

enum { STREAM_PLAN = 1, STREAM_FAULTS, STREAM_FAULT };

enum {
    ELEMENTS_MAX = 2100,
    CLIENT_PUSHES_MIN = 210,
    DURABLE_PERCENT = 94, /* of the runs have a data directory */
    LOGGED_PERCENT = 70,  /* of their models are at this ack level, the others at `applied` */
    CRASH_PERCENT = 85,
    CRASH_US = 100000,
    DAMAGE_PERCENT = 15 /* its runs end with the next start, as a rule */
};

/* ---- Models ---- */

static uint64_t draw_elements(struct sim_random *random)
{
    static const uint64_t sizes[] = {64, 100, 500, 1024, 1100, 1500, 2048, ELEMENTS_MAX};
    return sizes[sim_random_between(random, 0, sizeof sizes / sizeof sizes[0] - 1)];
}

static void draw_tensor(struct sim_random *random, struct sim_tensor_plan *tensor,
                        const struct sim_model_plan *model, bool ledger)
{
    static const Paramd__Initialiser inits[] = {PARAMD__INITIALISER__CLIENT,
                                                PARAMD__INITIALISER__CONSTANT};
    static const Paramd__Initialiser plain[] = {PARAMD__INITIALISER__UNIFORM,
                                                PARAMD__INITIALISER__NORMAL};
    tensor->elements = draw_elements(random);
    tensor->group = (uint32_t)sim_random_between(random, 0, model->group_count - 1);
    uint64_t which = sim_random_between(random, 0, 1);
    if (ledger) {
        tensor->kind = SIM_TENSOR_LEDGER;
        tensor->init = which == 0 ? PARAMD__INITIALISER__CLIENT : PARAMD__INITIALISER__ZEROS;
    } else if (sim_random_chance(random, 20)) {
        tensor->kind = SIM_TENSOR_PLAIN;
        tensor->init = plain[which];
    } else {
        tensor->kind = SIM_TENSOR_UNIFORM;
        tensor->init = inits[sim_random_chance(random, 70) ? 0 : 1];
    }
    struct pd_hyper hyper;
    const struct pd_optimizer *optimizer = pd_optimizer_find(model->optimizers[tensor->group]);
    pd_hyper_defaults(optimizer, &hyper);
    tensor->moments = pd_optimizer_moments(optimizer, &hyper);
}

static void draw_model(struct sim_random *random, struct sim_model_plan *model, uint32_t number)
{
    static const char *const names[SIM_MODELS] = {"ledger", "train", "spare"};
    size_t optimizers = 0;
    while (pd_optimizer_at(optimizers) != NULL) {
        optimizers++;
    }
    (void)snprintf(model->name, sizeof model->name, "%s", names[number]);
    model->block_elements = sim_random_chance(random, 70) ? 1024 : 2048;
    model->group_count = number == 0 ? 1 : (uint32_t)sim_random_between(random, 1, SIM_GROUPS_MAX);
    for (uint32_t i = 0; i < model->group_count; i++) {
        uint64_t which = sim_random_between(random, 0, optimizers - 1);
        model->optimizers[i] = number == 0 ? "sgd" : pd_optimizer_name(pd_optimizer_at(which));
    }
    model->tensor_count =
        (uint32_t)sim_random_between(random, number == 0 ? 2 : 1, SIM_TENSORS_MAX);
    model->moments_given = sim_random_chance(random, 30);
    uint64_t stale_max = sim_random_between(random, 1, 20);
    model->stale_max = number > 0 && sim_random_chance(random, 30) ? (uint32_t)stale_max : 0;
    for (uint32_t i = 0; i < model->tensor_count; i++) {
        (void)snprintf(model->tensors[i].name, sizeof model->tensors[i].name, "t%u", i);
        draw_tensor(random, &model->tensors[i], model, number == 0);
    }
    if (number == 0) {
        model->tensors[0].elements = ELEMENTS_MAX; /* a coordinate for every push */
    }
    model->zeros = calloc(ELEMENTS_MAX, sizeof *model->zeros);
}

struct pd_definition *sim_plan_definition(const struct sim_model_plan *plan)
{
    Paramd__Hyper one = PARAMD__HYPER__INIT;
    Paramd__Hyper maximize = PARAMD__HYPER__INIT;
    Paramd__Hyper stale = PARAMD__HYPER__INIT;
    Paramd__Hyper *hypers[] = {&one, &maximize};
    Paramd__Hyper *others[] = {&stale};
    Paramd__Group groups[SIM_GROUPS_MAX];
    Paramd__Group *group_list[SIM_GROUPS_MAX];
    Paramd__Tensor tensors[SIM_TENSORS_MAX];
    Paramd__Tensor *tensor_list[SIM_TENSORS_MAX];
    uint64_t shapes[SIM_TENSORS_MAX];
    static char *const group_names[SIM_GROUPS_MAX] = {(char *)(uintptr_t) "g0",
                                                      (char *)(uintptr_t) "g1"};
    one.name = (char *)(uintptr_t) "lr";
    one.number = 1;
    maximize.name = (char *)(uintptr_t) "maximize";
    maximize.number = 1;
    stale.name = (char *)(uintptr_t) "staleness_max";
    stale.number = plan->stale_max;
    for (uint32_t i = 0; i < plan->group_count && i < SIM_GROUPS_MAX; i++) {
        paramd__group__init(&groups[i]);
        groups[i].name = group_names[i];
        groups[i].optimizer = (char *)(uintptr_t)plan->optimizers[i];
        bool ledger = plan->tensors[0].kind == SIM_TENSOR_LEDGER;
        groups[i].hypers = ledger ? hypers : others;
        groups[i].n_hypers = ledger ? 2 : 1;
        group_list[i] = &groups[i];
    }
    for (uint32_t i = 0; i < plan->tensor_count; i++) {
        const struct sim_tensor_plan *tensor = &plan->tensors[i];
        paramd__tensor__init(&tensors[i]);
        shapes[i] = tensor->elements;
        tensors[i].name = (char *)(uintptr_t)tensor->name;
        tensors[i].n_shape = 1;
        tensors[i].shape = &shapes[i];
        tensors[i].group = tensor->group;
        tensors[i].init = tensor->init;
        tensors[i].a = 0.5;
        tensors[i].b = tensor->kind == SIM_TENSOR_PLAIN ? 1.5 : 0;
        tensors[i].seed = i + 1;
        tensor_list[i] = &tensors[i];
    }
    Paramd__Definition message = PARAMD__DEFINITION__INIT;
    message.n_groups = plan->group_count;
    message.groups = group_list;
    message.n_tensors = plan->tensor_count;
    message.tensors = tensor_list;
    message.block_elements = plan->block_elements;
    message.ack_level = plan->logged ? PARAMD__ACK_LEVEL__LOGGED : PARAMD__ACK_LEVEL__APPLIED;
    struct pd_definition *definition = NULL;
    char text[PD_ERROR_TEXT_BYTES] = "";
    if (pd_definition_create(plan->name, &message, &definition, text) != PARAMD_OK) {
        (void)fprintf(stderr, "paramd-sim: a definition of its own: %s\n", text);
        abort();
    }
    return definition;
}

struct paramd_values *sim_plan_values(const struct sim_model_plan *plan, float mark)
{
    /* Behind the values: one buffer of marks, one of moments. */
    size_t head = plan->tensor_count * sizeof(struct paramd_values);
    struct paramd_values *values = calloc(1, head + 2 * ELEMENTS_MAX * sizeof(float));
    float *marks = (float *)(void *)(values + plan->tensor_count);
    float *moments = marks + ELEMENTS_MAX;
    for (size_t i = 0; i < ELEMENTS_MAX; i++) {
        marks[i] = mark;
        moments[i] = 0.25F;
    }
    for (uint32_t i = 0; i < plan->tensor_count; i++) {
        const struct sim_tensor_plan *tensor = &plan->tensors[i];
        values[i].weights = tensor->kind == SIM_TENSOR_LEDGER ? plan->zeros : marks;
        for (unsigned j = 0; plan->moments_given && j < tensor->moments; j++) {
            values[i].moments[j] = moments;
            values[i].step = 3;
        }
    }
    return values;
}

/* ---- Faults ---- */

/* Half of the seeds have faults of all kinds, half those of a random few. */
static void draw_faults(struct sim *sim, struct sim_random *random)
{
    enum sim_fault_kind kinds[SIM_FAULT_KINDS] = {0};
    uint32_t kind_count = 0;
    uint64_t subset = sim_random_next(random);
    bool all = sim_random_chance(random, 50);
    bool damage = sim_random_chance(random, DAMAGE_PERCENT);
    for (uint32_t i = 0; i < SIM_FAULT_KINDS; i++) {
        if (i == SIM_FAULT_DISK_DAMAGE && !damage) {
            continue;
        }
        if (all || (subset >> i & 1) != 0 || (subset >> 32) % SIM_FAULT_DISK_DAMAGE == i) {
            kinds[kind_count++] = (enum sim_fault_kind)i;
        }
    }
    sim->fault_count = (uint32_t)sim_random_between(random, 2, SIM_FAULTS_MAX);
    bool crash = sim_random_chance(random, CRASH_PERCENT);
    for (uint32_t i = 0; i < sim->fault_count; i++) {
        struct sim_fault *fault = &sim->faults[i];
        fault->kind = kinds[sim_random_between(random, 0, kind_count - 1)];
        fault->at_us = sim_random_between(random, 0, SIM_FAULTS_END_US);
        fault->random = sim_random_stream(sim->options.seed, STREAM_FAULT + 1000 + i);
    }
    if (crash) { /* while there is work */
        sim->faults[0].kind = SIM_FAULT_DAEMON_KILL;
        sim->faults[0].at_us = sim_random_between(random, CRASH_US, SIM_FAULTS_END_US / 2);
    }
}

/* ---- The whole ---- */

void sim_plan_make(struct sim *sim)
{
    struct sim_random random = sim_random_stream(sim->options.seed, STREAM_PLAN);
    sim->client_count = (uint32_t)sim_random_between(&random, 2, SIM_CLIENTS_MAX);
    sim->daemon.shards = (uint32_t)sim_random_between(&random, 2, SIM_SHARDS_MAX);
    sim->local = sim_random_chance(&random, 50);
    sim->copies_max = sim_random_chance(&random, 50) ? 128 * 1024 : 4096 * 1024;
    sim->in_flight_max = sim_random_chance(&random, 50) ? 256 * 1024 : 4096 * 1024;
    sim->durable = sim_random_chance(&random, DURABLE_PERCENT);
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        draw_model(&random, &sim->plans[i], i);
        sim->plans[i].stale_max = sim->calm ? 0 : sim->plans[i].stale_max;
        sim->plans[i].logged = sim_random_chance(&random, LOGGED_PERCENT) && sim->durable;
        sim->definitions[i] = sim_plan_definition(&sim->plans[i]);
    }
    for (uint32_t i = 0; i < sim->client_count; i++) {
        uint64_t more = sim_random_between(&random, 0, 40);
        sim->identities[i].pushes_left = (long)(CLIENT_PUSHES_MIN / sim->client_count + more);
    }
    struct sim_random faults = sim_random_stream(sim->options.seed, STREAM_FAULTS);
    draw_faults(sim, &faults);
}

void sim_plan_free(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        pd_definition_destroy(sim->definitions[i]);
        free(sim->plans[i].zeros);
    }
}
