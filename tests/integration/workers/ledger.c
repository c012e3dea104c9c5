/* One worker of the ledger: push number k of worker w adds 1 at coordinate w * PUSHES + k of every
 * block of the tensors it names, and nowhere else. So each value says whether that push came 0, 1
 * or more times. It looks at the values while it works, and at its end prints what each push was
 * told, for the test to hold against the daemon's values.
 *
 *     ledger ADDRESS MODEL WORKER WORKERS PUSHES SEED MODE LEVEL BLOCK
 *
 * Before each BATCH of pushes it waits for a line. MODE plain: pushes, and nothing may be lost;
 * mixed: some are cancelled, some have one block with a NaN; lossy: what was acknowledged may go
 * with a crash. LEVEL: applied or logged. BLOCK: elements, more than all workers' pushes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { TENSORS = 5, WINDOW = 6, BATCH = 24, NOWHERE = TENSORS };

/* One push under way, with buffers of its own: they belong to the library meanwhile. */
struct slot {
    struct paramd_ticket *ticket;
    unsigned push;
    unsigned tensors; /* a bit each */
    bool reads;       /* a push_pull */
    unsigned nan_tensor;
    uint64_t nan_block;
    float *gradients[TENSORS];
    float *values[TENSORS];
};

static struct {
    struct paramd_model *model;
    unsigned worker;
    unsigned workers;
    unsigned pushes;
    uint64_t random;
    bool mixed;
    bool lossy;
    enum paramd_ack_level ack_level;
    uint32_t block;
    uint64_t elements[TENSORS];
    unsigned limit[TENSORS]; /* pushes that one worker may make to the tensor */
    float *values[TENSORS];
    bool *applied[TENSORS]; /* by push: acknowledged for all blocks of the tensor */
    struct slot slots[WINDOW];
} ledger;

/* Tensors of one, few and many coordinates, and of several blocks with a short one at the end. */
static void set_sizes(void)
{
    unsigned few = ledger.pushes / 10;
    uint64_t all = (uint64_t)ledger.workers * ledger.pushes;
    const uint64_t elements[TENSORS] = {ledger.workers, (uint64_t)ledger.workers * few, all,
                                        3 * (uint64_t)ledger.block,
                                        6 * (uint64_t)ledger.block + all};
    const unsigned limit[TENSORS] = {1, few, ledger.pushes, ledger.pushes, ledger.pushes};
    memcpy(ledger.elements, elements, sizeof elements);
    memcpy(ledger.limit, limit, sizeof limit);
    for (unsigned t = 0; t < TENSORS; t++) {
        ledger.values[t] = pd_worker_memory(elements[t] * sizeof(float));
        ledger.applied[t] = pd_worker_memory(ledger.pushes * sizeof(bool));
        for (unsigned i = 0; i < WINDOW; i++) {
            ledger.slots[i].gradients[t] = pd_worker_memory(elements[t] * sizeof(float));
            ledger.slots[i].values[t] = pd_worker_memory(elements[t] * sizeof(float));
        }
    }
}

static void join(struct paramd_client *client, const char *name)
{
    static const char *const names[TENSORS] = {"one", "few", "small", "wide", "deep"};
    struct paramd_tensor tensors[TENSORS];
    memset(tensors, 0, sizeof tensors);
    for (unsigned t = 0; t < TENSORS; t++) {
        tensors[t].name = names[t];
        tensors[t].rank = 1;
        tensors[t].shape[0] = ledger.elements[t];
        tensors[t].init = PARAMD_INIT_ZEROS;
    }
    const struct paramd_definition definition = {.name = name,
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = tensors,
                                                 .tensor_count = TENSORS,
                                                 .block_elements = ledger.block,
                                                 .ack_level = ledger.ack_level};
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, &ledger.model),
                    "join");
}

static uint64_t coordinate(unsigned tensor, unsigned push)
{
    return (uint64_t)ledger.worker * ledger.limit[tensor] + push;
}

/* Writes to the coordinate of the push in every block. */
static void mark(const struct slot *slot, unsigned tensor, float value)
{
    for (uint64_t at = coordinate(tensor, slot->push); at < ledger.elements[tensor];
         at += ledger.block) {
        slot->gradients[tensor][at] = value;
    }
}

