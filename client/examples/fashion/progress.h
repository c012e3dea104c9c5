/* Where a run stands: a bar that redraws itself on a terminal, a line now and then elsewhere. */
#ifndef FASHION_PROGRESS_H
#define FASHION_PROGRESS_H

#include <stdbool.h>

struct progress {
    const char *title;
    bool terminal;
    bool drawn;   /* there is a bar to draw over */
    double shown; /* when the last line was shown, in seconds; elsewhere than on a terminal */
};

void progress_begin(struct progress *progress, const char *title);

/* done: 0 to 1. now: seconds of a steady clock. text: what else is known. */
void progress_show(struct progress *progress, double done, double now, const char *text);

/* The bar gives way to one last line. */
void progress_end(struct progress *progress, const char *text);

#endif
