/* The loop and its streams. A stream lives from the core's wish for a connection to its end:
 *
 *     RESOLVING -> CONNECTING (one address after the other) -> [ASKING ->] OPEN -> closing
 *
 * ASKING: over a Unix socket it asks for shared memory and waits for the answer. A failure at any
 * point is told to the core, which decides when to try again. */
#include "client/net/transport.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "client/net/address.h"
#include "client/net/shared.h"
#include "client/net/socket.h"
#include "proto/busy_poll.h"

enum {
    SPANS_MAX = PD_SOCKET_SPANS_MAX,
    /* Moved for one stream before others, and callers, have a turn. Little is written at a time, so
     * that what comes in the other direction is read in between. */
    TURN_READ_BYTES = 2 * 1024 * 1024,
    TURN_WRITE_BYTES = 256 * 1024,
    LOW_WATER_MIN = 32 * 1024,
    LOW_WATER_MAX = 256 * 1024
};

enum stream_state { RESOLVING, CONNECTING, ASKING, OPEN };

struct stream {
    struct pd_transport *transport;
    unsigned link;
    enum stream_state state;
    bool closing;   /* waits for libuv to let go of it */
    bool resolving; /* libuv still holds request */
    bool polling;   /* poll and again are initialised */
    bool write_blocked;
    bool is_shared; /* shared moves the bytes, not the socket */
    int events;
    int low_water; /* SO_RCVLOWAT as it was set last */
    int fd;
    struct pd_shared shared;
    uv_getaddrinfo_t request;
    uv_poll_t poll;
    uv_idle_t again; /* shared memory: the next turn comes without an event */
    struct addrinfo *addresses;
    struct addrinfo *next_address;
};

struct pd_transport {
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t timer;    /* the core's next wake */
    uv_timer_t deadline; /* of pd_transport_run */
    bool stopping;       /* guarded by mutex */
    bool stopped;        /* the loop's thread has seen it */
    bool stirred;        /* something happened on a stream in this turn of the loop */
    struct pd_busy_poll busy_poll;
    struct pd_client *core;
    pthread_mutex_t *mutex;
    void (*after)(void *arg);
    void *arg;
    struct pd_address address;
    char address_text[300];
    bool shared_memory;   /* wanted, where it can be had */
    bool shared_refused;  /* asking ended the last connection: the next one does without */
    unsigned failures;    /* whole attempts: the next begins with the next address */
    unsigned streams_end; /* behind the last one that was ever opened */
    struct stream *streams[PD_SHARDS_MAX];
};

uint64_t pd_transport_now_us(void)
{
    return uv_hrtime() / 1000;
}

/* ---- The end of a stream ---- */

static void stream_free(struct stream *stream)
{
    if (stream->addresses != NULL) {
        freeaddrinfo(stream->addresses);
    }
    free(stream);
}

static void again_closed(uv_handle_t *handle)
{
    struct stream *stream = handle->data;
    stream->polling = false;
    if (!stream->resolving) {
        stream_free(stream);
    }
}

static void poll_closed(uv_handle_t *handle)
{
    struct stream *stream = handle->data;
    uv_close((uv_handle_t *)&stream->again, again_closed);
}

static void fd_close(struct stream *stream)
{
    if (stream->fd >= 0) {
        (void)close(stream->fd);
        stream->fd = -1;
    }
}

/* The core knows already. */
static void stream_close(struct stream *stream)
{
    stream->transport->streams[stream->link] = NULL;
    stream->closing = true;
    stream->transport->shared_refused = stream->state == ASKING;
    if (stream->resolving) {
        (void)uv_cancel((uv_req_t *)&stream->request);
    }
    if (stream->is_shared) {
        pd_shared_close(&stream->shared);
    }
    if (stream->polling) {
        (void)uv_idle_stop(&stream->again);
        uv_close((uv_handle_t *)&stream->poll, poll_closed);
        fd_close(stream);
        return;
    }
    fd_close(stream);
    if (!stream->resolving) {
        stream_free(stream);
    }
}

