/* paramd-bench dense: push, pull and push_pull of one large tensor, beside the raw stream and the
 * bare loop. */
#include <err.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/bench/commands.h"
#include "tests/bench/report.h"
#include "tests/bench/setting.h"

enum { SHORT_SETTINGS = 8, SHARDS_MAX = 64 };

/* What a user asks first, in at most three minutes. */
static const struct pd_setting short_set[SHORT_SETTINGS] = {
    {PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, false, false, -1},
    {PD_TRANSPORT_TCP, 1, 2, 256 * PD_MIB, false, false, -1},
    {PD_TRANSPORT_TCP, 2, 2, 256 * PD_MIB, false, false, -1},
    {PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, false, true, -1},
    {PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, true, false, -1},
    {PD_TRANSPORT_TCP, 1, 1, 1 * PD_MIB, false, false, -1},
    {PD_TRANSPORT_TCP, 1, 1, 64 * PD_KIB, false, false, -1},
    {PD_TRANSPORT_UNIX, 1, 1, 256 * PD_MIB, false, false, -1},
};

static const size_t sizes[] = {64 * PD_KIB, 256 * PD_KIB, PD_MIB,       4 * PD_MIB,
                               16 * PD_MIB, 64 * PD_MIB,  256 * PD_MIB, PD_GIB};

enum { SIZES = sizeof sizes / sizeof sizes[0], WORKERS_DOUBLINGS = 4 };

struct sweep {
    const struct pd_options *options;
    struct pd_iperf *iperf;
};

/* Leaves out what this machine has no memory for, and says so. */
static void run(const struct sweep *sweep, const struct pd_setting *setting)
{
    size_t available = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    if (pd_setting_memory_bytes(setting) > available) {
        warnx("%u workers with %s on %u shards are left out: not enough memory", setting->workers,
              pd_size_print(setting->size_bytes).text, setting->shards);
        return;
    }
    pd_setting_run(setting, sweep->options->rounds, sweep->iperf);
}

static void run_sizes(const struct sweep *sweep, struct pd_setting setting)
{
    for (size_t i = 0; i < SIZES; i++) {
        if (sweep->options->size_bytes == 0 || i == 0) {
            setting.size_bytes =
                sweep->options->size_bytes > 0 ? sweep->options->size_bytes : sizes[i];
            run(sweep, &setting);
        }
    }
}

static void run_places(const struct sweep *sweep, struct pd_setting setting)
{
    const struct pd_options *options = sweep->options;
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    unsigned shards_min = options->shards > 0 ? options->shards : 1;
    unsigned shards_max = options->shards > 0 ? options->shards : cores;
    unsigned workers_min = options->workers > 0 ? options->workers : 1;
    unsigned workers_max = options->workers > 0 ? options->workers : 1U << (WORKERS_DOUBLINGS - 1);
    for (setting.shards = shards_min; setting.shards <= shards_max && setting.shards <= SHARDS_MAX;
         setting.shards++) {
        for (setting.workers = workers_min; setting.workers <= workers_max; setting.workers *= 2) {
            run_sizes(sweep, setting);
        }
    }
}

static void run_product(const struct sweep *sweep)
{
    const struct pd_options *options = sweep->options;
    for (int transport = 0; transport < 2; transport++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            if ((options->transport < 0 || options->transport == transport) &&
                (options->bf16 < 0 || options->bf16 == bf16)) {
                run_places(sweep, (struct pd_setting){.transport = (enum pd_transport)transport,
                                                      .bf16 = bf16 == 1,
                                                      .payload_sum = options->payload_sum,
                                                      .operation = options->operation});
            }
        }
    }
}

static void run_one(const struct sweep *sweep)
{
    const struct pd_options *options = sweep->options;
    const struct pd_setting setting = {
        .transport = options->transport > 0 ? PD_TRANSPORT_UNIX : PD_TRANSPORT_TCP,
        .workers = options->workers > 0 ? options->workers : 1,
        .shards = options->shards > 0 ? options->shards : 1,
        .size_bytes = options->size_bytes > 0 ? options->size_bytes : 256 * PD_MIB,
        .bf16 = options->bf16 == 1,
        .payload_sum = options->payload_sum,
        .operation = options->operation};
    run(sweep, &setting);
}

int pd_bench_dense(const struct pd_options *options)
{
    struct sweep sweep = {.options = options, .iperf = pd_iperf_create()};
    bool is_narrowed = options->transport >= 0 || options->bf16 >= 0 || options->workers > 0 ||
                       options->shards > 0 || options->size_bytes > 0 || options->payload_sum;
    pd_report_begin(options->json, "dense", options->rounds);
    if (options->full) {
        run_product(&sweep);
    } else if (is_narrowed) {
        run_one(&sweep);
    } else {
        for (size_t i = 0; i < SHORT_SETTINGS; i++) {
            struct pd_setting setting = short_set[i];
            setting.operation = options->operation;
            run(&sweep, &setting);
        }
    }
    pd_iperf_destroy(sweep.iperf);
    return pd_report_end();
}
