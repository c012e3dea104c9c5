/* The ledger: coordinates of pushes, values of versions, and what they say of reads. */
#include "tests/sim/ledger.h"

#include <stdlib.h>
#include <string.h>

#include "proto/slot.h"
#include "tests/sim/sim.h"

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- Records ---- */

struct sim_model_record *sim_ledger_find(struct sim *sim, uint64_t number)
{
    struct sim_model_record *record = sim->ledger.records;
    while (record != NULL && record->number != number) {
        record = record->next;
    }
    return record;
}

static void describe(struct sim_model_record *record)
{
    const struct pd_definition *definition = record->definition;
    for (uint32_t i = 0; i < definition->tensor_count; i++) {
        const struct pd_tensor_def *tensor = &definition->tensors[i];
        for (uint64_t j = 0; j < tensor->blocks; j++) {
            struct sim_block_record *block = &record->blocks[tensor->first_block + j];
            block->kind = record->plan->tensors[i].kind;
            block->elements = pd_block_elements(tensor->elements, definition->block_elements, j);
            if (block->kind == SIM_TENSOR_LEDGER) {
                block->applied_at = calloc(block->elements, sizeof *block->applied_at);
                block->owners = calloc(block->elements, sizeof *block->owners);
                block->rules = calloc(block->elements, sizeof *block->rules);
            }
        }
    }
}

struct sim_model_record *sim_ledger_model(struct sim *sim, uint64_t number, const char *name)
{
    struct sim_model_record *record = sim_ledger_find(sim, number);
    if (record != NULL) {
        return record;
    }
    record = calloc(1, sizeof *record);
    while (strcmp(sim->plans[record->model].name, name) != 0) {
        record->model++;
    }
    record->number = number;
    record->plan = &sim->plans[record->model];
    record->definition = sim->definitions[record->model];
    record->block_count = record->definition->block_count;
    record->blocks = calloc(record->block_count, sizeof *record->blocks);
    describe(record);
    record->next = sim->ledger.records;
    sim->ledger.records = record;
    return record;
}

void sim_ledger_free(struct sim *sim)
{
    while (sim->ledger.records != NULL) {
        struct sim_model_record *record = sim->ledger.records;
        sim->ledger.records = record->next;
        for (uint64_t i = 0; i < record->block_count; i++) {
            free(record->blocks[i].applied_at);
            free(record->blocks[i].owners);
            free(record->blocks[i].hashes);
            free(record->blocks[i].rules);
            free(record->blocks[i].values);
        }
        free(record->blocks);
        free(record->sets);
        free(record);
    }
}

/* ---- Pushes ---- */

bool sim_ledger_room(const struct sim_model_record *record, uint32_t tensor)
{
    const struct pd_tensor_def *def = &record->definition->tensors[tensor];
    for (uint64_t i = 0; i < def->blocks; i++) {
        const struct sim_block_record *block = &record->blocks[def->first_block + i];
        if (block->kind == SIM_TENSOR_LEDGER && block->started == block->elements) {
            return false;
        }
    }
    return true;
}

struct sim_claim sim_ledger_claim(struct sim_model_record *record, uint32_t block, uint64_t owner)
{
    struct sim_block_record *record_of = &record->blocks[block];
    uint32_t coordinate = (uint32_t)record_of->started++;
    if (record_of->kind == SIM_TENSOR_LEDGER) {
        record_of->owners[coordinate] = owner;
    }
    return (struct sim_claim){
        .number = record->number, .block = block, .coordinate = coordinate, .owner = owner};
}

static bool never_applied(int status)
{
    return status == PARAMD_CANCELLED || status == PARAMD_REFUSED || status == PARAMD_NOT_FINITE ||
           status == PARAMD_TOO_STALE;
}

