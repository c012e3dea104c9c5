/* The kinds of records as data, and hyper-parameters on their way into a record and back. */
#include "server/core/record.h"

#include "proto/definition.h"

const char *pd_record_name(unsigned kind)
{
    switch (kind) {
#define RECORD_NAME(NAME, number, message)                                                         \
    case PD_RECORD_##NAME:                                                                         \
        return #NAME;
        PD_RECORD_LIST(RECORD_NAME)
#undef RECORD_NAME
    default:
        return "?";
    }
}

const ProtobufCMessageDescriptor *pd_record_descriptor(unsigned kind)
{
    switch (kind) {
#define RECORD_DESCRIPTOR(NAME, number, message)                                                   \
    case PD_RECORD_##NAME:                                                                         \
        return &paramd__##message##__descriptor;
        PD_RECORD_LIST(RECORD_DESCRIPTOR)
#undef RECORD_DESCRIPTOR
    default:
        return NULL;
    }
}

void pd_group_hypers_fill(struct pd_group_hypers *hypers, const char *group,
                          const struct pd_optimizer *optimizer, const struct pd_hyper *hyper)
{
    paramd__group_hypers__init(&hypers->message);
    hypers->message.group = (char *)(uintptr_t)group;
    hypers->message.hypers = hypers->pointers;
    size_t count = 0;
    while (count < PD_HYPERS_OF_GROUP &&
           pd_hyper_item(optimizer, hyper, count, &hypers->items[count])) {
        Paramd__Hyper *value = &hypers->values[count];
        paramd__hyper__init(value);
        value->name = (char *)(uintptr_t)hypers->items[count].name;
        value->number = hypers->items[count].number;
        value->text = hypers->items[count].text;
        hypers->pointers[count++] = value;
    }
    hypers->message.n_hypers = count;
}

enum paramd_status pd_group_hypers_read(const Paramd__GroupHypers *message,
                                        const struct pd_optimizer *optimizer,
                                        struct pd_hyper *ret_hyper)
{
    struct pd_hyper hyper;
    char error[PD_ERROR_TEXT_BYTES];
    pd_hyper_defaults(optimizer, &hyper);
    for (size_t i = 0; i < message->n_hypers; i++) {
        const Paramd__Hyper *value = message->hypers[i];
        enum paramd_status status = pd_hyper_set(optimizer, &hyper, value->name, value->number,
                                                 value->text, error, sizeof error);
        if (status != PARAMD_OK) {
            return status;
        }
    }
    enum paramd_status status = pd_hyper_check(optimizer, &hyper, error, sizeof error);
    if (status == PARAMD_OK) {
        *ret_hyper = hyper;
    }
    return status;
}
