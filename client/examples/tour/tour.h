/* What the three parts of the tour share: a client, small models that come and go, files. Each part
 * trains one model for each optimizer through the daemon that PARAMD_ADDRESS names. */
#ifndef TOUR_TOUR_H
#define TOUR_TOUR_H

#include <stdio.h>

#include <paramd.h>

enum { TOUR_TIMEOUT_MS = 30000, TOUR_HYPERS_MAX = 4 };

/* One way to train, and how it is called in tables and pictures. */
struct contestant {
    const char *name;
    const char *optimizer;
    struct paramd_hyper hypers[TOUR_HYPERS_MAX]; /* a name of NULL ends them */
};

/* A model of one tensor of count floats, and the call that pushes a gradient and pulls values. */
struct trainee {
    struct paramd_model *model;
    struct paramd_io io;
    char name[64];
};

/* Ends the program with the library's sentence if status is not PARAMD_OK. */
void tour_check(int status, const char *what);

struct paramd_client *tour_open(void);

/* DIR/NAME, opened for writing. Ends the program if it cannot be. */
FILE *tour_create(const char *dir, const char *name);
void tour_finish(FILE *file);

/* Creates the model in the daemon with the given values, which every push then brings up to date.
 */
void trainee_begin(struct trainee *trainee, struct paramd_client *client,
                   const struct contestant *contestant, const float *gradient, float *values,
                   size_t count);
void trainee_push(struct trainee *trainee);
/* Pulls optimizer state number moment, in the optimizer's order, into count floats. */
void trainee_moment(struct trainee *trainee, unsigned moment, float *state);
/* Deletes the model. */
void trainee_end(struct trainee *trainee, struct paramd_client *client);

#endif
