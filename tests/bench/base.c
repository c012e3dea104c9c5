/* The clock, memory, samples and sizes of base.h. */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/base.h"

double pd_now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double pd_cpu_s(pid_t pid)
{
    struct timespec used;
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        errx(1, "process %ld is gone", (long)pid);
    }
    return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

/* Bytes behind a key of a file in /proc that counts in kB; 0 if it has none. */
static size_t read_memory(const char *path, const char *key)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) == 0) {
            kib = strtoul(line + strlen(key), NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kib * PD_KIB;
}

size_t pd_memory_available(void)
{
    return read_memory("/proc/meminfo", "MemAvailable:");
}

size_t pd_memory_peak(pid_t pid)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)pid);
    return read_memory(path, "VmHWM:");
}

void *pd_memory_take(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        err(1, "no memory for %s", pd_size_print(bytes).text);
    }
    /* Refused where huge pages are switched off: small ones serve too. */
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

void pd_memory_give(void *memory, size_t bytes)
{
    (void)munmap(memory, bytes);
}

static float gradient_at(size_t i)
{
    return (float)((i * 2654435761U) % 65521) * (2e-3F / 65521) - 1e-3F;
}

void pd_gradient_fill(float *gradient, size_t elements)
{
    for (size_t i = 0; i < elements; i++) {
        gradient[i] = gradient_at(i);
    }
}

void pd_gradient_fill_bf16(uint16_t *gradient, size_t elements)
{
    for (size_t i = 0; i < elements; i++) {
        float value = gradient_at(i);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        gradient[i] = (uint16_t)(bits >> 16);
    }
}

void pd_samples_add(struct pd_samples *samples, double value)
{
    if (samples->count < PD_ROUNDS_MAX) {
        samples->values[samples->count++] = value;
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double pd_percentile(double *values, size_t count, double share)
{
    qsort(values, count, sizeof *values, compare);
    size_t place = (size_t)(share * (double)count);
    return values[place < count ? place : count - 1];
}

double pd_samples_median(const struct pd_samples *samples)
{
    struct pd_samples sorted = *samples;
    unsigned half = sorted.count / 2;
    if (sorted.count == 0) {
        return 0;
    }
    double upper = pd_percentile(sorted.values, sorted.count, 0.5);
    return sorted.count % 2 == 1 ? upper : (sorted.values[half - 1] + upper) / 2;
}

double pd_samples_min(const struct pd_samples *samples)
{
    struct pd_samples sorted = *samples;
    return sorted.count == 0 ? 0 : pd_percentile(sorted.values, sorted.count, 0);
}

double pd_samples_max(const struct pd_samples *samples)
{
    struct pd_samples sorted = *samples;
    return sorted.count == 0 ? 0 : pd_percentile(sorted.values, sorted.count, 1);
}

static const struct {
    const char *name;
    size_t bytes;
} units[] = {
    {"GiB", (size_t)1 << 30}, {"MiB", (size_t)1 << 20}, {"KiB", (size_t)1 << 10}, {"B", 1}};

struct pd_size_text pd_size_print(size_t bytes)
{
    struct pd_size_text size;
    size_t unit = 0;
    while (bytes == 0 ? unit < 3 : bytes % units[unit].bytes != 0) {
        unit++;
    }
    (void)snprintf(size.text, sizeof size.text, "%zu%s", bytes / units[unit].bytes,
                   units[unit].name);
    return size;
}

bool pd_size_parse(const char *text, size_t *ret_bytes)
{
    char *rest = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long number = strtoul(text, &rest, 10);
    for (size_t unit = 0; unit < sizeof units / sizeof units[0]; unit++) {
        if (errno == 0 && strcmp(rest, units[unit].name) == 0 &&
            number <= SIZE_MAX / units[unit].bytes) {
            *ret_bytes = number * units[unit].bytes;
            return true;
        }
    }
    return false;
}

void pd_program_beside(const char *name, char *ret_path, size_t bytes)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) {
        err(1, "/proc/self/exe");
    }
    self[n] = '\0';
    *strrchr(self, '/') = '\0';
    if ((size_t)snprintf(ret_path, bytes, "%s/%s", self, name) >= bytes) {
        errx(1, "the path of this program is too long");
    }
}
