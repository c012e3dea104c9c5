/* tour-fashion: the network of the main job, trained by each optimizer on the same number of
 * examples: by the gradient of the whole data set at once (bgd), of single examples (sgd), of
 * mini-batches (mbgd), and by everything built upon the last. */
#include <err.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/examples/fashion/model.h"
#include "client/examples/tour/tour.h"

enum { LOSS_IMAGES = 1000, CURVE_POINTS = 40 };

struct entrant {
    const char *name;
    struct recipe recipe;
    size_t batch; /* 0: all images */
};

/* Learning rates: of 1, 2, 3 and 5 times the powers of ten, about the one with the lowest training
 * loss after 60,000 examples. It stays constant: the tour shows optimizers, not schedules. */
static const struct entrant entrants[] = {
    {"bgd", {"sgd", 0.3, {{0}}}, 0},
    {"sgd", {"sgd", 0.01, {{0}}}, 1},
    {"mbgd", {"sgd", 0.2, {{0}}}, BATCH_MAX},
    {"momentum", {"momentum", 0.02, {{"momentum", 0.9, NULL}}}, BATCH_MAX},
    {"nag", {"nag", 0.05, {{"momentum", 0.9, NULL}}}, BATCH_MAX},
    {"adagrad", {"adagrad", 0.05, {{0}}}, BATCH_MAX},
    {"adadelta", {"adadelta", 2.0, {{0}}}, BATCH_MAX},
    {"rmsprop", {"rmsprop", 0.002, {{0}}}, BATCH_MAX},
    {"adam", {"adam", 0.002, {{0}}}, BATCH_MAX},
    {"adamw", {"adamw", 0.002, {{"weight_decay", 0.01, NULL}}}, BATCH_MAX},
    {"amsgrad", {"amsgrad", 0.005, {{0}}}, BATCH_MAX},
    {"nadam", {"nadam", 0.005, {{0}}}, BATCH_MAX},
    {"lion", {"lion", 0.001, {{0}}}, BATCH_MAX},
    {"ftrl", {"ftrl", 0.5, {{0}}}, BATCH_MAX},
};

struct field {
    struct paramd_client *client;
    struct images train; /* count is cut to what the tour uses */
    struct images test;
    size_t examples; /* of each entrant */
    FILE *curves;
};

struct arrival {
    size_t updates;
    double seconds;
    double loss; /* on LOSS_IMAGES training images */
    double accuracy;
};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The gradient of count images, summed up over parts that fit a pass. It is their mean after a
 * multiplication by 1 / count, which is left to the daemon: see paramd_call.scale. */
static void sum_gradient(const struct network *weights, const struct images *images,
                         const uint32_t *batch, size_t count, struct network *sum)
{
    static struct network part;
    float *to = (float *)sum;
    const float *from = (float *)&part;
    memset(sum, 0, sizeof *sum);
    for (size_t first = 0; first < count; first += BATCH_MAX) {
        size_t part_count = count - first < BATCH_MAX ? count - first : BATCH_MAX;
        network_gradient(weights, images, batch + first, part_count, &part);
        for (size_t i = 0; i < NETWORK_FLOATS; i++) {
            to[i] += (float)part_count * from[i];
        }
    }
}

/* One point of the curve. Returns the loss. */
static double note(struct field *field, const struct entrant *entrant, size_t seen,
                   const struct network *weights)
{
    double loss = network_score(weights, &field->train, LOSS_IMAGES).loss;
    fprintf(field->curves, "%s\t%zu\t%.9g\n", entrant->name, seen, loss);
    return loss;
}

