/* paramctl ping: round trips to the daemon, one after the other. */
#include <inttypes.h>
#include <stdio.h>

#include "client/ctl/ctl.h"

struct round_trips {
    unsigned count;
    uint64_t min_us;
    uint64_t max_us;
    uint64_t sum_us;
};

static int measure(const struct pd_ctl *ctl, struct round_trips *trips)
{
    uint64_t us;
    /* The first call also connects, which is not what is asked for. */
    int status = paramd_ping(ctl->client, ctl->timeout_ms, &us);
    while (status == PARAMD_OK && trips->count < ctl->count) {
        status = paramd_ping(ctl->client, ctl->timeout_ms, &us);
        if (status == PARAMD_OK) {
            trips->count++;
            trips->sum_us += us;
            trips->min_us = us < trips->min_us ? us : trips->min_us;
            trips->max_us = us > trips->max_us ? us : trips->max_us;
        }
    }
    return status;
}

enum pd_ctl_exit pd_ctl_ping(const struct pd_ctl *ctl)
{
    struct round_trips trips = {.min_us = UINT64_MAX};
    int status = measure(ctl, &trips);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    double mean_us = (double)trips.sum_us / trips.count;
    if (ctl->json) {
        return pd_ctl_print_json(
            json_pack("{s:s, s:I, s:I, s:o, s:I}", "address", ctl->address, "count",
                      (json_int_t)trips.count, "min_us", (json_int_t)trips.min_us, "mean_us",
                      pd_ctl_json_number(mean_us), "max_us", (json_int_t)trips.max_us));
    }
    if (trips.count == 1) {
        (void)printf("%s answered in %" PRIu64 " us\n", ctl->address, trips.sum_us);
    } else {
        (void)printf("%s answered %u pings: min %" PRIu64 " us, mean %.1f us, max %" PRIu64 " us\n",
                     ctl->address, trips.count, trips.min_us, mean_us, trips.max_us);
    }
    return PD_CTL_OK;
}
