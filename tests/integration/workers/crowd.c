/* Many clients and threads in one process, doing everything at once: push, pull, push_pull, cancel,
 * set, report, callbacks. Every push adds 1 to every element, so a block is one number, and at the
 * end the numbers are what all the answers together say.
 *
 *     crowd ADDRESS MODEL CLIENTS THREADS ROUNDS SEED
 *
 * THREADS share one client. Where each has its own, every other client is without an I/O thread. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { TENSORS = 3, BLOCK = 1024, THREADS_MAX = 1024 };

static const uint64_t elements[TENSORS] = {10, 3 * BLOCK, 5 * BLOCK + 77};

struct member {
    pthread_t thread;
    struct paramd_client *client;
    struct paramd_model *model;
    uint64_t random;
    unsigned rounds;
    float *values[TENSORS];
};

static struct {
    float *ones; /* nobody writes it */
    atomic_ullong done;
    atomic_ullong unknown;
    atomic_ullong waited;
    atomic_ullong waited_callbacks;
    atomic_ullong cancelled;
    atomic_ullong cancelled_callbacks;
} crowd;

static void join(struct paramd_client *client, const char *name, struct paramd_model **ret_model)
{
    static const char *const names[TENSORS] = {"a", "b", "c"};
    struct paramd_tensor tensors[TENSORS];
    memset(tensors, 0, sizeof tensors);
    for (unsigned t = 0; t < TENSORS; t++) {
        tensors[t].name = names[t];
        tensors[t].rank = 1;
        tensors[t].shape[0] = elements[t];
        tensors[t].init = PARAMD_INIT_ZEROS;
    }
    const struct paramd_definition definition = {.name = name,
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = tensors,
                                                 .tensor_count = TENSORS,
                                                 .block_elements = BLOCK};
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, ret_model),
                    "join");
}

/* The sum of the blocks' numbers; each block must be one. */
static uint64_t sum_blocks(float *const values[TENSORS])
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < TENSORS; t++) {
        for (uint64_t i = 0; i < elements[t]; i++) {
            float first = values[t][i - i % BLOCK];
            if (values[t][i] != first) {
                pd_worker_fail("tensor %u is torn at %llu: %g and %g", t, (unsigned long long)i,
                               (double)first, (double)values[t][i]);
            }
            sum += i % BLOCK == 0 ? (uint64_t)first : 0;
        }
    }
    return sum;
}

static void list(const struct member *member, struct paramd_io entries[TENSORS])
{
    for (uint32_t t = 0; t < TENSORS; t++) {
        entries[t] =
            (struct paramd_io){.tensor = t, .gradient = crowd.ones, .values = member->values[t]};
    }
}

static void count(const struct paramd_result *result)
{
    atomic_fetch_add(&crowd.done, result->done);
    atomic_fetch_add(&crowd.unknown, result->unknown);
}

static void called(struct paramd_ticket *ticket, void *arg)
{
    (void)ticket;
    atomic_fetch_add((atomic_ullong *)arg, 1);
}

/* A push with a callback that is waited for, or cancelled at once. */
static void push(struct member *member, bool cancel)
{
    struct paramd_io entries[TENSORS];
    struct paramd_result result;
    struct paramd_ticket *ticket;
    const struct paramd_call call = {.weight = 1,
                                     .done = called,
                                     .arg = cancel ? &crowd.cancelled_callbacks
                                                   : &crowd.waited_callbacks};
    list(member, entries);
    atomic_fetch_add(cancel ? &crowd.cancelled : &crowd.waited, 1);
    pd_worker_check(paramd_push(member->model, entries, TENSORS, &call, &ticket), "push");
    if (cancel) {
        int status = paramd_cancel(ticket, PD_WORKER_TIMEOUT_MS, &result);
        if (status != PARAMD_OK && status != PARAMD_CANCELLED) {
            pd_worker_fail("cancel: %s", paramd_status_name(status));
        }
    } else {
        pd_worker_check(paramd_wait(ticket, PD_WORKER_TIMEOUT_MS, &result), "wait");
    }
    count(&result);
    paramd_release(ticket);
}

static void pull(struct member *member)
{
    struct paramd_io entries[TENSORS];
    list(member, entries);
    pd_worker_check(
        paramd_pull_wait(member->model, entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, NULL),
        "pull");
    (void)sum_blocks(member->values);
}

static void push_pull(struct member *member)
{
    struct paramd_io entries[TENSORS];
    struct paramd_result result;
    list(member, entries);
    pd_worker_check(
        paramd_push_pull_wait(member->model, entries, TENSORS, NULL, PD_WORKER_TIMEOUT_MS, &result),
        "push_pull");
    count(&result);
    (void)sum_blocks(member->values);
}

