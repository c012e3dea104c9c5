/* Making and freeing messages. */
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

void pd_message_destroy(struct pd_message *message)
{
    if (message == NULL) {
        return;
    }
    free(message->header);
    free(message->bytes);
    free(message->hypers);
    free(message->tensors);
    free(message);
}