static void stream_failed(struct stream *stream, const char *what, const char *why)
{
    struct pd_transport *transport = stream->transport;
    char text[PD_CALL_TEXT_BYTES];
    (void)snprintf(text, sizeof text, "%s %s: %s", what, transport->address_text, why);
    unsigned link = stream->link;
    transport->failures += stream->state != OPEN;
    stream_close(stream);
    pd_client_disconnected(transport->core, link, text, pd_transport_now_us());
}

/* ---- An open stream ---- */

/* Bytes moved, 0 at the end of the stream, or a negative errno. ret_last: there is no more to move
 * now. */
static ssize_t move_in(struct stream *stream, const struct pd_span *spans, size_t count,
                       bool *ret_last)
{
    *ret_last = false;
    return stream->is_shared ? pd_shared_read(&stream->shared, spans, count)
                             : pd_socket_read(stream->fd, spans, count, ret_last);
}

static ssize_t move_out(struct stream *stream, const struct pd_span *spans, size_t count,
                        bool *ret_last)
{
    *ret_last = false;
    return stream->is_shared ? pd_shared_write(&stream->shared, spans, count)
                             : pd_socket_write(stream->fd, spans, count, ret_last);
}

/* Whether much of a frame is missing: then the socket counts as readable once that is there, and is
 * left alone until then. Without it a polling loop reads a block in many small pieces. */
