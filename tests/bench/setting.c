/* Measuring a group of setting.h. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/report.h"
#include "tests/bench/setting.h"

enum { CASE_BYTES = 96, REPEATS_MAX = 1024, DTYPES = 2 };

/* Moved in one sample at least, unless that takes too many repeats, so that it is no matter of
 * microseconds. */
#define SAMPLE_BYTES (512 * PD_MIB)

struct measured {
    struct pd_setting setting;
    struct pd_daemon *daemon;
    struct pd_fleet *fleet;
    struct pd_samples samples[PD_OPERATIONS];
    /* Seconds for each pushed GB. */
    struct pd_samples worker_cpu;
    struct pd_samples server_cpu;
};

struct turns {
    int operation; /* -1: all */
    unsigned count;
    struct measured measured[PD_GROUP_SETTINGS_MAX];
    struct pd_raw *raw[PD_TRANSPORTS]; /* by transport; NULL: not needed */
    struct pd_bare *bare[PD_TRANSPORTS][DTYPES];
};

struct case_name {
    char text[CASE_BYTES];
};

static struct pd_raw *raw_of(const struct turns *turns, const struct pd_setting *setting)
{
    return turns->raw[pd_transport_socket(setting->transport)];
}

/* NULL for shared memory. */
static struct pd_bare *bare_of(const struct turns *turns, const struct pd_setting *setting)
{
    return turns->bare[setting->transport][setting->bf16];
}

/* State, buffers of the workers, and a bare loop of two forms with one pair of buffers. */
static size_t memory_bytes(const struct pd_setting *setting)
{
    size_t wide = setting->bf16 ? 2 : 1;
    return (3 * wide + 2 * (size_t)setting->workers + 6 * wide + 2) * setting->size_bytes;
}

static bool is_wanted(const struct turns *turns, int operation)
{
    return turns->operation < 0 || turns->operation == operation;
}

static unsigned repeats(size_t bytes)
{
    size_t count = (SAMPLE_BYTES + bytes - 1) / bytes;
    return count > REPEATS_MAX ? REPEATS_MAX : (unsigned)count;
}

/* operation/transport/workers x shards/size, shards as a text. */
static struct case_name name_with(const struct pd_setting *setting, int operation,
                                  const char *shards)
{
    struct case_name name;
    char tensors[24] = "";
    if (setting->tensors > 1) {
        (void)snprintf(tensors, sizeof tensors, "%zux", setting->tensors);
    }
    (void)snprintf(name.text, sizeof name.text, "%s/%s/%ux%s/%s%s%s%s",
                   pd_operation_name((enum pd_operation)operation),
                   pd_transport_name(setting->transport), setting->workers, shards, tensors,
                   pd_size_print(setting->size_bytes / setting->tensors).text,
                   setting->bf16 ? "/bf16" : "", setting->payload_sum ? "/sums" : "");
    return name;
}

static struct case_name name_of(const struct pd_setting *setting, int operation)
{
    char shards[12];
    (void)snprintf(shards, sizeof shards, "%u", setting->shards);
    return name_with(setting, operation, shards);
}

/* Limits fork before there is a daemon: what they hold is then not copied into it. */
static void start_limits(struct turns *turns, const struct pd_setting *setting)
{
    enum pd_transport socket = pd_transport_socket(setting->transport);
    if (turns->raw[socket] == NULL) {
        turns->raw[socket] = pd_raw_create(socket);
    }
    if (setting->transport == socket && turns->bare[socket][setting->bf16] == NULL) {
        turns->bare[socket][setting->bf16] =
            pd_bare_create(socket, setting->size_bytes, setting->bf16 ? PD_BF16 : PD_F32);
    }
}

/* One worker and one shard stay on two cores, as the ends of the bare loop do: where the kernel
 * puts them makes a half. */
