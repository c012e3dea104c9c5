/* One push into one block: checked first, then the optimizer's loop, over the gradient where it
 * lies or, if it must be clipped, over small tiles of it that never leave the first cache. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "server/optim/loop.h"

/* Elements. A multiple of 16, so that an element's lane in the norm does not depend on tiles. */
enum { TILE = 1024 };

/* Squares stay below the largest f32 with room for a sum of them. */
static const float SQUARED_MAX = 1e18f;

void pd_optim_start(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper,
                    struct pd_optim_block *block)
{
    const struct pd_rule *rule = pd_optimizer_rule(optimizer);
    unsigned moments = pd_optimizer_moments(optimizer, hyper);
    for (unsigned m = 0; m < moments; m++) {
        float start = rule->moment_start != NULL ? rule->moment_start(hyper, m) : 0.0f;
        for (uint32_t i = 0; i < block->elements; i++) {
            block->moments[m][i] = start;
        }
    }
    block->carry = 1.0;
}

void pd_optim_resume(const struct pd_optimizer *optimizer, const struct pd_hyper *hyper,
                     struct pd_optim_block *block)
{
    const struct pd_rule *rule = pd_optimizer_rule(optimizer);
    if (block->step > 0 && rule->carry_after != NULL) {
        block->carry = rule->carry_after(hyper, block->step);
    } else {
        block->carry = 1.0;
    }
}

static const void *gradient_from(const struct pd_optim_push *push, size_t first)
{
    return (const char *)push->gradient + first * pd_dtype_bytes(push->dtype);
}

static size_t tile_elements(size_t elements, size_t first)
{
    return elements - first < TILE ? elements - first : TILE;
}

/* Nothing is written before the whole gradient is known to be sound. Meanwhile memory sends the
 * first sixteenth of the block. */
static bool gradient_is_sound(const struct pd_optim_push *push, const struct pd_optim_block *block,
                              unsigned moments, bool squares)
{
    const struct pd_gradient_form *form = pd_optim_gradient_form();
    float limit = squares ? SQUARED_MAX : FLT_MAX;
    for (size_t first = 0; first < block->elements; first += TILE) {
        size_t n = tile_elements(block->elements, first);
        pd_prefetch(block->p, block->moments, moments, first / 16, n / 16);
        float largest = form->largest(push->dtype, gradient_from(push, first), n);
        if (!(fabsf(push->scale * largest) <= limit)) {
            return false;
        }
    }
    return true;
}

/* Scaled, and each element cut to clip_value. */
static void clipped(const struct pd_optim_push *push, const struct pd_hyper *hyper, size_t first,
                    size_t n, float *tile)
{
    double clip_value = pd_hyper_get(hyper, PD_CLIP_VALUE);
    float limit = clip_value > 0 ? (float)clip_value : FLT_MAX;
    pd_optim_gradient_form()->clip(push->dtype, gradient_from(push, first), tile, n, push->scale,
                                   limit);
}

/* What brings the block's norm down to clip_norm, as torch.nn.utils.clip_grad_norm_; 1 if it is
 * below. */
static float norm_factor(const struct pd_optim_push *push, const struct pd_hyper *hyper,
                         size_t elements)
{
    double clip_norm = pd_hyper_get(hyper, PD_CLIP_NORM);
    double lane[16] = {0};
    float tile[TILE];
    if (clip_norm == 0) {
        return 1.0f;
    }
    for (size_t first = 0; first < elements; first += TILE) {
        size_t n = tile_elements(elements, first);
        clipped(push, hyper, first, n, tile);
        pd_optim_gradient_form()->add_squares(tile, n, lane);
    }
    for (size_t width = 8; width > 0; width /= 2) {
        for (size_t i = 0; i < width; i++) {
            lane[i] += lane[i + width];
        }
    }
    double factor = clip_norm / (sqrt(lane[0]) + 1e-6);
    return factor < 1.0 ? (float)factor : 1.0f;
}

static struct pd_constants constants_of(const struct pd_rule *rule, const struct pd_hyper *hyper,
                                        double lr, struct pd_optim_block *block)
{
    struct pd_constants k = {.scale = 1.0f};
    double decay = pd_hyper_get(hyper, PD_WEIGHT_DECAY);
    double decoupled = pd_hyper_get(hyper, PD_DECOUPLED_WEIGHT_DECAY);
    k.l2 = rule->weight_decay_apart ? 0.0f : (float)decay;
    k.decay = (float)(1.0 - lr * (rule->weight_decay_apart ? decay : decoupled));
    rule->prepare(hyper, lr, block->step + 1, &block->carry, &k);
    return k;
}

/* The update from a clipped gradient, tile by tile. */
static void update_clipped(const struct pd_rule *rule, const struct pd_hyper *hyper,
                           const struct pd_optim_push *push, const struct pd_update *whole,
                           unsigned moments)
{
    float tile[TILE];
    for (size_t first = 0; first < whole->n; first += TILE) {
        struct pd_update update = *whole;
        update.p += first;
        for (unsigned m = 0; m < moments; m++) {
            update.moments[m] += first;
        }
        update.gradient = tile;
        update.dtype = PD_F32;
        update.n = tile_elements(whole->n, first);
        clipped(push, hyper, first, update.n, tile);
        rule->update(&update);
    }
}

enum paramd_status pd_optim_apply(const struct pd_optimizer *optimizer,
                                  const struct pd_hyper *hyper, struct pd_optim_block *block,
                                  const struct pd_optim_push *push)
{
    const struct pd_rule *rule = pd_optimizer_rule(optimizer);
    unsigned moments = pd_optimizer_moments(optimizer, hyper);
    double staleness_max = pd_hyper_get(hyper, PD_STALENESS_MAX);
    bool clips = pd_hyper_get(hyper, PD_CLIP_VALUE) > 0 || pd_hyper_get(hyper, PD_CLIP_NORM) > 0;
    float sign = pd_hyper_get(hyper, PD_MAXIMIZE) != 0 ? -1.0f : 1.0f;
    if (staleness_max > 0 && (double)push->staleness > staleness_max) {
        return PARAMD_TOO_STALE;
    }
    if (!gradient_is_sound(push, block, moments, rule->squares)) {
        return PARAMD_NOT_FINITE;
    }
    double lr = pd_hyper_get(hyper, PD_LR) * pd_schedule_factor(hyper, block->step) *
                pd_staleness_factor(hyper, push->staleness);
    if (block->step == 0 && rule->begin != NULL) {
        rule->begin(hyper, lr, block);
    }
    struct pd_constants k = constants_of(rule, hyper, lr, block);
    struct pd_update update = {&k, block->p, {NULL}, push->gradient, push->dtype, block->elements};
    memcpy(update.moments, block->moments, sizeof update.moments);
    if (clips) {
        k.scale = sign * norm_factor(push, hyper, block->elements);
        update_clipped(rule, hyper, push, &update, moments);
    } else {
        k.scale = sign * push->scale;
        rule->update(&update);
    }
    block->step++;
    return PARAMD_OK;
}
