/* What the worker programs of the integration tests share: arguments, lines for the test that
 * started them, seeded random numbers and the clock. */
#ifndef PARAMD_TESTS_INTEGRATION_WORKERS_WORKER_H
#define PARAMD_TESTS_INTEGRATION_WORKERS_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "paramd.h"

/* Longer than anything that goes well may take, under a sanitizer on a busy machine too. */
enum { PD_WORKER_TIMEOUT_MS = 60000 };

/* Prints the sentence to stderr and ends the process with status 1. */
void pd_worker_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Ends the process unless status is PARAMD_OK. */
void pd_worker_check(int status, const char *what);

/* A line to stdout, at once. */
void pd_worker_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Waits for the next line of stdin, or its end. */
void pd_worker_wait_for_line(void);

/* Never fails; zeroed. */
void *pd_worker_memory(size_t bytes);

/* "logged", else applied. */
enum paramd_ack_level pd_worker_ack_level(const char *name);

struct paramd_client *pd_worker_open(const char *address);

/* One group "all", in which every update adds the gradient: sgd with lr 1 and maximize. Both arrays
 * live for ever. */
const struct paramd_group *pd_worker_adding_group(void);

/* splitmix64. */
uint64_t pd_worker_random(uint64_t *state);
/* True once in so many calls. */
bool pd_worker_once_in(uint64_t *state, uint64_t calls);

uint64_t pd_worker_now_ms(void);

#endif
