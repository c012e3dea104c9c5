/* What a client process does: joins its models, pushes, pulls and asks until it has done its share,
 * looks at everything once more, and is finished. What fails for a reason is tried again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/kinds.h"
#include "proto/paramd.pb-c.h"
#include "tests/sim/reached.h"
#include "tests/sim/sim.h"
#include "tests/sim/unit.h"

enum {
    JOIN_LIMIT_US = 12000000, /* after which a person would look, and try again */
    CALL_LIMIT_US = 10000000,
    PAUSE_US = 250000,
    SPARE_PERCENT = 40 /* of clients use the model that is deleted now and then */
};

static uint32_t number_of(const struct sim *sim, const struct sim_process *process)
{
    return (uint32_t)(process - sim->processes);
}

/* ---- Models ---- */

static bool wants(const struct sim *sim, const struct sim_process *process, uint32_t model)
{
    uint64_t who = sim->options.seed * 7 + process->identity * 31;
    return model + 1 < SIM_MODELS || who % 100 < SPARE_PERCENT;
}

static void start_join(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_handle *handle = &process->handles[model];
    const struct sim_model_plan *plan = &sim->plans[model];
    struct sim_identity *identity = &sim->identities[process->identity];
    struct pd_join_options options = {.nonce = process->nonce, .model = plan->name};
    options.session[0] = (uint8_t)(process->identity + 1);
    options.session[1] = (uint8_t)model;
    options.session[2] = (uint8_t)identity->epochs[model];
    memcpy(handle->bits, options.session, sizeof handle->bits);
    handle->owner = ++sim->next_serial;
    handle->lost = 0;
    /* What a process before it did in this session it may hear of, too. */
    handle->others = identity->joined[model] > identity->epochs[model] ? UINT32_MAX : 0;
    identity->joined[model] = identity->epochs[model] + 1;
    handle->by_name = !handle->by_name && sim_random_chance(&process->random, 10);
    const struct sim_model_record *known = sim->ledger.records;
    while (known != NULL && (known->model != model || !known->told)) {
        known = known->next;
    }
    /* Where the model is not there, it would be made so. */
    handle->odd =
        sim_random_chance(&process->random, 4) && sim->durable && model == 0 && known != NULL;
    if (!handle->by_name) {
        struct sim_model_plan other = *plan;
        other.block_elements = handle->odd ? 3072 - plan->block_elements : plan->block_elements;
        options.definition = sim_plan_definition(&other);
        handle->values = sim_plan_values(plan, 1.0F + (float)process->serial / 1024.0F);
        options.initial = handle->values;
    }
    sim->counts.joins++;
    sim_enter(sim, number_of(sim, process));
    handle->join = pd_join_create(process->client, &options);
    sim_leave(sim);
    handle->since_us = sim->now_us;
    if (handle->join == NULL) {
        free(handle->values);
        handle->values = NULL;
    }
}

static void end_join(struct sim *sim, struct sim_process *process, struct sim_handle *handle)
{
    (void)process;
    pd_join_destroy(handle->join);
    free(handle->values);
    handle->join = NULL;
    handle->values = NULL;
    handle->retry_us = sim->now_us + sim_random_between(&process->random, 1000, 300000);
}

static void step_join(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_handle *handle = &process->handles[model];
    int status = pd_join_status(handle->join);
    if (status == PARAMD_PENDING && sim->now_us - handle->since_us < JOIN_LIMIT_US) {
        return;
    }
    sim_reached_status(status);
    sim_trace(sim, "join is over (process, model, -status)", number_of(sim, process), model,
              (uint64_t)-status);
    if (status == PARAMD_OK) {
        handle->session = pd_join_take_session(handle->join);
        handle->leaving = handle->dropped = false;
        sim_ledger_model(sim, pd_client_session_number(handle->session), sim->plans[model].name)
            ->told = true;
    } else if (status == PARAMD_SESSION_EXPIRED) {
        sim->identities[process->identity].epochs[model]++;
    } else if ((status == PARAMD_MISMATCH && !handle->odd) || status == PARAMD_INVALID ||
               status == PARAMD_UNSUPPORTED ||
               (status == PARAMD_PROTOCOL && sim->counts.failed_allocations == 0)) {
        sim_violate(sim, "a join failed: %s", pd_join_text(handle->join));
    }
    end_join(sim, process, handle);
}

