/* The network: 784 pixels, 128 hidden units (ReLU), 10 classes (softmax, cross-entropy). Plain
 * loops over one struct of weights; the gradient of a batch is a struct of the same form. */
#ifndef FASHION_NETWORK_H
#define FASHION_NETWORK_H

#include <stddef.h>
#include <stdint.h>

#include "client/examples/fashion/images.h"

enum { HIDDEN = 128, BATCH_MAX = 64 };

struct network {
    float w1[IMAGE_PIXELS][HIDDEN];
    float b1[HIDDEN];
    float w2[HIDDEN][IMAGE_CLASSES];
    float b2[IMAGE_CLASSES];
};

enum { NETWORK_FLOATS = sizeof(struct network) / sizeof(float) };

/* First weights: uniform within sqrt(6 / inputs), which suits ReLU (He et al., 2015); no bias. */
void network_init(struct network *weights, uint64_t seed);

/* Mean loss over a batch of at most BATCH_MAX images (given by their place), and its gradient. */
double network_gradient(const struct network *weights, const struct images *images,
                        const uint32_t *batch, size_t batch_count, struct network *gradient);

struct score {
    double accuracy; /* percent */
    double loss;     /* mean */
};

/* How well the weights do on the first count images. */
struct score network_score(const struct network *weights, const struct images *images,
                           size_t count);

#endif
