/* The round trips of roundtrip.h. Both sides run the same code: a side is an echo, or counts. */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "tests/bench/roundtrip.h"

enum { MESSAGE_BYTES = 64, TRIPS = 2000 };

static const char *const names[PD_WAITINGS] = {"epoll", "libuv", "polling"};

struct pd_roundtrip {
    enum pd_waiting waiting;
    struct pd_peer peer;
    struct pd_samples samples;
    double trips[TRIPS];
};

/* One side at work. trips NULL: the echo, which ends with the connection. */
struct side {
    int fd;
    double *trips;
    unsigned done;
    double sent_at;
    char message[MESSAGE_BYTES];
    size_t received;
};

const char *pd_waiting_name(enum pd_waiting waiting)
{
    return names[waiting];
}

/* 64 bytes always fit into an empty socket buffer. */
static bool send_message(struct side *side)
{
    side->sent_at = pd_now_s();
    return send(side->fd, side->message, sizeof side->message, MSG_NOSIGNAL) ==
           (ssize_t)sizeof side->message;
}

/* After bytes have come. False: this side has finished. */
static bool take_bytes(struct side *side, size_t bytes)
{
    side->received += bytes;
    if (side->received < MESSAGE_BYTES) {
        return true;
    }
    side->received = 0;
    if (side->trips != NULL) {
        side->trips[side->done++] = (pd_now_s() - side->sent_at) * 1e6;
        if (side->done == TRIPS) {
            return false;
        }
    }
    return send_message(side);
}

/* Reads without waiting. False: this side has finished, or the other one. */
static bool receive(struct side *side)
{
    ssize_t n = recv(side->fd, side->message + side->received, MESSAGE_BYTES - side->received,
                     MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) {
        return true;
    }
    return n > 0 && take_bytes(side, (size_t)n);
}

static void run_polling(struct side *side)
{
    while (receive(side)) {
    }
}

static void run_epoll(struct side *side)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, side->fd, &event) != 0) {
        err(1, "epoll");
    }
    while (epoll_wait(epoll, &event, 1, -1) == 1 && receive(side)) {
    }
    (void)close(epoll);
}

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct side *side = handle->data;
    (void)events;
    if (status != 0 || !receive(side)) {
        uv_close((uv_handle_t *)handle, NULL);
    }
}

static void run_libuv(struct side *side)
{
    uv_loop_t loop;
    uv_poll_t handle = {.data = side};
    if (uv_loop_init(&loop) != 0 || uv_poll_init(&loop, &handle, side->fd) != 0 ||
        uv_poll_start(&handle, UV_READABLE, on_readable) != 0) {
        errx(1, "libuv");
    }
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
}

static void run_side(struct side *side, enum pd_waiting waiting)
{
    switch (waiting) {
    case PD_WAITING_EPOLL:
        run_epoll(side);
        break;
    case PD_WAITING_LIBUV:
        run_libuv(side);
        break;
    default:
        run_polling(side);
        break;
    }
}

/* A polling side spins, which would disturb all other measurements: so it sleeps until a byte
 * announces a sample. */
static void serve(int fd, unsigned index, const void *arg)
{
    enum pd_waiting waiting = *(const enum pd_waiting *)arg;
    struct side side = {.fd = fd};
    char begin;
    (void)index;
    pd_peer_pin(1);
    if (waiting != PD_WAITING_POLLING) {
        run_side(&side, waiting);
        return;
    }
    while (pd_peer_read(fd, &begin, 1)) {
        double trips[TRIPS];
        struct side sample = {.fd = fd, .trips = trips};
        while (sample.done < TRIPS && receive(&sample)) {
        }
        if (sample.done == TRIPS && !send_message(&sample)) {
            return;
        }
    }
}

struct pd_roundtrip *pd_roundtrip_create(enum pd_transport transport, enum pd_waiting waiting)
{
    struct pd_roundtrip *roundtrip = calloc(1, sizeof *roundtrip);
    if (roundtrip == NULL) {
        err(1, "round trip");
    }
    roundtrip->waiting = waiting;
    roundtrip->peer =
        pd_peer_start(pd_transport_socket(transport), 1, 0, serve, &roundtrip->waiting);
    return roundtrip;
}

void pd_roundtrip_destroy(struct pd_roundtrip *roundtrip)
{
    if (roundtrip != NULL) {
        pd_peer_stop(&roundtrip->peer);
        free(roundtrip);
    }
}

void pd_roundtrip_measure(struct pd_roundtrip *roundtrip)
{
    struct side side = {.fd = roundtrip->peer.fds[0], .trips = roundtrip->trips};
    const char begin = 1;
    pd_peer_pin(0);
    if (roundtrip->waiting == PD_WAITING_POLLING && !pd_peer_write(side.fd, &begin, 1)) {
        errx(1, "the echo is gone");
    }
    if (!send_message(&side)) {
        errx(1, "the echo is gone");
    }
    run_side(&side, roundtrip->waiting);
    pd_peer_pin(-1);
    if (side.done != TRIPS) {
        errx(1, "the echo is gone");
    }
    pd_samples_add(&roundtrip->samples, pd_percentile(roundtrip->trips, TRIPS, 0.5));
}

const struct pd_samples *pd_roundtrip_samples(const struct pd_roundtrip *roundtrip)
{
    return &roundtrip->samples;
}