static struct arrival run(struct field *field, const struct entrant *entrant,
                          struct paramd_model *model, struct network *weights)
{
    static struct network gradient;
    struct paramd_io entries[FASHION_TENSORS];
    struct walk walk;
    struct arrival arrival = {.updates = 0};
    size_t batch_count = entrant->batch > 0 ? entrant->batch : field->train.count;
    size_t seen = 0, noted = 0;
    uint32_t *batch = malloc(batch_count * sizeof *batch);
    struct paramd_call call = {.scale = 1.0f / (float)batch_count, .weight = (double)batch_count};
    if (batch == NULL) {
        errx(1, "no memory for a batch of %zu", batch_count);
    }
    walk_init(&walk, field->train.count, 0, 1, 1);
    fashion_entries(entries, &gradient, weights);
    tour_check(paramd_pull_wait(model, entries, FASHION_TENSORS, NULL, TOUR_TIMEOUT_MS, NULL),
               "pull");
    double began = now_seconds();
    note(field, entrant, 0, weights);
    while (seen + batch_count <= field->examples) {
        walk_take(&walk, batch, batch_count);
        sum_gradient(weights, &field->train, batch, batch_count, &gradient);
        tour_check(
            paramd_push_pull_wait(model, entries, FASHION_TENSORS, &call, TOUR_TIMEOUT_MS, NULL),
            "push");
        seen += batch_count;
        arrival.updates++;
        if (seen * CURVE_POINTS / field->examples > noted) {
            noted = seen * CURVE_POINTS / field->examples;
            arrival.loss = note(field, entrant, seen, weights);
        }
    }
    arrival.seconds = now_seconds() - began;
    arrival.loss = note(field, entrant, seen, weights);
    arrival.accuracy = network_score(weights, &field->test, field->test.count).accuracy;
    walk_deinit(&walk);
    free(batch);
    return arrival;
}

static struct arrival compete(struct field *field, const struct entrant *entrant)
{
    static struct network weights;
    struct fashion_model definition;
    struct paramd_values initial[FASHION_TENSORS];
    struct paramd_model *model;
    char name[64];
    snprintf(name, sizeof name, "tour/%s-%d", entrant->name, (int)getpid());
    fashion_define(&definition, name, &entrant->recipe, 0.0);
    network_init(&weights, 1);
    fashion_initial(initial, &weights);
    tour_check(paramd_join(field->client, &definition.definition, initial, TOUR_TIMEOUT_MS, &model),
               "create a model");
    struct arrival arrival = run(field, entrant, model, &weights);
    fputs("\n\n", field->curves);
    tour_check(paramd_leave(model, TOUR_TIMEOUT_MS), "leave the model");
    tour_check(paramd_delete(field->client, name, 0, TOUR_TIMEOUT_MS), "delete the model");
    return arrival;
}

int main(int argc, char **argv)
{
    static const char data[] = "/usr/share/datasets/fashion-mnist";
    struct field field;
    unsigned long count = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    unsigned long passes = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    if (count < LOSS_IMAGES || count > 60000 || passes == 0 || passes > 100) {
        errx(2, "usage: tour-fashion DIR IMAGES PASSES: %d to 60000 images, 1 to 100 passes",
             LOSS_IMAGES);
    }
    images_load(&field.train, data, "train");
    images_load(&field.test, data, "t10k");
    field.train.count = count;
    field.examples = count * passes;
    field.curves = tour_create(argv[1], "fashion-curves.tsv");
    FILE *table = tour_create(argv[1], "fashion.tsv");
    field.client = tour_open();
    printf("Fashion-MNIST: %lu images, %lu passes: %zu examples for each\n\n", count, passes,
           field.examples);
    printf("  %-10s %9s %9s %11s %9s\n", "", "updates", "loss", "accuracy", "seconds");
    fputs("name\tupdates\tloss\taccuracy\tseconds\n", table);
    for (size_t i = 0; i < sizeof entrants / sizeof entrants[0]; i++) {
        struct arrival arrival = compete(&field, &entrants[i]);
        printf("  %-10s %9zu %9.3f %9.2f %% %9.1f\n", entrants[i].name, arrival.updates,
               arrival.loss, arrival.accuracy, arrival.seconds);
        fflush(stdout);
        fprintf(table, "%s\t%zu\t%.9g\t%.9g\t%.3f\n", entrants[i].name, arrival.updates,
                arrival.loss, arrival.accuracy, arrival.seconds);
    }
    paramd_close(field.client);
    tour_finish(field.curves);
    tour_finish(table);
    images_free(&field.train);
    images_free(&field.test);
    return 0;
}
