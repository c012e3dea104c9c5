/* One push or pull of a client: its buffers, what it claims in the ledger, and what its answer must
 * be. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/reached.h"
#include "tests/sim/sim.h"
#include "tests/sim/unit.h"

enum { PUSH_PERCENT = 55, PUSH_PULL_PERCENT = 25, CANCEL_PERCENT = 8, PARTS = PD_PARTS_MAX };

static bool pushes(enum pd_op_kind kind)
{
    return kind == PD_OP_PUSH || kind == PD_OP_PUSH_PULL;
}

static const struct sim_model_record *record_of(struct sim *sim, const struct sim_process *process,
                                                uint32_t model)
{
    return sim_ledger_find(sim, pd_client_session_number(process->handles[model].session));
}

static struct sim_job *free_job(struct sim_process *process)
{
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        if (process->jobs[i].op == NULL) {
            return &process->jobs[i];
        }
    }
    return NULL;
}

/* ---- Numbers ---- */

/* A number that all three dtypes have: 0.5, 1 or 2. */
static void put(enum paramd_dtype dtype, void *values, size_t i, float value)
{
    static const uint16_t bits[2][3] = {{0x3f00, 0x3f80, 0x4000}, {0x3800, 0x3c00, 0x4000}};
    unsigned which = value < 1.0F ? 0 : value < 2.0F ? 1 : 2;
    if (dtype == PARAMD_F32) {
        ((float *)values)[i] = value;
    } else {
        ((uint16_t *)values)[i] = bits[dtype == PARAMD_BF16 ? 0 : 1][which];
    }
}

static void put_nan(enum paramd_dtype dtype, void *values, size_t i)
{
    if (dtype == PARAMD_F32) {
        uint32_t bits = 0x7fc00000;
        memcpy((float *)values + i, &bits, sizeof bits);
    } else {
        ((uint16_t *)values)[i] = 0x7fff;
    }
}

/* A gradient and its claims, one for each block. */
static void fill(struct sim_model_record *record, const struct sim_job *job, size_t io, float value,
                 uint64_t owner, struct sim_claim *claims)
{
    uint32_t tensor = job->io[io].tensor;
    const struct pd_tensor_def *def = &record->definition->tensors[tensor];
    void *gradient = (void *)(uintptr_t)job->io[io].gradient;
    bool ledger = record->plan->tensors[tensor].kind == SIM_TENSOR_LEDGER;
    for (uint64_t i = 0; i < def->blocks; i++) {
        claims[i] = sim_ledger_claim(record, (uint32_t)(def->first_block + i), owner);
        if (ledger) {
            uint64_t first = i * record->definition->block_elements;
            put(job->dtype, gradient, (size_t)(first + claims[i].coordinate), value);
        }
    }
    for (size_t i = 0; !ledger && i < def->elements; i++) {
        put(job->dtype, gradient, i, value);
    }
}

/* ---- Start ---- */

/* Distinct tensors with room; how many. */
static size_t choose_tensors(const struct sim_model_record *record, struct sim_job *job,
                             struct sim_random *random, size_t count)
{
    uint32_t tensors = record->plan->tensor_count;
    uint32_t first = (uint32_t)sim_random_between(random, 0, tensors - 1);
    size_t chosen = 0;
    for (uint32_t i = 0; i < tensors && chosen < count; i++) {
        uint32_t tensor = (first + i) % tensors;
        if (!pushes(job->kind) || sim_ledger_room(record, tensor)) {
            job->io[chosen++].tensor = tensor;
        }
    }
    return chosen;
}

/* Memory for everything the job needs, cut into its parts. */
static void make_buffers(struct sim_job *job, const struct sim_model_record *record, bool moments)
{
    size_t element_bytes = job->dtype == PARAMD_F32 ? 4 : 2;
    size_t bytes = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint8_t *at = pass == 0 ? NULL : calloc(1, bytes + 1);
        job->buffers = at;
        for (size_t i = 0; i < job->io_count; i++) {
            struct paramd_io *io = &job->io[i];
            const struct sim_tensor_plan *tensor = &record->plan->tensors[io->tensor];
            size_t step = (size_t)tensor->elements * element_bytes;
            unsigned parts = (pushes(job->kind) ? 1U : 0U) + (job->kind != PD_OP_PUSH ? 1U : 0U) +
                             (moments ? tensor->moments : 0);
            bytes += pass == 0 ? parts * step : 0;
            if (pass == 0) {
                continue;
            }
            if (pushes(job->kind)) {
                io->gradient = at;
                at += step;
            }
            if (job->kind != PD_OP_PUSH) {
                io->values = at;
                at += step;
            }
            for (unsigned j = 0; moments && j < tensor->moments; j++, at += step) {
                io->moments[j] = at;
            }
        }
    }
}

