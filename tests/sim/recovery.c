/* What a start must bring back: models that somebody was told of, their SETs in order, sessions
 * that were not ended, and each block as it was at one of its versions. */
#include <stdlib.h>
#include <string.h>

#include "server/core/control_state.h"
#include "server/core/shard_state.h"
#include "server/host_state.h"
#include "tests/sim/sim.h"

/* ---- SETs ---- */

static void note_set(struct sim *sim, struct sim_model_record *record,
                     const struct pd_control_model *model)
{
    size_t group = 0;
    while (group < model->definition->group_count && model->groups[group].set != model->sets) {
        group++;
    }
    if (group == model->definition->group_count || model->sets < record->set_count) {
        sim_violate(sim, "model %s: %llu SETs, where there were %llu", record->plan->name,
                    (unsigned long long)model->sets, (unsigned long long)record->set_count);
        return;
    }
    record->sets = realloc(record->sets, model->sets * sizeof *record->sets);
    record->sets[model->sets - 1] = (struct sim_set){group, model->groups[group].hyper};
    record->set_count = model->sets;
}

void sim_recovery_watch(struct sim *sim)
{
    const struct pd_control_model *model = sim->daemon.control->numbers;
    for (; model != NULL; model = model->by_number.next) {
        struct sim_model_record *record =
            sim_ledger_model(sim, model->number, model->definition->name);
        record->generation = model->generation;
        if (model->sets != record->set_count) {
            note_set(sim, record, model);
        }
    }
}

void sim_recovery_started(struct sim *sim, bool clean)
{
    const struct pd_control_model *model = sim->daemon.control->numbers;
    for (; model != NULL; model = model->by_number.next) {
        const struct sim_model_record *record = sim_ledger_find(sim, model->number);
        if (record != NULL && model->generation < record->generation + (clean ? 0 : 1)) {
            sim_violate(sim, "model %s: generation %llu follows %llu", record->plan->name,
                        (unsigned long long)model->generation,
                        (unsigned long long)record->generation);
        }
    }
}

static bool has_value(const struct sim_set *set, double value)
{
    for (unsigned i = 0; i < PD_HYPERS_OF_GROUP; i++) {
        if (!(set->hyper.value[i] < value) && !(set->hyper.value[i] > value)) {
            return true;
        }
    }
    return false;
}

void sim_recovery_set_told(struct sim *sim, uint32_t model, double value)
{
    struct sim_model_record *record = sim->ledger.records;
    for (; record != NULL; record = record->next) {
        uint64_t number = 0;
        while (number < record->set_count && !has_value(&record->sets[number], value)) {
            number++;
        }
        if (record->model == model && number < record->set_count && number >= record->sets_told) {
            record->sets_told = number + 1;
        }
    }
}

/* All groups are as the SETs up to the last one left them. */
static void check_sets(struct sim *sim, struct sim_model_record *record,
                       const struct pd_control_model *model)
{
    const char *name = record->plan->name;
    if (model->sets < record->sets_told || model->sets > record->set_count) {
        sim_violate(sim, "model %s: %llu SETs were decided, %llu answered, %llu recovered", name,
                    (unsigned long long)record->set_count, (unsigned long long)record->sets_told,
                    (unsigned long long)model->sets);
        return;
    }
    record->set_count = model->sets;
    for (size_t i = 0; i < model->definition->group_count; i++) {
        uint64_t last = model->sets;
        while (last > 0 && record->sets[last - 1].group != i) {
            last--;
        }
        if (model->groups[i].set != last ||
            (last > 0 && memcmp(&record->sets[last - 1].hyper, &model->groups[i].hyper,
                                sizeof model->groups[i].hyper) != 0)) {
            sim_violate(sim, "model %s, group %zu: not as SET %llu left it", name, i,
                        (unsigned long long)last);
        }
    }
}

/* ---- Models and sessions ---- */

static struct pd_control_session *session_of(struct sim *sim, const struct sim_handle *handle)
{
    return pd_control_session_find(sim->daemon.control, pd_client_session_number(handle->session),
                                   handle->bits);
}

static bool established(const struct sim_handle *handle)
{
    return handle->session != NULL && !handle->leaving &&
           pd_client_session_gone(handle->session) == PARAMD_OK;
}

void sim_recovery_before(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        for (uint32_t j = 0; j < SIM_MODELS; j++) {
            struct sim_handle *handle = &sim->processes[i].handles[j];
            handle->known = established(handle) && session_of(sim, handle) != NULL;
        }
    }
}

static void check_sessions(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        for (uint32_t j = 0; j < SIM_MODELS; j++) {
            const struct sim_handle *handle = &sim->processes[i].handles[j];
            if (handle->known && established(handle) && !sim->ledger.deleted[j] &&
                session_of(sim, handle) == NULL) {
                sim_violate(sim, "model %s: the session of client %u is forgotten",
                            sim->plans[j].name, sim->processes[i].identity);
            }
        }
    }
}

static void check_blocks(struct sim *sim, struct sim_model_record *record)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < sim->daemon.shards && !sim->violated; i++) {
        const struct pd_model *model = NULL;
        HASH_FIND(by_number, sim->daemon.hosts[i]->shard->models, &record->number,
                  sizeof record->number, model);
        for (uint32_t j = 0; model != NULL && j < model->block_count && !sim->violated; j++) {
            sim_ledger_recover(sim, record, &model->blocks[j]);
            count++;
        }
    }
    if (!sim->violated && record->told && count != record->block_count) {
        sim_violate(sim, "model %s: %llu of %llu blocks are back", record->plan->name,
                    (unsigned long long)count, (unsigned long long)record->block_count);
    }
}

void sim_recovery_check(struct sim *sim, bool clean)
{
    if (sim->daemon.clean && !clean) {
        sim_violate(sim, "a clean stop is taken for a crash");
    }
    struct sim_model_record *record = sim->ledger.records;
    for (; record != NULL && !sim->violated; record = record->next) {
        const struct pd_control_model *model =
            pd_control_find_number(sim->daemon.control, record->number);
        if (model != NULL) {
            check_sets(sim, record, model);
            check_blocks(sim, record);
        } else if (record->told && !sim->ledger.deleted[record->model]) {
            sim_violate(sim, "model %s, number %llu, is forgotten", record->plan->name,
                        (unsigned long long)record->number);
        }
    }
    check_sessions(sim);
    sim->daemon.clean = false;
}
