/* A worker that forks in the middle of its work: the child's calls on the parent's client answer
 * PARAMD_FORKED and harm nothing, a client of its own works, and the parent goes on.
 *
 *     fork ADDRESS */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/workers/worker.h"

enum { ELEMENTS = 500000, DESCRIPTORS = 256 };

static struct {
    struct paramd_client *client;
    struct paramd_model *model;
    struct paramd_ticket *ticket;
    float *ones;
    float *values;
} worker;

static void join(struct paramd_client *client, struct paramd_model **ret_model)
{
    const struct paramd_tensor tensor = {
        .name = "t0", .rank = 1, .shape = {ELEMENTS}, .init = PARAMD_INIT_ZEROS};
    const struct paramd_definition definition = {.name = "m",
                                                 .groups = pd_worker_adding_group(),
                                                 .group_count = 1,
                                                 .tensors = &tensor,
                                                 .tensor_count = 1};
    pd_worker_check(paramd_join(client, &definition, NULL, PD_WORKER_TIMEOUT_MS, ret_model),
                    "join");
}

static void expect_forked(int status, const char *call)
{
    if (status != PARAMD_FORKED) {
        pd_worker_fail("%s in the child: %s", call, paramd_status_name(status));
    }
}

static void call_everything(void)
{
    const struct paramd_io entry = {.gradient = worker.ones, .values = worker.values};
    const struct paramd_hyper lr = {.name = "lr", .number = 2};
    struct paramd_ticket *ticket;
    struct paramd_model *model;
    struct paramd_block_info block;
    struct paramd_stat *stat;
    struct paramd_model_info *models;
    size_t count;
    expect_forked(paramd_push(worker.model, &entry, 1, NULL, &ticket), "push");
    expect_forked(paramd_pull(worker.model, &entry, 1, NULL, &ticket), "pull");
    expect_forked(paramd_push_pull(worker.model, &entry, 1, NULL, &ticket), "push_pull");
    expect_forked(paramd_push_wait(worker.model, &entry, 1, NULL, 1000, NULL), "push_wait");
    expect_forked(paramd_pull_wait(worker.model, &entry, 1, NULL, 1000, NULL), "pull_wait");
    expect_forked(paramd_wait(worker.ticket, 1000, NULL), "wait");
    expect_forked(paramd_cancel(worker.ticket, 1000, NULL), "cancel");
    expect_forked(paramd_block(worker.model, 0, 0, &block), "block");
    expect_forked(paramd_set(worker.model, "all", &lr, 1, 0, 1000), "set");
    expect_forked(paramd_report(worker.model, 1, 1, 1, 1, 1000), "report");
    expect_forked(paramd_leave(worker.model, 1000), "leave");
    expect_forked(paramd_ping(worker.client, 1000, NULL), "ping");
    expect_forked(paramd_attach(worker.client, "m", 1000, &model), "attach");
    expect_forked(paramd_list(worker.client, 1000, &models, &count), "list");
    expect_forked(paramd_stat(worker.client, "m", 1000, &stat), "stat");
    expect_forked(paramd_delete(worker.client, "m", 0, 1000), "delete");
    expect_forked(paramd_snapshot(worker.client, false, 1000, NULL, NULL, NULL), "snapshot");
    paramd_release(worker.ticket);
    paramd_model_close(worker.model);
    paramd_close(worker.client);
}

static void be_the_child(const char *address)
{
    struct paramd_model *model;
    struct paramd_result result;
    const struct paramd_io entry = {.gradient = worker.ones};
    call_everything();
    struct paramd_client *own = pd_worker_open(address);
    join(own, &model);
    pd_worker_check(paramd_push_wait(model, &entry, 1, NULL, PD_WORKER_TIMEOUT_MS, &result),
                    "the child's own push");
    pd_worker_check(paramd_leave(model, PD_WORKER_TIMEOUT_MS), "the child's leave");
    paramd_close(own);
}

/* What a program started by the parent would not inherit. */
static void check_descriptors(void)
{
    unsigned count = 0;
    for (int fd = STDERR_FILENO + 1; fd < DESCRIPTORS; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0) {
            count++;
            if ((flags & FD_CLOEXEC) == 0) {
                pd_worker_fail("descriptor %d would live through exec", fd);
            }
        }
    }
    if (count == 0) {
        pd_worker_fail("a connected client without descriptors");
    }
}

int main(int argc, char **argv)
{
    int status;
    if (argc != 2) {
        pd_worker_fail("usage: fork ADDRESS");
    }
    worker.ones = pd_worker_memory(ELEMENTS * sizeof(float));
    worker.values = pd_worker_memory(ELEMENTS * sizeof(float));
    for (unsigned i = 0; i < ELEMENTS; i++) {
        worker.ones[i] = 1;
    }
    worker.client = pd_worker_open(argv[1]);
    join(worker.client, &worker.model);
    const struct paramd_io entry = {.gradient = worker.ones, .values = worker.values};
    pd_worker_check(paramd_push_wait(worker.model, &entry, 1, NULL, PD_WORKER_TIMEOUT_MS, NULL),
                    "push");
    check_descriptors();
    pd_worker_check(paramd_push(worker.model, &entry, 1, NULL, &worker.ticket), "push");
    pid_t child = fork();
    if (child == 0) {
        be_the_child(argv[1]);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        pd_worker_fail("the child ended with %d", status);
    }
    pd_worker_check(paramd_wait(worker.ticket, PD_WORKER_TIMEOUT_MS, NULL), "the parent's push");
    paramd_release(worker.ticket);
    pd_worker_check(
        paramd_push_pull_wait(worker.model, &entry, 1, NULL, PD_WORKER_TIMEOUT_MS, NULL),
        "the parent's push_pull");
    for (unsigned i = 0; i < ELEMENTS; i++) {
        if (worker.values[i] != 4) {
            pd_worker_fail("%g at %u after 4 pushes", (double)worker.values[i], i);
        }
    }
    pd_worker_check(paramd_leave(worker.model, PD_WORKER_TIMEOUT_MS), "leave");
    paramd_close(worker.client);
    free(worker.ones);
    free(worker.values);
    pd_worker_say("went on");
    return 0;
}