static bool has_jobs(const struct sim_process *process, uint32_t model)
{
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        if (process->jobs[i].op != NULL && process->jobs[i].model == model) {
            return true;
        }
    }
    return false;
}

/* Given up without a further look. */
static void drop_jobs(struct sim_process *process, uint32_t model)
{
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        if (process->jobs[i].op != NULL && process->jobs[i].model == model) {
            sim_job_free(&process->jobs[i]);
        }
    }
}

void sim_worker_lost(struct sim *sim, uint64_t owner)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        for (uint32_t j = 0; j < SIM_MODELS; j++) {
            struct sim_handle *handle = &sim->processes[i].handles[j];
            handle->lost += handle->session != NULL && handle->owner == owner;
        }
    }
}

/* A push that is lost is told to its client, once, and no other is. Ids of cancelled and refused
 * ones may be counted or not. */
static void check_lost(struct sim *sim, const struct sim_process *process, uint32_t model,
                       bool all_told)
{
    const struct sim_handle *handle = &process->handles[model];
    struct paramd_counters counters;
    pd_client_session_counters(handle->session, &counters);
    uint64_t least = all_told ? handle->lost : 0;
    uint64_t most = handle->lost + handle->others;
    if (sim->plans[model].logged || !sim->durable || sim->counts.daemon_starts < 2) {
        most = 0;
    } else if (model > 0) {
        most = UINT64_MAX; /* only the ledger knows whose pushes are lost */
    }
    if (counters.lost < least || counters.lost > most) {
        sim_violate(sim, "client %u, model %s: was told that %llu pushes are lost: %llu are",
                    process->identity, sim->plans[model].name, (unsigned long long)counters.lost,
                    (unsigned long long)handle->lost);
    }
    sim->counts.lost += counters.lost;
}

/* Whether it can know what became of the daemon: a silent connection takes longer to notice. */
static bool hears_all(const struct sim *sim, const struct sim_process *process,
                      const struct sim_handle *handle)
{
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++) {
        const struct sim_conn *conn = process->conns[i];
        if (conn != NULL && (conn->pipes[0].dead || conn->pipes[1].dead)) {
            return false;
        }
    }
    return sim_session_attached(handle->session) &&
           sim_session_generation(handle->session) ==
               sim_watch_generation(sim, pd_client_session_number(handle->session));
}

void sim_worker_check_end(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        const struct sim_process *process = &sim->processes[i];
        for (uint32_t j = 0; j < SIM_MODELS; j++) {
            const struct sim_handle *handle = &process->handles[j];
            if (handle->session != NULL && pd_client_session_gone(handle->session) == PARAMD_OK) {
                check_lost(sim, process, j, !handle->leaving && hears_all(sim, process, handle));
            }
        }
    }
}

static void close_handle(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_handle *handle = &process->handles[model];
    struct paramd_counters counters;
    pd_client_session_counters(handle->session, &counters);
    if (!handle->leaving && !handle->dropped) {
        check_lost(sim, process, model, false);
    }
    sim->counts.resent += counters.resent;
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        struct sim_call *call = &process->calls[i];
        if (call->call != NULL && call->model == model && call->kind == PD_KIND_GOODBYE) {
            pd_call_destroy(call->call);
            *call = (struct sim_call){.call = NULL};
        }
    }
    pd_client_session_destroy(handle->session);
    handle->session = NULL;
    handle->retry_us = sim->now_us + sim_random_between(&process->random, 1000, 100000);
}

void sim_worker_close(struct sim *sim, struct sim_process *process, uint32_t model)
{
    if (process->handles[model].session != NULL) {
        process->handles[model].dropped = true; /* nobody hears of what was under way */
        drop_jobs(process, model);
        close_handle(sim, process, model);
    }
}