static bool waits_for_bulk(struct stream *stream)
{
    struct pd_span spans[SPANS_MAX];
    size_t count = pd_client_read_target(stream->transport->core, stream->link, spans, SPANS_MAX);
    int bytes = 0;
    for (size_t i = 0; i + 1 < count; i++) { /* the last one is for what comes behind the frame */
        bytes += (int)spans[i].bytes;
    }
    bytes = bytes < LOW_WATER_MIN ? 1 : bytes > LOW_WATER_MAX ? LOW_WATER_MAX : bytes;
    if (bytes != stream->low_water) {
        stream->low_water = bytes;
        (void)setsockopt(stream->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
    }
    return bytes > 1;
}

/* False: the stream is closed. */
static bool stream_read(struct stream *stream)
{
    struct pd_span spans[SPANS_MAX];
    bool last = false;
    for (size_t total = 0; total < TURN_READ_BYTES && !last;) {
        size_t count =
            pd_client_read_target(stream->transport->core, stream->link, spans, SPANS_MAX);
        if (count == 0) {
            return true; /* the core has given this connection up */
        }
        ssize_t bytes = move_in(stream, spans, count, &last);
        stream->transport->stirred = stream->transport->stirred || bytes != -EAGAIN;
        if (bytes > 0) {
            pd_client_received(stream->transport->core, stream->link, (size_t)bytes,
                               pd_transport_now_us());
            total += (size_t)bytes;
            bool head_only = count == 1;
            if (!stream->is_shared && (last || head_only) && waits_for_bulk(stream)) {
                return true;
            }
        } else if (bytes == 0) {
            stream_failed(stream, "lost the connection to", "the daemon closed it");
            return false;
        } else if (bytes == -EAGAIN) {
            return true;
        } else {
            stream_failed(stream, "lost the connection to", strerror((int)-bytes));
            return false;
        }
    }
    return true;
}

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_again(uv_idle_t *again);

static void stream_watch(struct stream *stream, int events)
{
    if (events == stream->events) {
        return;
    }
    stream->events = events;
    int result = uv_poll_start(&stream->poll, events, on_poll);
    if (result != 0) {
        stream_failed(stream, "cannot watch the connection to", uv_strerror(result));
    }
}

static bool polls(const struct pd_transport *transport)
{
    return pd_busy_poll_goes_on(&transport->busy_poll, pd_transport_now_us());
}

/* Until more can be read, or written if something waits for that. Shared memory is looked at anew
 * in each turn while the loop polls, so that the daemon need not ring. */
static void stream_wait(struct stream *stream)
{
    if (!stream->is_shared) {
        stream_watch(stream, UV_READABLE | (stream->write_blocked ? UV_WRITABLE : 0));
    } else if (!polls(stream->transport) &&
               pd_shared_sleep(&stream->shared, stream->write_blocked)) {
        (void)uv_idle_stop(&stream->again);
    } else {
        (void)uv_idle_start(&stream->again, on_again);
    }
}

/* Whether anything was written, or the stream is closed. */
static bool stream_write(struct stream *stream)
{
    struct pd_span spans[SPANS_MAX];
    bool more = false;
    size_t total = 0;
    while (!more) {
        size_t count = pd_client_write_source(stream->transport->core, stream->link, spans,
                                              SPANS_MAX, pd_transport_now_us());
        if (count == 0) {
            break;
        }
        more = total >= TURN_WRITE_BYTES;
        if (more) {
            break;
        }
        ssize_t bytes = move_out(stream, spans, count, &more);
        if (bytes >= 0) {
            stream->transport->stirred = true;
            pd_client_written(stream->transport->core, stream->link, (size_t)bytes,
                              pd_transport_now_us());
            total += (size_t)bytes;
        } else if (bytes == -EAGAIN) {
            more = true;
        } else {
            stream_failed(stream, "lost the connection to", strerror((int)-bytes));
            return true;
        }
    }
    stream->write_blocked = more;
    stream_wait(stream);
    return total > 0;
}

/* ---- Connecting ---- */

static void stream_open_now(struct stream *stream)
{
    stream->state = OPEN;
    pd_client_connected(stream->transport->core, stream->link, pd_socket_local(stream->fd),
                        pd_transport_now_us());
}

/* The socket is fresh: it has room for the preamble. */
static bool send_preamble(const struct stream *stream, uint32_t flags)
{
    const struct pd_preamble preamble = {
        .version = PD_PROTOCOL_VERSION, .flags = flags, .shard = stream->link};
    uint8_t bytes[PD_PREAMBLE_BYTES];
    pd_preamble_write(&preamble, bytes);
    return send(stream->fd, bytes, sizeof bytes, MSG_NOSIGNAL) == (ssize_t)sizeof bytes;
}

static void stream_connected(struct stream *stream)
{
    const struct pd_transport *transport = stream->transport;
    bool asks =
        transport->shared_memory && transport->address.is_unix && !transport->shared_refused;
    if (!send_preamble(stream, asks ? PD_PREAMBLE_SHARED_MEMORY : 0)) {
        stream_failed(stream, "lost the connection to", strerror(errno));
    } else if (asks) {
        stream->state = ASKING;
        stream_watch(stream, UV_READABLE);
    } else {
        stream_open_now(stream);
    }
}

static void take_answer(struct stream *stream)
{
    switch (pd_shared_open(&stream->shared, stream->fd)) {
    case PD_SHARED_PENDING:
        break;
    case PD_SHARED_BAD:
        stream_failed(stream, "cannot use shared memory of", "trying again without");
        break;
    case PD_SHARED_MAPPED:
        stream->is_shared = true;
        stream_open_now(stream);
        break;
    case PD_SHARED_NONE:
        stream_open_now(stream);
        break;
    }
}

/* Starts to connect; 0, or an errno. */
static int connect_to(struct stream *stream, int family, const struct sockaddr *address,
                      socklen_t bytes)
{
    stream->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (stream->fd < 0) {
        return errno;
    }
    if (family != AF_UNIX) {
        int on = 1;
        (void)setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        pd_socket_tune(stream->fd, address, bytes);
    }
    int result = connect(stream->fd, address, bytes) == 0 ? 0 : errno;
    if (result != 0 && result != EINPROGRESS) {
        fd_close(stream);
        return result;
    }
    stream->state = CONNECTING;
    if (uv_poll_init(&stream->transport->loop, &stream->poll, stream->fd) != 0) {
        fd_close(stream);
        return ENOMEM;
    }
    (void)uv_idle_init(&stream->transport->loop, &stream->again); /* cannot fail */
    stream->again.data = stream;
    stream->poll.data = stream;
    stream->polling = true;
    stream->events = 0;
    stream_watch(stream, UV_WRITABLE);
    return 0;
}

static void connect_unix(struct stream *stream)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%.*s",
                   (int)sizeof address.sun_path - 1, stream->transport->address.host);
    int error = connect_to(stream, AF_UNIX, (const struct sockaddr *)&address, sizeof address);
    if (error != 0) {
        stream_failed(stream, "cannot connect to", strerror(error));
    }
}

