/* What every measurement needs: a clock, memory, samples with their median, and sizes as people
 * write them. */
#ifndef PARAMD_TESTS_BENCH_BASE_H
#define PARAMD_TESTS_BENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PD_ROUNDS_MAX = 101, PD_SIZE_TEXT_BYTES = 24 };

#define PD_KIB ((size_t)1 << 10)
#define PD_MIB ((size_t)1 << 20)
#define PD_GIB ((size_t)1 << 30)

/* Seconds of the monotonic clock, which all processes of a machine share. */
double pd_now_s(void);

/* CPU seconds of all threads of a process of ours so far; 0 for pid: of this one. */
double pd_cpu_s(pid_t pid);

/* The path of a program in the folder of this one. */
void pd_program_beside(const char *name, char *ret_path, size_t bytes);

/* Memory that new allocations may take without swapping. */
size_t pd_memory_available(void);

/* The most physical memory that a process has had at a time. */
size_t pd_memory_peak(pid_t pid);

/* Zeroed memory on huge pages where the kernel gives them; ends the program if there is none. */
void *pd_memory_take(size_t bytes);
void pd_memory_give(void *memory, size_t bytes);

/* Small numbers of both signs that do not repeat within a block, so that no optimizer meets
 * denormals or a gradient it would refuse. */
void pd_gradient_fill(float *gradient, size_t elements);
void pd_gradient_fill_bf16(uint16_t *gradient, size_t elements);

/* The same thing measured several times. Zero-initialised is empty. */
struct pd_samples {
    double values[PD_ROUNDS_MAX];
    unsigned count;
};

void pd_samples_add(struct pd_samples *samples, double value);
double pd_samples_median(const struct pd_samples *samples);
double pd_samples_min(const struct pd_samples *samples);
double pd_samples_max(const struct pd_samples *samples);

/* The value that a share of all are at most; sorts the values. share from 0 to 1, count > 0. */
double pd_percentile(double *values, size_t count, double share);

/* "64B", "64KiB", "256MiB", "1GiB". */
struct pd_size_text {
    char text[PD_SIZE_TEXT_BYTES];
};
struct pd_size_text pd_size_print(size_t bytes);
bool pd_size_parse(const char *text, size_t *ret_bytes);

#endif