static void start(struct measured *measured)
{
    const struct pd_setting *setting = &measured->setting;
    const struct pd_daemon_task daemon = {.shards = setting->shards,
                                          .payload_sum = setting->payload_sum};
    bool is_pair = setting->workers == 1 && setting->shards == 1;
    pd_peer_pin(is_pair ? 1 : -1);
    measured->daemon = pd_daemon_start(&daemon);
    pd_peer_pin(is_pair ? 0 : -1);
    const struct pd_fleet_task task = {
        .way = {.address = pd_daemon_address(measured->daemon, setting->transport),
                .transport = setting->transport,
                .payload_sum = setting->payload_sum},
        .model = "bench",
        .workers = setting->workers,
        .tensor_count = setting->tensors,
        .tensor_bytes = setting->size_bytes / setting->tensors,
        .dtype = setting->bf16 ? PARAMD_BF16 : PARAMD_F32};
    measured->fleet = pd_fleet_create(&task);
    pd_peer_pin(-1);
}

static void start_all(struct turns *turns, const struct pd_group *group)
{
    size_t wanted = 2 * PD_GIB;
    size_t available = pd_memory_available();
    for (unsigned i = 0; i < group->count; i++) {
        const struct pd_setting *setting = &group->settings[i];
        wanted += memory_bytes(setting);
        if (wanted > available) {
            warnx("%s and what follows it is left out: not enough memory",
                  name_of(setting, group->operation < 0 ? PD_PUSH : group->operation).text);
            break;
        }
        turns->measured[turns->count++].setting = *setting;
    }
    for (unsigned i = 0; i < turns->count; i++) {
        start_limits(turns, &turns->measured[i].setting);
    }
    for (unsigned i = 0; i < turns->count; i++) {
        start(&turns->measured[i]);
    }
}

static void stop_all(struct turns *turns)
{
    for (unsigned i = 0; i < turns->count; i++) {
        pd_fleet_destroy(turns->measured[i].fleet);
        pd_daemon_stop(turns->measured[i].daemon);
    }
    for (int i = 0; i < PD_TRANSPORTS; i++) {
        pd_bare_destroy(turns->bare[i][0]);
        pd_bare_destroy(turns->bare[i][1]);
        pd_raw_destroy(turns->raw[i]);
    }
}

static void measure(struct measured *measured, enum pd_operation operation)
{
    size_t bytes = measured->setting.size_bytes * measured->setting.workers;
    unsigned times = repeats(bytes);
    double gb = (double)bytes * times / 1e9;
    double worker_s = pd_fleet_cpu_s(measured->fleet);
    double server_s = pd_cpu_s(pd_daemon_pid(measured->daemon));
    pd_samples_add(&measured->samples[operation],
                   pd_fleet_measure(measured->fleet, operation, times));
    if (operation == PD_PUSH) {
        worker_s = pd_fleet_cpu_s(measured->fleet) - worker_s;
        server_s = pd_cpu_s(pd_daemon_pid(measured->daemon)) - server_s;
        pd_samples_add(&measured->worker_cpu, worker_s / gb);
        pd_samples_add(&measured->server_cpu, server_s / gb);
    }
}

/* The first time touches memory and opens connections: it does not count. */
static void warm_up(struct turns *turns)
{
    for (unsigned i = 0; i < turns->count; i++) {
        for (int operation = 0; operation < PD_OPERATIONS; operation++) {
            if (is_wanted(turns, operation)) {
                (void)pd_fleet_measure(turns->measured[i].fleet, (enum pd_operation)operation, 1);
            }
        }
    }
}

static void measure_round(struct turns *turns)
{
    unsigned times = repeats(turns->measured[0].setting.size_bytes);
    for (int i = 0; i < PD_TRANSPORTS; i++) {
        if (turns->raw[i] != NULL) {
            pd_raw_measure(turns->raw[i]);
        }
    }
    for (int operation = 0; operation < PD_OPERATIONS; operation++) {
        if (!is_wanted(turns, operation)) {
            continue;
        }
        for (int i = 0; i < PD_TRANSPORTS * DTYPES; i++) {
            if (turns->bare[i / DTYPES][i % DTYPES] != NULL) {
                pd_bare_measure(turns->bare[i / DTYPES][i % DTYPES], (enum pd_operation)operation,
                                times);
            }
        }
        for (unsigned i = 0; i < turns->count; i++) {
            measure(&turns->measured[i], (enum pd_operation)operation);
        }
    }
}

