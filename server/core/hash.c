/* Sums over what a model is, to compare two runs or what a replay brought back. */
#include "proto/frame.h"
#include "server/core/shard_state.h"

static uint64_t hash(const void *bytes, size_t count)
{
    struct pd_span span = {(uint8_t *)(uintptr_t)bytes, count};
    return pd_payload_sum(&span, 1);
}

/* Values and moments count from when they are set: before, memory holds what an earlier attempt
 * left. */
uint64_t pd_block_hash(const struct pd_block *block)
{
    struct {
        uint64_t tensor, block, version, step, started;
        double carry;
    } head = {block->tensor, block->block, block->version, 0, block->started, 0};
    struct pd_span spans[1 + PD_PARTS_MAX] = {{(uint8_t *)&head, sizeof head}};
    size_t count = 1;
    if (block->started) {
        head.step = block->step;
        head.carry = block->carry;
    }
    for (unsigned i = 0; block->started && i < block->part_count; i++) {
        if (i > 0 || block->version > 0) {
            spans[count++] = (struct pd_span){(uint8_t *)(block->parts + (size_t)i * block->stride),
                                              block->elements * sizeof(float)};
        }
    }
    return pd_payload_sum(spans, count);
}

static uint64_t session_hash(const struct pd_session *session)
{
    uint64_t sum = hash(&session->key, sizeof session->key);
    for (uint32_t page = 0; page < PD_SESSION_PAGES; page++) {
        for (uint32_t i = 0; session->pages[page] != NULL && i < PD_SESSION_PAGE_SLOTS; i++) {
            const struct pd_slot_ids *ids = &session->pages[page][i];
            uint64_t words[] = {sum, (uint64_t)page * PD_SESSION_PAGE_SLOTS + i, ids->last,
                                ids->refused};
            sum = ids->last > 0 ? hash(words, sizeof words) : sum;
        }
    }
    return sum;
}

uint64_t pd_shard_hash(struct pd_shard *shard, uint64_t number)
{
    const struct pd_model *model = pd_shard_model(shard, number);
    if (model == NULL) {
        return 0;
    }
    uint64_t words[] = {model->number, model->attempt, model->ready,
                        hash(&model->initialiser, sizeof model->initialiser)};
    uint64_t sum = hash(words, sizeof words);
    for (size_t i = 0; i < model->group_count; i++) {
        sum += hash(&model->groups[i].hyper, sizeof model->groups[i].hyper) * (i + 1);
    }
    for (uint32_t i = 0; i < model->block_count; i++) {
        sum += pd_block_hash(&model->blocks[i]);
    }
    /* A sum: sessions come back in any order. */
    const struct pd_session *session = model->sessions;
    for (; session != NULL; session = session->by_bits.next) {
        sum += session_hash(session);
    }
    return sum;
}
