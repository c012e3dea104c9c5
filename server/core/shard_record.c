/* What a shard asks to be logged: the records of the event in hand. */
#include <string.h>

#include "server/base/assert.h"
#include "server/core/shard_state.h"

bool pd_shard_record_room(const struct pd_shard *shard, const struct pd_event *event,
                          const struct pd_effects *effects, size_t bytes)
{
    /* With what all other records of the event may need: none but MODEL and those with frames is
     * larger than the overhead, and at most one of these is in an event. */
    uint64_t needed = bytes + PD_RECORDS_MAX * PD_RECORD_OVERHEAD_BYTES;
    return !shard->options.records ||
           (effects->record_count < PD_RECORDS_MAX && event->log_room >= needed);
}

void pd_shard_no_record_room(const struct pd_event *event, struct pd_effects *effects,
                             const char *text)
{
    if (event->log_busy) {
        effects->verdict = PD_VERDICT_LOG;
    } else {
        pd_reply_error(effects, pd_request_id(event->header), PARAMD_RESOURCE_EXHAUSTED, text);
    }
}

static void push_record(struct pd_shard *shard, const struct pd_record *record,
                        struct pd_effects *effects)
{
    PD_ASSERT(effects->record_count < PD_RECORDS_MAX);
    shard->records[effects->record_count++] = *record;
    effects->records = shard->records;
    effects->wait = true;
}

void pd_shard_record(struct pd_shard *shard, enum pd_record_kind kind,
                     const ProtobufCMessage *header, struct pd_effects *effects)
{
    push_record(shard, &(struct pd_record){.kind = kind, .header = header}, effects);
}

void pd_shard_record_frame(struct pd_shard *shard, const struct pd_event *event,
                           enum pd_record_kind kind, const ProtobufCMessage *header,
                           struct pd_effects *effects)
{
    struct pd_record record = {.kind = kind,
                               .header = header,
                               .payload = event->payload,
                               .payload_count = event->payload_count,
                               .payload_summed = event->payload_summed,
                               .payload_sum = event->payload_sum};
    push_record(shard, &record, effects);
}

void pd_shard_record_told(struct pd_shard *shard, const struct pd_event *event,
                          enum pd_record_kind kind, Paramd__GroupHypers **groups,
                          size_t group_count, struct pd_effects *effects)
{
    const struct pd_message *message = event->message;
    Paramd__RecordTold *told = &shard->told;
    if (!shard->options.records) {
        return;
    }
    paramd__record_told__init(told);
    told->time_us = event->now_us;
    told->model = message->model;
    told->generation = message->generation;
    told->attempt = message->attempt;
    told->groups = groups;
    told->n_groups = group_count;
    memcpy(shard->told_session, message->session.bits, PD_SESSION_BYTES);
    told->session = (ProtobufCBinaryData){PD_SESSION_BYTES, shard->told_session};
    told->nonce = message->session.nonce;
    told->opening = message->opening;
    pd_shard_record(shard, kind, &told->base, effects);
}
