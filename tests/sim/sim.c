/* One run: the queue of events, the trace and its hash, and when it is over. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/allocations.h"

enum { EVENTS_MAX = 200000, SETTLE_US = 1500000, START_US = 50000, STREAM_START = 2 };

enum sim_plant sim_plant_chosen = sim_plant_none;

/* ---- Trace ---- */

static void fold(struct sim *sim, uint64_t value)
{
    sim->hash = (sim->hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    sim->hash ^= sim->hash >> 29;
}

void sim_trace(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    fold(sim, sim->now_us);
    for (const char *at = what; *at != '\0'; at++) {
        fold(sim, (uint64_t)*at);
    }
    fold(sim, a);
    fold(sim, b);
    fold(sim, c);
    if (sim->options.verbose) {
        (void)printf("%12.6f  %-44s %llu %llu %llu\n", (double)sim->now_us / 1e6, what,
                     (unsigned long long)a, (unsigned long long)b, (unsigned long long)c);
    }
}

void sim_violate(struct sim *sim, const char *format, ...)
{
    if (sim->violated) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(sim->violation, sizeof sim->violation, format, arguments);
    va_end(arguments);
    sim->violated = true;
    sim_trace(sim, "VIOLATION", 0, 0, 0);
}

void sim_enter(struct sim *sim, uint32_t who)
{
    pd_allocations_inside(sim->short_of_memory == who);
}

void sim_leave(struct sim *sim)
{
    pd_allocations_inside(false);
    if (sim->short_of_memory != SIM_NOBODY && pd_allocations_failed()) {
        sim_trace(sim, "an allocation failed (process)", sim->short_of_memory, 0, 0);
        sim->short_of_memory = SIM_NOBODY;
        sim->counts.failed_allocations++;
    }
}

/* ---- Events ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event event = *a;
    *a = *b;
    *b = event;
}

void sim_schedule(struct sim *sim, uint64_t after_us, enum sim_event_kind kind, uint32_t subject,
                  uint32_t detail, uint64_t serial)
{
    if (sim->event_count == sim->event_capacity) {
        sim->event_capacity = sim->event_capacity * 2 + 256;
        sim->events = realloc(sim->events, sim->event_capacity * sizeof *sim->events);
    }
    size_t at = sim->event_count++;
    sim->events[at] = (struct sim_event){.at_us = sim->now_us + after_us,
                                         .order = sim->next_order++,
                                         .serial = serial,
                                         .kind = kind,
                                         .subject = subject,
                                         .detail = detail};
    while (at > 0 && before(&sim->events[at], &sim->events[(at - 1) / 2])) {
        swap(&sim->events[at], &sim->events[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static struct sim_event take_first(struct sim *sim)
{
    struct sim_event first = sim->events[0];
    sim->events[0] = sim->events[--sim->event_count];
    for (size_t at = 0;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
            if (child < sim->event_count && before(&sim->events[child], &sim->events[least])) {
                least = child;
            }
        }
        if (least == at) {
            return first;
        }
        swap(&sim->events[at], &sim->events[least]);
        at = least;
    }
}

static void start_or_resume(struct sim *sim, const struct sim_event *event)
{
    bool start = event->kind == SIM_EVENT_START;
    if (event->subject == SIM_DAEMON && start) {
        sim_daemon_start(sim);
    } else if (event->subject == SIM_DAEMON && event->serial == sim->daemon.serial) {
        sim_daemon_resume(sim);
    } else if (event->subject != SIM_DAEMON && start) {
        sim_process_start(sim, event->subject);
    } else if (event->subject != SIM_DAEMON &&
               event->serial == sim->processes[event->subject].serial) {
        sim_process_resume(sim, event->subject);
    }
}

static void snapshot(struct sim *sim, const struct sim_event *event)
{
    if (event->kind == SIM_EVENT_SNAPSHOT) {
        sim_snapshots_begin(sim);
    } else if (event->kind == SIM_EVENT_COPY) {
        sim_snapshots_copy(sim, event->subject);
    } else {
        sim_snapshots_save(sim, event->subject);
    }
}

static void happen(struct sim *sim, const struct sim_event *event)
{
    switch (event->kind) {
    case SIM_EVENT_CONNECT:
    case SIM_EVENT_DELIVER:
    case SIM_EVENT_VANISHED:
        if (event->serial == sim->conns[event->subject].serial) {
            sim_net_event(sim, event);
        }
        break;
    case SIM_EVENT_MAIL:
        if (event->serial == sim->daemon.serial && !sim->daemon.paused) {
            sim_daemon_mail(sim, event->subject);
        }
        break;
    case SIM_EVENT_TICK:
        if (event->serial == sim->daemon.serial && !sim->daemon.paused) {
            sim_daemon_tick(sim, event->subject);
        }
        break;
    case SIM_EVENT_JOB:
        if (event->serial == sim->daemon.serial) {
            sim_storage_job(sim, event->subject);
        }
        break;
    case SIM_EVENT_SNAPSHOT:
    case SIM_EVENT_COPY:
    case SIM_EVENT_SAVE:
        if (event->serial == sim->daemon.serial) {
            snapshot(sim, event);
        }
        break;
    case SIM_EVENT_STOPPING:
        if (event->serial == sim->daemon.serial) {
            sim_stop_step(sim);
        }
        break;
    case SIM_EVENT_SPACE:
        sim_trace(sim, "the disk has space", 0, 0, 0);
        pd_sim_disk_limit(sim->storage.disk, UINT64_MAX);
        break;
    case SIM_EVENT_WAKE:
        if (event->serial == sim->processes[event->subject].serial) {
            sim->processes[event->subject].wake_us = PD_NEVER;
            sim_process_service(sim, event->subject);
        }
        break;
    case SIM_EVENT_STOP:
        if (event->serial == sim->processes[event->subject].serial) {
            sim_process_kill(sim, event->subject);
        }
        break;
    case SIM_EVENT_START:
    case SIM_EVENT_RESUME:
        start_or_resume(sim, event);
        break;
    case SIM_EVENT_FAULT:
        sim->faults_left--;
        sim_fault_begin(sim, event->subject);
        break;
    }
}

/* ---- The run ---- */

/* Who has not finished yet; SIM_NOBODY: all have. */
static uint32_t who_works(const struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        const struct sim_process *process = &sim->processes[i];
        if (i < SIM_CLIENTS_MAX ? i < sim->client_count && (!process->alive || !process->finished)
                                : process->alive) {
            return i;
        }
    }
    return sim->daemon.up && !sim->daemon.paused && sim->faults_left == 0 ? SIM_NOBODY : SIM_DAEMON;
}

