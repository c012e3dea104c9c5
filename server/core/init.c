/* First values: INIT frames from the initialiser, and the server's own initialisers, which work in
 * steps between other events. When no block of the shard is without values any more, control is
 * told. */
#include <math.h>
#include <string.h>

#include "proto/slot.h"
#include "server/core/shard_state.h"

/* Of the server's own initialisers between two looks at the connections: one or two milliseconds. A
 * normal number takes as long as some thirty others. */
enum { STEP_COST = 1024 * 1024, NORMAL_COST = 32 };

#define PD_STEP_MAX ((uint64_t)1 << 53)

void pd_shard_tell_initialised(struct pd_shard *shard, struct pd_model *model,
                               struct pd_effects *effects)
{
    if (model->incomplete > 0 || model->told_attempt == model->attempt) {
        return;
    }
    struct pd_message *message = pd_tell(shard, effects, PD_MESSAGE_INITIALISED);
    if (message != NULL) {
        message->model = model->number;
        message->attempt = model->attempt;
        model->told_attempt = model->attempt;
    }
}

bool pd_shard_initialise_step(struct pd_shard *shard, struct pd_effects *effects)
{
    uint64_t done = 0;
    for (struct pd_model *model = shard->models; model != NULL; model = model->by_number.next) {
        while (model->next_start < model->block_count) {
            if (done >= STEP_COST) {
                return true;
            }
            struct pd_block *block = &model->blocks[model->next_start++];
            Paramd__Initialiser init = model->definition->tensors[block->tensor].init;
            if (init != PARAMD__INITIALISER__CLIENT) {
                pd_block_initialise(block);
                done += (uint64_t)block->elements *
                        (init == PARAMD__INITIALISER__NORMAL ? NORMAL_COST : 1);
            }
        }
        pd_shard_tell_initialised(shard, model, effects);
    }
    return false;
}

static bool shape_right(const struct pd_model *model, const Paramd__Init *init,
                        size_t payload_count)
{
    size_t count = init->n_tensor;
    size_t bytes = 0;
    if (count == 0 || count > PD_ENTRIES_MAX || init->n_block != count ||
        (init->n_step != 0 && init->n_step != count) || (int)init->part < 0 ||
        (int)init->part >= PD_PARTS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t in_model;
        if (!pd_model_locate(model, init->tensor[i], init->block[i], &in_model)) {
            return false;
        }
        bytes += (size_t)4 * pd_block_elements(model->definition->tensors[init->tensor[i]].elements,
                                               model->definition->block_elements, init->block[i]);
        if (bytes > payload_count) {
            return false;
        }
    }
    return bytes == payload_count;
}

static bool is_initialiser(const struct pd_session *session, uint64_t attempt)
{
    const struct pd_model *model = session->model;
    return attempt == model->attempt && session->key.nonce == model->initialiser.nonce &&
           memcmp(session->key.bits, model->initialiser.bits, PD_SESSION_BYTES) == 0;
}

/* What is wrong with the values as a whole, or NULL. Looks all blocks up. */
static const char *find_fault(struct pd_shard *shard, const struct pd_model *model,
                              const Paramd__Init *init, const struct pd_event *event,
                              bool *ret_moved)
{
    const float *values = (const float *)(const void *)event->payload;
    for (size_t i = 0; i < event->payload_count / sizeof *values; i++) {
        if (!isfinite(values[i])) {
            return "a first value is not finite";
        }
    }
    for (size_t i = 0; i < init->n_tensor; i++) {
        uint64_t in_model = 0;
        (void)pd_model_locate(model, init->tensor[i], init->block[i], &in_model);
        struct pd_block *block = pd_model_block(model, in_model);
        shard->entries[i].block = block;
        if (block == NULL) {
            *ret_moved = true;
            continue;
        }
        if (model->definition->tensors[block->tensor].init != PARAMD__INITIALISER__CLIENT) {
            return "a tensor that the server initialises by itself";
        }
        if ((unsigned)init->part >= block->part_count) {
            return "a part that a block does not have: its optimizer keeps fewer moments";
        }
        if (init->n_step != 0 && init->step[i] > PD_STEP_MAX) {
            return "a step above 2^53";
        }
    }
    return NULL;
}

static void take_values(struct pd_shard *shard, struct pd_model *model, const Paramd__Init *init,
                        const uint8_t *payload, struct pd_effects *effects)
{
    const uint8_t *from = payload;
    bool completed = false;
    for (size_t i = 0; i < init->n_tensor; i++) {
        struct pd_block *block = shard->entries[i].block;
        size_t bytes = block->elements * sizeof(float);
        if (block->version == 0) {
            if (!block->started) {
                pd_block_start(block);
            }
            memcpy(block->parts + (size_t)(unsigned)init->part * block->stride, from, bytes);
            if (init->part == PARAMD__PART__WEIGHTS) {
                pd_block_complete(block, init->n_step != 0 ? init->step[i] : 0);
                completed = true;
            }
        }
        from += bytes;
    }
    if (completed) {
        pd_shard_tell_initialised(shard, model, effects);
    }
}

void pd_shard_init(struct pd_shard *shard, const struct pd_event *event, struct pd_effects *effects)
{
    const Paramd__Init *init = (const Paramd__Init *)event->header;
    struct pd_attachment *attachment = pd_attachment_for(shard, event, init->model, effects);
    if (attachment == NULL) {
        return;
    }
    struct pd_model *model = attachment->session->model;
    if (!shape_right(model, init, event->payload_count)) {
        pd_close(effects, PARAMD_PROTOCOL,
                 "an INIT whose arrays, blocks, part or payload do not fit together");
        return;
    }
    if (!is_initialiser(attachment->session, init->attempt)) {
        pd_reply_error(effects, init->request_id, PARAMD_NOT_INITIALISER,
                       "another session initialises this model, or the attempt is over: CREATE "
                       "again and see who does");
        return;
    }
    bool moved = false;
    const char *fault = find_fault(shard, model, init, event, &moved);
    if (fault != NULL) {
        pd_reply_error(effects, init->request_id, PARAMD_INVALID, fault);
        return;
    }
    if (moved) {
        pd_reply_moved(shard, effects, init->request_id);
        return;
    }
    take_values(shard, model, init, event->payload, effects);
    pd_reply_done(effects, init->request_id);
}