static void step_handle(struct sim *sim, struct sim_process *process, uint32_t model)
{
    struct sim_handle *handle = &process->handles[model];
    if (handle->join != NULL) {
        step_join(sim, process, model);
    } else if (handle->session != NULL) {
        int gone = pd_client_session_gone(handle->session);
        if (handle->by_name && has_jobs(process, model) &&
            sim->now_us - handle->since_us > JOIN_LIMIT_US) {
            /* Whoever was to initialise may be gone for good: with the definition it can go on. */
            sim_worker_close(sim, process, model);
        } else if (gone != PARAMD_OK && !has_jobs(process, model)) {
            sim_trace(sim, "session is over (process, model, -status)", number_of(sim, process),
                      model, (uint64_t)-gone);
            sim->counts.ended_sessions++;
            sim->identities[process->identity].epochs[model] +=
                gone == PARAMD_SESSION_EXPIRED && sim_random_chance(&process->random, 50);
            close_handle(sim, process, model);
        }
    } else if (wants(sim, process, model) && sim->now_us >= handle->retry_us &&
               !process->finished) {
        start_join(sim, process, model);
    }
}

/* ---- Control calls ---- */

static void start_call(struct sim *sim, struct sim_process *process, enum pd_kind kind,
                       uint32_t model, struct pd_client_session *session, ProtobufCMessage *header)
{
    unsigned place = 0;
    while (place < SIM_CALLS_MAX && process->calls[place].call != NULL) {
        place++;
    }
    if (place == SIM_CALLS_MAX) {
        return;
    }
    sim_enter(sim, number_of(sim, process));
    struct pd_call *call = kind == PD_KIND_SET && session != NULL
                               ? pd_call_start_set(process->client, session, header)
                               : pd_call_start(process->client, session, kind, header, NULL, 0);
    sim_leave(sim);
    process->calls[place] =
        (struct sim_call){.call = call, .kind = kind, .model = model, .since_us = sim->now_us};
    if (kind == PD_KIND_SET) {
        const Paramd__Set *set = (const Paramd__Set *)header;
        process->calls[place].value = set->hypers[0]->number;
    }
    process->handles[model].leaving |= kind == PD_KIND_GOODBYE && call != NULL;
}

static void set(struct sim *sim, struct sim_process *process, uint32_t model)
{
    Paramd__Hyper hyper = PARAMD__HYPER__INIT;
    Paramd__Hyper *hypers[] = {&hyper};
    Paramd__Set message = PARAMD__SET__INIT;
    bool by_name = sim_random_chance(&process->random, 20);
    bool rate = sim_random_chance(&process->random, 50) && model > 0;
    uint64_t value = sim_random_between(&process->random, 10, 1000000);
    bool odd = sim_random_chance(&process->random, 5);
    hyper.name = (char *)(uintptr_t)(rate ? "lr" : "clip_value"); /* above every gradient */
    hyper.number = odd ? -1 : rate ? (double)value / 1e9 : (double)value;
    message.model = sim->plans[model].name;
    message.group = (char *)(uintptr_t) "g0";
    message.n_hypers = 1;
    message.hypers = hypers;
    message.clock = sim_random_chance(&process->random, 30) ? sim->now_us : 0;
    sim->counts.sets++;
    start_call(sim, process, PD_KIND_SET, model, by_name ? NULL : process->handles[model].session,
               &message.base);
}

static void report(struct sim *sim, struct sim_process *process, uint32_t model)
{
    Paramd__Report message = PARAMD__REPORT__INIT;
    struct pd_client_session *session = process->handles[model].session;
    message.model = pd_client_session_number(session);
    message.clock = sim->now_us;
    sim->counts.reports++;
    start_call(sim, process, PD_KIND_REPORT, model, session, &message.base);
}

