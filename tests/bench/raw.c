/* The raw stream of raw.h. */
#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/bench/raw.h"
#include "tests/bench/report.h"

#define SOURCE_BYTES PD_GIB
#define PIECE_BYTES (256 * PD_KIB)
#define SAMPLE_BYTES PD_GIB

/* Of what iperf3 moves, whose source stays in cache. */
static const double IPERF_SHARE_MIN = 0.6;

struct raw_stream {
    struct pd_peer peer;
    struct pd_samples samples;
    struct pd_samples sender_cpu;
    struct pd_samples receiver_cpu;
};

struct pd_raw {
    char *source; /* shared by the senders, which only read it */
    char *buf;
    struct raw_stream streams[2]; /* the kernel's own buffers, large buffers */
};

/* Sends as many bytes as it is asked for, from ever new memory. */
static void send_stream(int fd, unsigned index, const void *arg)
{
    const char *source = arg;
    size_t offset = 0;
    uint64_t bytes;
    (void)index;
    while (pd_peer_read(fd, &bytes, sizeof bytes)) {
        for (uint64_t sent = 0; sent < bytes; sent += PIECE_BYTES) {
            if (!pd_peer_write(fd, source + offset, PIECE_BYTES)) {
                return;
            }
            offset = (offset + PIECE_BYTES) % SOURCE_BYTES;
        }
    }
}

struct pd_raw *pd_raw_create(enum pd_transport transport)
{
    struct pd_raw *raw = calloc(1, sizeof *raw);
    if (raw == NULL) {
        err(1, "raw stream");
    }
    raw->source = pd_memory_take(SOURCE_BYTES);
    raw->buf = pd_memory_take(PIECE_BYTES);
    /* Untouched memory would all be one page of zeros, in cache. */
    memset(raw->source, 1, SOURCE_BYTES);
    for (unsigned i = 0; i < 2; i++) {
        raw->streams[i].peer = pd_peer_start(transport, 1, i == 0 ? 0 : PD_SOCKET_BUFFER_LARGE,
                                             send_stream, raw->source);
    }
    return raw;
}

void pd_raw_destroy(struct pd_raw *raw)
{
    if (raw == NULL) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        pd_peer_stop(&raw->streams[i].peer);
    }
    pd_memory_give(raw->source, SOURCE_BYTES);
    pd_memory_give(raw->buf, PIECE_BYTES);
    free(raw);
}

static void receive_stream(int fd, char *buf, uint64_t bytes)
{
    bool runs = pd_peer_write(fd, &bytes, sizeof bytes);
    for (uint64_t received = 0; runs && received < bytes;) {
        ssize_t n = recv(fd, buf, PIECE_BYTES, 0);
        runs = n > 0;
        received += runs ? (uint64_t)n : 0;
    }
    if (!runs) {
        errx(1, "the raw sender ended");
    }
}

void pd_raw_measure(struct pd_raw *raw)
{
    const double gb = (double)SAMPLE_BYTES / 1e9;
    for (unsigned i = 0; i < 2; i++) {
        struct raw_stream *stream = &raw->streams[i];
        double sender_s = pd_cpu_s(stream->peer.pid);
        double receiver_s = pd_cpu_s(0);
        double begin_s = pd_now_s();
        receive_stream(stream->peer.fds[0], raw->buf, SAMPLE_BYTES);
        pd_samples_add(&stream->samples, gb / (pd_now_s() - begin_s));
        pd_samples_add(&stream->receiver_cpu, (pd_cpu_s(0) - receiver_s) / gb);
        pd_samples_add(&stream->sender_cpu, (pd_cpu_s(stream->peer.pid) - sender_s) / gb);
    }
}

const struct pd_samples *pd_raw_default_buffers(const struct pd_raw *raw)
{
    return &raw->streams[0].samples;
}

const struct pd_samples *pd_raw_large_buffers(const struct pd_raw *raw)
{
    return &raw->streams[1].samples;
}

static const struct raw_stream *best(const struct pd_raw *raw)
{
    double own = pd_samples_median(pd_raw_default_buffers(raw));
    double large = pd_samples_median(pd_raw_large_buffers(raw));
    return &raw->streams[own >= large ? 0 : 1];
}

const struct pd_samples *pd_raw_best(const struct pd_raw *raw)
{
    return &best(raw)->samples;
}

const struct pd_samples *pd_raw_sender_cpu(const struct pd_raw *raw)
{
    return &best(raw)->sender_cpu;
}

const struct pd_samples *pd_raw_receiver_cpu(const struct pd_raw *raw)
{
    return &best(raw)->receiver_cpu;
}

void pd_raw_check(const struct pd_raw *raw, const struct pd_iperf *iperf)
{
    const struct pd_samples *samples = pd_iperf_samples(iperf);
    double median = pd_samples_median(pd_raw_best(raw));
    if (samples != NULL && median < IPERF_SHARE_MIN * pd_samples_median(samples)) {
        pd_report_void("raw tcp moves %.2f GB/s, less than %.1f of iperf3's %.2f", median,
                       IPERF_SHARE_MIN, pd_samples_median(samples));
    }
}
