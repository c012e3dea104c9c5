/* paramd-bench connections: more and more connections, all of them pushing at the same time, beside
 * four that push as much. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/member.h"
#include "tests/bench/plot.h"
#include "tests/bench/report.h"

enum {
    HERDS_MAX = 4,
    TENSORS = 1024,       /* pushed by every connection */
    APART = 633,          /* tensors between where one connection and the next begin */
    TENSORS_OF_CALL = 4,  /* small calls, so that a sample ends soon for everybody */
    AHEAD = 2,            /* calls of one connection on their way */
    DESCRIPTORS_EACH = 4, /* of a client in one process: socket, epoll, eventfd */
    DESCRIPTORS_BESIDE = 256,
    CASE_BYTES = 64
};

static const unsigned counts[HERDS_MAX] = {4, 64, 256, 1024};
static const double SAMPLE_S = 0.6;
/* Before a sample begins, so that windows and buffers are as they stay. */
static const double LEAD_S = 0.2;

/* What the connections of a herd have in common. */
struct herd_task {
    struct pd_member_way way;
    unsigned connections;
    size_t tensor_bytes;
    char *gradient; /* of all tensors: as much memory is read whatever the number of connections */
};

struct herd {
    struct herd_task task;
    struct pd_peer peer;
    struct pd_samples rate;  /* GB/s */
    struct pd_samples least; /* of the slowest connection, in shares of the mean */
    struct pd_samples load;  /* of the daemon's cores: below 1 the clients are what is slow */
};

struct push {
    struct paramd_ticket *ticket;
    size_t bytes;
};

/* Pushes all tensors in turn, a few at a time. Where connections begin is golden sections of the
 * way apart: none finds in a cache what it, or one of the last twenty before it, has changed. */
struct connection {
    struct paramd_client *client;
    struct paramd_model *model;
    size_t next;
    struct push pushes[AHEAD]; /* a ring: the oldest is finished first */
    unsigned oldest;
    uint64_t bytes; /* acknowledged in this sample */
};

struct answer {
    double gb_s;
    double least;
};

static void push_next(const struct herd_task *task, struct connection *connection,
                      struct push *push)
{
    struct paramd_io entries[TENSORS_OF_CALL];
    for (size_t i = 0; i < TENSORS_OF_CALL; i++) {
        entries[i] =
            (struct paramd_io){.tensor = (uint32_t)connection->next,
                               .gradient = task->gradient + connection->next * task->tensor_bytes};
        connection->next = (connection->next + 1) % TENSORS;
    }
    pd_member_check(paramd_push(connection->model, entries, TENSORS_OF_CALL, NULL, &push->ticket),
                    "push");
    push->bytes = TENSORS_OF_CALL * task->tensor_bytes;
}

/* One turn: a client without a thread does its I/O in here. Whether its oldest push was over. */
static bool turn(struct connection *connection)
{
    struct push *push = &connection->pushes[connection->oldest];
    int status = paramd_wait(push->ticket, 0, NULL);
    if (status == PARAMD_TIMEOUT) {
        return false;
    }
    pd_member_check(status, "push");
    paramd_release(push->ticket);
    connection->bytes += push->bytes;
    push->ticket = NULL;
    return true;
}

static void finish(struct connection *connection)
{
    for (unsigned i = 0; i < AHEAD; i++) {
        struct push *push = &connection->pushes[(connection->oldest + i) % AHEAD];
        pd_member_check(paramd_wait(push->ticket, PD_MEMBER_TIMEOUT_MS, NULL), "push");
        paramd_release(push->ticket);
    }
    connection->oldest = 0;
}

/* All connections push from before the sample until after it. */
static struct answer push_all(const struct herd_task *task, struct connection *connections)
{
    struct answer answer = {0};
    double begin_s = pd_now_s() + LEAD_S;
    double now_s = 0;
    bool counts_now = false;
    for (unsigned i = 0; i < task->connections * AHEAD; i++) {
        struct connection *connection = &connections[i / AHEAD];
        push_next(task, connection, &connection->pushes[i % AHEAD]);
    }
    do {
        for (unsigned i = 0; i < task->connections; i++) {
            struct connection *connection = &connections[i];
            if (turn(connection)) {
                push_next(task, connection, &connection->pushes[connection->oldest]);
                connection->oldest = (connection->oldest + 1) % AHEAD;
            }
        }
        now_s = pd_now_s();
        if (!counts_now && now_s >= begin_s) {
            counts_now = true;
            begin_s = now_s;
            for (unsigned i = 0; i < task->connections; i++) {
                connections[i].bytes = 0;
            }
        }
    } while (!counts_now || now_s < begin_s + SAMPLE_S);
    double bytes = 0;
    uint64_t least = UINT64_MAX;
    for (unsigned i = 0; i < task->connections; i++) {
        bytes += (double)connections[i].bytes;
        least = connections[i].bytes < least ? connections[i].bytes : least;
        finish(&connections[i]);
    }
    answer.gb_s = bytes / 1e9 / (now_s - begin_s);
    answer.least = (double)least * task->connections / bytes;
    return answer;
}

/* A herd: one process and one thread with all its clients. Its first answer says that they have
 * joined. */
static void run_herd(int fd, unsigned index, const void *arg)
{
    const struct herd_task *task = arg;
    struct connection *connections = calloc(task->connections, sizeof *connections);
    struct answer answer = {0};
    char begin;
    (void)index;
    if (connections == NULL) {
        err(1, "connections");
    }
    for (unsigned i = 0; i < task->connections; i++) {
        struct connection *connection = &connections[i];
        connection->next = (size_t)i * APART % TENSORS;
        connection->client = pd_member_open(&task->way);
        connection->model = pd_member_join(connection->client, "connections", TENSORS,
                                           task->tensor_bytes / sizeof(float), PARAMD_ACK_APPLIED);
    }
    bool runs = pd_peer_write(fd, &answer, sizeof answer);
    while (runs && pd_peer_read(fd, &begin, 1)) {
        answer = push_all(task, connections);
        runs = pd_peer_write(fd, &answer, sizeof answer);
    }
    for (unsigned i = 0; i < task->connections; i++) {
        pd_member_leave(connections[i].client, connections[i].model);
    }
    free(connections);
}

