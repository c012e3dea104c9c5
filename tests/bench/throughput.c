/* Pushes and pulls one large f32 tensor under Adam and says how fast that went: for each line on
 * stdin one push and one pull, as "SECONDS SECONDS". The script of the same name runs it.
 *
 *     bench-throughput ADDRESS MEBIBYTES */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "paramd.h"

enum { TIMEOUT_MS = 120000 };

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "%s: %s", what, paramd_error());
    }
}

static float *gradient_create(uint64_t elements)
{
    float *gradient = malloc(elements * sizeof *gradient);
    if (gradient == NULL) {
        errx(1, "no memory");
    }
    for (uint64_t i = 0; i < elements; i++) {
        gradient[i] = (float)(i % 1000) * 1e-3F - 0.5F;
    }
    return gradient;
}

static void measure(struct paramd_model *model, const struct paramd_io *io)
{
    double begin = now_s();
    check(paramd_push_wait(model, io, 1, NULL, TIMEOUT_MS, NULL), "push");
    double pushed = now_s();
    check(paramd_pull_wait(model, io, 1, NULL, TIMEOUT_MS, NULL), "pull");
    printf("%.6f %.6f\n", pushed - begin, now_s() - pushed);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    struct paramd_client *client;
    struct paramd_model *model;
    if (argc != 3) {
        errx(2, "usage: bench-throughput ADDRESS MEBIBYTES");
    }
    uint64_t elements = strtoull(argv[2], NULL, 10) * 1024 * 1024 / sizeof(float);
    const struct paramd_group group = {.name = "all", .optimizer = "adam"};
    const struct paramd_tensor tensor = {
        .name = "w", .rank = 1, .shape = {elements}, .init = PARAMD_INIT_ZEROS};
    const struct paramd_definition definition = {.name = "throughput",
                                                 .groups = &group,
                                                 .group_count = 1,
                                                 .tensors = &tensor,
                                                 .tensor_count = 1};
    /* Without a thread of its own a client answers soonest: I/O happens in the calls. */
    const struct paramd_options options = {.address = argv[1], .no_thread = true};
    check(paramd_open(&options, &client), "open");
    check(paramd_join(client, &definition, NULL, TIMEOUT_MS, &model), "join");
    struct paramd_io io = {.gradient = gradient_create(elements),
                           .values = malloc(elements * sizeof(float))};
    if (io.values == NULL) {
        errx(1, "no memory");
    }
    int c;
    while ((c = getchar()) != EOF) {
        if (c == '\n') {
            measure(model, &io);
        }
    }
    check(paramd_leave(model, TIMEOUT_MS), "leave");
    paramd_close(client);
    free((void *)(uintptr_t)io.gradient);
    free(io.values);
    return 0;
}
