/* Forward and backward pass of a batch. The first layer holds nearly all the work: its loops go
 * pixel by pixel, so that one row of weights and the activations of the whole batch stay in the
 * nearest cache, and pass over black pixels, which are half of all. */
#include "client/examples/fashion/network.h"

#include <math.h>
#include <string.h>

/* What one batch needs beside weights and gradient. */
struct pass {
    size_t count;
    float hidden[BATCH_MAX][HIDDEN];
    float hidden_gradient[BATCH_MAX][HIDDEN];
    float output[BATCH_MAX][IMAGE_CLASSES]; /* logits, then probabilities, then their gradient */
    float pixels[IMAGE_PIXELS][BATCH_MAX];  /* 0 to 1 */
    uint8_t labels[BATCH_MAX];
};

static void draw(float *weights, size_t count, size_t inputs, uint64_t *random)
{
    double bound = sqrt(6.0 / (double)inputs);
    for (size_t i = 0; i < count; i++) {
        weights[i] = (float)((2.0 * random_unit(random) - 1.0) * bound);
    }
}

void network_init(struct network *weights, uint64_t seed)
{
    memset(weights, 0, sizeof *weights);
    draw(weights->w1[0], IMAGE_PIXELS * HIDDEN, IMAGE_PIXELS, &seed);
    draw(weights->w2[0], HIDDEN * IMAGE_CLASSES, HIDDEN, &seed);
}

static void load_batch(struct pass *pass, const struct images *images, const uint32_t *batch,
                       size_t count)
{
    pass->count = count;
    for (size_t b = 0; b < count; b++) {
        const uint8_t *image = images->pixels + (size_t)batch[b] * IMAGE_PIXELS;
        for (size_t i = 0; i < IMAGE_PIXELS; i++) {
            pass->pixels[i][b] = (float)image[i] / 255.0f;
        }
        pass->labels[b] = images->labels[batch[b]];
    }
}

/* to += factor * from, over one row of hidden units. */
static inline void add_scaled(float *restrict to, const float *restrict from, float factor)
{
    for (size_t j = 0; j < HIDDEN; j++) {
        to[j] += factor * from[j];
    }
}

static void forward(const struct network *weights, struct pass *pass)
{
    for (size_t b = 0; b < pass->count; b++) {
        memcpy(pass->hidden[b], weights->b1, sizeof weights->b1);
    }
    for (size_t i = 0; i < IMAGE_PIXELS; i++) {
        for (size_t b = 0; b < pass->count; b++) {
            if (pass->pixels[i][b] != 0.0f) {
                add_scaled(pass->hidden[b], weights->w1[i], pass->pixels[i][b]);
            }
        }
    }
    for (size_t b = 0; b < pass->count; b++) {
        float *output = pass->output[b];
        memcpy(output, weights->b2, sizeof weights->b2);
        for (size_t j = 0; j < HIDDEN; j++) {
            pass->hidden[b][j] = fmaxf(pass->hidden[b][j], 0.0f);
            for (size_t k = 0; k < IMAGE_CLASSES; k++) {
                output[k] += pass->hidden[b][j] * weights->w2[j][k];
            }
        }
    }
}

/* Turns one image's logits into probabilities; its loss. */
static double softmax(float *output, unsigned label)
{
    float highest = output[0];
    for (size_t k = 1; k < IMAGE_CLASSES; k++) {
        highest = fmaxf(highest, output[k]);
    }
    double sum = 0.0, of_label = output[label] - highest;
    for (size_t k = 0; k < IMAGE_CLASSES; k++) {
        output[k] = expf(output[k] - highest);
        sum += output[k];
    }
    for (size_t k = 0; k < IMAGE_CLASSES; k++) {
        output[k] /= (float)sum;
    }
    return log(fmax(sum, 1.0)) - of_label; /* the highest alone adds 1 */
}

static void backward(const struct network *weights, struct pass *pass, struct network *gradient)
{
    memset(gradient, 0, sizeof *gradient);
    for (size_t b = 0; b < pass->count; b++) {
        const float *output = pass->output[b];
        float *hidden_gradient = pass->hidden_gradient[b];
        for (size_t j = 0; j < HIDDEN; j++) {
            float sum = 0.0f;
            for (size_t k = 0; k < IMAGE_CLASSES; k++) {
                sum += output[k] * weights->w2[j][k];
                gradient->w2[j][k] += output[k] * pass->hidden[b][j];
            }
            hidden_gradient[j] = pass->hidden[b][j] > 0.0f ? sum : 0.0f;
        }
        for (size_t k = 0; k < IMAGE_CLASSES; k++) {
            gradient->b2[k] += output[k];
        }
        add_scaled(gradient->b1, hidden_gradient, 1.0f);
    }
    for (size_t i = 0; i < IMAGE_PIXELS; i++) {
        for (size_t b = 0; b < pass->count; b++) {
            if (pass->pixels[i][b] != 0.0f) {
                add_scaled(gradient->w1[i], pass->hidden_gradient[b], pass->pixels[i][b]);
            }
        }
    }
}

double network_gradient(const struct network *weights, const struct images *images,
                        const uint32_t *batch, size_t batch_count, struct network *gradient)
{
    struct pass pass;
    double loss = 0.0;
    float mean = 1.0f / (float)batch_count;
    load_batch(&pass, images, batch, batch_count);
    forward(weights, &pass);
    for (size_t b = 0; b < batch_count; b++) {
        loss += softmax(pass.output[b], pass.labels[b]);
        /* The derivative of cross-entropy after softmax, for the mean over the batch. */
        pass.output[b][pass.labels[b]] -= 1.0f;
        for (size_t k = 0; k < IMAGE_CLASSES; k++) {
            pass.output[b][k] *= mean;
        }
    }
    backward(weights, &pass, gradient);
    return loss / (double)batch_count;
}

struct score network_score(const struct network *weights, const struct images *images, size_t count)
{
    struct pass pass;
    double right = 0.0, loss = 0.0;
    for (size_t first = 0; first < count; first += BATCH_MAX) {
        uint32_t batch[BATCH_MAX] = {0};
        size_t batch_count = count - first < BATCH_MAX ? count - first : BATCH_MAX;
        for (size_t b = 0; b < batch_count; b++) {
            batch[b] = (uint32_t)(first + b);
        }
        load_batch(&pass, images, batch, batch_count);
        forward(weights, &pass);
        for (size_t b = 0; b < batch_count; b++) {
            unsigned best = 0;
            for (unsigned k = 1; k < IMAGE_CLASSES; k++) {
                if (pass.output[b][k] > pass.output[b][best]) {
                    best = k;
                }
            }
            right += best == pass.labels[b];
            loss += softmax(pass.output[b], pass.labels[b]);
        }
    }
    return (struct score){.accuracy = 100.0 * right / (double)count, .loss = loss / (double)count};
}
