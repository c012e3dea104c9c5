/* Looks into the daemon: whatever changed is held against the ledger, and what the daemon may hold
 * against its limits. */
#include <string.h>

#include "server/core/control_state.h"
#include "server/core/shard_state.h"
#include "server/host_state.h"
#include "tests/sim/sim.h"

static void watch_limits(struct sim *sim, const struct pd_host *host)
{
    const struct pd_shard *shard = host->shard;
    if (host->payloads.in_use > host->payloads.budget ||
        shard->copies.in_use > shard->copies.budget ||
        shard->push_ids_room > shard->options.push_ids_max) {
        sim_violate(sim, "shard %u holds more than it may", host->options.shard);
    }
}

static void watch_model(struct sim *sim, const struct pd_model *model)
{
    struct sim_model_record *record = sim_ledger_model(sim, model->number, model->definition->name);
    for (uint32_t i = 0; i < model->block_count && !sim->violated; i++) {
        const struct pd_block *block = &model->blocks[i];
        uint64_t in_model = record->definition->tensors[block->tensor].first_block + block->block;
        const struct sim_block_record *record_of = &record->blocks[in_model];
        if (block->version != record_of->version) {
            sim_ledger_observe(sim, record, block);
        }
        if (model->ready && !record_of->first_checked) {
            sim_ledger_first(sim, record, in_model);
        }
    }
}

void sim_watch_host(struct sim *sim, uint32_t shard)
{
    const struct pd_host *host = sim->daemon.hosts[shard];
    watch_limits(sim, host);
    const struct pd_model *model = host->shard->models;
    for (; model != NULL && !sim->violated; model = model->by_number.next) {
        watch_model(sim, model);
    }
}

uint64_t sim_watch_generation(const struct sim *sim, uint64_t number)
{
    const struct pd_control_model *model =
        sim->daemon.up ? pd_control_find_number(sim->daemon.control, number) : NULL;
    return model != NULL ? model->generation : 0;
}

/* Every shard has the hyper-parameters that control decided on. */
static void compare_hypers(struct sim *sim, uint32_t shard)
{
    const struct pd_model *model = sim->daemon.hosts[shard]->shard->models;
    for (; model != NULL; model = model->by_number.next) {
        const struct pd_control_model *known =
            pd_control_find_number(sim->daemon.control, model->number);
        if (known == NULL) {
            sim_violate(sim, "shard %u has a model that control does not know", shard);
            return;
        }
        for (size_t i = 0; i < model->group_count; i++) {
            if (memcmp(&model->groups[i].hyper, &known->groups[i].hyper,
                       sizeof model->groups[i].hyper) != 0) {
                sim_violate(sim, "model %s, group %zu: shard %u has other hyper-parameters",
                            model->definition->name, i, shard);
            }
        }
    }
}

void sim_watch_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->daemon.shards; i++) {
        compare_hypers(sim, i);
    }
}
