/* Measuring one setting of setting.h. */
#include <stdio.h>

#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/report.h"
#include "tests/bench/setting.h"

enum { CASE_BYTES = 96, REPEATS_MAX = 1024 };

/* Moved in one sample at least, unless that takes too many repeats, so that it is no matter of
 * microseconds. */
#define SAMPLE_BYTES (64 * PD_MIB)

struct measured {
    struct pd_raw *raw;
    struct pd_bare *bare; /* NULL for bf16 */
    struct pd_daemon *daemon;
    struct pd_fleet *fleet;
    struct pd_samples samples[PD_OPERATIONS];
};

size_t pd_setting_memory_bytes(const struct pd_setting *setting)
{
    size_t state = 3 * setting->size_bytes * (setting->bf16 ? 2 : 1);
    size_t workers = 2 * setting->size_bytes * setting->workers;
    /* Two forms with weights and moments, and one pair of buffers. */
    size_t bare = setting->bf16 ? 0 : 8 * setting->size_bytes;
    return state + workers + bare + 2 * PD_GIB;
}

static bool is_wanted(const struct pd_setting *setting, int operation)
{
    return setting->operation < 0 || setting->operation == operation;
}

static unsigned repeats(size_t bytes)
{
    size_t count = (SAMPLE_BYTES + bytes - 1) / bytes;
    return count > REPEATS_MAX ? REPEATS_MAX : (unsigned)count;
}

static void start(const struct pd_setting *setting, struct measured *measured)
{
    measured->raw = pd_raw_create(setting->transport);
    measured->bare = setting->bf16 ? NULL : pd_bare_create(setting->transport, setting->size_bytes);
    measured->daemon = pd_daemon_start(setting->shards, setting->payload_sum);
    const struct pd_fleet_task task = {.address =
                                           pd_daemon_address(measured->daemon, setting->transport),
                                       .model = "bench",
                                       .workers = setting->workers,
                                       .tensor_count = 1,
                                       .tensor_bytes = setting->size_bytes,
                                       .dtype = setting->bf16 ? PARAMD_BF16 : PARAMD_F32,
                                       .payload_sum = setting->payload_sum};
    measured->fleet = pd_fleet_create(&task);
}

static void stop(struct measured *measured)
{
    pd_fleet_destroy(measured->fleet);
    pd_daemon_stop(measured->daemon);
    pd_bare_destroy(measured->bare);
    pd_raw_destroy(measured->raw);
}

/* The first time touches memory and opens connections: it does not count. */
static void warm_up(const struct pd_setting *setting, struct measured *measured)
{
    for (int operation = 0; operation < PD_OPERATIONS; operation++) {
        if (is_wanted(setting, operation)) {
            (void)pd_fleet_measure(measured->fleet, (enum pd_operation)operation, 1);
        }
    }
}

static void measure_round(const struct pd_setting *setting, struct measured *measured)
{
    pd_raw_measure(measured->raw);
    for (int i = 0; i < PD_OPERATIONS; i++) {
        enum pd_operation operation = (enum pd_operation)i;
        if (!is_wanted(setting, i)) {
            continue;
        }
        if (measured->bare != NULL) {
            pd_bare_measure(measured->bare, operation, repeats(setting->size_bytes));
        }
        pd_samples_add(&measured->samples[i],
                       pd_fleet_measure(measured->fleet, operation,
                                        repeats(setting->size_bytes * setting->workers)));
    }
}

static void report_case(const struct pd_setting *setting, const struct measured *measured,
                        enum pd_operation operation)
{
    const char *transport = pd_transport_name(setting->transport);
    const struct pd_samples *raw = pd_raw_best(measured->raw);
    char size[PD_SIZE_TEXT_BYTES];
    char name[CASE_BYTES];
    char raw_name[16];
    (void)snprintf(size, sizeof size, "%s", pd_size_print(setting->size_bytes).text);
    (void)snprintf(raw_name, sizeof raw_name, "raw %s", transport);
    (void)snprintf(name, sizeof name, "%s/%s/%ux%u/%s%s%s", pd_operation_name(operation), transport,
                   setting->workers, setting->shards, size, setting->bf16 ? "/bf16" : "",
                   setting->payload_sum ? "/sums" : "");
    if (measured->bare != NULL) {
        pd_report_row(name, "GB/s", &measured->samples[operation], "bare loop",
                      pd_bare_best(measured->bare, operation));
    }
    pd_report_row(name, "GB/s", &measured->samples[operation], raw_name, raw);
    for (unsigned n = 1; measured->bare != NULL && n <= PD_PEER_CONNECTIONS_MAX; n++) {
        const struct pd_samples *samples = pd_bare_samples(measured->bare, operation, n);
        if (samples != NULL) {
            (void)snprintf(name, sizeof name, "bare loop/%s/%s/%s/%u connection%s",
                           pd_operation_name(operation), transport, size, n, n > 1 ? "s" : "");
            pd_report_row(name, "GB/s", samples, raw_name, raw);
        }
    }
}

static void report(const struct pd_setting *setting, const struct measured *measured,
                   const struct pd_iperf *iperf)
{
    const struct pd_samples *raw = pd_raw_best(measured->raw);
    const struct pd_samples *other = pd_iperf_samples(iperf);
    bool is_tcp = setting->transport == PD_TRANSPORT_TCP;
    for (int operation = 0; operation < PD_OPERATIONS; operation++) {
        if (is_wanted(setting, operation)) {
            report_case(setting, measured, (enum pd_operation)operation);
            if (measured->bare != NULL) {
                pd_bare_check(measured->bare, (enum pd_operation)operation, raw);
            }
        }
    }
    pd_report_row(is_tcp ? "raw tcp" : "raw unix", "GB/s", raw,
                  is_tcp && other != NULL ? "iperf3" : NULL, other);
    if (is_tcp) {
        pd_raw_check(measured->raw, iperf);
    }
}

void pd_setting_run(const struct pd_setting *setting, unsigned rounds, struct pd_iperf *iperf)
{
    struct measured measured = {0};
    start(setting, &measured);
    warm_up(setting, &measured);
    for (unsigned round = 0; round < rounds; round++) {
        pd_iperf_measure(iperf);
        measure_round(setting, &measured);
    }
    report(setting, &measured, iperf);
    stop(&measured);
}
