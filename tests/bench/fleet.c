/* The processes of fleet.h: each worker is a client without a thread of its own that takes orders
 * over a socket pair. */
#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/fleet.h"

enum { WORKERS_MAX = 64 };

/* repeats 0: until the next byte comes. */
struct order {
    uint64_t operation;
    uint64_t repeats;
};

struct span {
    double begin_s;
    double end_s;
};

struct pd_fleet {
    struct pd_fleet_task task;
    struct pd_peer workers[WORKERS_MAX];
};

struct worker {
    const struct pd_fleet_task *task;
    struct paramd_client *client;
    struct paramd_model *model;
    struct paramd_io *entries;
    struct paramd_ticket **tickets; /* with call_each */
    void *gradient;
    void *values;
};

static size_t element_bytes(const struct pd_fleet_task *task)
{
    return task->dtype == PARAMD_F32 ? sizeof(float) : sizeof(uint16_t);
}

static size_t model_bytes(const struct pd_fleet_task *task)
{
    return task->tensor_count * task->tensor_bytes;
}

static void take_buffers(struct worker *worker)
{
    const struct pd_fleet_task *task = worker->task;
    size_t bytes = model_bytes(task);
    worker->gradient = pd_memory_take(bytes);
    worker->values = pd_memory_take(bytes);
    worker->entries = calloc(task->tensor_count, sizeof *worker->entries);
    worker->tickets = calloc(task->tensor_count, sizeof(struct paramd_ticket *));
    if (worker->entries == NULL || worker->tickets == NULL) {
        err(1, "worker");
    }
    if (task->dtype == PARAMD_F32) {
        pd_gradient_fill(worker->gradient, bytes / sizeof(float));
    } else {
        pd_gradient_fill_bf16(worker->gradient, bytes / sizeof(uint16_t));
    }
    memset(worker->values, 0, bytes);
    for (size_t i = 0; i < task->tensor_count; i++) {
        worker->entries[i] =
            (struct paramd_io){.tensor = (uint32_t)i,
                               .gradient = (char *)worker->gradient + i * task->tensor_bytes,
                               .values = (char *)worker->values + i * task->tensor_bytes};
    }
}

static void give_buffers(struct worker *worker)
{
    pd_memory_give(worker->gradient, model_bytes(worker->task));
    pd_memory_give(worker->values, model_bytes(worker->task));
    free(worker->entries);
    free(worker->tickets);
}

static void once_for_all(struct worker *worker, enum pd_operation operation)
{
    static int (*const calls[PD_OPERATIONS])(
        struct paramd_model *, const struct paramd_io *, size_t, const struct paramd_call *, int,
        struct paramd_result *) = {paramd_push_wait, paramd_pull_wait, paramd_push_pull_wait};
    const struct paramd_call call = {.dtype = worker->task->dtype};
    pd_member_check(calls[operation](worker->model, worker->entries, worker->task->tensor_count,
                                     &call, PD_MEMBER_TIMEOUT_MS, NULL),
                    pd_operation_name(operation));
}

static void once_for_each(struct worker *worker, enum pd_operation operation)
{
    static int (*const calls[PD_OPERATIONS])(
        struct paramd_model *, const struct paramd_io *, size_t, const struct paramd_call *,
        struct paramd_ticket **) = {paramd_push, paramd_pull, paramd_push_pull};
    const struct paramd_call call = {.dtype = worker->task->dtype};
    for (size_t i = 0; i < worker->task->tensor_count; i++) {
        pd_member_check(
            calls[operation](worker->model, &worker->entries[i], 1, &call, &worker->tickets[i]),
            pd_operation_name(operation));
    }
    for (size_t i = 0; i < worker->task->tensor_count; i++) {
        pd_member_check(paramd_wait(worker->tickets[i], PD_MEMBER_TIMEOUT_MS, NULL),
                        pd_operation_name(operation));
        paramd_release(worker->tickets[i]);
    }
}

static bool told_to_end(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    return poll(&wanted, 1, 0) != 0;
}