static void connect_next(struct stream *stream)
{
    int error = EHOSTUNREACH;
    while (stream->next_address != NULL) {
        struct addrinfo *address = stream->next_address;
        stream->next_address = address->ai_next;
        error = connect_to(stream, address->ai_family, address->ai_addr, address->ai_addrlen);
        if (error == 0) {
            return;
        }
    }
    stream_failed(stream, "cannot connect to", strerror(error));
}

static void addresses_known(struct stream *stream, struct addrinfo *addresses)
{
    unsigned count = 0;
    for (struct addrinfo *at = addresses; at != NULL; at = at->ai_next) {
        count++;
    }
    /* An address that swallows packets fails by the core's time limit, all others at once: begin
     * elsewhere then. */
    unsigned skip = count > 0 ? stream->transport->failures % count : 0;
    stream->addresses = addresses;
    stream->next_address = addresses;
    while (skip-- > 0) {
        stream->next_address = stream->next_address->ai_next;
    }
    connect_next(stream);
}

static void pump(struct pd_transport *transport);

static void enter(struct pd_transport *transport)
{
    (void)pthread_mutex_lock(transport->mutex);
}

/* Every callback ends with it: does what the core wants now, then lets the owner look. */
static void leave(struct pd_transport *transport)
{
    pump(transport);
    (void)pthread_mutex_unlock(transport->mutex);
    transport->after(transport->arg);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct stream *stream = request->data;
    struct pd_transport *transport = stream->transport;
    stream->resolving = false;
    if (stream->closing) {
        stream->addresses = addresses;
        stream_free(stream);
        return;
    }
    enter(transport);
    if (status != 0) {
        stream_failed(stream, "cannot resolve", uv_strerror(status));
    } else {
        addresses_known(stream, addresses);
    }
    leave(transport);
}

static void stream_open(struct pd_transport *transport, unsigned link)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        pd_client_disconnected(transport->core, link, "this process is out of memory",
                               pd_transport_now_us());
        return;
    }
    stream->transport = transport;
    stream->link = link;
    stream->fd = -1;
    stream->request.data = stream;
    transport->streams[link] = stream;
    transport->streams_end = link < transport->streams_end ? transport->streams_end : link + 1;
    if (transport->address.is_unix) {
        connect_unix(stream);
        return;
    }
    /* Numbers need no resolver, which would start libuv's threads. */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *addresses = NULL;
    if (getaddrinfo(transport->address.host, transport->address.port, &hints, &addresses) == 0) {
        addresses_known(stream, addresses);
        return;
    }
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    int result = uv_getaddrinfo(&transport->loop, &stream->request, on_resolved,
                                transport->address.host, transport->address.port, &hints);
    if (result != 0) {
        stream_failed(stream, "cannot resolve", uv_strerror(result));
        return;
    }
    stream->resolving = true;
}

/* An address refused: on to the next with a stream of its own, since libuv lets go of a descriptor
 * only later. */
static void connect_failed(struct stream *stream, const char *why)
{
    struct pd_transport *transport = stream->transport;
    if (stream->next_address == NULL) {
        stream_failed(stream, "cannot connect to", why);
        return;
    }
    struct stream *next = calloc(1, sizeof *next);
    if (next == NULL) {
        stream_failed(stream, "cannot connect to", "this process is out of memory");
        return;
    }
    next->transport = transport;
    next->link = stream->link;
    next->fd = -1;
    next->request.data = next;
    next->addresses = stream->addresses;
    next->next_address = stream->next_address;
    stream->addresses = NULL;
    stream_close(stream);
    transport->streams[next->link] = next;
    connect_next(next);
}

