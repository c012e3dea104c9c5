/* The one list of statuses: what a call returns, what a frame carries and what a log line says.
 * Installed beside paramd.h. It knows nothing of errno, libuv or any other vocabulary: those are
 * translated where they enter. */
#ifndef PARAMD_STATUS_H
#define PARAMD_STATUS_H

#include <stdbool.h>

/* X(name, number, retryable, text). Numbers travel on the wire and are never reused; 0 is success,
 * the rest negative. Retryable: the same request may succeed later without being changed; a push
 * refused so keeps its push id. */
/* clang-format off */
#define PARAMD_STATUS_LIST(X) \
    X(OK,                 0,   false, "done") \
    X(INVALID,            -1,  false, "a value in the request is not allowed") \
    X(PROTOCOL,           -2,  false, "the bytes break the protocol; the connection is closed") \
    X(VERSION,            -3,  false, "the other side speaks another protocol version") \
    X(UNSUPPORTED,        -4,  false, "this daemon cannot do what was asked") \
    X(TOO_LARGE,          -5,  false, "a length is above its limit") \
    X(NOT_FOUND,          -6,  false, "no such model, group or tensor, or it was deleted") \
    X(MISMATCH,           -7,  false, "the model exists with another definition") \
    X(NOT_ATTACHED,       -8,  false, "this connection has no session in the model: ATTACH first") \
    X(NOT_INITIALISER,    -9,  false, "another session initialises it, or the attempt is over") \
    X(SESSION_EXPIRED,    -10, false, "the session and its push ids are forgotten") \
    X(SESSION_IN_USE,     -11, false, "another live process uses this session") \
    X(SUPERSEDED,         -12, false, "a SET with a higher or an equal clock came first") \
    X(NOT_FINITE,         -13, false, "a gradient value is not finite, or too large to square") \
    X(TOO_STALE,          -14, false, "the gradient was computed from values that are too old") \
    X(REFUSED,            -15, false, "this push was refused when it first came") \
    X(EXPECTED,           -16, false, "a push id is missing before this one") \
    X(ALREADY,            -17, false, "this push id has been used already") \
    X(MOVED,              -18, true,  "the slot belongs to another shard") \
    X(BUSY,               -19, true,  "a limit is reached for now: try again") \
    X(NOT_READY,          -20, true,  "the model has no values yet: its initialiser is at work") \
    X(RESOURCE_EXHAUSTED, -21, true,  "no memory within the limit that was set") \
    X(TIMEOUT,            -22, true,  "the deadline passed; what was asked may still happen") \
    X(PENDING,            -23, true,  "not finished yet") \
    X(UNREACHABLE,        -24, true,  "no connection to the daemon") \
    X(CANCELLED,          -25, false, "cancelled before it took effect") \
    X(UNKNOWN,            -26, false, "whether it took effect cannot be known any more") \
    X(CLOSED,             -27, false, "the client or the model handle is closed") \
    X(FORKED,             -28, false, "the parent process opened this client: open one here") \
    X(NO_MEMORY,          -29, false, "this process is out of memory") \
    X(DISK,               -30, false, "the disk refused or failed what the daemon asked of it") \
    X(CORRUPT,            -31, false, "what is on disk is not what was written there")
/* clang-format on */

enum paramd_status {
#define PARAMD_STATUS_ENUM(name, number, retryable, text) PARAMD_##name = (number),
    PARAMD_STATUS_LIST(PARAMD_STATUS_ENUM)
#undef PARAMD_STATUS_ENUM
};

/* The name without prefix, as "NOT_READY"; "?" for a number that is not in the list. Any thread;
 * static memory. */
const char *paramd_status_name(int status);

/* One sentence for a person. Any thread; static memory. */
const char *paramd_status_text(int status);

/* Whether the unchanged request may succeed later. Any thread. */
bool paramd_status_retryable(int status);

#endif
