/* Progress in bytes: share done, rate and the time left at the mean rate so far. */
#include "client/ctl/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "client/ctl/units.h"

enum { TERMINAL_MS = 100, LINES_MS = 1000 };

static struct {
    const char *what; /* NULL: nothing is shown */
    bool terminal;
    uint64_t total_bytes;
    uint64_t done_bytes;
    uint64_t start_ms;
    uint64_t shown_ms;
} progress;

static uint64_t now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void show(uint64_t at_ms)
{
    double done = (double)progress.done_bytes;
    double total = (double)progress.total_bytes;
    double seconds = (double)(at_ms - progress.start_ms) / 1000;
    double rate = seconds > 0 ? done / seconds : 0;
    progress.shown_ms = at_ms;
    (void)fprintf(stderr, "%s%s: %3.0f%%  %s of %s", progress.terminal ? "\r\033[K" : "",
                  progress.what, total > 0 ? 100 * done / total : 100, pd_ctl_bytes(done).text,
                  pd_ctl_bytes(total).text);
    if (rate > 0) {
        (void)fprintf(stderr, "  %s/s  %s left", pd_ctl_bytes(rate).text,
                      pd_ctl_duration((total - done) / rate).text);
    }
    if (!progress.terminal) {
        (void)fputc('\n', stderr);
    }
}

void pd_ctl_progress_begin(const char *what, uint64_t total_bytes, bool asked)
{
    bool terminal = isatty(STDERR_FILENO) != 0;
    if (!terminal && !asked) {
        return;
    }
    progress.what = what;
    progress.terminal = terminal;
    progress.total_bytes = total_bytes;
    progress.done_bytes = 0;
    progress.start_ms = now_ms();
    show(progress.start_ms);
}

void pd_ctl_progress_add(uint64_t bytes)
{
    if (progress.what == NULL) {
        return;
    }
    uint64_t at_ms = now_ms();
    progress.done_bytes += bytes;
    if (at_ms - progress.shown_ms >= (progress.terminal ? TERMINAL_MS : LINES_MS)) {
        show(at_ms);
    }
}

void pd_ctl_progress_end(void)
{
    if (progress.what == NULL) {
        return;
    }
    if (progress.terminal) {
        (void)fputs("\r\033[K", stderr);
    } else {
        show(now_ms());
    }
    progress.what = NULL;
}
