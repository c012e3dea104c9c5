/* Other programs that the bench runs beside paramd. */
#ifndef PARAMD_TESTS_BENCH_TOOL_H
#define PARAMD_TESTS_BENCH_TOOL_H

#include <stdio.h>
#include <sys/types.h>

/* A TCP port of 127.0.0.1 that nobody uses, as text: for programs that cannot take any free one and
 * tell it. */
void pd_tool_find_port(char *ret_text, size_t bytes);

/* Starts a program, found as the shell does, without input and with stderr nowhere; its output is
 * for the caller, who waits for it. It ends with this process, and at once with status 127 if it is
 * not installed. */
pid_t pd_tool_start(const char *const *arguments, FILE **ret_output);

#endif