static void steer(struct member *member)
{
    const struct paramd_hyper lr = {.name = "lr", .number = 1};
    struct paramd_stat *stat;
    pd_worker_check(paramd_set(member->model, "all", &lr, 1, 0, PD_WORKER_TIMEOUT_MS), "set");
    pd_worker_check(paramd_report(member->model, 1, 0.5, 10, 20, PD_WORKER_TIMEOUT_MS), "report");
    pd_worker_check(paramd_stat(member->client, paramd_model_definition(member->model)->name,
                                PD_WORKER_TIMEOUT_MS, &stat),
                    "stat");
    paramd_free(stat);
}

static void *work(void *arg)
{
    struct member *member = arg;
    for (unsigned round = 0; round < member->rounds; round++) {
        switch (pd_worker_random(&member->random) % 6) {
        case 0:
            pull(member);
            break;
        case 1:
            push_pull(member);
            break;
        case 2:
            steer(member);
            break;
        case 3:
            push(member, true);
            break;
        default:
            push(member, false);
            break;
        }
    }
    return NULL;
}

/* What a client of its own finds in the end. */
static void check_sum(const char *address, const char *name, struct member *member)
{
    struct paramd_client *client = pd_worker_open(address);
    member->client = client;
    pd_worker_check(paramd_attach(client, name, PD_WORKER_TIMEOUT_MS, &member->model), "attach");
    pull(member);
    uint64_t sum = sum_blocks(member->values);
    unsigned long long done = atomic_load(&crowd.done);
    unsigned long long unknown = atomic_load(&crowd.unknown);
    if (sum < done || sum > done + unknown) {
        pd_worker_fail("%llu blocks were acknowledged, %llu are unknown, but %llu were applied",
                       done, unknown, (unsigned long long)sum);
    }
    /* A ticket that is released right after it was cancelled may go without its callback. */
    if (atomic_load(&crowd.waited_callbacks) != atomic_load(&crowd.waited) ||
        atomic_load(&crowd.cancelled_callbacks) > atomic_load(&crowd.cancelled)) {
        pd_worker_fail("%llu callbacks of %llu pushes, and %llu of %llu cancelled ones",
                       (unsigned long long)atomic_load(&crowd.waited_callbacks),
                       (unsigned long long)atomic_load(&crowd.waited),
                       (unsigned long long)atomic_load(&crowd.cancelled_callbacks),
                       (unsigned long long)atomic_load(&crowd.cancelled));
    }
    paramd_model_close(member->model);
    paramd_close(client);
    pd_worker_say("applied %llu", (unsigned long long)sum);
}

static void open_member(struct member *member, const char *address, const char *name,
                        bool own_client, bool no_thread)
{
    for (unsigned t = 0; t < TENSORS; t++) {
        member->values[t] = pd_worker_memory(elements[t] * sizeof(float));
    }
    if (own_client) {
        struct paramd_options options = {.address = address, .no_thread = no_thread};
        pd_worker_check(paramd_open(&options, &member->client), "open");
        join(member->client, name, &member->model);
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        pd_worker_fail("usage: crowd ADDRESS MODEL CLIENTS THREADS ROUNDS SEED");
    }
    unsigned threads = (unsigned)strtoul(argv[4], NULL, 10);
    unsigned total = (unsigned)strtoul(argv[3], NULL, 10) * threads;
    if (total == 0 || total > THREADS_MAX) {
        pd_worker_fail("1 to %d threads", THREADS_MAX);
    }
    struct member *members = pd_worker_memory(total * sizeof *members);
    crowd.ones = pd_worker_memory(elements[TENSORS - 1] * sizeof(float));
    for (uint64_t i = 0; i < elements[TENSORS - 1]; i++) {
        crowd.ones[i] = 1;
    }
    for (unsigned i = 0; i < total; i++) {
        struct member *first = &members[i - i % threads];
        open_member(&members[i], argv[1], argv[2], i % threads == 0, threads == 1 && i % 2 == 1);
        members[i].client = first->client;
        members[i].model = first->model;
        members[i].rounds = (unsigned)strtoul(argv[5], NULL, 10);
        members[i].random = strtoull(argv[6], NULL, 10) + i;
    }
    pd_worker_say("joined");
    pd_worker_wait_for_line();
    for (unsigned i = 0; i < total; i++) {
        if (pthread_create(&members[i].thread, NULL, work, &members[i]) != 0) {
            pd_worker_fail("no thread");
        }
    }
    for (unsigned i = 0; i < total; i++) {
        (void)pthread_join(members[i].thread, NULL);
    }
    for (unsigned i = 0; i < total; i += threads) {
        pd_worker_check(paramd_leave(members[i].model, PD_WORKER_TIMEOUT_MS), "leave");
        paramd_close(members[i].client);
    }
    check_sum(argv[1], argv[2], &members[0]);
    for (unsigned i = 0; i < total; i++) {
        for (unsigned t = 0; t < TENSORS; t++) {
            free(members[i].values[t]);
        }
    }
    free(members);
    free(crowd.ones);
    return 0;
}
