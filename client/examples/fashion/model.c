/* Says once how struct network is cut into tensors. */
#include "client/examples/fashion/model.h"

#include <err.h>
#include <stddef.h>
#include <string.h>

const char fashion_group_name[] = "all";

/* The tensors in the order of struct network's members. */
static const struct {
    const char *name;
    size_t first; /* its place among the network's floats */
    unsigned rank;
    uint64_t shape[2];
} layout[FASHION_TENSORS] = {
    {"w1", offsetof(struct network, w1) / sizeof(float), 2, {IMAGE_PIXELS, HIDDEN}},
    {"b1", offsetof(struct network, b1) / sizeof(float), 1, {HIDDEN}},
    {"w2", offsetof(struct network, w2) / sizeof(float), 2, {HIDDEN, IMAGE_CLASSES}},
    {"b2", offsetof(struct network, b2) / sizeof(float), 1, {IMAGE_CLASSES}},
};

void fashion_define(struct fashion_model *model, const char *name, const struct recipe *recipe,
                    double pushes)
{
    memset(model, 0, sizeof *model);
    model->group.name = fashion_group_name;
    model->group.optimizer = recipe->optimizer;
    model->group.hypers = model->hypers;
    model->group.hyper_count = recipe_hypers(recipe, pushes, model->hypers);
    for (size_t i = 0; i < FASHION_TENSORS; i++) {
        struct paramd_tensor *tensor = &model->tensors[i];
        tensor->name = layout[i].name;
        tensor->rank = layout[i].rank;
        memcpy(tensor->shape, layout[i].shape, sizeof layout[i].shape);
    }
    model->definition = (struct paramd_definition){.name = name,
                                                   .groups = &model->group,
                                                   .group_count = 1,
                                                   .tensors = model->tensors,
                                                   .tensor_count = FASHION_TENSORS};
}

enum paramd_ack_level fashion_ack_level(const char *name)
{
    if (strcmp(name, "applied") != 0 && strcmp(name, "logged") != 0) {
        errx(2, "--ack-level %s: applied or logged", name);
    }
    return strcmp(name, "logged") == 0 ? PARAMD_ACK_LOGGED : PARAMD_ACK_APPLIED;
}

void fashion_initial(struct paramd_values values[FASHION_TENSORS], const struct network *weights)
{
    memset(values, 0, FASHION_TENSORS * sizeof *values);
    for (size_t i = 0; i < FASHION_TENSORS; i++) {
        values[i].weights = (const float *)weights + layout[i].first;
    }
}

void fashion_entries(struct paramd_io entries[FASHION_TENSORS], const struct network *gradient,
                     struct network *weights)
{
    memset(entries, 0, FASHION_TENSORS * sizeof *entries);
    for (uint32_t i = 0; i < FASHION_TENSORS; i++) {
        entries[i].tensor = i;
        if (gradient != NULL) {
            entries[i].gradient = (const float *)gradient + layout[i].first;
        }
        entries[i].values = (float *)weights + layout[i].first;
    }
}
