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

void pd_raw_measure(struct pd_raw *raw)
{
    const uint64_t bytes = SAMPLE_BYTES;
    for (unsigned i = 0; i < 2; i++) {
        int fd = raw->streams[i].peer.fds[0];
        double begin = pd_now_s();
        if (!pd_peer_write(fd, &bytes, sizeof bytes)) {
            errx(1, "the raw sender ended");
        }
        for (uint64_t received = 0; received < bytes;) {
            ssize_t n = recv(fd, raw->buf, PIECE_BYTES, 0);
            if (n <= 0) {
                errx(1, "the raw sender ended");
            }
            received += (uint64_t)n;
        }
        pd_samples_add(&raw->streams[i].samples, (double)bytes / 1e9 / (pd_now_s() - begin));
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

const struct pd_samples *pd_raw_best(const struct pd_raw *raw)
{
    const struct pd_samples *own = pd_raw_default_buffers(raw);
    const struct pd_samples *large = pd_raw_large_buffers(raw);
    return pd_samples_median(own) >= pd_samples_median(large) ? own : large;
}

void pd_raw_check(const struct pd_raw *raw, const struct pd_iperf *iperf)
{
    const struct pd_samples *samples = pd_iperf_samples(iperf);
    double best = pd_samples_median(pd_raw_best(raw));
    if (samples != NULL && best < IPERF_SHARE_MIN * pd_samples_median(samples)) {
        pd_report_void("raw tcp moves %.2f GB/s, less than %.1f of iperf3's %.2f", best,
                       IPERF_SHARE_MIN, pd_samples_median(samples));
    }
}
