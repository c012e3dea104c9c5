/* Hyper-parameters that suit the examples' network, for each optimizer the daemon has. */
#ifndef EXAMPLES_RECIPES_H
#define EXAMPLES_RECIPES_H

#include <stddef.h>

#include <paramd.h>

struct recipe {
    const char *optimizer;
    double lr;
    struct paramd_hyper more[2]; /* a name of NULL ends them */
};

/* Ends the program, naming all there are, if there is none for this optimizer. */
const struct recipe *recipe_find(const char *optimizer);

enum { RECIPE_HYPERS_MAX = 8 };

/* Writes the recipe's hyper-parameters, at most RECIPE_HYPERS_MAX; their number is returned. pushes
 * > 0 adds the schedule: a warm-up, constant to the half, then linear decay to 3 % at pushes. */
size_t recipe_hypers(const struct recipe *recipe, double pushes, struct paramd_hyper *hypers);

#endif