/* Every value is 0 or 1, and 1 where one of our first pushes was acknowledged. */
static void check_values(unsigned tensor, const float *values, unsigned pushes, const char *when)
{
    for (uint64_t i = 0; i < ledger.elements[tensor]; i++) {
        if (values[i] != 0 && values[i] != 1) {
            pd_worker_fail("%s: tensor %u has %g at %llu", when, tensor, (double)values[i],
                           (unsigned long long)i);
        }
    }
    for (unsigned push = 0; !ledger.lossy && push < pushes && push < ledger.limit[tensor]; push++) {
        uint64_t at = coordinate(tensor, push);
        for (; ledger.applied[tensor][push] && at < ledger.elements[tensor]; at += ledger.block) {
            if (values[at] != 1) {
                pd_worker_fail("%s: acknowledged push %u is missing at %llu of tensor %u", when,
                               push, (unsigned long long)at, tensor);
            }
        }
    }
}

/* Fills entries with the tensors of the set. */
static size_t list(unsigned tensors, float *const *gradients, float *const *values,
                   struct paramd_io entries[TENSORS])
{
    size_t count = 0;
    for (unsigned t = 0; t < TENSORS; t++) {
        if ((tensors >> t & 1) != 0) {
            entries[count++] =
                (struct paramd_io){.tensor = t,
                                   .gradient = gradients != NULL ? gradients[t] : NULL,
                                   .values = values != NULL ? values[t] : NULL};
        }
    }
    return count;
}

/* Notes what a finished push was told, and makes its buffers ready for another one. */
static void settle(struct slot *slot, const struct paramd_result *result, bool cancelled)
{
    bool whole = result->done == result->blocks;
    for (unsigned t = 0; t < TENSORS; t++) {
        if ((slot->tensors >> t & 1) != 0) {
            mark(slot, t, 0);
            ledger.applied[t][slot->push] = whole;
            if (slot->reads && !cancelled && result->status == PARAMD_OK) {
                /* Pushes are applied in the order of their calls. */
                check_values(t, slot->values[t], slot->push + 1, "after a push_pull");
            }
        }
    }
    if (slot->nan_tensor != NOWHERE) {
        slot->gradients[slot->nan_tensor][slot->nan_block * ledger.block] = 0;
    }
    pd_worker_say("push %u %u %s %llu %llu %llu %llu %u %llu", slot->push, slot->tensors,
                  paramd_status_name(result->status), (unsigned long long)result->blocks,
                  (unsigned long long)result->done, (unsigned long long)result->refused,
                  (unsigned long long)result->unknown, slot->nan_tensor,
                  (unsigned long long)slot->nan_block);
    paramd_release(slot->ticket);
    slot->ticket = NULL;
}

static void finish(struct slot *slot)
{
    struct paramd_result result;
    if (slot->ticket == NULL) {
        return;
    }
    if (paramd_wait(slot->ticket, PD_WORKER_TIMEOUT_MS, &result) == PARAMD_TIMEOUT) {
        pd_worker_fail("push %u does not end", slot->push);
    }
    settle(slot, &result, false);
}

static unsigned choose_tensors(unsigned push)
{
    unsigned tensors = (unsigned)pd_worker_random(&ledger.random) & ((1U << TENSORS) - 1);
    for (unsigned t = 0; t < TENSORS; t++) {
        if (push < ledger.limit[t] && push < 2) {
            tensors |= 1U << t;
        } else if (push >= ledger.limit[t]) {
            tensors &= ~(1U << t);
        }
    }
    return tensors != 0 ? tensors : 1U << 2;
}

/* Puts a NaN into one block, whose push will be refused. */
static void spoil(struct slot *slot)
{
    unsigned tensor = 2 + (unsigned)(pd_worker_random(&ledger.random) % (TENSORS - 2));
    uint64_t blocks = (ledger.elements[tensor] + ledger.block - 1) / ledger.block;
    if ((slot->tensors >> tensor & 1) != 0) {
        slot->nan_tensor = tensor;
        slot->nan_block = pd_worker_random(&ledger.random) % blocks;
        slot->gradients[tensor][slot->nan_block * ledger.block] = NAN;
    }
}