/* The same but for what makes the other interesting; NULL: not in this group. */
static const struct measured *find(const struct turns *turns, const struct pd_setting *setting)
{
    for (unsigned i = 0; i < turns->count; i++) {
        const struct pd_setting *other = &turns->measured[i].setting;
        if (other->transport == setting->transport && other->workers == setting->workers &&
            other->shards == setting->shards && (other->tensors > 1) == (setting->tensors > 1) &&
            other->bf16 == setting->bf16 && other->payload_sum == setting->payload_sum) {
            return &turns->measured[i];
        }
    }
    return NULL;
}

static void report_pairs(const struct turns *turns, const struct measured *measured, int operation)
{
    struct case_name name = name_of(&measured->setting, operation);
    struct pd_setting tcp = measured->setting;
    struct pd_setting many = measured->setting;
    struct pd_setting spread = measured->setting;
    const struct pd_samples *samples = &measured->samples[operation];
    const struct measured *other = NULL;
    char of[32];
    tcp.transport = PD_TRANSPORT_TCP;
    many.tensors = 2;
    spread.shards = 2;
    if (measured->setting.transport == PD_TRANSPORT_SHM && (other = find(turns, &tcp)) != NULL) {
        pd_report_row(name.text, "GB/s", samples, "tcp", &other->samples[operation]);
    }
    if (measured->setting.tensors == 1 && (other = find(turns, &many)) != NULL) {
        (void)snprintf(of, sizeof of, "%zux%s", other->setting.tensors,
                       pd_size_print(other->setting.size_bytes / other->setting.tensors).text);
        pd_report_row(name.text, "GB/s", samples, of, &other->samples[operation]);
    }
    if (measured->setting.shards == 1 && (other = find(turns, &spread)) != NULL) {
        const struct pd_samples *two = &other->samples[operation];
        bool is_better = pd_samples_median(two) > pd_samples_median(samples);
        pd_report_row(name_with(&measured->setting, operation, "(1|2)").text, "GB/s",
                      is_better ? two : samples, "raw tcp",
                      pd_raw_best(raw_of(turns, &measured->setting)));
    }
}

static void report_cpu(const struct turns *turns, const struct measured *measured)
{
    const struct pd_raw *raw = raw_of(turns, &measured->setting);
    char of[16];
    char name[CASE_BYTES + 16];
    (void)snprintf(of, sizeof of, "raw %s",
                   pd_transport_name(pd_transport_socket(measured->setting.transport)));
    (void)snprintf(name, sizeof name, "%s/cpu/worker", name_of(&measured->setting, PD_PUSH).text);
    pd_report_row(name, "s/GB", &measured->worker_cpu, of, pd_raw_sender_cpu(raw));
    (void)snprintf(name, sizeof name, "%s/cpu/server", name_of(&measured->setting, PD_PUSH).text);
    pd_report_row(name, "s/GB", &measured->server_cpu, of, pd_raw_receiver_cpu(raw));
}

static void report_case(const struct turns *turns, const struct measured *measured, int operation,
                        struct pd_plot *plot)
{
    const struct pd_setting *setting = &measured->setting;
    const struct pd_bare *bare = bare_of(turns, setting);
    const struct pd_samples *samples = &measured->samples[operation];
    struct case_name name = name_of(setting, operation);
    char of[16];
    (void)snprintf(of, sizeof of, "raw %s",
                   pd_transport_name(pd_transport_socket(setting->transport)));
    if (bare != NULL) {
        pd_report_row(name.text, "GB/s", samples, "bare loop",
                      pd_bare_best(bare, (enum pd_operation)operation));
    }
    pd_report_row(name.text, "GB/s", samples, of, pd_raw_best(raw_of(turns, setting)));
    report_pairs(turns, measured, operation);
    if (operation == PD_PUSH) {
        report_cpu(turns, measured);
    }
    (void)snprintf(name.text, sizeof name.text, "%s/%s/%ux%u%s%s%s",
                   pd_operation_name((enum pd_operation)operation),
                   pd_transport_name(setting->transport), setting->workers, setting->shards,
                   setting->tensors > 1 ? "/many tensors" : "", setting->bf16 ? "/bf16" : "",
                   setting->payload_sum ? "/sums" : "");
    pd_plot_add(plot, name.text, (double)setting->size_bytes, pd_samples_median(samples));
}