/* Acknowledged, by a daemon that was killed, at a level that promises nothing beyond its life. */
static void lose(struct sim *sim, struct sim_block_record *block, uint32_t coordinate)
{
    block->rules[coordinate] = SIM_RULE_ZERO;
    sim_worker_lost(sim, block->owners[coordinate]);
}

static void settle_ledger(struct sim *sim, const struct sim_model_record *record,
                          const struct sim_claim *claim, int status)
{
    struct sim_block_record *block = &record->blocks[claim->block];
    uint64_t applied_at = block->applied_at[claim->coordinate];
    bool other_start = claim->start != sim->counts.daemon_starts || !sim->daemon.up;
    block->rules[claim->coordinate] = status == PARAMD_OK     ? SIM_RULE_ONE
                                      : never_applied(status) ? SIM_RULE_ZERO
                                                              : SIM_RULE_NONE;
    if (status == PARAMD_OK && applied_at == 0 && !record->plan->logged && other_start) {
        lose(sim, block, claim->coordinate);
    } else if (status == PARAMD_OK && applied_at == 0) {
        sim_violate(sim, "model %s, block %u: push %u is acknowledged and was not applied",
                    record->plan->name, claim->block, claim->coordinate);
    } else if (never_applied(status) && applied_at != 0) {
        sim_violate(sim, "model %s, block %u: push %u is %s and was applied", record->plan->name,
                    claim->block, claim->coordinate, paramd_status_name(status));
    }
}

void sim_ledger_settle(struct sim *sim, const struct sim_claim *claim, int status, bool bad,
                       bool cancelled)
{
    const struct sim_model_record *record = sim_ledger_find(sim, claim->number);
    struct sim_block_record *block = &record->blocks[claim->block];
    const char *name = record->plan->name;
    if (status == PARAMD_OK && bad) {
        sim_violate(sim, "model %s, block %u: a NaN was applied", name, claim->block);
    } else if (never_applied(status) && status != PARAMD_CANCELLED && !bad && !cancelled &&
               record->plan->stale_max == 0) {
        sim_violate(sim, "model %s, block %u: a sound push was refused: %s", name, claim->block,
                    paramd_status_name(status));
    }
    bool counts = record->plan->logged || claim->start == sim->counts.daemon_starts;
    if (status == PARAMD_OK && counts && ++block->answered + 1 > block->version) {
        sim_violate(sim, "model %s, block %u: %llu pushes are acknowledged, its version is %llu",
                    name, claim->block, (unsigned long long)block->answered,
                    (unsigned long long)block->version);
    }
    if (block->kind == SIM_TENSOR_LEDGER) {
        settle_ledger(sim, record, claim, status);
    }
}

/* ---- The daemon's blocks ---- */

static void observe_ledger(struct sim *sim, const struct sim_model_record *record,
                           struct sim_block_record *record_of, uint64_t in_model,
                           const struct pd_block *block)
{
    uint64_t ones = 0;
    for (uint32_t i = 0; i < block->elements; i++) {
        float value = block->parts[i];
        uint64_t *applied_at = &record_of->applied_at[i];
        const char *wrong = NULL;
        if (value == 0.0F && *applied_at == 0) {
            continue;
        }
        if (value != 1.0F) {
            wrong = "is neither 0 nor 1, or was taken back";
        } else if (*applied_at == 0 && i >= record_of->started) {
            wrong = "was applied and nobody pushed it";
        } else if (*applied_at == 0 && record_of->rules[i] == SIM_RULE_ZERO) {
            wrong = "was applied after its client was told that it was not";
        }
        if (wrong != NULL) {
            sim_violate(sim, "model %s, block %llu, version %llu: push %u is %g: it %s",
                        record->plan->name, (unsigned long long)in_model,
                        (unsigned long long)block->version, i, (double)value, wrong);
            return;
        }
        *applied_at = *applied_at == 0 ? block->version : *applied_at;
        ones++;
    }
    if (ones + 1 != block->version) {
        sim_violate(sim, "model %s, block %llu: version %llu after %llu pushes", record->plan->name,
                    (unsigned long long)in_model, (unsigned long long)block->version,
                    (unsigned long long)ones);
    }
}