static void look_around(struct sim *sim, struct sim_process *process, uint32_t model)
{
    Paramd__Ping ping = PARAMD__PING__INIT;
    Paramd__List list = PARAMD__LIST__INIT;
    Paramd__Stat stat = PARAMD__STAT__INIT;
    Paramd__Snapshot snapshot = PARAMD__SNAPSHOT__INIT;
    uint64_t which = sim_random_between(&process->random, 0, 5);
    if (which == 0) {
        sim->counts.pings++;
        start_call(sim, process, PD_KIND_PING, model, NULL, &ping.base);
    } else if (which == 1) {
        sim->counts.lists++;
        start_call(sim, process, PD_KIND_LIST, model, NULL, &list.base);
    } else if (which == 2) {
        snapshot.pause = sim_random_chance(&process->random, 50);
        start_call(sim, process, PD_KIND_SNAPSHOT, model, NULL, &snapshot.base);
    } else {
        stat.model = which > 3 ? sim->plans[model].name : stat.model;
        stat.hash = which == 5;
        sim->counts.stats++;
        start_call(sim, process, PD_KIND_STAT, model, NULL, &stat.base);
    }
}

static void leave(struct sim *sim, struct sim_process *process, uint32_t model)
{
    Paramd__Goodbye message = PARAMD__GOODBYE__INIT;
    struct pd_client_session *session = process->handles[model].session;
    if (!has_jobs(process, model)) {
        message.model = pd_client_session_number(session);
        sim->counts.goodbyes++;
        start_call(sim, process, PD_KIND_GOODBYE, model, session, &message.base);
    }
}

static void delete (struct sim *sim, struct sim_process *process, uint32_t model)
{
    Paramd__Delete message = PARAMD__DELETE__INIT;
    message.model = sim->plans[model].name;
    if (model > 0) {
        sim->ledger.deleted[model] = true;
        sim->counts.deletes++;
        start_call(sim, process, PD_KIND_DELETE, model, NULL, &message.base);
    }
}

static void step_call(struct sim *sim, struct sim_process *process, struct sim_call *call)
{
    int status = pd_call_status(call->call);
    if (status == PARAMD_PENDING && sim->now_us - call->since_us < CALL_LIMIT_US) {
        return;
    }
    struct sim_handle *handle = &process->handles[call->model];
    sim_reached_status(status);
    sim_trace(sim, "call is over (process, kind, -status)", number_of(sim, process), call->kind,
              (uint64_t)-status);
    bool odd = call->kind == PD_KIND_SET && call->value < 0;
    bool allowed =
        (status == PARAMD_UNSUPPORTED && call->kind == PD_KIND_SNAPSHOT && !sim->durable) ||
        (status == PARAMD_INVALID && odd);
    if ((!allowed && (status == PARAMD_INVALID || status == PARAMD_UNSUPPORTED)) ||
        status == PARAMD_PROTOCOL || (status == PARAMD_OK && odd)) {
        sim_violate(sim, "a %s is answered with %s: %s", pd_kind_name(call->kind),
                    paramd_status_name(status), pd_call_text(call->call));
    }
    pd_call_destroy(call->call);
    call->call = NULL;
    if (call->kind == PD_KIND_SET && status == PARAMD_OK) {
        sim_recovery_set_told(sim, call->model, call->value);
    }
    if (call->kind == PD_KIND_GOODBYE && handle->session != NULL) {
        if (status == PARAMD_OK || status == PARAMD_NOT_FOUND || status == PARAMD_SESSION_EXPIRED) {
            pd_client_session_left(handle->session);
            sim->identities[process->identity].epochs[call->model] +=
                sim_random_chance(&process->random, 50);
        }
        close_handle(sim, process, call->model);
    }
}

/* ---- The script ---- */

/* One thing that a worker may do with a model it has. */
static void act(struct sim *sim, struct sim_process *process, uint32_t model)
{
    uint64_t roll = sim_random_between(&process->random, 0, 199);
    if (roll < 10) {
        set(sim, process, model);
    } else if (roll < 16) {
        report(sim, process, model);
    } else if (roll < 26) {
        look_around(sim, process, model);
    } else if (roll < 28) {
        leave(sim, process, model);
    } else if (roll < 30) {
        delete (sim, process, model);
    } else {
        (void)sim_job_start(sim, process, model);
    }
}

