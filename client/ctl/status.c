/* paramctl status: the daemon's own counters. */
#include <stdio.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "client/ctl/units.h"

static const char *const shown[] = {
    "uptime_seconds",      "shards",    "models",     "sessions",     "sessions_expired",
    "connections",         "frames_in", "frames_out", "memory_bytes", "memory_bytes_max",
    "connections_refused",
};

static bool is_shown(const char *name)
{
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        if (strcmp(shown[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static struct pd_ctl_text count_of(const struct paramd_stat *stat, const char *name)
{
    return pd_ctl_thousands((uint64_t)pd_ctl_counter(stat, name));
}

static void print_memory(const struct paramd_stat *stat)
{
    double used = pd_ctl_counter(stat, "memory_bytes");
    double limit = pd_ctl_counter(stat, "memory_bytes_max");
    (void)printf("%-20s%s of %s (%.1f%%)\n", "memory", pd_ctl_bytes(used).text,
                 pd_ctl_bytes(limit).text, limit > 0 ? 100 * used / limit : 0);
}

/* Counters with a line of their own are gathered and get units; whatever else the daemon tells,
 * a newer one too, follows under its own name. */
static void print_status(const struct pd_ctl *ctl, const struct paramd_stat *stat)
{
    (void)printf("%-20s%s at %s\n", "daemon", stat->server, ctl->address);
    (void)printf("%-20s%s\n", "uptime",
                 pd_ctl_duration(pd_ctl_counter(stat, "uptime_seconds")).text);
    (void)printf("%-20s%s\n", "shards", count_of(stat, "shards").text);
    (void)printf("%-20s%s\n", "models", count_of(stat, "models").text);
    print_memory(stat);
    (void)printf("%-20s%s now, %s expired\n", "sessions", count_of(stat, "sessions").text,
                 count_of(stat, "sessions_expired").text);
    (void)printf("%-20s%s now, %s refused\n", "connections", count_of(stat, "connections").text,
                 count_of(stat, "connections_refused").text);
    (void)printf("%-20s%s in, %s out\n", "frames", count_of(stat, "frames_in").text,
                 count_of(stat, "frames_out").text);
    for (size_t i = 0; i < stat->counter_count; i++) {
        const struct paramd_counter *counter = &stat->counters[i];
        char label[sizeof counter->name];
        if (is_shown(counter->name)) {
            continue;
        }
        (void)snprintf(label, sizeof label, "%s", counter->name);
        for (char *at = strchr(label, '_'); at != NULL; at = strchr(at, '_')) {
            *at = ' ';
        }
        (void)printf("%-19s %s\n", label, pd_ctl_number(counter->value).text);
    }
}

enum pd_ctl_exit pd_ctl_status(const struct pd_ctl *ctl)
{
    struct paramd_stat *stat;
    int status = paramd_stat(ctl->client, NULL, ctl->timeout_ms, &stat);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    enum pd_ctl_exit outcome = PD_CTL_OK;
    if (ctl->json) {
        outcome =
            pd_ctl_print_json(json_pack("{s:s, s:s, s:o}", "address", ctl->address, "server",
                                        stat->server, "counters", pd_ctl_json_counters(stat)));
    } else {
        print_status(ctl, stat);
    }
    paramd_free(stat);
    return outcome;
}