static void push(struct slot *slot, unsigned number)
{
    struct paramd_io entries[TENSORS];
    slot->push = number;
    slot->tensors = choose_tensors(number);
    slot->nan_tensor = NOWHERE;
    slot->nan_block = 0;
    for (unsigned t = 0; t < TENSORS; t++) {
        if ((slot->tensors >> t & 1) != 0) {
            mark(slot, t, 1);
        }
    }
    if (ledger.mixed && pd_worker_once_in(&ledger.random, 8)) {
        spoil(slot);
    }
    /* Worker 0 reads with if_newer, which must not be mixed with values that come elsewhere. */
    slot->reads = ledger.worker != 0 && pd_worker_once_in(&ledger.random, 6);
    size_t count = list(slot->tensors, slot->gradients, slot->values, entries);
    int status = slot->reads ? paramd_push_pull(ledger.model, entries, count, NULL, &slot->ticket)
                             : paramd_push(ledger.model, entries, count, NULL, &slot->ticket);
    pd_worker_check(status, "push");
    if (ledger.mixed && pd_worker_once_in(&ledger.random, 6)) {
        struct paramd_result result;
        struct slot *victim = &ledger.slots[pd_worker_random(&ledger.random) % WINDOW];
        if (victim->ticket != NULL) {
            (void)paramd_cancel(victim->ticket, PD_WORKER_TIMEOUT_MS, &result);
            settle(victim, &result, true);
        }
    }
}

static void pull(void)
{
    struct paramd_io entries[TENSORS];
    size_t count = list((1U << TENSORS) - 1, NULL, ledger.values, entries);
    const struct paramd_call call = {.if_newer = ledger.worker == 0};
    pd_worker_check(
        paramd_pull_wait(ledger.model, entries, count, &call, PD_WORKER_TIMEOUT_MS, NULL), "pull");
    for (unsigned t = 0; t < TENSORS; t++) {
        check_values(t, ledger.values[t], ledger.pushes, "after a pull");
    }
}

/* What the library itself counted for each block. */
static void tell_blocks(void)
{
    for (unsigned t = 0; t < TENSORS; t++) {
        for (uint64_t block = 0; block * ledger.block < ledger.elements[t]; block++) {
            struct paramd_block_info info;
            pd_worker_check(paramd_block(ledger.model, t, block, &info), "block");
            pd_worker_say("block %u %llu %llu", t, (unsigned long long)block,
                          (unsigned long long)info.applied);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        pd_worker_fail("usage: ledger ADDRESS MODEL WORKER WORKERS PUSHES SEED MODE LEVEL BLOCK");
    }
    struct paramd_client *client = pd_worker_open(argv[1]);
    ledger.worker = (unsigned)strtoul(argv[3], NULL, 10);
    ledger.workers = (unsigned)strtoul(argv[4], NULL, 10);
    ledger.pushes = (unsigned)strtoul(argv[5], NULL, 10);
    ledger.random = strtoull(argv[6], NULL, 10) + ledger.worker;
    ledger.mixed = strcmp(argv[7], "mixed") == 0;
    ledger.lossy = strcmp(argv[7], "lossy") == 0;
    ledger.ack_level = pd_worker_ack_level(argv[8]);
    ledger.block = (uint32_t)strtoul(argv[9], NULL, 10);
    set_sizes();
    join(client, argv[2]);
    for (unsigned number = 0; number < ledger.pushes; number++) {
        struct slot *slot = &ledger.slots[number % WINDOW];
        if (number % BATCH == 0) {
            pd_worker_wait_for_line();
            pull();
        }
        finish(slot);
        push(slot, number);
    }
    for (unsigned i = 0; i < WINDOW; i++) {
        finish(&ledger.slots[i]);
    }
    pull();
    tell_blocks();
    struct paramd_counters counters;
    paramd_model_counters(ledger.model, &counters);
    pd_worker_say("counters %llu %llu %llu %llu", (unsigned long long)counters.resent,
                  (unsigned long long)counters.lost, (unsigned long long)counters.reconnects,
                  (unsigned long long)counters.pushes);
    pd_worker_check(paramd_leave(ledger.model, PD_WORKER_TIMEOUT_MS), "leave");
    paramd_close(client);
    for (unsigned t = 0; t < TENSORS; t++) {
        free(ledger.values[t]);
        free(ledger.applied[t]);
        for (unsigned i = 0; i < WINDOW; i++) {
            free(ledger.slots[i].gradients[t]);
            free(ledger.slots[i].values[t]);
        }
    }
    return 0;
}
