/* fashion-local: the same network trained by one plain process with its own Adam: no server, no
 * library. What training through the daemon is measured against. */
#include <err.h>
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "client/examples/fashion/network.h"

static const char usage[] =
    "usage: fashion-local [--pushes 9370] [--data DIR] [--result FILE]\n"
    "  --pushes N      batches of 64 images\n"
    "  --data DIR      Fashion-MNIST (default: /usr/share/datasets/fashion-mnist)\n"
    "  --result FILE   accuracy and seconds, as JSON (default: standard output)\n";

static const struct option long_options[] = {{"pushes", required_argument, NULL, 'p'},
                                             {"data", required_argument, NULL, 'd'},
                                             {"result", required_argument, NULL, 'f'},
                                             {"help", no_argument, NULL, 'h'},
                                             {NULL, 0, NULL, 0}};

/* Warm-up over 200 updates, constant to the half, linear decay to 3 %. */
static double learning_rate(double done, double total)
{
    const double highest = 1e-3, last = 0.03;
    double warmup = fmin(200.0, floor(total / 8.0));
    double half = floor(total / 2.0);
    if (done < warmup) {
        return highest * (done + 1.0) / warmup;
    }
    if (done <= half) {
        return highest;
    }
    return highest * (1.0 + (last - 1.0) * (done - half) / (total - half));
}

/* Kingma and Ba, 2015, algorithm 1, with beta1 = 0.9, beta2 = 0.999. step counts from 1. */
static void adam(float *p, float *m, float *v, const float *g, double lr, double step)
{
    float rate = (float)(lr / (1.0 - pow(0.9, step)));
    float correction = (float)sqrt(1.0 - pow(0.999, step));
    for (size_t i = 0; i < NETWORK_FLOATS; i++) {
        m[i] = 0.9f * m[i] + 0.1f * g[i];
        v[i] = 0.999f * v[i] + 0.001f * g[i] * g[i];
        p[i] -= rate * m[i] / (sqrtf(v[i]) / correction + 1e-8f);
    }
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void train(struct network *weights, const char *data, unsigned long updates)
{
    static struct network gradient, m, v;
    struct images images;
    struct walk walk;
    images_load(&images, data, "train");
    walk_init(&walk, images.count, 0, 1, 1);
    network_init(weights, 1);
    for (unsigned long done = 0; done < updates; done++) {
        uint32_t batch[BATCH_MAX];
        walk_take(&walk, batch, BATCH_MAX);
        network_gradient(weights, &images, batch, BATCH_MAX, &gradient);
        adam((float *)weights, (float *)&m, (float *)&v, (float *)&gradient,
             learning_rate((double)done, (double)updates), (double)done + 1.0);
    }
    walk_deinit(&walk);
    images_free(&images);
}

int main(int argc, char **argv)
{
    static struct network weights;
    const char *data = "/usr/share/datasets/fashion-mnist", *path = "/dev/stdout";
    unsigned long updates = 9370;
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 'p':
            updates = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            data = optarg;
            break;
        case 'f':
            path = optarg;
            break;
        default:
            fputs(usage, option == 'h' ? stdout : stderr);
            return option == 'h' ? 0 : 2;
        }
    }
    double began = now_seconds();
    train(&weights, data, updates);
    double seconds = now_seconds() - began;

    struct images test;
    images_load(&test, data, "t10k");
    struct score score = network_score(&weights, &test, test.count);
    images_free(&test);
    json_t *result = json_pack("{s:f, s:f, s:f}", "accuracy", score.accuracy, "loss", score.loss,
                               "seconds", seconds);
    if (result == NULL || json_dump_file(result, path, JSON_COMPACT) != 0) {
        errx(1, "cannot write %s", path);
    }
    json_decref(result);
    return 0;
}
