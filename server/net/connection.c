/* Connections on uv_poll_t with readv and writev of our own, so that a payload is read to where it
 * belongs and block memory is written from where it lies.
 *
 * A turn reads until the socket is empty or the turn's share is used up, then writes at once. The
 * kernel is asked for room to write only after it had none. A peer that has closed its sending side
 * still gets what is ready for it; then the connection ends. */
#include "server/net/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "server/net/address.h"

/* One connection's share of a turn: one or two of the largest frames. */
enum { TURN_BYTES = 2 * 1024 * 1024 };

/* A peer whose machine has vanished shows after 15 + 2 * 15 s. */
enum { KEEPALIVE_IDLE_S = 15, KEEPALIVE_INTERVAL_S = 15, KEEPALIVE_PROBES = 2 };

struct pd_connection {
    uv_poll_t poll;
    int fd;
    int events;         /* what poll waits for */
    bool paused;        /* the owner did not want to read */
    bool input_ended;   /* the peer has closed its sending side */
    bool hung_up;       /* the same, seen while paused: unread bytes may lie before it */
    bool write_blocked; /* the kernel had no more room, or the turn was over */
    const struct pd_connection_ops *ops;
    void *context;
    struct pd_farewells *farewells;
};

/* Within one machine there is no congestion to control, and `bbr`, where it is the default, paces
 * loopback to a half of what it can do. Fails harmlessly where there is no cubic, and on a Unix
 * socket. */
static void choose_congestion_control(int fd)
{
    static const char name[] = "cubic";
    if (pd_address_peer_is_local(fd)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name - 1);
    }
}

/* Fails harmlessly on a Unix socket. */
static void set_socket_options(int fd)
{
    static const struct {
        int level;
        int name;
        int value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                         sizeof options[i].value);
    }
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* How a connection ends: politely, so that the peer gets all that was written, or at once. */
static void end(struct pd_connection *connection, const char *reason, bool politely)
{
    (void)uv_poll_stop(&connection->poll);
    uv_close((uv_handle_t *)&connection->poll, on_poll_closed);
    connection->ops->closed(connection->context, reason);
    pd_farewells_begin(connection->farewells, connection->fd, politely);
}

static size_t to_vectors(const struct pd_span *spans, unsigned count, struct iovec *vectors)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        vectors[i].iov_base = spans[i].data;
        vectors[i].iov_len = spans[i].bytes;
        bytes += spans[i].bytes;
    }
    return bytes;
}

/* What errno means for a connection whose transport has failed. */
static const char *failure(int error)
{
    switch (error) {
    case ECONNRESET:
        return "reset by peer";
    case EPIPE:
        return "peer has closed";
    case ETIMEDOUT:
    case EHOSTUNREACH:
    case ENETUNREACH:
        return "peer cannot be reached";
    default:
        return "transport failed";
    }
}

/* False if the connection has ended. */
static bool read_turn(struct pd_connection *connection)
{
    const struct pd_connection_ops *ops = connection->ops;
    struct pd_span spans[PD_CONNECTION_READ_SPANS];
    struct iovec vectors[PD_CONNECTION_READ_SPANS];
    for (size_t total = 0; total < TURN_BYTES;) {
        unsigned count = ops->read_target(connection->context, spans);
        connection->paused = count == 0;
        if (count == 0) {
            return true;
        }
        size_t asked = to_vectors(spans, count, vectors);
        ssize_t got = readv(connection->fd, vectors, (int)count);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            return true;
        }
        if (got < 0) {
            end(connection, failure(errno), false);
            return false;
        }
        if (got == 0) {
            connection->input_ended = true;
            return true;
        }
        ops->received(connection->context, (size_t)got);
        total += (size_t)got;
        if ((size_t)got < asked) {
            return true; /* the socket is empty, or poll will say that it is not */
        }
    }
    return true;
}

/* False if the connection has ended. */
static bool write_turn(struct pd_connection *connection)
{
    const struct pd_connection_ops *ops = connection->ops;
    struct pd_span spans[PD_CONNECTION_WRITE_SPANS];
    struct iovec vectors[PD_CONNECTION_WRITE_SPANS];
    connection->write_blocked = false;
    for (size_t total = 0;;) {
        unsigned count = ops->write_source(connection->context, spans);
        if (count == 0) {
            return true;
        }
        if (total >= TURN_BYTES) {
            connection->write_blocked = true;
            return true;
        }
        size_t asked = to_vectors(spans, count, vectors);
        struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
        ssize_t sent = sendmsg(connection->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            connection->write_blocked = true;
            return true;
        }
        if (sent < 0) {
            end(connection, failure(errno), false);
            return false;
        }
        ops->written(connection->context, (size_t)sent);
        total += (size_t)sent;
        if ((size_t)sent < asked) {
            connection->write_blocked = true;
            return true;
        }
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* While it is not read, a hang-up still shows that the peer is gone; once, since it would show
 * again and again. */
static void set_events(struct pd_connection *connection)
{
    int events = connection->write_blocked ? UV_WRITABLE : 0;
    if (!connection->input_ended && !connection->paused) {
        events |= UV_READABLE;
    } else if (!connection->input_ended && !connection->hung_up) {
        events |= UV_DISCONNECT;
    }
    if (events != connection->events) {
        connection->events = events;
        (void)uv_poll_start(&connection->poll, events, on_poll);
    }
}

void pd_connection_update(struct pd_connection *connection)
{
    if (!connection->write_blocked || (connection->events & UV_WRITABLE) == 0) {
        if (!write_turn(connection)) {
            return;
        }
    }
    const char *reason = NULL;
    if (connection->ops->finished(connection->context, &reason)) {
        end(connection, reason, true);
        return;
    }
    if (connection->input_ended && !connection->write_blocked) {
        end(connection, "closed by peer", true);
        return;
    }
    if (connection->paused) {
        struct pd_span spans[PD_CONNECTION_READ_SPANS];
        connection->paused = connection->ops->read_target(connection->context, spans) == 0;
    }
    set_events(connection);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct pd_connection *connection = poll->data;
    if (status < 0) {
        /* The socket has failed; libuv does not pass on how, the kernel does. */
        int error = 0;
        socklen_t bytes = sizeof error;
        (void)getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &bytes);
        end(connection, failure(error), false);
        return;
    }
    if ((events & UV_DISCONNECT) != 0) {
        connection->hung_up = true;
    }
    if ((events & UV_READABLE) != 0 && !read_turn(connection)) {
        return;
    }
    if ((events & UV_WRITABLE) != 0) {
        connection->write_blocked = false;
    }
    pd_connection_update(connection);
}

struct pd_connection *pd_connection_open(uv_loop_t *loop, int fd,
                                         const struct pd_connection_ops *ops, void *context,
                                         struct pd_farewells *farewells)
{
    struct pd_connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL || uv_poll_init(loop, &connection->poll, fd) != 0) {
        free(connection);
        pd_farewells_begin(farewells, fd, false);
        return NULL;
    }
    set_socket_options(fd);
    choose_congestion_control(fd);
    connection->poll.data = connection;
    connection->fd = fd;
    connection->ops = ops;
    connection->context = context;
    connection->farewells = farewells;
    set_events(connection);
    return connection;
}

void pd_connection_close(struct pd_connection *connection, const char *reason)
{
    end(connection, reason, true);
}
