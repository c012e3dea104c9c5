/* How far a long command has come, on stderr: one line that changes on a terminal, a line a second
 * elsewhere if it was asked for. One command runs at a time, so there is one of it. */
#ifndef PARAMD_CLIENT_CTL_PROGRESS_H
#define PARAMD_CLIENT_CTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* what is said before the figures and borrowed until the end. Shows nothing where nobody looks,
 * unless asked. */
void pd_ctl_progress_begin(const char *what, uint64_t total_bytes, bool asked);
void pd_ctl_progress_add(uint64_t bytes);
/* Leaves the terminal's line empty; elsewhere the last line says where it ended. Without a
 * beginning it does nothing. */
void pd_ctl_progress_end(void);

#endif
