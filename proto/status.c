/* Names and texts of statuses and frame kinds, from their lists. */
#include "proto/kinds.h"
#include "proto/paramd_status.h"

#include <stddef.h>

struct status_entry {
    int number;
    const char *name;
    const char *text;
    bool retryable;
};

static const struct status_entry statuses[] = {
#define STATUS_ENTRY(name, number, retryable, text) {(number), #name, (text), (retryable)},
    PARAMD_STATUS_LIST(STATUS_ENTRY)
#undef STATUS_ENTRY
};

static const struct status_entry *find(int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        if (statuses[i].number == status) {
            return &statuses[i];
        }
    }
    return NULL;
}

const char *paramd_status_name(int status)
{
    const struct status_entry *entry = find(status);
    return entry != NULL ? entry->name : "?";
}

const char *paramd_status_text(int status)
{
    const struct status_entry *entry = find(status);
    return entry != NULL ? entry->text : "a status this version does not know";
}

bool paramd_status_retryable(int status)
{
    const struct status_entry *entry = find(status);
    return entry != NULL && entry->retryable;
}

const char *pd_kind_name(unsigned kind)
{
    switch (kind) {
#define KIND_NAME(NAME, number, message, from_client, from_server)                                 \
    case PD_KIND_##NAME:                                                                           \
        return #NAME;
        PD_KIND_LIST(KIND_NAME)
#undef KIND_NAME
    default:
        return "?";
    }
}
