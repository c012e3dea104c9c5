/* Reads the 16 bytes of a preamble under a time limit, judges them, and hands the connection on or
 * answers with one ERROR frame and a farewell. Who does not speak the protocol at all gets no
 * answer. */
#include "server/net/arrivals.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/frame.h"
#include "proto/paramd.pb-c.h"

enum { ERROR_TEXT_BYTES = 160, ERROR_FRAME_BYTES = 256 };

struct waiting {
    struct pd_link link;
    struct pd_arrivals *owner;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    size_t have;
    uint8_t preamble[PD_PREAMBLE_BYTES];
    char peer[PD_ADDRESS_BYTES];
};

void pd_arrivals_init(struct pd_arrivals *arrivals, uv_loop_t *loop,
                      const struct pd_arrivals_options *options)
{
    *arrivals = (struct pd_arrivals){._loop = loop, ._options = *options};
    pd_link_init(&arrivals->_waiting);
    pd_farewells_init(&arrivals->_farewells, loop, options->waiting_max, NULL, NULL);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct waiting *waiting = handle->data;
    uv_close((uv_handle_t *)&waiting->timer, on_timer_closed);
}

/* Takes the descriptor out; waiting is freed by the loop. */
static int release(struct waiting *waiting)
{
    waiting->owner->_waiting_count--;
    pd_link_remove(&waiting->link);
    (void)uv_timer_stop(&waiting->timer);
    (void)uv_poll_stop(&waiting->poll);
    uv_close((uv_handle_t *)&waiting->poll, on_poll_closed);
    return waiting->fd;
}

static void log_refused(struct waiting *waiting, const char *why)
{
    struct pd_log_line line;
    pd_log_begin_limited(&line, &waiting->owner->_log_limit, uv_hrtime() / 1000, PD_LOG_WARN,
                         "connection refused");
    pd_log_text(&line, "peer", "%s", waiting->peer);
    pd_log_text(&line, "reason", "%s", why);
    pd_log_end(&line);
}

static void drop(struct waiting *waiting, const char *why)
{
    log_refused(waiting, why);
    (void)close(release(waiting));
}

/* Drops it with an answer. The frame is small and the socket is fresh: the kernel has room for it.
 */
static void refuse(struct waiting *waiting, enum paramd_status status, char *text)
{
    Paramd__Error header = PARAMD__ERROR__INIT;
    header.status = status;
    header.message = text;
    uint8_t frame[ERROR_FRAME_BYTES];
    size_t bytes = pd_frame_head_bytes(&header.base);
    log_refused(waiting, text);
    if (bytes == 0 || bytes > sizeof frame) {
        (void)close(release(waiting));
        return;
    }
    pd_frame_head_write(frame, PD_KIND_ERROR, 0, &header.base, 0, 0);
    (void)send(waiting->fd, frame, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
    struct pd_farewells *farewells = &waiting->owner->_farewells;
    pd_farewells_begin(farewells, release(waiting), true);
}

static void judge(struct waiting *waiting)
{
    struct pd_arrivals *owner = waiting->owner;
    struct pd_preamble preamble;
    char text[ERROR_TEXT_BYTES];
    enum paramd_status status = pd_preamble_read(waiting->preamble, &preamble);
    if (status == PARAMD_VERSION) {
        (void)snprintf(text, sizeof text,
                       "this daemon speaks protocol version %d, the client version %u: update the "
                       "older one",
                       (int)PD_PROTOCOL_VERSION, (unsigned)preamble.version);
        refuse(waiting, status, text);
    } else if (status != PARAMD_OK) {
        drop(waiting, "not a paramd preamble");
    } else if (!owner->_options.has_room(owner->_options.context)) {
        (void)snprintf(text, sizeof text,
                       "the daemon has as many connections as it may: try again later, or raise "
                       "--connections-max");
        refuse(waiting, PARAMD_BUSY, text);
    } else {
        struct pd_arrival arrival = {.shard = preamble.shard};
        arrival.wants_shared_memory = (preamble.flags & PD_PREAMBLE_SHARED_MEMORY) != 0;
        memcpy(arrival.peer, waiting->peer, sizeof arrival.peer);
        arrival.local = pd_address_peer_is_local(waiting->fd);
        arrival.fd = release(waiting);
        owner->_options.arrived(owner->_options.context, &arrival);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct waiting *waiting = poll->data;
    if (status < 0) {
        drop(waiting, "transport failed");
        return;
    }
    /* Never more than the preamble: what follows belongs to the shard. */
    ssize_t got = recv(waiting->fd, waiting->preamble + waiting->have,
                       PD_PREAMBLE_BYTES - waiting->have, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        drop(waiting, "closed before its preamble was complete");
        return;
    }
    waiting->have += (size_t)got;
    if (waiting->have == PD_PREAMBLE_BYTES) {
        judge(waiting);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    drop(timer->data, "preamble not complete in time");
}

void pd_arrivals_add(struct pd_arrivals *arrivals, int fd, const struct sockaddr *peer)
{
    struct waiting *waiting = malloc(sizeof *waiting);
    if (waiting == NULL || uv_poll_init(arrivals->_loop, &waiting->poll, fd) != 0) {
        free(waiting);
        (void)close(fd);
        return;
    }
    if (arrivals->_waiting_count >= arrivals->_options.waiting_max) {
        drop(PD_CONTAINER(arrivals->_waiting.next, struct waiting, link),
             "too many connections without a preamble");
    }
    waiting->owner = arrivals;
    waiting->fd = fd;
    waiting->have = 0;
    waiting->poll.data = waiting;
    waiting->timer.data = waiting;
    pd_address_name(peer, waiting->peer);
    pd_link_init(&waiting->link);
    pd_list_push(&arrivals->_waiting, &waiting->link);
    arrivals->_waiting_count++;
    (void)uv_timer_init(arrivals->_loop, &waiting->timer);
    (void)uv_timer_start(&waiting->timer, on_timeout, arrivals->_options.timeout_ms, 0);
    (void)uv_poll_start(&waiting->poll, UV_READABLE, on_readable);
}

void pd_arrivals_close(struct pd_arrivals *arrivals)
{
    while (arrivals->_waiting_count > 0) {
        (void)close(release(PD_CONTAINER(arrivals->_waiting.next, struct waiting, link)));
    }
    pd_farewells_abort(&arrivals->_farewells);
}
