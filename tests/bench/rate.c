/* paramd-bench rate: pushes of 64 bytes a second, to 64 tensors in different slots, with more and
 * more of them on their way at once. */
#include <stdio.h>

#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/plot.h"
#include "tests/bench/report.h"
#include "tests/bench/roundtrip.h"
#include "tests/bench/single.h"

enum { TENSORS = 64, TENSOR_BYTES = 64, DEPTHS = 6, CASE_BYTES = 64 };

static const struct {
    unsigned outstanding;
    unsigned pushes;
} depths[DEPTHS] = {{1, 1000}, {4, 4000}, {16, 16000}, {64, 50000}, {256, 50000}, {1024, 50000}};

static void report(enum pd_transport transport, const struct pd_samples samples[DEPTHS],
                   const struct pd_roundtrip *trip, struct pd_plot *plot)
{
    char name[CASE_BYTES];
    char limit_name[CASE_BYTES];
    const struct pd_samples *us = pd_roundtrip_samples(trip);
    for (int depth = 0; depth < DEPTHS; depth++) {
        struct pd_samples limit = {0};
        for (unsigned i = 0; i < us->count; i++) {
            pd_samples_add(&limit, depths[depth].outstanding / us->values[i] * 1e6);
        }
        (void)snprintf(name, sizeof name, "push/%s/64B/%u outstanding",
                       pd_transport_name(transport), depths[depth].outstanding);
        (void)snprintf(limit_name, sizeof limit_name, "%u per libuv round trip",
                       depths[depth].outstanding);
        pd_report_row(name, "pushes/s", &samples[depth], limit_name, &limit);
        pd_plot_add(plot, "paramd", depths[depth].outstanding, pd_samples_median(&samples[depth]));
    }
    (void)snprintf(name, sizeof name, "round trip/%s/64B/libuv", pd_transport_name(transport));
    pd_report_row(name, "us", us, NULL, NULL);
}

int pd_bench_rate(const struct pd_options *options)
{
    enum pd_transport transport = pd_options_transport(options);
    struct pd_samples samples[DEPTHS] = {0};
    const struct pd_plot_task curves = {.folder = options->plot,
                                        .name = "rate",
                                        .x_label = "pushes outstanding",
                                        .y_label = "64-byte pushes a second",
                                        .x_base = 2};
    struct pd_plot *plot = pd_plot_create(&curves);
    pd_report_begin(options->json, "rate", options->rounds);
    struct pd_roundtrip *trip = pd_roundtrip_create(transport, PD_WAITING_LIBUV);
    pd_peer_pin(1);
    struct pd_daemon *daemon = pd_daemon_start(&(struct pd_daemon_task){.shards = 1});
    pd_peer_pin(0);
    const struct pd_member_way way = {.address = pd_daemon_address(daemon, transport),
                                      .transport = transport};
    struct pd_single *client = pd_single_create(&way, "rate", TENSORS, TENSOR_BYTES);
    for (unsigned round = 0; round < options->rounds; round++) {
        pd_roundtrip_measure(trip);
        pd_peer_pin(0);
        for (int depth = 0; depth < DEPTHS; depth++) {
            pd_samples_add(&samples[depth], pd_single_push_rate(client, depths[depth].outstanding,
                                                                depths[depth].pushes));
        }
    }
    pd_peer_pin(-1);
    report(transport, samples, trip, plot);
    pd_plot_draw(plot);
    pd_single_destroy(client);
    pd_daemon_stop(daemon);
    pd_roundtrip_destroy(trip);
    return pd_report_end();
}