static struct answer collect(const struct herd *herd)
{
    struct answer answer;
    if (!pd_peer_read(herd->peer.fds[0], &answer, sizeof answer)) {
        errx(1, "%u connections ended", herd->task.connections);
    }
    return answer;
}

static void measure(struct herd *herd, const struct pd_daemon *daemon)
{
    const char begin = 1;
    double begin_s = pd_now_s();
    double used_s = pd_cpu_s(pd_daemon_pid(daemon));
    if (!pd_peer_write(herd->peer.fds[0], &begin, 1)) {
        errx(1, "%u connections ended", herd->task.connections);
    }
    struct answer answer = collect(herd);
    pd_samples_add(&herd->rate, answer.gb_s);
    pd_samples_add(&herd->least, answer.least);
    used_s = pd_cpu_s(pd_daemon_pid(daemon)) - used_s;
    pd_samples_add(&herd->load, used_s / (pd_now_s() - begin_s));
}

/* Descriptors that this process and its children may have, after asking for all that are allowed.
 */
static size_t raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        err(1, "RLIMIT_NOFILE");
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
        err(1, "RLIMIT_NOFILE");
    }
    return limit.rlim_cur;
}

/* Those that the limit of open files allows. */
static unsigned choose(const struct pd_options *options, struct herd *herds)
{
    size_t descriptors = raise_descriptors();
    unsigned count = 0;
    for (unsigned i = 0; i < HERDS_MAX; i++) {
        unsigned connections = i > 0 && options->connections > 0 ? options->connections : counts[i];
        if ((size_t)connections * DESCRIPTORS_EACH + DESCRIPTORS_BESIDE > descriptors) {
            warnx("%u connections are left out: only %zu open files are allowed", connections,
                  descriptors);
        } else if (i < 2 || options->connections == 0) {
            herds[count++].task.connections = connections;
        }
    }
    if (count == 0) {
        errx(1, "not even %u connections", counts[0]);
    }
    return count;
}

/* Of all herds, which stay connected, and some to spare. */
static unsigned connections_of(const struct herd *herds, unsigned count)
{
    unsigned connections = DESCRIPTORS_BESIDE;
    for (unsigned i = 0; i < count; i++) {
        connections += herds[i].task.connections;
    }
    return connections;
}

static void report(const struct pd_options *options, const struct herd *herds, unsigned count,
                   struct pd_plot *plot)
{
    char name[CASE_BYTES];
    const char *transport = pd_transport_name(pd_options_transport(options));
    for (unsigned i = 0; i < count; i++) {
        const struct herd *herd = &herds[i];
        (void)snprintf(name, sizeof name, "push/%s/%u connections", transport,
                       herd->task.connections);
        pd_report_row(name, "GB/s", &herd->rate, i > 0 ? "4 connections" : NULL, &herds[0].rate);
        pd_plot_add(plot, transport, herd->task.connections, pd_samples_median(&herd->rate));
        (void)snprintf(name, sizeof name, "push/%s/%u connections/slowest", transport,
                       herd->task.connections);
        pd_report_row(name, "of mean", &herd->least, NULL, NULL);
        (void)snprintf(name, sizeof name, "push/%s/%u connections/server", transport,
                       herd->task.connections);
        pd_report_row(name, "cores", &herd->load, NULL, NULL);
    }
}

int pd_bench_connections(const struct pd_options *options)
{
    const struct pd_plot_task curves = {.folder = options->plot,
                                        .name = "connections",
                                        .x_label = "connections, all of them pushing",
                                        .y_label = "GB/s",
                                        .x_base = 2};
    struct herd herds[HERDS_MAX] = {0};
    enum pd_transport transport = pd_options_transport(options);
    size_t tensor_bytes = options->size_bytes > 0 ? options->size_bytes : 256 * PD_KIB;
    struct pd_plot *plot = pd_plot_create(&curves);
    pd_report_begin(options->json, "connections", options->rounds);
    unsigned count = choose(options, herds);
    const struct pd_daemon_task daemon_task = {.shards = options->shards > 0 ? options->shards : 1,
                                               .connections_max = connections_of(herds, count)};
    struct pd_daemon *daemon = pd_daemon_start(&daemon_task);
    char *gradient = pd_memory_take(TENSORS * tensor_bytes);
    pd_gradient_fill((float *)(void *)gradient, TENSORS * tensor_bytes / sizeof(float));
    for (unsigned i = 0; i < count; i++) {
        struct herd_task *task = &herds[i].task;
        task->way = (struct pd_member_way){.address = pd_daemon_address(daemon, transport),
                                           .transport = transport};
        task->tensor_bytes = tensor_bytes;
        task->gradient = gradient;
        herds[i].peer = pd_peer_start(PD_TRANSPORT_UNIX, 1, 0, run_herd, task);
        (void)collect(&herds[i]);
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        for (unsigned i = 0; i < count; i++) {
            measure(&herds[i], daemon);
        }
    }
    report(options, herds, count, plot);
    for (unsigned i = 0; i < count; i++) {
        pd_peer_stop(&herds[i].peer);
    }
    pd_daemon_stop(daemon);
    pd_memory_give(gradient, TENSORS * tensor_bytes);
    pd_plot_draw(plot);
    return pd_report_end();
}
