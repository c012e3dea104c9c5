/* paramd-bench dense: push, pull and push_pull of one large tensor, beside the raw stream and the
 * bare loop. */
#include <unistd.h>

#include "tests/bench/commands.h"
#include "tests/bench/report.h"
#include "tests/bench/setting.h"

enum { SHORT_GROUPS = 6, SHARDS_MAX = 64 };

/* What a user asks first, in at most three minutes. The first group has whatever is to be compared
 * with its first setting. */
static const struct pd_group short_set[SHORT_GROUPS] = {
    {.count = 5,
     .settings = {{PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, 1, false, false},
                  {PD_TRANSPORT_TCP, 1, 2, 256 * PD_MIB, 1, false, false},
                  {PD_TRANSPORT_SHM, 1, 1, 256 * PD_MIB, 1, false, false},
                  {PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, 256, false, false},
                  {PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, 1, false, true}}},
    {.count = 1, .settings = {{PD_TRANSPORT_UNIX, 1, 1, 256 * PD_MIB, 1, false, false}}},
    {.count = 1, .settings = {{PD_TRANSPORT_TCP, 2, 2, 256 * PD_MIB, 1, false, false}}},
    {.count = 1, .settings = {{PD_TRANSPORT_TCP, 1, 1, 256 * PD_MIB, 1, true, false}}},
    {.count = 1, .settings = {{PD_TRANSPORT_TCP, 1, 1, 1 * PD_MIB, 1, false, false}}},
    {.count = 1, .settings = {{PD_TRANSPORT_TCP, 1, 1, 64 * PD_KIB, 1, false, false}}},
};

static const size_t sizes[] = {64 * PD_KIB, 256 * PD_KIB, PD_MIB,       4 * PD_MIB,
                               16 * PD_MIB, 64 * PD_MIB,  256 * PD_MIB, PD_GIB};

enum { SIZES = sizeof sizes / sizeof sizes[0], WORKERS_DOUBLINGS = 4 };

struct sweep {
    const struct pd_options *options;
    struct pd_iperf *iperf;
    struct pd_plot *plot;
};

/* A setting alone; shared memory beside TCP. */
static void run(const struct sweep *sweep, const struct pd_setting *setting)
{
    struct pd_group group = {
        .settings = {*setting, *setting}, .count = 1, .operation = sweep->options->operation};
    if (setting->transport == PD_TRANSPORT_SHM) {
        group.settings[group.count++].transport = PD_TRANSPORT_TCP;
    }
    pd_group_run(&group, sweep->options->rounds, sweep->iperf, sweep->plot);
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
    for (int transport = 0; transport < PD_TRANSPORTS; transport++) {
        for (int bf16 = 0; bf16 < 2; bf16++) {
            if ((options->transport < 0 || options->transport == transport) &&
                (options->bf16 < 0 || options->bf16 == bf16)) {
                run_places(sweep, (struct pd_setting){.transport = (enum pd_transport)transport,
                                                      .tensors = 1,
                                                      .bf16 = bf16 == 1,
                                                      .payload_sum = options->payload_sum});
            }
        }
    }
}

static void run_one(const struct sweep *sweep)
{
    const struct pd_options *options = sweep->options;
    run(sweep, &(struct pd_setting){.transport = pd_options_transport(options),
                                    .workers = options->workers > 0 ? options->workers : 1,
                                    .shards = options->shards > 0 ? options->shards : 1,
                                    .size_bytes = options->size_bytes > 0 ? options->size_bytes
                                                                          : 256 * PD_MIB,
                                    .tensors = 1,
                                    .bf16 = options->bf16 == 1,
                                    .payload_sum = options->payload_sum});
}

static void run_short(const struct sweep *sweep)
{
    for (size_t i = 0; i < SHORT_GROUPS; i++) {
        struct pd_group group = short_set[i];
        group.operation = sweep->options->operation;
        pd_group_run(&group, sweep->options->rounds, sweep->iperf, sweep->plot);
    }
}

int pd_bench_dense(const struct pd_options *options)
{
    const struct pd_plot_task curves = {.folder = options->plot,
                                        .name = "dense",
                                        .x_label = "bytes",
                                        .y_label = "GB/s",
                                        .x_base = 2};
    struct sweep sweep = {
        .options = options, .iperf = pd_iperf_create(), .plot = pd_plot_create(&curves)};
    bool is_narrowed = options->transport >= 0 || options->bf16 >= 0 || options->workers > 0 ||
                       options->shards > 0 || options->size_bytes > 0 || options->payload_sum;
    pd_report_begin(options->json, "dense", options->rounds);
    if (options->full) {
        run_product(&sweep);
    } else if (is_narrowed) {
        run_one(&sweep);
    } else {
        run_short(&sweep);
    }
    pd_plot_draw(sweep.plot);
    pd_iperf_destroy(sweep.iperf);
    return pd_report_end();
}
