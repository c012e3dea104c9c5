/* The network as a model of the daemon: four tensors, one group. Whoever trains or watches it
 * shares this definition. */
#ifndef FASHION_MODEL_H
#define FASHION_MODEL_H

#include "client/examples/fashion/network.h"
#include "client/examples/recipes.h"
#include <paramd.h>

enum { FASHION_TENSORS = 4, FASHION_TIMEOUT_MS = 30000 };

extern const char fashion_group_name[];

struct fashion_model {
    struct paramd_definition definition;
    struct paramd_group group;
    struct paramd_tensor tensors[FASHION_TENSORS];
    struct paramd_hyper hypers[RECIPE_HYPERS_MAX];
};

/* Fills in a definition, which points into model itself: it must not be copied. pushes: the length
 * of the learning-rate schedule; 0: constant. */
void fashion_define(struct fashion_model *model, const char *name, const struct recipe *recipe,
                    double pushes);

/* By its name; ends the program if there is none of that name. */
enum paramd_ack_level fashion_ack_level(const char *name);

/* First values for paramd_join: values points into weights. */
void fashion_initial(struct paramd_values values[FASHION_TENSORS], const struct network *weights);

/* The entries of a push, pull or push_pull: gradient goes out, weights come in. */
void fashion_entries(struct paramd_io entries[FASHION_TENSORS], const struct network *gradient,
                     struct network *weights);

#endif
