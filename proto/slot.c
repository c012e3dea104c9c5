/* The slot of a model's first block. */
#include "proto/slot.h"

#include <string.h>
#include <xxhash.h>

uint32_t pd_slot_first(const char *model_name)
{
    return (uint32_t)(XXH3_64bits(model_name, strlen(model_name)) % PD_SLOTS);
}