static bool idle(const struct sim_process *process)
{
    bool some = false;
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        some = some || process->jobs[i].op != NULL;
    }
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        some = some || process->calls[i].call != NULL;
    }
    return !some;
}

static bool usable(const struct sim_handle *handle)
{
    return handle->session != NULL && !handle->leaving &&
           pd_client_session_gone(handle->session) == PARAMD_OK;
}

/* The share is done: looks at each model once more. */
static void step_last(struct sim *sim, struct sim_process *process)
{
    if (!idle(process)) {
        return;
    }
    while (process->looked < SIM_MODELS && !wants(sim, process, process->looked)) {
        process->looked++;
    }
    if (process->looked == SIM_MODELS) {
        process->finished = true;
        sim_trace(sim, "client has finished (process)", number_of(sim, process), 0, 0);
    } else if (usable(&process->handles[process->looked]) &&
               sim_job_look(sim, process, process->looked)) {
        process->looked++;
    }
}

static void start_next(struct sim *sim, struct sim_process *process)
{
    struct sim_identity *identity = &sim->identities[process->identity];
    if (identity->pushes_left <= 0) {
        step_last(sim, process);
        return;
    }
    uint32_t model = sim_random_chance(&process->random, 55)
                         ? 0
                         : (uint32_t)sim_random_between(&process->random, 0, SIM_MODELS - 1);
    if (usable(&process->handles[model])) {
        uint64_t before = process->pushed;
        act(sim, process, model);
        identity->pushes_left -= (long)(process->pushed - before);
    }
}

static void step_jobs(struct sim *sim, struct sim_process *process)
{
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        struct sim_job *job = &process->jobs[i];
        if (job->op != NULL && job->cancel_us != 0 && sim->now_us >= job->cancel_us &&
            !pd_op_finished(job->op)) {
            sim_job_cancel(sim, process, job);
        }
        if (job->op != NULL && pd_op_finished(job->op)) {
            sim_job_end(sim, process, job);
        }
    }
}

uint64_t sim_worker_step(struct sim *sim, struct sim_process *process)
{
    step_jobs(sim, process);
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        if (process->calls[i].call != NULL) {
            step_call(sim, process, &process->calls[i]);
        }
    }
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        step_handle(sim, process, i);
    }
    if (process->finished) {
        return PD_NEVER;
    }
    if (sim->now_us >= process->next_us) {
        start_next(sim, process);
        bool soon = sim_random_chance(&process->random, 60);
        process->next_us =
            sim->now_us + sim_random_between(&process->random, 100, soon ? 2000 : PAUSE_US);
    }
    return process->next_us;
}

const char *sim_worker_waits_for(const struct sim_process *process)
{
    static char text[PD_CALL_TEXT_BYTES];
    text[0] = '\0';
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        const struct sim_handle *handle = &process->handles[i];
        if (handle->join != NULL) {
            return pd_join_text(handle->join);
        }
        if (has_jobs(process, i)) {
            (void)snprintf(text, sizeof text, "a call on model %u", i);
        }
    }
    return text;
}

void sim_worker_drop(struct sim *sim, struct sim_process *process)
{
    (void)sim;
    for (unsigned i = 0; i < SIM_JOBS_MAX; i++) {
        if (process->jobs[i].op != NULL) {
            sim_job_free(&process->jobs[i]);
        }
    }
    for (unsigned i = 0; i < SIM_CALLS_MAX; i++) {
        pd_call_destroy(process->calls[i].call);
    }
    for (uint32_t i = 0; i < SIM_MODELS; i++) {
        struct sim_handle *handle = &process->handles[i];
        if (handle->join != NULL) {
            pd_join_destroy(handle->join);
            free(handle->values);
        }
        if (handle->session != NULL) {
            pd_client_session_destroy(handle->session);
        }
    }
}
