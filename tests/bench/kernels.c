/* paramd-bench kernels: every optimizer as the daemon runs it, beside a loop with the same loads
 * and stores and one addition each. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/commands.h"
#include "tests/bench/kernel.h"
#include "tests/bench/plot.h"
#include "tests/bench/report.h"
#include "tests/bench/stream.h"
#include "tests/bench/torch.h"

/* State in DRAM: 64 MiB of weights for each thread, and so much again for each moment. */
enum { DRAM_BLOCKS = 256, THREADS_MAX = 64 };

enum place { PLACE_L2, PLACE_GRADIENT_L2, PLACE_DRAM, PLACES };

static const char *const place_names[PLACES] = {"l2", "gradient-l2", "dram"};

/* apply is what a push pays: the check of the gradient, then the update. */
enum loop { LOOP_APPLY, LOOP_UPDATE, LOOP_ADD, LOOP_ADD_PREFETCHED, LOOPS };

struct task {
    const char *optimizer;
    enum place place;
    size_t elements;
    size_t passes; /* over all elements in one run */
};

/* One thread's memory. */
struct work {
    struct task task;
    struct pd_kernel kernel;
    float *gradient; /* of all elements, or of one block */
    size_t gradient_bytes;
};

static void *create_work(const void *arg)
{
    struct work *work = calloc(1, sizeof *work);
    if (work == NULL) {
        err(1, "kernels");
    }
    work->task = *(const struct task *)arg;
    pd_kernel_init(&work->kernel, work->task.optimizer, work->task.elements);
    size_t elements =
        work->task.place == PLACE_GRADIENT_L2 ? PD_BLOCK_ELEMENTS : work->task.elements;
    work->gradient_bytes = elements * sizeof(float);
    work->gradient = pd_memory_take(work->gradient_bytes);
    pd_gradient_fill(work->gradient, elements);
    return work;
}

static void destroy_work(void *state)
{
    struct work *work = state;
    pd_memory_give(work->gradient, work->gradient_bytes);
    pd_kernel_deinit(&work->kernel);
    free(work);
}

static void run_all(struct work *work,
                    void (*loop)(struct pd_kernel *kernel, size_t block, const float *gradient))
{
    size_t blocks = pd_kernel_blocks(&work->kernel);
    for (size_t pass = 0; pass < work->task.passes; pass++) {
        for (size_t block = 0; block < blocks; block++) {
            size_t offset = work->task.place == PLACE_DRAM ? block * PD_BLOCK_ELEMENTS : 0;
            loop(&work->kernel, block, work->gradient + offset);
        }
    }
}

static void apply(struct pd_kernel *kernel, size_t block, const float *gradient)
{
    pd_kernel_apply(kernel, block, gradient, PD_F32);
}

static void run_apply(void *state)
{
    run_all(state, apply);
}

static void update(struct pd_kernel *kernel, size_t block, const float *gradient)
{
    pd_kernel_update(kernel, block, gradient, PD_F32);
}

static void run_update(void *state)
{
    run_all(state, update);
}

static void run_add(void *state)
{
    run_all(state, pd_kernel_add);
}

static void run_add_prefetched(void *state)
{
    run_all(state, pd_kernel_add_prefetched);
}

static void (*const loops[LOOPS])(void *state) = {run_apply, run_update, run_add,
                                                  run_add_prefetched};

/* As many elements as fill half of L2 with weights, moments and gradient, at most a block. */
static size_t l2_elements(const char *name)
{
    const struct pd_optimizer *optimizer = pd_optimizer_find(name);
    struct pd_hyper hyper;
    long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    pd_hyper_defaults(optimizer, &hyper);
    size_t bytes = l2 > 0 ? (size_t)l2 : PD_MIB;
    size_t elements = bytes / 2 / (sizeof(float) * (2 + pd_optimizer_moments(optimizer, &hyper)));
    elements -= elements % 1024;
    return elements < PD_BLOCK_ELEMENTS ? elements : PD_BLOCK_ELEMENTS;
}

/* One optimizer in one place on so many threads. */
struct measured {
    const char *optimizer;
    enum place place;
    unsigned threads;
    struct pd_samples samples[LOOPS];
    struct pd_samples torch;
};

