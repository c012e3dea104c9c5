/* A worker whose daemon goes away: says how its calls end and after how long, and then begins anew.
 *
 *     survive ADDRESS MODEL TIMEOUT_MS
 *
 * Lines: "working"; for each call "CALL STATUS MS"; and, after a line on stdin, "joined again". */
#include <stdlib.h>
#include <string.h>

#include "tests/integration/workers/worker.h"

enum { ELEMENTS = 300000, TICKETS = 4 };

static struct {
    struct paramd_client *client;
    struct paramd_model *model;
    const char *name;
    int timeout_ms;
    float *ones;
    float *values;
} survive;

static int join(void)
{
    const struct paramd_tensor tensor = {
        .name = "t0", .rank = 1, .shape = {ELEMENTS}, .init = PARAMD_INIT_ZEROS};
    const struct paramd_definition definition = {.name = survive.name,
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = &tensor,
                                                 .tensor_count = 1};
    return paramd_join(survive.client, &definition, NULL, PD_WORKER_TIMEOUT_MS, &survive.model);
}

static void tell(const char *call, int status, uint64_t begin_ms)
{
    pd_worker_say("%s %s %llu", call, paramd_status_name(status),
                  (unsigned long long)(pd_worker_now_ms() - begin_ms));
}

/* Keeps tickets under way until one ends badly; then all of them are seen to their end. */
static void push_until_the_end(void)
{
    struct paramd_ticket *tickets[TICKETS] = {NULL};
    const struct paramd_io entry = {.gradient = survive.ones};
    int status = PARAMD_OK;
    for (unsigned i = 0; status == PARAMD_OK; i = (i + 1) % TICKETS) {
        uint64_t begin_ms = pd_worker_now_ms();
        if (tickets[i] != NULL) {
            status = paramd_wait(tickets[i], survive.timeout_ms, NULL);
            if (status != PARAMD_OK) {
                tell("wait", status, begin_ms);
                break;
            }
            paramd_release(tickets[i]);
            tickets[i] = NULL;
            pd_worker_say("working");
        }
        status = paramd_push(survive.model, &entry, 1, NULL, &tickets[i]);
        if (status != PARAMD_OK) {
            tickets[i] = NULL;
            tell("push", status, begin_ms);
        }
    }
    for (unsigned i = 0; i < TICKETS; i++) {
        uint64_t begin_ms = pd_worker_now_ms();
        if (tickets[i] != NULL) {
            tell("cancel", paramd_cancel(tickets[i], survive.timeout_ms, NULL), begin_ms);
            paramd_release(tickets[i]);
        }
    }
}

static void try_every_call(void)
{
    const struct paramd_io entry = {.gradient = survive.ones, .values = survive.values};
    uint64_t begin_ms = pd_worker_now_ms();
    tell("push_wait", paramd_push_wait(survive.model, &entry, 1, NULL, survive.timeout_ms, NULL),
         begin_ms);
    begin_ms = pd_worker_now_ms();
    tell("pull_wait", paramd_pull_wait(survive.model, &entry, 1, NULL, survive.timeout_ms, NULL),
         begin_ms);
    begin_ms = pd_worker_now_ms();
    tell("push_pull_wait",
         paramd_push_pull_wait(survive.model, &entry, 1, NULL, survive.timeout_ms, NULL), begin_ms);
    begin_ms = pd_worker_now_ms();
    tell("report", paramd_report(survive.model, 1, 1, 1, 1, survive.timeout_ms), begin_ms);
    begin_ms = pd_worker_now_ms();
    const struct paramd_hyper lr = {.name = "lr", .number = 1};
    tell("set", paramd_set(survive.model, "all", &lr, 1, 0, survive.timeout_ms), begin_ms);
    pd_worker_say("tried");
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        pd_worker_fail("usage: survive ADDRESS MODEL TIMEOUT_MS");
    }
    survive.client = pd_worker_open(argv[1]);
    survive.name = argv[2];
    survive.timeout_ms = (int)strtol(argv[3], NULL, 10);
    survive.ones = pd_worker_memory(ELEMENTS * sizeof(float));
    survive.values = pd_worker_memory(ELEMENTS * sizeof(float));
    for (unsigned i = 0; i < ELEMENTS; i++) {
        survive.ones[i] = 1;
    }
    pd_worker_check(join(), "join");
    push_until_the_end();
    try_every_call();
    pd_worker_wait_for_line();
    paramd_model_close(survive.model);
    pd_worker_check(join(), "join again");
    const struct paramd_io entry = {.gradient = survive.ones, .values = survive.values};
    pd_worker_check(
        paramd_push_pull_wait(survive.model, &entry, 1, NULL, PD_WORKER_TIMEOUT_MS, NULL),
        "push_pull");
    pd_worker_say("joined again %g", (double)survive.values[ELEMENTS - 1]);
    paramd_model_close(survive.model);
    paramd_close(survive.client);
    free(survive.ones);
    free(survive.values);
    return 0;
}
