/* Writes to standard output and nowhere else. */
#include "client/examples/fashion/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_COLUMNS = 20, LINE_BYTES = 256 };

static const double line_seconds = 5.0;

void progress_begin(struct progress *progress, const char *title)
{
    *progress = (struct progress){
        .title = title, .terminal = isatty(STDOUT_FILENO) != 0, .shown = -line_seconds};
}

/* A line that is longer than the terminal is wide could not be drawn over. */
static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
        return 80;
    }
    return size.ws_col;
}

/* The cursor rests below the bar, where messages of others do not run into it. */
static void over_last(struct progress *progress)
{
    if (progress->drawn) {
        fputs("\033[A\r\033[K", stdout);
    }
    progress->drawn = progress->terminal;
}

void progress_show(struct progress *progress, double done, double now, const char *text)
{
    char bar[BAR_COLUMNS + 1], line[LINE_BYTES];
    if (!progress->terminal) {
        if (done > 0.0 && now - progress->shown >= line_seconds) {
            printf("  %s: %3.0f %%  %s\n", progress->title, 100.0 * done, text);
            fflush(stdout);
            progress->shown = now;
        }
        return;
    }
    for (int i = 0; i < BAR_COLUMNS; i++) {
        bar[i] = (double)i < done * BAR_COLUMNS ? '#' : '.';
    }
    bar[BAR_COLUMNS] = '\0';
    snprintf(line, sizeof line, "  %s [%s] %3.0f %%  %s", progress->title, bar, 100.0 * done, text);
    over_last(progress);
    printf("%.*s\n", (int)terminal_columns() - 1, line);
    fflush(stdout);
}

void progress_end(struct progress *progress, const char *text)
{
    over_last(progress);
    printf("  %s: %s\n", progress->title, text);
    fflush(stdout);
}
