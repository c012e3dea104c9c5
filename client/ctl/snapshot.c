/* paramctl snapshot: has the daemon write what it holds to its disk, and waits while it answers. */
#include <stdio.h>

#include "client/ctl/ctl.h"
#include "client/ctl/progress.h"
#include "client/ctl/units.h"

struct watch {
    const struct pd_ctl *ctl;
    uint64_t total_bytes; /* about what a snapshot will have */
    uint64_t shown_bytes;
};

/* False, when it has said why: the daemon does not answer any more. */
static bool look(void *arg)
{
    struct watch *watch = arg;
    struct paramd_stat *stat;
    int status = paramd_stat(watch->ctl->client, NULL, watch->ctl->timeout_ms, &stat);
    if (status != PARAMD_OK) {
        (void)pd_ctl_failed(watch->ctl, status);
        return false;
    }
    uint64_t bytes = (uint64_t)pd_ctl_counter(stat, "snapshot_bytes_copied");
    bytes = bytes < watch->total_bytes ? bytes : watch->total_bytes;
    pd_ctl_progress_add(bytes > watch->shown_bytes ? bytes - watch->shown_bytes : 0);
    watch->shown_bytes = bytes > watch->shown_bytes ? bytes : watch->shown_bytes;
    paramd_free(stat);
    return true;
}

static enum pd_ctl_exit print_snapshot(const struct pd_ctl *ctl,
                                       const struct paramd_snapshot *snapshot)
{
    double seconds = (double)snapshot->us / 1e6;
    double held = (double)snapshot->held_us / 1e6;
    if (ctl->json) {
        return pd_ctl_print_json(json_pack("{s:I, s:I, s:f, s:b, s:f}", "number",
                                           (json_int_t)snapshot->number, "bytes",
                                           (json_int_t)snapshot->bytes, "seconds", seconds, "pause",
                                           ctl->pause, "held_seconds", held));
    }
    (void)printf("snapshot %s: %s in %.2f s, %.0f MB/s", pd_ctl_thousands(snapshot->number).text,
                 pd_ctl_bytes((double)snapshot->bytes).text, seconds,
                 snapshot->us > 0 ? (double)snapshot->bytes / (double)snapshot->us : 0);
    if (ctl->pause) {
        (void)printf("; pushes were held for %.2f s", held);
    }
    (void)putchar('\n');
    return PD_CTL_OK;
}

enum pd_ctl_exit pd_ctl_snapshot(const struct pd_ctl *ctl)
{
    struct watch watch = {.ctl = ctl};
    struct paramd_snapshot snapshot;
    struct paramd_stat *stat;
    int status = paramd_stat(ctl->client, NULL, ctl->timeout_ms, &stat);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    watch.total_bytes = (uint64_t)pd_ctl_counter(stat, "memory_bytes");
    paramd_free(stat);
    pd_ctl_progress_begin("snapshot", watch.total_bytes, ctl->progress);
    status = paramd_snapshot(ctl->client, ctl->pause, -1, look, &watch, &snapshot);
    if (status != PARAMD_OK) {
        return status == PARAMD_CANCELLED ? PD_CTL_FAILED : pd_ctl_failed(ctl, status);
    }
    pd_ctl_progress_end();
    return print_snapshot(ctl, &snapshot);
}
