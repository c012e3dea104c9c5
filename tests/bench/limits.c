/* paramd-bench limits: what this machine can do at all - memory, loopback, and the way from one
 * process to another and back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/commands.h"
#include "tests/bench/raw.h"
#include "tests/bench/report.h"
#include "tests/bench/roundtrip.h"
#include "tests/bench/stream.h"

enum { STREAM_KINDS = 3, STREAM_THREADS_MAX = 2 };

/* Well beyond any cache, for each of the two arrays of each thread. */
#define ARRAY_BYTES (128 * PD_MIB)

struct arrays {
    uint64_t *from;
    uint64_t *to;
    volatile uint64_t sum; /* keeps the reading from being left out */
};

static void *create_arrays(const void *arg)
{
    struct arrays *arrays = calloc(1, sizeof *arrays);
    (void)arg;
    if (arrays == NULL) {
        abort();
    }
    arrays->from = pd_memory_take(ARRAY_BYTES);
    arrays->to = pd_memory_take(ARRAY_BYTES);
    memset(arrays->from, 1, ARRAY_BYTES);
    memset(arrays->to, 1, ARRAY_BYTES);
    return arrays;
}

static void destroy_arrays(void *state)
{
    struct arrays *arrays = state;
    pd_memory_give(arrays->from, ARRAY_BYTES);
    pd_memory_give(arrays->to, ARRAY_BYTES);
    free(arrays);
}

/* Eight sums, since one would wait for itself. */
static void read_memory(void *state)
{
    struct arrays *arrays = state;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < ARRAY_BYTES / sizeof(uint64_t); i += 8) {
        for (size_t j = 0; j < 8; j++) {
            sums[j] += arrays->from[i + j];
        }
    }
    for (size_t j = 0; j < 8; j++) {
        arrays->sum += sums[j];
    }
}

static void write_memory(void *state)
{
    struct arrays *arrays = state;
    memset(arrays->to, 2, ARRAY_BYTES);
}

static void copy_memory(void *state)
{
    struct arrays *arrays = state;
    memcpy(arrays->to, arrays->from, ARRAY_BYTES);
}

static const struct {
    const char *name;
    void (*run)(void *state);
    double passes; /* over an array, each way */
} stream_kinds[STREAM_KINDS] = {
    {"read", read_memory, 1}, {"write", write_memory, 1}, {"copy", copy_memory, 2}};

static void report_memory(const struct pd_options *options)
{
    static const struct pd_stream_state state = {create_arrays, destroy_arrays};
    struct pd_samples samples[STREAM_THREADS_MAX][STREAM_KINDS] = {0};
    struct pd_stream *streams[STREAM_THREADS_MAX];
    unsigned threads[STREAM_THREADS_MAX] = {1, (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    char name[64];
    unsigned widths = threads[1] > 1 ? 2 : 1;
    threads[1] = threads[1] > 64 ? 64 : threads[1];
    for (unsigned t = 0; t < widths; t++) {
        streams[t] = pd_stream_create(&state, NULL, threads[t]);
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        for (unsigned t = 0; t < widths; t++) {
            for (unsigned kind = 0; kind < STREAM_KINDS; kind++) {
                double bytes = (double)ARRAY_BYTES * stream_kinds[kind].passes * threads[t];
                double seconds = pd_stream_run(streams[t], stream_kinds[kind].run);
                pd_samples_add(&samples[t][kind], bytes / 1e9 / seconds);
            }
        }
    }
    for (unsigned t = 0; t < widths; t++) {
        for (unsigned kind = 0; kind < STREAM_KINDS; kind++) {
            (void)snprintf(name, sizeof name, "memory/%s/%u", stream_kinds[kind].name, threads[t]);
            pd_report_row(name, "GB/s", &samples[t][kind], NULL, NULL);
        }
        pd_stream_destroy(streams[t]);
    }
}

static void report_tcp(const struct pd_options *options)
{
    struct pd_raw *raw = pd_raw_create(PD_TRANSPORT_TCP);
    struct pd_raw *raw_unix = pd_raw_create(PD_TRANSPORT_UNIX);
    struct pd_iperf *iperf = pd_iperf_create();
    for (unsigned round = 0; round < options->rounds; round++) {
        pd_raw_measure(raw);
        pd_iperf_measure(iperf);
        pd_raw_measure(raw_unix);
    }
    const struct pd_samples *other = pd_iperf_samples(iperf);
    const char *other_name = other != NULL ? "iperf3" : NULL;
    pd_report_row("stream/tcp/default buffers", "GB/s", pd_raw_default_buffers(raw), other_name,
                  other);
    pd_report_row("stream/tcp/4MiB buffers", "GB/s", pd_raw_large_buffers(raw), other_name, other);
    pd_report_row("stream/unix/default buffers", "GB/s", pd_raw_default_buffers(raw_unix), NULL,
                  NULL);
    pd_report_row("stream/unix/4MiB buffers", "GB/s", pd_raw_large_buffers(raw_unix), NULL, NULL);
    pd_raw_check(raw, iperf);
    pd_iperf_destroy(iperf);
    pd_raw_destroy(raw_unix);
    pd_raw_destroy(raw);
}

static void report_roundtrips(const struct pd_options *options)
{
    struct pd_roundtrip *trips[2][PD_WAITINGS];
    char name[64];
    for (int transport = 0; transport < 2; transport++) {
        for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
            trips[transport][waiting] =
                pd_roundtrip_create((enum pd_transport)transport, (enum pd_waiting)waiting);
        }
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        for (int i = 0; i < 2 * PD_WAITINGS; i++) {
            pd_roundtrip_measure(trips[i / PD_WAITINGS][i % PD_WAITINGS]);
        }
    }
    for (int transport = 0; transport < 2; transport++) {
        for (int waiting = 0; waiting < PD_WAITINGS; waiting++) {
            (void)snprintf(name, sizeof name, "round trip/%s/64B/%s",
                           pd_transport_name((enum pd_transport)transport),
                           pd_waiting_name((enum pd_waiting)waiting));
            pd_report_row(name, "us", pd_roundtrip_samples(trips[transport][waiting]), NULL, NULL);
            pd_roundtrip_destroy(trips[transport][waiting]);
        }
    }
}

int pd_bench_limits(const struct pd_options *options)
{
    pd_report_begin(options->json, "limits", options->rounds);
    report_tcp(options);
    report_roundtrips(options);
    report_memory(options);
    pd_bench_additions(options);
    return pd_report_end();
}