static void observe_uniform(struct sim *sim, const struct sim_model_record *record,
                            struct sim_block_record *record_of, const struct pd_block *block)
{
    if ((block->version + 1) * PD_PARTS_MAX > record_of->value_capacity) {
        size_t capacity = (size_t)(block->version + 16) * 2 * PD_PARTS_MAX;
        record_of->values = realloc(record_of->values, capacity * sizeof *record_of->values);
        memset(record_of->values + record_of->value_capacity, 0xff,
               (capacity - record_of->value_capacity) * sizeof *record_of->values);
        record_of->value_capacity = capacity;
    }
    for (unsigned part = 0; part < block->part_count; part++) {
        const float *values = block->parts + (size_t)part * block->stride;
        for (uint32_t i = 1; i < block->elements; i++) {
            if (bits_of(values[i]) != bits_of(values[0])) {
                sim_violate(sim, "model %s, tensor %u, part %u: element %u is not as the first",
                            record->plan->name, block->tensor, part, i);
                return;
            }
        }
        record_of->values[block->version * PD_PARTS_MAX + part] = bits_of(values[0]);
    }
}

static void keep_hash(struct sim_block_record *record_of, const struct pd_block *block)
{
    if (block->version >= record_of->hash_capacity) {
        size_t capacity = (size_t)(block->version + 16) * 2;
        record_of->hashes = realloc(record_of->hashes, capacity * sizeof *record_of->hashes);
        memset(record_of->hashes + record_of->hash_capacity, 0,
               (capacity - record_of->hash_capacity) * sizeof *record_of->hashes);
        record_of->hash_capacity = capacity;
    }
    record_of->hashes[block->version] = pd_block_hash(block);
}

void sim_ledger_observe(struct sim *sim, struct sim_model_record *record,
                        const struct pd_block *block)
{
    uint64_t in_model = record->definition->tensors[block->tensor].first_block + block->block;
    struct sim_block_record *record_of = &record->blocks[in_model];
    if (block->version < record_of->version && record_of->first_checked) {
        sim_violate(sim, "model %s, block %llu: version %llu became %llu", record->plan->name,
                    (unsigned long long)in_model, (unsigned long long)record_of->version,
                    (unsigned long long)block->version);
    }
    if (block->version > record_of->started + 1) {
        sim_violate(sim, "model %s, block %llu: version %llu after %llu pushes were begun",
                    record->plan->name, (unsigned long long)in_model,
                    (unsigned long long)block->version, (unsigned long long)record_of->started);
    }
    record_of->version = block->version;
    keep_hash(record_of, block);
    if (block->version > 0 && record_of->kind == SIM_TENSOR_LEDGER) {
        observe_ledger(sim, record, record_of, in_model, block);
    } else if (block->version > 0 && record_of->kind == SIM_TENSOR_UNIFORM) {
        observe_uniform(sim, record, record_of, block);
    }
}

/* ---- A start ---- */

/* The ones are those that the block had at this version. */
static void recover_ledger(struct sim *sim, const struct sim_model_record *record,
                           struct sim_block_record *record_of, uint32_t in_model,
                           const struct pd_block *block)
{
    for (uint32_t i = 0; i < block->elements; i++) {
        bool there = block->parts[i] != 0.0F;
        uint64_t *applied_at = &record_of->applied_at[i];
        if (there ? *applied_at == 0 : *applied_at != 0 && *applied_at <= block->version) {
            sim_violate(sim, "model %s, block %u: at version %llu it was another one: push %u",
                        record->plan->name, in_model, (unsigned long long)block->version, i);
            return;
        }
        if (there && *applied_at > block->version) {
            *applied_at = block->version; /* with others, between two looks */
        } else if (!there && *applied_at != 0) {
            *applied_at = 0;
            if (record_of->rules[i] == SIM_RULE_ONE && record->plan->logged) {
                sim_violate(sim, "model %s, block %u: push %u was acknowledged and is lost",
                            record->plan->name, in_model, i);
            } else if (record_of->rules[i] == SIM_RULE_ONE) {
                lose(sim, record_of, i);
            }
        }
    }
}