static void report_bare(const struct turns *turns, int socket, int bf16, int operation)
{
    const struct pd_bare *bare = turns->bare[socket][bf16];
    const char *transport = pd_transport_name((enum pd_transport)socket);
    const struct pd_samples *raw = pd_raw_best(turns->raw[socket]);
    char size[PD_SIZE_TEXT_BYTES];
    char name[CASE_BYTES];
    char of[16];
    (void)snprintf(of, sizeof of, "raw %s", transport);
    (void)snprintf(size, sizeof size, "%s",
                   pd_size_print(turns->measured[0].setting.size_bytes).text);
    for (unsigned n = 1; n <= PD_PEER_CONNECTIONS_MAX; n++) {
        const struct pd_samples *samples = pd_bare_samples(bare, (enum pd_operation)operation, n);
        if (samples != NULL) {
            (void)snprintf(name, sizeof name, "bare loop/%s/%s/%s%s/%u connection%s",
                           pd_operation_name((enum pd_operation)operation), transport, size,
                           bf16 ? "/bf16" : "", n, n > 1 ? "s" : "");
            pd_report_row(name, "GB/s", samples, of, raw);
        }
    }
    pd_bare_check(bare, (enum pd_operation)operation, raw);
}

static void report_limits(const struct turns *turns, const struct pd_iperf *iperf,
                          struct pd_plot *plot)
{
    const struct pd_samples *other = pd_iperf_samples(iperf);
    double size = (double)turns->measured[0].setting.size_bytes;
    for (int i = 0; i < PD_TRANSPORTS * DTYPES * PD_OPERATIONS; i++) {
        int socket = i / DTYPES / PD_OPERATIONS;
        int bf16 = i / PD_OPERATIONS % DTYPES;
        int operation = i % PD_OPERATIONS;
        if (turns->bare[socket][bf16] != NULL && is_wanted(turns, operation)) {
            report_bare(turns, socket, bf16, operation);
        }
    }
    for (int i = 0; i < PD_TRANSPORTS; i++) {
        bool is_tcp = i == PD_TRANSPORT_TCP;
        const char *name = is_tcp ? "raw tcp" : "raw unix";
        if (turns->raw[i] == NULL) {
            continue;
        }
        pd_report_row(name, "GB/s", pd_raw_best(turns->raw[i]),
                      is_tcp && other != NULL ? "iperf3" : NULL, other);
        pd_plot_add(plot, name, size, pd_samples_median(pd_raw_best(turns->raw[i])));
        if (is_tcp) {
            pd_raw_check(turns->raw[i], iperf);
        }
    }
}

void pd_group_run(const struct pd_group *group, unsigned rounds, struct pd_iperf *iperf,
                  struct pd_plot *plot)
{
    struct turns *turns = calloc(1, sizeof *turns);
    if (turns == NULL) {
        err(1, "group");
    }
    turns->operation = group->operation;
    start_all(turns, group);
    warm_up(turns);
    for (unsigned round = 0; round < rounds && turns->count > 0; round++) {
        pd_iperf_measure(iperf);
        measure_round(turns);
    }
    for (unsigned i = 0; i < turns->count; i++) {
        for (int operation = 0; operation < PD_OPERATIONS; operation++) {
            if (is_wanted(turns, operation)) {
                report_case(turns, &turns->measured[i], operation, plot);
            }
        }
    }
    if (turns->count > 0) {
        report_limits(turns, iperf, plot);
    }
    stop_all(turns);
    free(turns);
}
