/* paramd-bench kernels: every optimizer as the daemon runs it, beside a loop with the same loads
 * and stores and one addition each. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/commands.h"
#include "tests/bench/kernel.h"
#include "tests/bench/report.h"
#include "tests/bench/stream.h"

/* State in DRAM: 64 MiB of weights for each thread, and so much again for each moment. */
enum { DRAM_BLOCKS = 256 };

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

static void run_apply(void *state)
{
    run_all(state, pd_kernel_apply);
}

static void run_update(void *state)
{
    run_all(state, pd_kernel_update);
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

static void measure(const struct pd_options *options, const char *name, enum place place,
                    unsigned threads)
{
    static const struct pd_stream_state state = {create_work, destroy_work};
    const size_t all = (size_t)DRAM_BLOCKS * PD_BLOCK_ELEMENTS;
    struct task task = {.optimizer = name, .place = place, .elements = all, .passes = 1};
    struct pd_samples samples[LOOPS] = {0};
    char text[64];
    if (place == PLACE_L2) {
        task.elements = l2_elements(name);
        task.passes = all / task.elements;
    }
    struct pd_stream *stream = pd_stream_create(&state, &task, threads);
    for (unsigned round = 0; round < options->rounds; round++) {
        for (int loop = 0; loop < LOOPS; loop++) {
            double elements = (double)(task.elements * task.passes) * threads;
            double seconds = pd_stream_run(stream, loops[loop]);
            pd_samples_add(&samples[loop], elements / 1e9 / seconds);
        }
    }
    pd_stream_destroy(stream);
    const struct pd_samples *limit = &samples[LOOP_ADD];
    if (pd_samples_median(&samples[LOOP_ADD_PREFETCHED]) > pd_samples_median(limit)) {
        limit = &samples[LOOP_ADD_PREFETCHED];
    }
    (void)snprintf(text, sizeof text, "%s/%s/%u/apply", name, place_names[place], threads);
    pd_report_row(text, "Gparam/s", &samples[LOOP_APPLY], "additions", limit);
    (void)snprintf(text, sizeof text, "%s/%s/%u/update", name, place_names[place], threads);
    pd_report_row(text, "Gparam/s", &samples[LOOP_UPDATE], "additions", limit);
}

static void measure_optimizer(const struct pd_options *options, const char *name)
{
    unsigned cores = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    for (int place = 0; place < PLACES; place++) {
        if (options->threads > 0) {
            measure(options, name, (enum place)place, options->threads);
            continue;
        }
        for (unsigned threads = 1; threads <= cores && threads <= 64; threads *= 2) {
            measure(options, name, (enum place)place, threads);
        }
    }
}

int pd_bench_kernels(const struct pd_options *options)
{
    const struct pd_optimizer *optimizer;
    pd_report_begin(options->json, "kernels", options->rounds);
    for (size_t i = 0; (optimizer = pd_optimizer_at(i)) != NULL; i++) {
        const char *name = pd_optimizer_name(optimizer);
        if (options->optimizer == NULL || pd_optimizer_find(options->optimizer) == optimizer) {
            measure_optimizer(options, name);
        }
    }
    return pd_report_end();
}
