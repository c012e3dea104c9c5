/* Making and freeing messages and what they carry. */
#include "server/core/message.h"

#include <stdlib.h>

struct pd_message *pd_message_create(enum pd_message_kind kind, uint32_t shard)
{
    struct pd_message *message = calloc(1, sizeof *message);
    if (message != NULL) {
        pd_link_init(&message->link);
        message->kind = kind;
        message->shard = shard;
    }
    return message;
}

struct pd_count *pd_count_create(uint32_t first_tensor, uint32_t tensor_count)
{
    struct pd_count *count = calloc(1, sizeof *count + tensor_count * sizeof count->tensors[0]);
    if (count == NULL) {
        return NULL;
    }
    count->first_tensor = first_tensor;
    count->tensor_count = tensor_count;
    for (uint32_t i = 0; i < tensor_count; i++) {
        count->tensors[i].version_min = UINT64_MAX;
    }
    return count;
}

void pd_message_destroy(struct pd_message *message)
{
    if (message == NULL) {
        return;
    }
    free(message->header);
    free(message->bytes);
    free(message->hypers);
    free(message->sessions);
    free(message->count);
    free(message);
}