static void make_claims(struct sim *sim, struct sim_process *process, struct sim_job *job,
                        struct sim_model_record *record, float value)
{
    size_t units = 0;
    for (size_t i = 0; i < job->io_count; i++) {
        units += record->definition->tensors[job->io[i].tensor].blocks;
    }
    job->claims = calloc(units, sizeof *job->claims);
    struct sim_claim *claim = job->claims;
    bool current = sim_watch_generation(sim, record->number) ==
                   sim_session_generation(process->handles[job->model].session);
    for (size_t i = 0; i < job->io_count; i++) {
        const struct pd_tensor_def *def = &record->definition->tensors[job->io[i].tensor];
        if (pushes(job->kind)) {
            fill(record, job, i, value, process->handles[job->model].owner, claim);
            process->pushed += def->blocks;
            sim->counts.pushes += def->blocks;
        }
        for (uint64_t j = 0; j < def->blocks; j++, claim++) {
            struct paramd_block_info info;
            pd_client_session_block(process->handles[job->model].session, job->io[i].tensor, j,
                                    &info);
            claim->number = record->number;
            claim->block = (uint32_t)(def->first_block + j);
            claim->floor = current ? info.version : 0;
            claim->start = sim->counts.daemon_starts;
        }
    }
}

static bool launch(struct sim *sim, struct sim_process *process, struct sim_job *job,
                   const struct paramd_call *call)
{
    char text[PD_CALL_TEXT_BYTES] = "";
    struct pd_client_session *session = process->handles[job->model].session;
    sim_enter(sim, (uint32_t)(process - sim->processes));
    int status = pd_op_start(session, job->kind, job->io, job->io_count, call, &job->op, text);
    sim_leave(sim);
    if (status == PARAMD_OK) {
        return true;
    }
    if (status != PARAMD_NO_MEMORY && status != pd_client_session_gone(session)) {
        sim_violate(sim, "a call cannot be started: %s", text);
    }
    sim_job_free(job);
    return false;
}

bool sim_job_start(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_random *random = &process->random;
    struct sim_job *job = free_job(process);
    struct sim_model_record *record =
        (struct sim_model_record *)(uintptr_t)record_of(sim, process, model);
    if (job == NULL) {
        return false;
    }
    uint64_t roll = sim_random_between(random, 0, 99);
    uint64_t count = sim_random_between(random, 1, SIM_IO_MAX);
    *job = (struct sim_job){.model = model};
    job->kind = roll < PUSH_PERCENT                       ? PD_OP_PUSH
                : roll < PUSH_PERCENT + PUSH_PULL_PERCENT ? PD_OP_PUSH_PULL
                                                          : PD_OP_PULL;
    if (sim_random_chance(random, 40)) {
        job->dtype = sim_random_chance(random, 50) ? PARAMD_BF16 : PARAMD_F16;
    }
    bool moments = job->kind == PD_OP_PULL && job->dtype == PARAMD_F32 && model > 0;
    bool halves = sim_random_chance(random, 20);
    job->io_count = choose_tensors(record, job, random, (size_t)count);
    if (job->io_count == 0) {
        return false;
    }
    make_buffers(job, record, moments);
    make_claims(sim, process, job, record, halves ? 0.5F : 1.0F);
    if (pushes(job->kind) && process->bad_next) {
        process->bad_next = false;
        job->bad = true;
        put_nan(job->dtype, (void *)(uintptr_t)job->io[0].gradient, 0);
    }
    if (sim_random_chance(random, CANCEL_PERCENT)) {
        uint64_t after_us = sim_random_between(random, 1, 20000);
        job->cancel_us = sim->calm ? 0 : sim->now_us + after_us;
    }
    const struct paramd_call call = {.dtype = job->dtype,
                                     .scale = halves ? 2 : 0,
                                     .weight = 1,
                                     .if_newer = !moments && sim_random_chance(random, 30)};
    sim->counts.pulls += job->kind != PD_OP_PUSH;
    return launch(sim, process, job, &call);
}

