/* How long a thread looks for more bytes before it sleeps: for a while after the last ones, since
 * waking a core up takes longer than most answers do, and not at all while others want the core.
 * Pure state: the time comes in as an argument, in microseconds of one monotonic clock. */
#ifndef PARAMD_PROTO_BUSY_POLL_H
#define PARAMD_PROTO_BUSY_POLL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PD_BUSY_POLL_DEFAULT_US = 50,
    PD_BUSY_POLL_TAKEN_US = 100,  /* who yields and is back only then has shared the core */
    PD_BUSY_POLL_PAUSE_US = 50000 /* and sleeps as others do for so long */
};

struct pd_busy_poll {
    uint64_t window_us; /* 0: never */
    uint64_t until_us;
    uint64_t paused_until_us;
};

/* Whether to look again instead of sleeping. */
static inline bool pd_busy_poll_goes_on(const struct pd_busy_poll *poll, uint64_t now_us)
{
    return now_us < poll->until_us && now_us >= poll->paused_until_us;
}

/* Bytes moved, or are waited for from now on. */
static inline void pd_busy_poll_begin(struct pd_busy_poll *poll, uint64_t now_us)
{
    poll->until_us = now_us + poll->window_us;
}

/* The thread gave the core to whoever wanted it. */
static inline void pd_busy_poll_yielded(struct pd_busy_poll *poll, uint64_t before_us,
                                        uint64_t after_us)
{
    if (after_us - before_us >= PD_BUSY_POLL_TAKEN_US) {
        poll->paused_until_us = after_us + PD_BUSY_POLL_PAUSE_US;
    }
}

#endif