static void connect_result(struct stream *stream)
{
    int error = 0;
    socklen_t bytes = sizeof error;
    if (getsockopt(stream->fd, SOL_SOCKET, SO_ERROR, &error, &bytes) != 0) {
        error = errno;
    }
    if (error != 0) {
        connect_failed(stream, strerror(error));
    } else {
        stream_connected(stream);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct stream *stream = poll->data;
    struct pd_transport *transport = stream->transport;
    transport->stirred = true;
    enter(transport);
    if (!stream->closing) {
        if (stream->state == CONNECTING) {
            connect_result(stream);
        } else if (stream->state == ASKING) {
            take_answer(stream);
        } else if ((events & UV_READABLE) != 0 || status != 0) {
            if (stream->is_shared) {
                pd_shared_woken(&stream->shared);
            }
            /* What broke it is told by reading; libuv only knows that something did, and polls no
             * more. */
            if (stream_read(stream) && status != 0) {
                stream_failed(stream, "lost the connection to", uv_strerror(status));
            }
        }
    }
    leave(transport);
}

static void on_again(uv_idle_t *again)
{
    struct stream *stream = again->data;
    struct pd_transport *transport = stream->transport;
    enter(transport);
    bool open = !stream->closing && stream_read(stream);
    if (!open || transport->stirred) {
        leave(transport);
        return;
    }
    if (stream->write_blocked) {
        pump(transport);
    }
    (void)pthread_mutex_unlock(transport->mutex);
}

/* ---- The loop ---- */

static void on_timer(uv_timer_t *timer)
{
    enter(timer->data);
    leave(timer->data);
}

static void on_wake(uv_async_t *wake)
{
    struct pd_transport *transport = wake->data;
    enter(transport);
    transport->stopped = transport->stopping;
    leave(transport);
}

static void on_deadline(uv_timer_t *timer)
{
    struct pd_transport *transport = timer->data;
    transport->stirred = true; /* ending the wait is all it is for */
}

static void set_timer(struct pd_transport *transport, uint64_t wake_us)
{
    if (wake_us == PD_NEVER) {
        (void)uv_timer_stop(&transport->timer);
        return;
    }
    uint64_t now_us = pd_transport_now_us();
    uint64_t wait_us = wake_us > now_us ? wake_us - now_us : 0;
    uv_update_time(&transport->loop);
    (void)uv_timer_start(&transport->timer, on_timer, wait_us / 1000 + 1, 0);
}

/* Connects and closes as the core wishes; whether it wished for anything. */
static bool do_wishes(struct pd_transport *transport)
{
    unsigned link;
    bool any = false;
    while (pd_client_close_wanted(transport->core, &link)) {
        any = true;
        if (transport->streams[link] != NULL) {
            transport->failures += transport->streams[link]->state != OPEN;
            stream_close(transport->streams[link]);
        }
    }
    while (pd_client_connect_wanted(transport->core, &link)) {
        any = true;
        stream_open(transport, link);
    }
    return any;
}

/* Writes what is to be written, but to no stream that has had its turn; whether anything was. */
static bool write_all(struct pd_transport *transport, bool first)
{
    bool any = false;
    for (unsigned i = 0; i < transport->streams_end; i++) {
        struct stream *stream = transport->streams[i];
        if (stream != NULL && stream->state == OPEN && (first || !stream->write_blocked)) {
            any = stream_write(stream) || any;
        }
    }
    return any;
}

/* Ticks until the core has nothing left to do now: only then does what its last tick said about
 * the time hold. What fell due meanwhile, or what one part of the core left to another, would else
 * lie there until the next event. */
static void pump(struct pd_transport *transport)
{
    uint64_t wake_us;
    bool more;
    bool first = true;
    do {
        wake_us = pd_client_tick(transport->core, pd_transport_now_us());
        more = do_wishes(transport);
        more = write_all(transport, first) || more || first;
        first = false;
    } while (more);
    set_timer(transport, wake_us);
}

/* What was looked at while the loop polled will be waited for. */
static void wait_for_bells(struct pd_transport *transport)
{
    for (unsigned i = 0; i < transport->streams_end; i++) {
        struct stream *stream = transport->streams[i];
        if (stream != NULL && stream->state == OPEN && stream->is_shared) {
            stream_wait(stream);
        }
    }
}

/* One turn of the loop; false: it has slept, or was not allowed to and found nothing. */
static bool turn(struct pd_transport *transport, bool may_sleep)
{
    bool polling = polls(transport);
    transport->stirred = false;
    if (!polling) {
        wait_for_bells(transport);
    }
    (void)uv_run(&transport->loop, polling || !may_sleep ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    uint64_t end_us = pd_transport_now_us();
    if (transport->stirred) {
        pd_busy_poll_begin(&transport->busy_poll, end_us);
    } else if (polling) {
        (void)sched_yield();
        pd_busy_poll_yielded(&transport->busy_poll, end_us, pd_transport_now_us());
    }
    return polling;
}

void pd_transport_loop(struct pd_transport *transport)
{
    enter(transport);
    leave(transport);
    while (!transport->stopped) {
        (void)turn(transport, true);
    }
}

void pd_transport_stop(struct pd_transport *transport)
{
    (void)pthread_mutex_lock(transport->mutex);
    transport->stopping = true;
    (void)pthread_mutex_unlock(transport->mutex);
    pd_transport_wake(transport);
}

void pd_transport_wake(struct pd_transport *transport)
{
    (void)uv_async_send(&transport->wake);
}

void pd_transport_run(struct pd_transport *transport, uint64_t timeout_us)
{
    enter(transport);
    leave(transport);
    if (timeout_us != PD_NEVER && timeout_us > 0) {
        uv_update_time(&transport->loop);
        (void)uv_timer_start(&transport->deadline, on_deadline, (timeout_us + 999) / 1000, 0);
    }
    pd_busy_poll_begin(&transport->busy_poll, pd_transport_now_us());
    while (turn(transport, timeout_us > 0) && timeout_us > 0 && !transport->stirred) {
    }
    (void)uv_timer_stop(&transport->deadline);
}

int pd_transport_create(const char *address, bool shared_memory, uint64_t busy_poll_us,
                        struct pd_client *core, pthread_mutex_t *mutex, void (*after)(void *arg),
                        void *arg, struct pd_transport **ret_transport)
{
    struct pd_transport *transport = calloc(1, sizeof *transport);
    if (transport == NULL) {
        return PARAMD_NO_MEMORY;
    }
    if (!pd_address_parse(address, &transport->address)) {
        free(transport);
        return PARAMD_INVALID;
    }
    (void)snprintf(transport->address_text, sizeof transport->address_text, "%s", address);
    transport->busy_poll.window_us = busy_poll_us;
    transport->shared_memory = shared_memory;
    transport->core = core;
    transport->mutex = mutex;
    transport->after = after;
    transport->arg = arg;
    if (uv_loop_init(&transport->loop) != 0) {
        free(transport);
        return PARAMD_NO_MEMORY;
    }
    if (uv_async_init(&transport->loop, &transport->wake, on_wake) != 0) {
        (void)uv_loop_close(&transport->loop);
        free(transport);
        return PARAMD_NO_MEMORY;
    }
    (void)uv_timer_init(&transport->loop, &transport->timer);
    (void)uv_timer_init(&transport->loop, &transport->deadline);
    transport->wake.data = transport;
    transport->timer.data = transport;
    transport->deadline.data = transport;
    *ret_transport = transport;
    return PARAMD_OK;
}

void pd_transport_destroy(struct pd_transport *transport)
{
    if (transport == NULL) {
        return;
    }
    for (unsigned i = 0; i < PD_SHARDS_MAX; i++) {
        if (transport->streams[i] != NULL) {
            stream_close(transport->streams[i]);
        }
    }
    uv_close((uv_handle_t *)&transport->wake, NULL);
    uv_close((uv_handle_t *)&transport->timer, NULL);
    uv_close((uv_handle_t *)&transport->deadline, NULL);
    transport->after = NULL;
    (void)uv_run(&transport->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&transport->loop);
    free(transport);
}
