/* A model of the tour lives as long as one optimizer's turn. */
#include "client/examples/tour/tour.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void tour_check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        errx(1, "cannot %s: %s", what, paramd_error());
    }
}

struct paramd_client *tour_open(void)
{
    struct paramd_client *client;
    /* One thread that pushes and waits is fastest when it does the I/O itself. */
    tour_check(paramd_open(&(struct paramd_options){.no_thread = true}, &client), "open a client");
    return client;
}

FILE *tour_create(const char *dir, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        err(1, "%s", path);
    }
    return file;
}

void tour_finish(FILE *file)
{
    if (fclose(file) != 0) {
        err(1, "cannot write a file of the tour");
    }
}

void trainee_begin(struct trainee *trainee, struct paramd_client *client,
                   const struct contestant *contestant, const float *gradient, float *values,
                   size_t count)
{
    snprintf(trainee->name, sizeof trainee->name, "tour/%s-%d", contestant->name, (int)getpid());
    struct paramd_group group = {
        .name = "all", .optimizer = contestant->optimizer, .hypers = contestant->hypers};
    struct paramd_tensor tensor = {.name = "w", .rank = 1, .shape = {count}};
    struct paramd_definition definition = {.name = trainee->name,
                                           .groups = &group,
                                           .group_count = 1,
                                           .tensors = &tensor,
                                           .tensor_count = 1};
    struct paramd_values initial = {.weights = values};
    while (group.hyper_count < TOUR_HYPERS_MAX &&
           contestant->hypers[group.hyper_count].name != NULL) {
        group.hyper_count++;
    }
    tour_check(paramd_join(client, &definition, &initial, TOUR_TIMEOUT_MS, &trainee->model),
               "create a model");
    trainee->io = (struct paramd_io){.gradient = gradient, .values = values};
    tour_check(paramd_pull_wait(trainee->model, &trainee->io, 1, NULL, TOUR_TIMEOUT_MS, NULL),
               "pull");
}

void trainee_push(struct trainee *trainee)
{
    tour_check(paramd_push_pull_wait(trainee->model, &trainee->io, 1, NULL, TOUR_TIMEOUT_MS, NULL),
               "push");
}

void trainee_moment(struct trainee *trainee, unsigned moment, float *state)
{
    struct paramd_io io = {.tensor = 0};
    io.moments[moment] = state;
    tour_check(paramd_pull_wait(trainee->model, &io, 1, NULL, TOUR_TIMEOUT_MS, NULL),
               "pull a moment");
}

void trainee_end(struct trainee *trainee, struct paramd_client *client)
{
    tour_check(paramd_leave(trainee->model, TOUR_TIMEOUT_MS), "leave the model");
    tour_check(paramd_delete(client, trainee->name, 0, TOUR_TIMEOUT_MS), "delete the model");
}