static void carry_out(struct worker *worker, int fd, const struct order *order)
{
    for (uint64_t i = 0; order->repeats == 0 ? !told_to_end(fd) : i < order->repeats; i++) {
        if (worker->task->call_each) {
            once_for_each(worker, (enum pd_operation)order->operation);
        } else {
            once_for_all(worker, (enum pd_operation)order->operation);
        }
    }
}

/* A worker process: its first answer says that it has joined. */
static void work(int fd, unsigned index, const void *arg)
{
    struct worker worker = {.task = arg};
    struct order order;
    char end;
    (void)index;
    worker.client = pd_member_open(&worker.task->way);
    worker.model = pd_member_join(worker.client, worker.task->model, worker.task->tensor_count,
                                  worker.task->tensor_bytes / element_bytes(worker.task),
                                  worker.task->ack_level);
    take_buffers(&worker);
    struct span span = {0};
    bool runs = pd_peer_write(fd, &span, sizeof span);
    while (runs && pd_peer_read(fd, &order, sizeof order)) {
        span.begin_s = pd_now_s();
        carry_out(&worker, fd, &order);
        span.end_s = pd_now_s();
        runs = (order.repeats > 0 || pd_peer_read(fd, &end, 1)) &&
               pd_peer_write(fd, &span, sizeof span);
    }
    pd_member_leave(worker.client, worker.model);
    give_buffers(&worker);
}

static struct span collect(struct pd_peer *worker)
{
    struct span span;
    if (!pd_peer_read(worker->fds[0], &span, sizeof span)) {
        errx(1, "a worker ended");
    }
    return span;
}

static void order_all(struct pd_fleet *fleet, enum pd_operation operation, unsigned repeats)
{
    const struct order order = {.operation = operation, .repeats = repeats};
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        if (!pd_peer_write(fleet->workers[i].fds[0], &order, sizeof order)) {
            errx(1, "a worker ended");
        }
    }
}

struct pd_fleet *pd_fleet_create(const struct pd_fleet_task *task)
{
    struct pd_fleet *fleet = calloc(1, sizeof *fleet);
    if (fleet == NULL || task->workers > WORKERS_MAX) {
        errx(1, "no memory for %u workers", task->workers);
    }
    fleet->task = *task;
    for (unsigned i = 0; i < task->workers; i++) {
        fleet->workers[i] = pd_peer_start(PD_TRANSPORT_UNIX, 1, 0, work, &fleet->task);
    }
    for (unsigned i = 0; i < task->workers; i++) {
        (void)collect(&fleet->workers[i]);
    }
    return fleet;
}

void pd_fleet_destroy(struct pd_fleet *fleet)
{
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        pd_peer_stop(&fleet->workers[i]);
    }
    free(fleet);
}

double pd_fleet_measure(struct pd_fleet *fleet, enum pd_operation operation, unsigned repeats)
{
    struct span all = {0};
    order_all(fleet, operation, repeats);
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        struct span one = collect(&fleet->workers[i]);
        all.begin_s = i == 0 || one.begin_s < all.begin_s ? one.begin_s : all.begin_s;
        all.end_s = one.end_s > all.end_s ? one.end_s : all.end_s;
    }
    double bytes = (double)model_bytes(&fleet->task) * fleet->task.workers * repeats;
    return bytes / 1e9 / (all.end_s - all.begin_s);
}

pid_t pd_fleet_worker(const struct pd_fleet *fleet, unsigned index)
{
    return fleet->workers[index].pid;
}

double pd_fleet_cpu_s(const struct pd_fleet *fleet)
{
    double seconds = 0;
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        seconds += pd_cpu_s(fleet->workers[i].pid);
    }
    return seconds;
}

void pd_fleet_begin(struct pd_fleet *fleet, enum pd_operation operation)
{
    order_all(fleet, operation, 0);
}

void pd_fleet_end(struct pd_fleet *fleet)
{
    const char end = 1;
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        if (!pd_peer_write(fleet->workers[i].fds[0], &end, 1)) {
            errx(1, "a worker ended");
        }
    }
    for (unsigned i = 0; i < fleet->task.workers; i++) {
        (void)collect(&fleet->workers[i]);
    }
}
