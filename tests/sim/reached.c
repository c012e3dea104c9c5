/* Statuses in answers and kinds of records, noted where a client reads the one and a log takes the
 * other: the linker leads both calls through here. */
#include "tests/sim/reached.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>

#include "proto/codec.h"
#include "proto/paramd.pb-c.h"
#include "proto/paramd_status.h"
#include "server/core/record.h"
#include "server/storage/wal.h"

enum { STATUSES = 64, RECORDS = 128 };

static uint64_t statuses[STATUSES];
static uint64_t records[RECORDS];

void sim_reached_status(int status)
{
    if (status <= 0 && status > -STATUSES) {
        statuses[-status]++;
    }
}

/* NOLINTBEGIN(bugprone-reserved-identifier): --wrap makes these names */
ProtobufCMessage *__real_pd_decode(const ProtobufCMessageDescriptor *descriptor,
                                   struct pd_arena *arena, const uint8_t *bytes, size_t count);
ProtobufCMessage *__wrap_pd_decode(const ProtobufCMessageDescriptor *descriptor,
                                   struct pd_arena *arena, const uint8_t *bytes, size_t count);
uint64_t __real_pd_wal_append(struct pd_wal *wal, uint16_t kind, const uint8_t *header,
                              size_t header_bytes, const struct pd_span *payload,
                              size_t payload_count, uint64_t payload_sum);
uint64_t __wrap_pd_wal_append(struct pd_wal *wal, uint16_t kind, const uint8_t *header,
                              size_t header_bytes, const struct pd_span *payload,
                              size_t payload_count, uint64_t payload_sum);
/* NOLINTEND(bugprone-reserved-identifier) */

ProtobufCMessage *__wrap_pd_decode(const ProtobufCMessageDescriptor *descriptor,
                                   struct pd_arena *arena, const uint8_t *bytes, size_t count)
{
    ProtobufCMessage *message = __real_pd_decode(descriptor, arena, bytes, count);
    if (message != NULL && descriptor == &paramd__error__descriptor) {
        sim_reached_status(((const Paramd__Error *)message)->status);
    } else if (message != NULL && descriptor == &paramd__skipped__descriptor) {
        sim_reached_status(((const Paramd__Skipped *)message)->status);
    } else if (message != NULL && descriptor == &paramd__ack__descriptor) {
        const Paramd__Ack *ack = (const Paramd__Ack *)message;
        for (size_t i = 0; i < ack->n_status; i++) {
            sim_reached_status(ack->status[i]);
        }
    }
    return message;
}

uint64_t __wrap_pd_wal_append(struct pd_wal *wal, uint16_t kind, const uint8_t *header,
                              size_t header_bytes, const struct pd_span *payload,
                              size_t payload_count, uint64_t payload_sum)
{
    records[kind % RECORDS]++;
    return __real_pd_wal_append(wal, kind, header, header_bytes, payload, payload_count,
                                payload_sum);
}

void sim_reached_print(void)
{
    const char *comma = "";
    (void)printf("\"statuses\": {");
#define PRINT_STATUS(name, number, retryable, text)                                                \
    (void)printf("%s\"%s\": %" PRIu64, comma, #name, statuses[-(number)]);                         \
    comma = ", ";
    PARAMD_STATUS_LIST(PRINT_STATUS)
#undef PRINT_STATUS
    (void)printf("},\n \"records\": {");
    comma = "";
#define PRINT_RECORD(name, number, message)                                                        \
    (void)printf("%s\"%s\": %" PRIu64, comma, #name, records[number]);                             \
    comma = ", ";
    PD_RECORD_LIST(PRINT_RECORD)
#undef PRINT_RECORD
    (void)printf("}");
}
