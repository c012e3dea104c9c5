/* tour-rare: linear regression on features of which some are there in every second example and some
 * in one of five hundred, as words are. A weight learns only when its feature shows up; the second
 * moment, small where gradients are rare, lets it take larger steps then. */
#include <err.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/examples/fashion/images.h"
#include "client/examples/tour/tour.h"

enum { CLASSES = 4, CLASS_FEATURES = 25, FEATURES = CLASSES * CLASS_FEATURES, BATCH = 32 };

static const int pushes = 1500;
static const double noise = 0.5;
/* In how many of a thousand examples a feature of the class is there. */
static const double per_mille[CLASSES] = {500, 100, 20, 2};

/* state: which of the optimizer's arrays holds the squares of gradients; -1: none does. */
static const struct {
    struct contestant contestant;
    int state;
} entrants[] = {
    {{"sgd", "sgd", {{"lr", 0.05, NULL}}}, -1},
    {{"momentum", "momentum", {{"lr", 0.005, NULL}, {"momentum", 0.9, NULL}}}, -1},
    {{"adagrad", "adagrad", {{"lr", 0.1, NULL}}}, 0},
    {{"rmsprop", "rmsprop", {{"lr", 0.005, NULL}, {"alpha", 0.999, NULL}}}, 0},
    {{"adam", "adam", {{"lr", 0.005, NULL}}}, 1},
};

struct learned {
    double error[CLASSES]; /* mean distance of the weights from the true ones */
    double step[CLASSES];  /* what a gradient is multiplied by, next to that of the first class */
};

static double true_weight(int feature)
{
    return feature % 2 == 0 ? 1.0 : -1.0;
}

/* The gradient of half the squared error, mean over a batch of new examples. */
static void draw_gradient(const float *weights, float *gradient, uint64_t *random)
{
    memset(gradient, 0, FEATURES * sizeof *gradient);
    for (int example = 0; example < BATCH; example++) {
        int present[FEATURES] = {0}, count = 0;
        double error = 0.0;
        for (int i = 0; i < FEATURES; i++) {
            if (1000.0 * random_unit(random) < per_mille[i / CLASS_FEATURES]) {
                present[count++] = i;
                error += (double)weights[i] - true_weight(i);
            }
        }
        error += noise * (random_unit(random) < 0.5 ? -1.0 : 1.0);
        for (int k = 0; k < count; k++) {
            gradient[present[k]] += (float)(error / BATCH);
        }
    }
}

static struct learned learn(struct paramd_client *client, size_t entrant)
{
    float weights[FEATURES] = {0}, gradient[FEATURES] = {0}, squares[FEATURES] = {0};
    struct learned learned = {{0}, {0}};
    struct trainee trainee = {.model = NULL};
    uint64_t random = 1;
    trainee_begin(&trainee, client, &entrants[entrant].contestant, gradient, weights, FEATURES);
    for (int push = 0; push < pushes; push++) {
        draw_gradient(weights, gradient, &random);
        trainee_push(&trainee);
    }
    if (entrants[entrant].state >= 0) {
        trainee_moment(&trainee, (unsigned)entrants[entrant].state, squares);
    }
    trainee_end(&trainee, client);
    for (int i = 0; i < FEATURES; i++) {
        int class = i / CLASS_FEATURES;
        learned.error[class] += fabs((double)weights[i] - true_weight(i)) / CLASS_FEATURES;
        learned.step[class] += entrants[entrant].state >= 0 ? 1.0 / sqrt((double)squares[i]) : 1.0;
    }
    for (int class = CLASSES - 1; class >= 0; class --) {
        learned.step[class] /= learned.step[0];
    }
    return learned;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        errx(2, "usage: tour-rare DIR (PARAMD_ADDRESS names the daemon)");
    }
    FILE *table = tour_create(argv[1], "rare.tsv");
    struct paramd_client *client = tour_open();
    printf("Rare features: %d pushes of %d examples, %d features in each class\n\n", pushes, BATCH,
           CLASS_FEATURES);
    printf("  %-10s %-39s %s\n", "", "error of weights, by frequency",
           "steps, the first's being 1");
    printf("  %-10s", "");
    fputs("name", table);
    for (int column = 0; column < 2 * CLASSES; column++) {
        printf(" %8.3g%%", per_mille[column % CLASSES] / 10.0);
        fprintf(table, "\t%s%g%%", column < CLASSES ? "" : "step ",
                per_mille[column % CLASSES] / 10.0);
    }
    printf("\n");
    fputs("\n", table);
    for (size_t i = 0; i < sizeof entrants / sizeof entrants[0]; i++) {
        struct learned learned = learn(client, i);
        printf("  %-10s", entrants[i].contestant.name);
        fprintf(table, "%s", entrants[i].contestant.name);
        for (int column = 0; column < 2 * CLASSES; column++) {
            double value =
                column < CLASSES ? learned.error[column] : learned.step[column - CLASSES];
            printf(" %9.3g", value);
            fprintf(table, "\t%.9g", value);
        }
        printf("\n");
        fputs("\n", table);
    }
    paramd_close(client);
    tour_finish(table);
    return 0;
}