/* Only adam has a torch, in which everything is in DRAM. */
static void measure(struct measured *measured, unsigned rounds, struct pd_torch *torch)
{
    static const struct pd_stream_state state = {create_work, destroy_work};
    const size_t all = (size_t)DRAM_BLOCKS * PD_BLOCK_ELEMENTS;
    struct task task = {
        .optimizer = measured->optimizer, .place = measured->place, .elements = all, .passes = 1};
    if (measured->place == PLACE_L2) {
        task.elements = l2_elements(measured->optimizer);
        task.passes = all / task.elements;
    }
    double elements = (double)(task.elements * task.passes) * measured->threads;
    struct pd_stream *stream = pd_stream_create(&state, &task, measured->threads);
    for (unsigned round = 0; round < rounds; round++) {
        for (int loop = 0; loop < LOOPS; loop++) {
            double seconds = pd_stream_run(stream, loops[loop]);
            pd_samples_add(&measured->samples[loop], elements / 1e9 / seconds);
        }
        if (torch != NULL) {
            pd_samples_add(&measured->torch, pd_torch_measure(torch, measured->threads));
        }
    }
    pd_stream_destroy(stream);
}

static const struct pd_samples *limit_of(const struct measured *measured)
{
    const struct pd_samples *plain = &measured->samples[LOOP_ADD];
    const struct pd_samples *prefetched = &measured->samples[LOOP_ADD_PREFETCHED];
    return pd_samples_median(prefetched) > pd_samples_median(plain) ? prefetched : plain;
}

static void report(const struct measured *measured, struct pd_plot *plot)
{
    static const char *const names[] = {"apply", "update"};
    char text[64];
    for (int loop = LOOP_APPLY; loop <= LOOP_UPDATE; loop++) {
        (void)snprintf(text, sizeof text, "%s/%s/%u/%s", measured->optimizer,
                       place_names[measured->place], measured->threads, names[loop]);
        pd_report_row(text, "Gparam/s", &measured->samples[loop], "additions", limit_of(measured));
        if (measured->torch.count > 0) {
            pd_report_row(text, "Gparam/s", &measured->samples[loop], "torch.optim.Adam",
                          &measured->torch);
        }
    }
    (void)snprintf(text, sizeof text, "%s/%s", measured->optimizer, place_names[measured->place]);
    pd_plot_add(plot, text, measured->threads, pd_samples_median(&measured->samples[LOOP_APPLY]));
}

static void report_additions(const struct measured *measured, struct pd_plot *plot)
{
    char text[64];
    (void)plot;
    (void)snprintf(text, sizeof text, "additions/%s/%s/%u", measured->optimizer,
                   place_names[measured->place], measured->threads);
    pd_report_row(text, "Gparam/s", limit_of(measured), NULL, NULL);
}

static void measure_optimizer(const struct pd_options *options, const char *name,
                              struct pd_torch *torch, struct pd_plot *plot,
                              void (*show)(const struct measured *measured, struct pd_plot *plot))
{
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    unsigned most = options->threads > 0 ? options->threads : cores;
    for (int place = 0; place < PLACES; place++) {
        for (unsigned threads = options->threads > 0 ? most : 1;
             threads <= most && threads <= THREADS_MAX; threads *= 2) {
            struct measured measured = {
                .optimizer = name, .place = (enum place)place, .threads = threads};
            measure(&measured, options->rounds, place == PLACE_L2 ? NULL : torch);
            show(&measured, plot);
        }
    }
}

void pd_bench_additions(const struct pd_options *options)
{
    measure_optimizer(options, "adam", NULL, NULL, report_additions);
}

int pd_bench_kernels(const struct pd_options *options)
{
    const struct pd_plot_task curves = {.folder = options->plot,
                                        .name = "kernels",
                                        .x_label = "threads",
                                        .y_label = "Gparam/s",
                                        .x_base = 2};
    const struct pd_optimizer *optimizer;
    struct pd_plot *plot = pd_plot_create(&curves);
    pd_report_begin(options->json, "kernels", options->rounds);
    for (size_t i = 0; (optimizer = pd_optimizer_at(i)) != NULL; i++) {
        const char *name = pd_optimizer_name(optimizer);
        if (options->optimizer == NULL || pd_optimizer_find(options->optimizer) == optimizer) {
            bool has_torch = strcmp(name, "adam") == 0;
            struct pd_torch *torch =
                has_torch ? pd_torch_create((size_t)DRAM_BLOCKS * PD_BLOCK_ELEMENTS) : NULL;
            measure_optimizer(options, name, torch, plot, report);
            pd_torch_destroy(torch);
        }
    }
    pd_plot_draw(plot);
    return pd_report_end();
}