/* Forgets what the block was at later versions than this one. */
static void cut_history(struct sim_block_record *record_of, uint64_t version)
{
    size_t first = (size_t)(version + 1);
    size_t parts = first * PD_PARTS_MAX;
    if (first < record_of->hash_capacity) {
        memset(record_of->hashes + first, 0,
               (record_of->hash_capacity - first) * sizeof *record_of->hashes);
    }
    if (parts < record_of->value_capacity) {
        memset(record_of->values + parts, 0xff,
               (record_of->value_capacity - parts) * sizeof *record_of->values);
    }
    record_of->version = version;
}

void sim_ledger_recover(struct sim *sim, struct sim_model_record *record,
                        const struct pd_block *block)
{
    uint32_t in_model =
        (uint32_t)(record->definition->tensors[block->tensor].first_block + block->block);
    struct sim_block_record *record_of = &record->blocks[in_model];
    uint64_t version = block->version;
    const char *name = record->plan->name;
    bool lost = version == 0 || (sim->daemon.clean && version != record_of->version);
    if (record_of->first_checked && (lost || version > record_of->version)) {
        sim_violate(sim, "model %s, block %u: version %llu, of %llu, was recovered", name, in_model,
                    (unsigned long long)version, (unsigned long long)record_of->version);
    } else if (record->plan->logged && version < 1 && record_of->answered > 0) {
        sim_violate(sim, "model %s, block %u: no values, and acknowledged pushes", name, in_model);
    } else if (record->plan->logged && record_of->answered + 1 > version && version > 0) {
        sim_violate(sim, "model %s, block %u: version %llu, and %llu pushes are acknowledged", name,
                    in_model, (unsigned long long)version, (unsigned long long)record_of->answered);
    } else if (record_of->first_checked && version < record_of->hash_capacity &&
               record_of->hashes[version] != 0 &&
               record_of->hashes[version] != pd_block_hash(block)) {
        sim_violate(sim, "model %s, block %u is not what it was at version %llu", name, in_model,
                    (unsigned long long)version);
    }
    if (!sim->violated && record_of->first_checked && record_of->kind == SIM_TENSOR_LEDGER) {
        recover_ledger(sim, record, record_of, in_model, block);
    }
    if (!record->plan->logged && record_of->answered + 1 > version) {
        record_of->answered = version > 0 ? version - 1 : 0;
    }
    cut_history(record_of, version);
    if (!sim->violated) {
        sim_ledger_observe(sim, record, block);
    }
}

void sim_ledger_first(struct sim *sim, struct sim_model_record *record, uint64_t in_model)
{
    struct sim_block_record *block = &record->blocks[in_model];
    block->first_checked = true;
    uint32_t tensor = 0;
    while (tensor + 1 < record->definition->tensor_count &&
           record->definition->tensors[tensor + 1].first_block <= in_model) {
        tensor++;
    }
    if (block->version == 0) {
        sim_violate(sim, "model %s is ready, block %llu has no values", record->plan->name,
                    (unsigned long long)in_model);
    } else if (block->kind == SIM_TENSOR_UNIFORM &&
               record->plan->tensors[tensor].init == PARAMD__INITIALISER__CLIENT) {
        uint32_t bits = block->values[PD_PARTS_MAX];
        if (record->first_bits != 0 && bits != record->first_bits) {
            sim_violate(sim, "model %s: first values of two initialisers", record->plan->name);
        }
        record->first_bits = bits;
    }
}

/* ---- Reads ---- */

