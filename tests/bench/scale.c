/* paramd-bench scale: models of a million to a billion parameters, pushed from one gradient buffer,
 * and the memory the daemon takes for them. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/member.h"
#include "tests/bench/plot.h"
#include "tests/bench/report.h"

enum { SIZES_MAX = 4, TENSOR_PARAMETERS = 1000000, STATE_BYTES = 12, CASE_BYTES = 64 };

static const uint64_t sizes[SIZES_MAX] = {10000000, 1000000, 100000000, 1000000000};
static const uint64_t SAMPLE_PARAMETERS = 200000000;
/* Of a parameter, with what the daemon needs beside weights and moments. */
static const double BYTES_MAX = 12.5;
static const size_t BESIDE_BYTES = PD_GIB;

struct model {
    uint64_t parameters;
    size_t tensors;
    struct pd_daemon *daemon;
    struct paramd_client *client;
    struct paramd_model *handle;
    struct paramd_io *entries;
    struct pd_samples rate;  /* Gparam/s */
    struct pd_samples bytes; /* of a parameter, at the daemon's peak */
};

/* All tensors are pushed from the same buffer. */
static void start(struct model *model, enum pd_transport transport, const float *gradient)
{
    model->daemon = pd_daemon_start(&(struct pd_daemon_task){.shards = 1});
    const struct pd_member_way way = {.address = pd_daemon_address(model->daemon, transport),
                                      .transport = transport};
    model->client = pd_member_open(&way);
    model->handle = pd_member_join(model->client, "scale", model->tensors, TENSOR_PARAMETERS,
                                   PARAMD_ACK_APPLIED);
    model->entries = calloc(model->tensors, sizeof *model->entries);
    if (model->entries == NULL) {
        err(1, "scale");
    }
    for (size_t i = 0; i < model->tensors; i++) {
        model->entries[i] = (struct paramd_io){.tensor = (uint32_t)i, .gradient = gradient};
    }
}

static void stop(struct model *model)
{
    pd_member_leave(model->client, model->handle);
    pd_daemon_stop(model->daemon);
    free(model->entries);
}

static void push(struct model *model)
{
    pd_member_check(paramd_push_wait(model->handle, model->entries, model->tensors, NULL,
                                     PD_MEMBER_TIMEOUT_MS, NULL),
                    "push");
}

static void measure(struct model *model)
{
    uint64_t times = (SAMPLE_PARAMETERS + model->parameters - 1) / model->parameters;
    double begin_s = pd_now_s();
    for (uint64_t i = 0; i < times; i++) {
        push(model);
    }
    pd_samples_add(&model->rate,
                   (double)(model->parameters * times) / 1e9 / (pd_now_s() - begin_s));
    pd_samples_add(&model->bytes, (double)pd_memory_peak(pd_daemon_pid(model->daemon)) /
                                      (double)model->parameters);
}

/* Those that fit into memory all at the same time, the smallest first of all. */
static unsigned choose(const struct pd_options *options, struct model *models)
{
    double available = (double)pd_memory_available() - (double)BESIDE_BYTES;
    unsigned count = 0;
    for (unsigned i = 0; i < SIZES_MAX; i++) {
        uint64_t wanted = i > 0 && options->parameters > 0 ? options->parameters : sizes[i];
        size_t tensors = (wanted + TENSOR_PARAMETERS - 1) / TENSOR_PARAMETERS;
        uint64_t parameters = (uint64_t)tensors * TENSOR_PARAMETERS;
        if (i > 1 && options->parameters > 0) {
            continue;
        }
        available -= (double)parameters * BYTES_MAX;
        if (available < 0) {
            warnx("%.3g parameters are left out: not enough memory", (double)parameters);
            available += (double)parameters * BYTES_MAX;
            continue;
        }
        models[count++] = (struct model){.parameters = parameters, .tensors = tensors};
    }
    return count;
}

static void report(const struct model *models, unsigned count, const char *transport,
                   struct pd_plot *plot)
{
    char name[CASE_BYTES];
    struct pd_samples state = {.values = {STATE_BYTES}, .count = 1};
    for (unsigned i = 0; i < count; i++) {
        const struct model *model = &models[i];
        double rate = pd_samples_median(&model->rate);
        (void)snprintf(name, sizeof name, "push/%s/%.4g parameters", transport,
                       (double)model->parameters);
        pd_report_row(name, "Gparam/s", &model->rate, i > 0 ? "1e+07 parameters" : NULL,
                      &models[0].rate);
        (void)snprintf(name, sizeof name, "memory/%.4g parameters", (double)model->parameters);
        pd_report_row(name, "B/parameter", &model->bytes, "weights and moments", &state);
        pd_plot_add(plot, transport, (double)model->parameters, rate);
    }
}

int pd_bench_scale(const struct pd_options *options)
{
    const struct pd_plot_task curves = {.folder = options->plot,
                                        .name = "scale",
                                        .x_label = "parameters",
                                        .y_label = "Gparam/s pushed",
                                        .x_base = 10};
    enum pd_transport transport = pd_options_transport(options);
    struct model models[SIZES_MAX] = {0};
    struct pd_plot *plot = pd_plot_create(&curves);
    pd_report_begin(options->json, "scale", options->rounds);
    float *gradient = pd_memory_take(TENSOR_PARAMETERS * sizeof(float));
    pd_gradient_fill(gradient, TENSOR_PARAMETERS);
    unsigned count = choose(options, models);
    if (count == 0 || models[0].parameters != sizes[0]) {
        errx(1, "not enough memory");
    }
    for (unsigned i = 0; i < count; i++) {
        start(&models[i], transport, gradient);
    }
    for (unsigned i = 0; i < count; i++) {
        push(&models[i]); /* touches the memory */
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        for (unsigned i = 0; i < count; i++) {
            measure(&models[i]);
        }
    }
    report(models, count, pd_transport_name(transport), plot);
    for (unsigned i = 0; i < count; i++) {
        stop(&models[i]);
    }
    pd_memory_give(gradient, TENSOR_PARAMETERS * sizeof(float));
    pd_plot_draw(plot);
    return pd_report_end();
}
