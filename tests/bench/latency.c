/* paramd-bench latency: how long one push takes until it is acknowledged, idle and under load,
 * beside the raw round trip. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/report.h"
#include "tests/bench/roundtrip.h"
#include "tests/bench/single.h"

enum { SIZES = 2, CLIENTS = 2, LOADS = 2, SHARES = 3, PUSHES_MAX = 2000, CASE_BYTES = 96 };

/* Under load a push may take milliseconds. */
static const double SAMPLE_S_MAX = 1;

static const struct {
    size_t bytes;
    unsigned pushes; /* in one sample, if there is time */
} sizes[SIZES] = {{64, PUSHES_MAX}, {256 * 1024, 1000}};

static const struct {
    double share;
    const char *name;
} shares[SHARES] = {{0.5, "p50"}, {0.99, "p99"}, {0.999, "p99.9"}};

static const char *const client_names[CLIENTS] = {"", "/threaded"};
static const char *const load_names[LOADS] = {"idle", "loaded"};

struct latency {
    enum pd_transport transport;
    struct pd_roundtrip *trips[PD_WAITINGS];
    struct pd_daemon *daemon;
    struct pd_fleet *load; /* pushes 16 MiB without end while it is on */
    struct pd_single *clients[CLIENTS][SIZES];
    struct pd_samples samples[LOADS][CLIENTS][SIZES][SHARES];
    double times[PUSHES_MAX];
};

/* Workers stay on core 0 and the daemon on core 1, as the two ends of the round trips do. Processes
 * come first: after the clients there are threads. */
static void start(struct latency *latency, const struct pd_options *options)
{
    latency->transport = options->transport > 0 ? PD_TRANSPORT_UNIX : PD_TRANSPORT_TCP;
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        latency->trips[waiting] = pd_roundtrip_create(latency->transport, (enum pd_waiting)waiting);
    }
    pd_peer_pin(1);
    latency->daemon = pd_daemon_start(1, false);
    pd_peer_pin(0);
    const struct pd_fleet_task task = {.address =
                                           pd_daemon_address(latency->daemon, latency->transport),
                                       .model = "load",
                                       .workers = 1,
                                       .tensor_count = 1,
                                       .tensor_bytes = 16 * PD_MIB};
    latency->load = pd_fleet_create(&task);
    for (int i = 0; i < CLIENTS * SIZES; i++) {
        char model[32];
        (void)snprintf(model, sizeof model, "latency-%d", i);
        latency->clients[i / SIZES][i % SIZES] =
            pd_single_create(task.address, model, 1, sizes[i % SIZES].bytes, i / SIZES == 1);
    }
    pd_peer_pin(-1);
}

static void stop(struct latency *latency)
{
    for (int i = 0; i < CLIENTS * SIZES; i++) {
        pd_single_destroy(latency->clients[i / SIZES][i % SIZES]);
    }
    pd_fleet_destroy(latency->load);
    pd_daemon_stop(latency->daemon);
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        pd_roundtrip_destroy(latency->trips[waiting]);
    }
}

static void measure_clients(struct latency *latency, int load)
{
    pd_peer_pin(0);
    for (int i = 0; i < CLIENTS * SIZES; i++) {
        int client = i / SIZES;
        int size = i % SIZES;
        unsigned pushes = 0;
        double end_s = pd_now_s() + SAMPLE_S_MAX;
        while (pushes < sizes[size].pushes && (pushes == 0 || pd_now_s() < end_s)) {
            latency->times[pushes++] = pd_single_push_us(latency->clients[client][size]);
        }
        for (int share = 0; share < SHARES; share++) {
            pd_samples_add(&latency->samples[load][client][size][share],
                           pd_percentile(latency->times, pushes, shares[share].share));
        }
    }
    pd_peer_pin(-1);
}

static void measure_round(struct latency *latency)
{
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        pd_roundtrip_measure(latency->trips[waiting]);
    }
    measure_clients(latency, 0);
    pd_fleet_begin(latency->load, PD_PUSH);
    measure_clients(latency, 1);
    pd_fleet_end(latency->load);
}

static void report_size(const struct latency *latency, int size)
{
    char name[CASE_BYTES];
    for (int i = 0; i < LOADS * CLIENTS * SHARES; i++) {
        int load = i / (CLIENTS * SHARES);
        int client = i / SHARES % CLIENTS;
        int share = i % SHARES;
        (void)snprintf(name, sizeof name, "push/%s/%s/%s/%s%s",
                       pd_transport_name(latency->transport), pd_size_print(sizes[size].bytes).text,
                       load_names[load], shares[share].name, client_names[client]);
        /* Under load and in the tails a round trip is no limit. */
        bool is_bounded = load == 0 && share == 0;
        pd_report_row(name, "us", &latency->samples[load][client][size][share],
                      is_bounded ? "libuv round trip" : NULL,
                      pd_roundtrip_samples(latency->trips[PD_WAITING_LIBUV]));
    }
}

int pd_bench_latency(const struct pd_options *options)
{
    struct latency *latency = calloc(1, sizeof *latency);
    char name[CASE_BYTES];
    if (latency == NULL) {
        err(1, "latency");
    }
    pd_report_begin(options->json, "latency", options->rounds);
    start(latency, options);
    for (unsigned round = 0; round < options->rounds; round++) {
        measure_round(latency);
    }
    for (int size = 0; size < SIZES; size++) {
        report_size(latency, size);
    }
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        (void)snprintf(name, sizeof name, "round trip/%s/64B/%s",
                       pd_transport_name(latency->transport),
                       pd_waiting_name((enum pd_waiting)waiting));
        pd_report_row(name, "us", pd_roundtrip_samples(latency->trips[waiting]), NULL, NULL);
    }
    stop(latency);
    free(latency);
    return pd_report_end();
}