static void run_events(struct sim *sim)
{
    uint64_t end_us = SIM_GIVE_UP_US;
    while (!sim->violated && !sim->over && sim->event_count > 0 && sim->events[0].at_us < end_us) {
        struct sim_event event = take_first(sim);
        sim->now_us = event.at_us;
        sim->counts.events++;
        happen(sim, &event);
        if (sim->counts.events == EVENTS_MAX) {
            break;
        }
        if (who_works(sim) != SIM_NOBODY) {
            end_us = SIM_GIVE_UP_US;
        } else if (end_us == SIM_GIVE_UP_US) {
            end_us = sim->now_us + SETTLE_US;
        }
    }
    uint32_t who = sim->over ? SIM_NOBODY : who_works(sim);
    if (!sim->violated && who == SIM_DAEMON) {
        sim_violate(sim, "the daemon is not back");
    } else if (!sim->violated && who != SIM_NOBODY) {
        sim_violate(sim, "client %u does not finish: %s", who,
                    sim_worker_waits_for(&sim->processes[who]));
    }
}

static void begin(struct sim *sim)
{
    struct sim_random random = sim_random_stream(sim->options.seed, STREAM_START);
    sim_schedule(sim, 0, SIM_EVENT_START, SIM_DAEMON, 0, 0);
    for (uint32_t i = 0; i < sim->client_count; i++) {
        uint64_t after_us = sim_random_between(&random, 0, START_US);
        sim_schedule(sim, after_us, SIM_EVENT_START, i, 0, 0);
    }
    for (uint32_t i = 0; i < sim->fault_count; i++) {
        if ((sim->options.fault_mask >> i & 1) != 0) {
            sim_schedule(sim, sim->faults[i].at_us, SIM_EVENT_FAULT, i, 0, 0);
            sim->faults_left++;
        }
    }
}

static void end(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_PROCESSES_MAX; i++) {
        sim_process_kill(sim, i);
    }
    sim_daemon_kill(sim, false);
    if (!sim->violated && sim->daemon.block_bytes != 0) {
        sim_violate(sim, "%zu bytes of blocks were not given back", sim->daemon.block_bytes);
    }
    sim_net_free(sim);
    sim_storage_destroy(sim);
    sim_ledger_free(sim);
    sim_plan_free(sim);
    free(sim->events);
}

void sim_run(struct sim *sim, const struct sim_options *options)
{
    long live = pd_allocations_live();
    memset(sim, 0, sizeof *sim);
    sim->options = *options;
    sim->now_us = 1;
    sim->calm = options->fault_mask == 0;
    sim->short_of_memory = SIM_NOBODY;
    sim_plan_make(sim);
    sim_storage_create(sim);
    begin(sim);
    run_events(sim);
    if (!sim->violated && !sim->over) {
        sim_watch_end(sim);
        sim_worker_check_end(sim);
    }
    sim->counts.clients = sim->client_count;
    sim->counts.shards = sim->daemon.shards;
    sim->counts.virtual_ms = sim->now_us / 1000;
    pd_allocations_fail(0);
    sim->short_of_memory = SIM_NOBODY;
    end(sim);
    if (!sim->violated && pd_allocations_live() != live) {
        sim_violate(sim, "%ld allocations were not freed", pd_allocations_live() - live);
    }
}
