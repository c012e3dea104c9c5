/* What restart.h kills and starts. */
#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/daemon.h"
#include "tests/bench/disk.h"
#include "tests/bench/member.h"
#include "tests/bench/restart.h"
#include "tests/bench/scratch.h"

/* With its moments a tensor in a snapshot is as large as three pushes. */
enum { TENSORS = 4, LOGGED_TENSORS = 3, SHARDS = 2 };

struct pd_restart {
    struct pd_scratch *data;
    size_t tensor_bytes;
    double bytes; /* of snapshot and log */
    struct pd_samples samples;
};

static struct pd_daemon *start(const struct pd_restart *restart)
{
    const struct pd_daemon_task task = {.shards = SHARDS, .data_dir = restart->data->path};
    return pd_daemon_start(&task);
}

static void push(const struct pd_restart *restart, struct paramd_model *model, size_t tensors)
{
    struct paramd_io entries[TENSORS];
    float *gradient = pd_memory_take(restart->tensor_bytes);
    pd_gradient_fill(gradient, restart->tensor_bytes / sizeof *gradient);
    for (size_t i = 0; i < tensors; i++) {
        entries[i] = (struct paramd_io){.tensor = (uint32_t)i, .gradient = gradient};
    }
    pd_member_check(paramd_push_wait(model, entries, tensors, NULL, PD_MEMBER_TIMEOUT_MS, NULL),
                    "push");
    pd_memory_give(gradient, restart->tensor_bytes);
}

struct pd_restart *pd_restart_create(const char *parent, size_t log_bytes)
{
    struct pd_restart *restart = calloc(1, sizeof *restart);
    struct paramd_snapshot snapshot;
    if (restart == NULL) {
        err(1, "restart");
    }
    restart->data = pd_scratch_create(parent);
    restart->tensor_bytes = log_bytes / LOGGED_TENSORS / sizeof(float) * sizeof(float);
    struct pd_daemon *daemon = start(restart);
    const struct pd_member_way way = {.address = pd_daemon_address(daemon, PD_TRANSPORT_UNIX),
                                      .transport = PD_TRANSPORT_UNIX};
    struct paramd_client *client = pd_member_open(&way);
    struct paramd_model *model = pd_member_join(
        client, "restart", TENSORS, restart->tensor_bytes / sizeof(float), PARAMD_ACK_LOGGED);
    push(restart, model, TENSORS);
    pd_member_check(paramd_snapshot(client, false, PD_MEMBER_TIMEOUT_MS, NULL, NULL, &snapshot),
                    "snapshot");
    push(restart, model, LOGGED_TENSORS);
    pd_daemon_kill(daemon);
    paramd_close(client);
    restart->bytes = (double)(snapshot.bytes + LOGGED_TENSORS * restart->tensor_bytes);
    return restart;
}

void pd_restart_destroy(struct pd_restart *restart)
{
    pd_scratch_destroy(restart->data);
    free(restart);
}

/* The host of a virtual machine is slow to give memory again that it took back (disk.c). */
static void touch_memory(const struct pd_restart *restart)
{
    size_t bytes = (size_t)restart->bytes;
    pd_memory_give(memset(pd_memory_take(bytes), 1, bytes), bytes);
}

void pd_restart_measure(struct pd_restart *restart)
{
    pd_disk_forget(restart->data->path);
    touch_memory(restart);
    double begin_s = pd_now_s();
    struct pd_daemon *daemon = start(restart);
    pd_samples_add(&restart->samples, restart->bytes / 1e9 / (pd_now_s() - begin_s));
    pd_daemon_kill(daemon);
}

const struct pd_samples *pd_restart_samples(const struct pd_restart *restart)
{
    return &restart->samples;
}
