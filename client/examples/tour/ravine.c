/* tour-ravine: a long narrow valley, f(x, y) = (x^2 + 100 y^2) / 2, from (-10, 1). The slope across
 * it is steep and throws plain gradient descent from wall to wall, while it hardly moves along the
 * floor. The first moment, an average of the last gradients, cancels what changes sign. */
#include <err.h>
#include <math.h>

#include "client/examples/tour/tour.h"

enum { STEPS = 100 };

static const double steep = 100.0, start_x = -10.0, start_y = 1.0;

/* sgd's rate is just below 2 / 100, from which on it diverges. "averaged" is the first moment
 * alone, at the same rate: a running mean of gradients. "momentum" is the sum of about the last
 * ten, and thus ten times as fast. rmsprop is the second moment alone; adam has both. */
static const struct contestant contestants[] = {
    {"sgd", "sgd", {{"lr", 0.019, NULL}}},
    {"averaged",
     "momentum",
     {{"lr", 0.019, NULL}, {"momentum", 0.5, NULL}, {"dampening", 0.5, NULL}}},
    {"momentum", "momentum", {{"lr", 0.019, NULL}, {"momentum", 0.9, NULL}}},
    {"nag", "nag", {{"lr", 0.01, NULL}, {"momentum", 0.9, NULL}}},
    {"rmsprop", "rmsprop", {{"lr", 0.2, NULL}, {"alpha", 0.9, NULL}}},
    {"adam", "adam", {{"lr", 0.2, NULL}, {"beta2", 0.99, NULL}}},
};

struct walked {
    int sign_changes; /* of y: from wall to wall */
    double across;    /* way made along y, there and back */
    double remaining; /* |x| at the end */
    double last;      /* f at the end */
};

static double height(const float *at)
{
    return 0.5 * ((double)at[0] * at[0] + steep * at[1] * at[1]);
}

static struct walked walk(struct paramd_client *client, const struct contestant *contestant,
                          FILE *path)
{
    float at[2] = {(float)start_x, (float)start_y}, gradient[2] = {0};
    struct walked walked = {0};
    struct trainee trainee = {.model = NULL};
    trainee_begin(&trainee, client, contestant, gradient, at, 2);
    for (int step = 0; step <= STEPS; step++) {
        double y = at[1];
        fprintf(path, "%s\t%d\t%.9g\t%.9g\t%.9g\n", contestant->name, step, (double)at[0], y,
                height(at));
        if (step == STEPS) {
            break;
        }
        gradient[0] = at[0];
        gradient[1] = (float)steep * at[1];
        trainee_push(&trainee);
        walked.sign_changes += (at[1] < 0.0f) != (y < 0.0);
        walked.across += fabs(at[1] - y);
    }
    trainee_end(&trainee, client);
    fputs("\n\n", path);
    walked.remaining = fabs((double)at[0]);
    walked.last = height(at);
    return walked;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        errx(2, "usage: tour-ravine DIR (PARAMD_ADDRESS names the daemon)");
    }
    FILE *paths = tour_create(argv[1], "ravine-paths.tsv");
    FILE *table = tour_create(argv[1], "ravine.tsv");
    struct paramd_client *client = tour_open();
    printf("A ravine: f(x, y) = (x^2 + 100 y^2) / 2 from (-10, 1), %d steps\n\n", STEPS);
    printf("  %-10s %13s %13s %13s %13s\n", "", "wall to wall", "way across", "left along",
           "height");
    fputs("name\tsign_changes\tacross\tremaining\theight\n", table);
    for (size_t i = 0; i < sizeof contestants / sizeof contestants[0]; i++) {
        struct walked walked = walk(client, &contestants[i], paths);
        printf("  %-10s %13d %13.2f %13.3g %13.3g\n", contestants[i].name, walked.sign_changes,
               walked.across, walked.remaining, walked.last);
        fprintf(table, "%s\t%d\t%.9g\t%.9g\t%.9g\n", contestants[i].name, walked.sign_changes,
                walked.across, walked.remaining, walked.last);
    }
    paramd_close(client);
    tour_finish(paths);
    tour_finish(table);
    return 0;
}