bool sim_job_look(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_job *job = free_job(process);
    struct sim_model_record *record =
        (struct sim_model_record *)(uintptr_t)record_of(sim, process, model);
    const struct paramd_call call = {.dtype = PARAMD_F32};
    if (job == NULL) {
        return false;
    }
    *job = (struct sim_job){.model = model, .kind = PD_OP_PULL, .io_count = 1};
    job->io[0].tensor =
        (uint32_t)sim_random_between(&process->random, 0, record->plan->tensor_count - 1);
    make_buffers(job, record, false);
    make_claims(sim, process, job, record, 0);
    return launch(sim, process, job, &call);
}

/* ---- End ---- */

void sim_job_cancel(struct sim *sim, struct sim_process *process, struct sim_job *job)
{
    bool abandon = sim_random_chance(&process->random, 30);
    sim->counts.cancels++;
    job->cancelled = true;
    job->cancel_us = 0;
    sim_enter(sim, (uint32_t)(process - sim->processes));
    pd_op_cancel(job->op);
    if (abandon) {
        pd_op_abandon(job->op);
    }
    sim_leave(sim);
    /* The buffers are the caller's again: nobody may read or write them. */
    const struct sim_model_plan *plan = &sim->plans[job->model];
    for (size_t i = 0; i < job->io_count && pushes(job->kind); i++) {
        void *gradient = (void *)(uintptr_t)job->io[i].gradient;
        for (size_t j = 0; j < plan->tensors[job->io[i].tensor].elements; j++) {
            put(job->dtype, gradient, j, 2.0F);
        }
    }
}

static void check_values(struct sim *sim, const struct sim_job *job, const struct sim_unit *unit,
                         const struct sim_claim *claim)
{
    const struct paramd_io *io = &job->io[unit->entry];
    const struct sim_model_plan *plan = &sim->plans[job->model];
    size_t offset = (size_t)unit->block * plan->block_elements;
    const uint8_t *values =
        (const uint8_t *)io->values + offset * (job->dtype == PARAMD_F32 ? 4 : 2);
    sim_ledger_read(sim, claim, job->dtype, values, job->kind == PD_OP_PUSH_PULL);
    if (job->dtype == PARAMD_F32) {
        const float *parts[PARTS] = {(const float *)(const void *)values};
        for (unsigned i = 1; i < PARTS; i++) {
            const float *moments = io->moments[i - 1];
            parts[i] = moments != NULL ? moments + offset : NULL;
        }
        sim_ledger_read_parts(sim, claim, parts);
    }
}

/* Statuses that an end of the session, or of the wait, explains. */
static bool may_be(int status)
{
    switch (status) {
    case PARAMD_OK:
    case PARAMD_NOT_FINITE:
    case PARAMD_TOO_STALE:
    case PARAMD_REFUSED:
    case PARAMD_CANCELLED:
    case PARAMD_UNKNOWN:
    case PARAMD_NOT_FOUND:
    case PARAMD_SESSION_EXPIRED:
    case PARAMD_SESSION_IN_USE:
    case PARAMD_NO_MEMORY:
        return true;
    default:
        return false;
    }
}

void sim_job_end(struct sim *sim, struct sim_process *process, struct sim_job *job)
{
    for (size_t i = 0; i < sim_unit_count(job->op); i++) {
        const struct sim_unit unit = sim_unit_at(job->op, i);
        sim_reached_status(unit.status);
        sim_trace(sim, "block is done (process, block, -status)",
                  (uint64_t)(process - sim->processes), job->claims[i].block,
                  (uint64_t)-unit.status);
        if (!may_be(unit.status)) {
            sim_violate(sim, "a block of a call ended with %s", paramd_status_name(unit.status));
        }
        sim->counts.refused += unit.status == PARAMD_NOT_FINITE || unit.status == PARAMD_REFUSED;
        sim->counts.unknown += unit.status == PARAMD_UNKNOWN;
        if (pushes(job->kind)) {
            process->handles[job->model].others += unit.status != PARAMD_OK;
            sim_ledger_settle(sim, &job->claims[i], unit.status, job->bad && i == 0,
                              job->cancelled);
        }
        if (job->kind != PD_OP_PUSH && unit.status == PARAMD_OK && !job->cancelled &&
            unit.version != 0) {
            check_values(sim, job, &unit, &job->claims[i]);
        }
    }
    sim_job_free(job);
}

void sim_job_free(struct sim_job *job)
{
    if (job->op != NULL) {
        pd_op_release(job->op);
    }
    free(job->buffers);
    free(job->claims);
    *job = (struct sim_job){.op = NULL};
}
