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

enum {
    SIZES = 2,
    MODES = 2,
    CLIENTS = 2,
    LOADS = 2,
    SHARES = 3,
    PUSHES_MAX = 2000,
    POLL_US = 1000,
    CASE_BYTES = 96
};

/* Under load a push may take milliseconds. */
static const double SAMPLE_S_MAX = 0.4;

static const struct {
    size_t bytes;
    unsigned pushes; /* in one sample, if there is time */
} sizes[SIZES] = {{64, PUSHES_MAX}, {256 * 1024, 1000}};

static const struct {
    double share;
    const char *name;
} shares[SHARES] = {{0.5, "p50"}, {0.99, "p99"}, {0.999, "p99.9"}};

/* How both sides wait for each other, and the round trip that does the same. */
static const struct {
    const char *name;
    int busy_poll_us;
    enum pd_waiting waiting;
    const char *limit_name;
} modes[MODES] = {{"", -1, PD_WAITING_LIBUV, "libuv round trip"},
                  {"/polling", POLL_US, PD_WAITING_POLLING, "polling round trip"}};

static const char *const client_names[CLIENTS] = {"", "/threaded"};
static const char *const load_names[LOADS] = {"idle", "loaded"};

/* One mode's daemon and what speaks with it. */
struct side {
    struct pd_daemon *daemon;
    struct pd_fleet *load; /* pushes 16 MiB without end while it is on */
    struct pd_single *clients[CLIENTS][SIZES];
    struct pd_samples samples[LOADS][CLIENTS][SIZES][SHARES];
};

struct latency {
    enum pd_transport transport;
    struct pd_roundtrip *trips[PD_WAITINGS];
    struct side sides[MODES];
    double times[PUSHES_MAX];
};

static void start_side(struct latency *latency, int mode)
{
    struct side *side = &latency->sides[mode];
    const struct pd_daemon_task daemon = {.shards = 1, .busy_poll_us = modes[mode].busy_poll_us};
    pd_peer_pin(1);
    side->daemon = pd_daemon_start(&daemon);
    pd_peer_pin(0);
    const struct pd_fleet_task task = {
        .way = {.address = pd_daemon_address(side->daemon, latency->transport),
                .transport = latency->transport,
                .busy_poll_us = modes[mode].busy_poll_us},
        .model = "load",
        .workers = 1,
        .tensor_count = 1,
        .tensor_bytes = 16 * PD_MIB};
    side->load = pd_fleet_create(&task);
}

static void start_clients(struct latency *latency, int mode)
{
    struct side *side = &latency->sides[mode];
    for (int i = 0; i < CLIENTS * SIZES; i++) {
        const struct pd_member_way way = {.address =
                                              pd_daemon_address(side->daemon, latency->transport),
                                          .transport = latency->transport,
                                          .threaded = i / SIZES == 1,
                                          .busy_poll_us = modes[mode].busy_poll_us};
        char model[32];
        (void)snprintf(model, sizeof model, "latency-%d", i);
        side->clients[i / SIZES][i % SIZES] =
            pd_single_create(&way, model, 1, sizes[i % SIZES].bytes);
    }
}

/* Workers stay on core 0 and the daemon on core 1, as the two ends of the round trips do. Processes
 * come first: after the clients there are threads. */
static void start(struct latency *latency)
{
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        latency->trips[waiting] = pd_roundtrip_create(latency->transport, (enum pd_waiting)waiting);
    }
    for (int mode = 0; mode < MODES; mode++) {
        start_side(latency, mode);
    }
    for (int mode = 0; mode < MODES; mode++) {
        start_clients(latency, mode);
    }
    pd_peer_pin(-1);
}

static void stop(struct latency *latency)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct side *side = &latency->sides[mode];
        for (int i = 0; i < CLIENTS * SIZES; i++) {
            pd_single_destroy(side->clients[i / SIZES][i % SIZES]);
        }
        pd_fleet_destroy(side->load);
        pd_daemon_stop(side->daemon);
    }
    for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
        pd_roundtrip_destroy(latency->trips[waiting]);
    }
}

static void measure_clients(struct latency *latency, struct side *side, int load)
{
    pd_peer_pin(0);
    for (int i = 0; i < CLIENTS * SIZES; i++) {
        int client = i / SIZES;
        int size = i % SIZES;
        unsigned pushes = 0;
        double end_s = pd_now_s() + SAMPLE_S_MAX;
        while (pushes < sizes[size].pushes && (pushes == 0 || pd_now_s() < end_s)) {
            latency->times[pushes++] = pd_single_push_us(side->clients[client][size]);
        }
        for (int share = 0; share < SHARES; share++) {
            pd_samples_add(&side->samples[load][client][size][share],
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
    for (int mode = 0; mode < MODES; mode++) {
        struct side *side = &latency->sides[mode];
        measure_clients(latency, side, 0);
        pd_fleet_begin(side->load, PD_PUSH);
        measure_clients(latency, side, 1);
        pd_fleet_end(side->load);
    }
}

static void report_size(const struct latency *latency, int mode, int size)
{
    const struct side *side = &latency->sides[mode];
    char name[CASE_BYTES];
    for (int i = 0; i < LOADS * CLIENTS * SHARES; i++) {
        int load = i / (CLIENTS * SHARES);
        int client = i / SHARES % CLIENTS;
        int share = i % SHARES;
        (void)snprintf(name, sizeof name, "push/%s/%s/%s/%s%s%s",
                       pd_transport_name(latency->transport), pd_size_print(sizes[size].bytes).text,
                       load_names[load], shares[share].name, modes[mode].name,
                       client_names[client]);
        /* Under load and in the tails a round trip is no limit. */
        bool is_bounded = load == 0 && share == 0;
        pd_report_row(name, "us", &side->samples[load][client][size][share],
                      is_bounded ? modes[mode].limit_name : NULL,
                      pd_roundtrip_samples(latency->trips[modes[mode].waiting]));
    }
}

int pd_bench_latency(const struct pd_options *options)
{
    struct latency *latency = calloc(1, sizeof *latency);
    char name[CASE_BYTES];
    if (latency == NULL) {
        err(1, "latency");
    }
    latency->transport = pd_options_transport(options);
    pd_report_begin(options->json, "latency", options->rounds);
    start(latency);
    for (unsigned round = 0; round < options->rounds; round++) {
        measure_round(latency);
    }
    for (int i = 0; i < SIZES * MODES; i++) {
        report_size(latency, i % MODES, i / MODES);
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
