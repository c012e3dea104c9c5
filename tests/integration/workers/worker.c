/* What the worker programs of the integration tests share; see the header. */
#include "tests/integration/workers/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE_BYTES = 1024 };

void pd_worker_fail(const char *format, ...)
{
    char text[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    /* va_start has just set it; clang-tidy 14 does not see that here. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "%s\n", text);
    exit(1);
}

void pd_worker_check(int status, const char *what)
{
    if (status != PARAMD_OK) {
        pd_worker_fail("%s: %s (%s)", what, paramd_status_name(status), paramd_error());
    }
}

void pd_worker_say(const char *format, ...)
{
    char text[LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    /* va_start has just set it; clang-tidy 14 does not see that here. */
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    (void)puts(text);
    (void)fflush(stdout);
}

void pd_worker_wait_for_line(void)
{
    int c;
    do {
        c = getchar();
    } while (c != '\n' && c != EOF);
}

void *pd_worker_memory(size_t bytes)
{
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        pd_worker_fail("no memory for %zu bytes", bytes);
    }
    return memory;
}

struct paramd_client *pd_worker_open(const char *address)
{
    struct paramd_client *client;
    struct paramd_options options = {.address = address};
    pd_worker_check(paramd_open(&options, &client), "open");
    return client;
}

enum paramd_ack_level pd_worker_ack_level(const char *name)
{
    return strcmp(name, "logged") == 0 ? PARAMD_ACK_LOGGED : PARAMD_ACK_APPLIED;
}

const struct paramd_group *pd_worker_adding_group(void)
{
    static const struct paramd_hyper hypers[] = {{.name = "lr", .number = 1},
                                                 {.name = "maximize", .number = 1}};
    static const struct paramd_group group = {
        .name = "all", .optimizer = "sgd", .hypers = hypers, .hyper_count = 2};
    return &group;
}

uint64_t pd_worker_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

bool pd_worker_once_in(uint64_t *state, uint64_t calls)
{
    return pd_worker_random(state) % calls == 0;
}

uint64_t pd_worker_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
