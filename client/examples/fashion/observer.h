/* Looks at a model while others train it: how far they are, how well the weights do, how stale the
 * gradients were. It pulls and asks, and never pushes. */
#ifndef FASHION_OBSERVER_H
#define FASHION_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "client/examples/fashion/model.h"

enum { STALENESS_BUCKETS = 130, BLOCKS_MAX = 4 };

struct observer {
    const char *name; /* of the model */
    struct paramd_client *client;
    struct paramd_model *model; /* NULL until it exists */
    const struct images *test;
};

struct sight {
    bool ready;      /* false: the model has no values yet, and the rest is 0 */
    uint64_t pushes; /* of whole gradients, by the version of the last tensor */
    double loss;     /* mean of what the workers last reported; 0: nothing yet */
    double staleness_mean;
    double staleness_p99;
    double staleness[STALENESS_BUCKETS]; /* blocks by the age of their gradient; the last: above */
};

/* Opens a client of its own. Ends the program on failure, as do the others. */
void observer_open(struct observer *observer, const char *model, const struct images *test);
/* Deletes the model: nobody needs it any more. */
void observer_close(struct observer *observer);

/* What the daemon counts. */
void observer_look(struct observer *observer, struct sight *ret_sight);

/* Pulls the weights and tries them on the first count test images. */
struct score observer_score(struct observer *observer, size_t count);

/* Each block's version as it is now; 0 where there is no block. */
void observer_versions(struct observer *observer, uint64_t versions[FASHION_TENSORS][BLOCKS_MAX]);

/* Changes the length of the learning-rate schedule. */
void observer_set_schedule(struct observer *observer, double pushes);

#endif