/* The bits of element i, as f32 has 0 and 1. */
static int element(enum paramd_dtype dtype, const void *values, uint32_t i)
{
    static const uint16_t ones[] = {[PARAMD_BF16] = 0x3f80, [PARAMD_F16] = 0x3c00};
    if (dtype == PARAMD_F32) {
        float value = ((const float *)values)[i];
        return value == 0.0F ? 0 : value == 1.0F ? 1 : -1;
    }
    uint16_t bits = ((const uint16_t *)values)[i];
    return bits == 0 ? 0 : bits == ones[dtype] ? 1 : -1;
}

static void read_ledger(struct sim *sim, const struct sim_model_record *record,
                        const struct sim_claim *claim, enum paramd_dtype dtype, const void *values,
                        bool pushed)
{
    const struct sim_block_record *block = &record->blocks[claim->block];
    bool old = claim->start != sim->counts.daemon_starts; /* of what a crash may have undone */
    uint64_t ones = 0;
    uint64_t newest = 1;
    for (uint32_t i = 0; i < block->elements; i++) {
        int value = element(dtype, values, i);
        if (value < 0 || (value == 1 && (old ? i >= block->started : block->applied_at[i] == 0))) {
            sim_violate(sim, "model %s, block %u: a read has push %u, which was never applied",
                        record->plan->name, claim->block, i);
            return;
        }
        ones += (uint64_t)value;
        newest = value == 1 && block->applied_at[i] > newest ? block->applied_at[i] : newest;
    }
    if (old) {
        return;
    }
    if (ones + 1 != newest) {
        sim_violate(sim, "model %s, block %u: a torn read: %llu pushes, of version %llu",
                    record->plan->name, claim->block, (unsigned long long)ones,
                    (unsigned long long)newest);
    } else if (newest < claim->floor ||
               (pushed && element(dtype, values, claim->coordinate) != 1)) {
        sim_violate(sim, "model %s, block %u: a read is older than what its client knew: %llu",
                    record->plan->name, claim->block, (unsigned long long)newest);
    }
}

void sim_ledger_read(struct sim *sim, const struct sim_claim *claim, enum paramd_dtype dtype,
                     const void *values, bool pushed)
{
    const struct sim_model_record *record = sim_ledger_find(sim, claim->number);
    const struct sim_block_record *block = &record->blocks[claim->block];
    if (block->kind == SIM_TENSOR_LEDGER) {
        read_ledger(sim, record, claim, dtype, values, pushed);
    } else if (block->kind == SIM_TENSOR_UNIFORM) {
        size_t bytes = dtype == PARAMD_F32 ? sizeof(float) : sizeof(uint16_t);
        if (memcmp(values, (const uint8_t *)values + bytes, (block->elements - 1) * bytes) != 0) {
            sim_violate(sim, "model %s, block %u: a torn read", record->plan->name, claim->block);
        }
    }
}

void sim_ledger_read_parts(struct sim *sim, const struct sim_claim *claim,
                           const float *const parts[PD_PARTS_MAX])
{
    const struct sim_model_record *record = sim_ledger_find(sim, claim->number);
    const struct sim_block_record *block = &record->blocks[claim->block];
    if (block->kind != SIM_TENSOR_UNIFORM || claim->start != sim->counts.daemon_starts) {
        return;
    }
    for (uint64_t version = block->version; version > 0 && version >= claim->floor; version--) {
        bool same = true;
        for (unsigned part = 0; part < PD_PARTS_MAX; part++) {
            same =
                same && (parts[part] == NULL ||
                         bits_of(parts[part][0]) == block->values[version * PD_PARTS_MAX + part]);
        }
        if (same) {
            return;
        }
    }
    sim_violate(sim, "model %s, block %u: parts that no version from %llu to %llu had",
                record->plan->name, claim->block, (unsigned long long)claim->floor,
                (unsigned long long)block->version);
}
