/* Records: what the cores ask to be written to a log, and take back in replay. A record says what
 * happened and when, never what to decide: replay gives the same bits. Whoever writes them down
 * (storage, a test) knows a kind, a header and a payload. */
#ifndef PARAMD_SERVER_CORE_RECORD_H
#define PARAMD_SERVER_CORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/arena.h"
#include "proto/limits.h"
#include "proto/paramd_status.h"
#include "server/core/record.pb-c.h"
#include "server/optim/optim.h"

/* X(NAME, number, message): the message is the lower-case stem of protobuf-c's names. Numbers stand
 * in logs and are never reused; a shard's are below 64, control's from there on. README.md in this
 * folder says what each does. */
/* clang-format off */
#define PD_RECORD_LIST(X) \
    X(MODEL,          1,  record_told) \
    X(RESTART_INIT,   2,  record_told) \
    X(INIT,           3,  record_init) \
    X(INITIALISED,    4,  record_initialised) \
    X(READY,          5,  record_told) \
    X(PUSH,           6,  record_push) \
    X(SKIP,           7,  record_skip) \
    X(SET_HYPERS,     8,  record_told) \
    X(SESSION_OPENED, 9,  record_told) \
    X(SESSION_ENDED,  10, record_told) \
    X(DROP,           11, record_told) \
    X(START,          64, record_start) \
    X(MODEL_CREATED,  65, record_decided) \
    X(ATTEMPT,        66, record_decided) \
    X(MODEL_READY,    67, record_decided) \
    X(SET,            68, record_decided) \
    X(MODEL_DELETED,  69, record_decided) \
    X(OPENED,         70, record_decided) \
    X(ENDED,          71, record_decided) \
    X(STATE_END,      72, record_state_end)
/* clang-format on */

enum pd_record_kind {
#define PD_RECORD_ENUM(name, number, message) PD_RECORD_##name = (number),
    PD_RECORD_LIST(PD_RECORD_ENUM)
#undef PD_RECORD_ENUM
};

/* What became of an entry of a PUSH. */
enum pd_record_result {
    PD_RESULT_NOT_TAKEN = 0, /* another shard's, a duplicate, or an id before it was missing */
    PD_RESULT_APPLIED,
    PD_RESULT_NOT_FINITE, /* refused: the id is used up, the block is untouched */
    PD_RESULT_TOO_STALE,
    PD_RESULT_END
};

enum {
    /* A record is the header of a frame and what happened to its entries; or a model's groups. */
    PD_RECORD_OVERHEAD_BYTES = 512,
    PD_RECORD_GROUP_BYTES = PD_HEADER_BYTES_MAX / PD_GROUPS_MAX, /* a group's hyper-parameters */
    PD_RECORD_HEADER_BYTES_MAX = PD_HEADER_BYTES_MAX + PD_ENTRIES_MAX + PD_RECORD_OVERHEAD_BYTES
};

/* To be logged. The header lives until the next event, the payload as long as the event's. */
struct pd_record {
    enum pd_record_kind kind;
    const ProtobufCMessage *header;
    const uint8_t *payload;
    size_t payload_count;
    bool payload_summed; /* the payload came with its sum */
    uint64_t payload_sum;
};

/* As it was read back. Nothing in it is trusted. The payload is 64-byte aligned. */
struct pd_logged {
    uint64_t lsn; /* its number in the log: 1, 2, ...; 0 where no snapshot was loaded before */
    unsigned kind;
    const uint8_t *header;
    size_t header_count;
    const uint8_t *payload;
    size_t payload_count;
};

/* "PUSH" for PD_RECORD_PUSH; "?" for a number that is not in the list. Static memory. */
const char *pd_record_name(unsigned kind);
/* The descriptor of a kind's header; NULL for an unknown kind. */
const ProtobufCMessageDescriptor *pd_record_descriptor(unsigned kind);

/* The hyper-parameters of a group as a message, and what it points to. */
struct pd_group_hypers {
    Paramd__GroupHypers message;
    Paramd__Hyper values[PD_HYPERS_OF_GROUP];
    Paramd__Hyper *pointers[PD_HYPERS_OF_GROUP];
    struct pd_hyper_item items[PD_HYPERS_OF_GROUP];
};

/* Borrows the name. */
void pd_group_hypers_fill(struct pd_group_hypers *hypers, const char *group,
                          const struct pd_optimizer *optimizer, const struct pd_hyper *hyper);
/* What such a message says: PARAMD_OK, or PARAMD_INVALID if the optimizer cannot have it. */
enum paramd_status pd_group_hypers_read(const Paramd__GroupHypers *message,
                                        const struct pd_optimizer *optimizer,
                                        struct pd_hyper *ret_hyper)
    __attribute__((warn_unused_result));

#endif
