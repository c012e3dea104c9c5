/* The frame kinds as data: number, name, protobuf message, and who sends it. */
#ifndef PARAMD_PROTO_KINDS_H
#define PARAMD_PROTO_KINDS_H

/* X(NAME, number, message, from client, from server). The message is the lower-case stem of
 * protobuf-c's names. */
/* clang-format off */
#define PD_KIND_LIST(X) \
    X(HELLO,     1,  hello,    true,  false) \
    X(WELCOME,   2,  welcome,  false, true) \
    X(CREATE,    3,  create,   true,  false) \
    X(CREATED,   4,  created,  false, true) \
    X(ATTACH,    5,  attach,   true,  false) \
    X(ATTACHED,  6,  attached, false, true) \
    X(INIT,      7,  init,     true,  false) \
    X(PUSH,      8,  push,     true,  false) \
    X(PUSH_PULL, 9,  push,     true,  false) \
    X(ACK,       10, ack,      false, true) \
    X(PULL,      11, pull,     true,  false) \
    X(BLOCKS,    12, blocks,   false, true) \
    X(SKIP,      13, skip,     true,  false) \
    X(SKIPPED,   14, skipped,  false, true) \
    X(SET,       15, set,      true,  false) \
    X(REPORT,    16, report,   true,  false) \
    X(LIST,      17, list,     true,  false) \
    X(LISTED,    18, listed,   false, true) \
    X(STAT,      19, stat,     true,  false) \
    X(STATED,    20, stated,   false, true) \
    X(DELETE,    21, delete,   true,  false) \
    X(PING,      22, ping,     true,  false) \
    X(PONG,      23, pong,     false, true) \
    X(GOODBYE,   24, goodbye,  true,  false) \
    X(DONE,      25, done,     false, true) \
    X(ERROR,     26, error,    false, true) \
    X(MOVED,     27, moved,    false, true) \
    X(SNAPSHOT,  28, snapshot, true,  false) \
    X(SNAPSHOTTED, 29, snapshotted, false, true)
/* clang-format on */

enum pd_kind {
#define PD_KIND_ENUM(name, number, message, from_client, from_server) PD_KIND_##name = (number),
    PD_KIND_LIST(PD_KIND_ENUM)
#undef PD_KIND_ENUM
        PD_KIND_END
};

/* "PUSH" for PD_KIND_PUSH; "?" for a number that is not in the list. Static memory. */
const char *pd_kind_name(unsigned kind);

#endif
