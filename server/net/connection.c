/* Connections on uv_poll_t with reads and writes of our own, so that a payload is read to where it
 * belongs and block memory is written from where it lies.
 *
 * A turn reads until the stream is empty, the turn's share is used up or bulk waits to be written,
 * then writes at once. The kernel is asked for room to write only after it had none. A peer that
 * has closed its sending side still gets what is ready for it; then the connection ends.
 *
 * With shared memory the socket is watched for bytes that wake this side. Before it waits for them
 * the stream is asked whether there is nothing to do; if there is, an idle handle brings the next
 * turn, as a socket that is still readable would. */
#include "server/net/connection.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server/net/stream.h"

/* One connection's share of a turn. Little is written at a time, so that what comes in the other
 * direction is read in between: push_pull moves a fifth more than with equal shares. */
enum { TURN_READ_BYTES = 2 * 1024 * 1024, TURN_WRITE_BYTES = 256 * 1024 };

/* A peer whose machine has vanished shows after 15 + 2 * 15 s. */
enum { KEEPALIVE_IDLE_S = 15, KEEPALIVE_INTERVAL_S = 15, KEEPALIVE_PROBES = 2 };

_Static_assert((int)PD_CONNECTION_WRITE_SPANS <= (int)PD_STREAM_SPANS_MAX,
               "a stream takes all spans of a connection");

struct pd_connection {
    uv_poll_t poll;
    uv_idle_t again; /* shared memory: the next turn comes without an event */
    struct pd_stream stream;
    int fd;
    int events;         /* what poll waits for */
    bool paused;        /* the owner did not want to read */
    bool input_ended;   /* the peer has closed its sending side */
    bool hung_up;       /* the same, seen while paused: unread bytes may lie before it */
    bool write_blocked; /* the kernel had no more room, or the turn was over */
    const struct pd_connection_ops *ops;
    void *context;
    struct pd_farewells *farewells;
    uint64_t *shared_budget; /* NULL: the peer has not asked */
    uint64_t shared_bytes;   /* taken from it */
};

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

static void on_again_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct pd_connection *connection = handle->data;
    uv_close((uv_handle_t *)&connection->again, on_again_closed);
}

/* How a connection ends: politely, so that the peer gets all that was written, or at once. */
static void end(struct pd_connection *connection, const char *reason, bool politely)
{
    (void)uv_poll_stop(&connection->poll);
    (void)uv_idle_stop(&connection->again);
    uv_close((uv_handle_t *)&connection->poll, on_poll_closed);
    pd_stream_deinit(&connection->stream);
    if (connection->shared_budget != NULL) {
        *connection->shared_budget += connection->shared_bytes;
    }
    connection->ops->closed(connection->context, reason);
    pd_farewells_begin(connection->farewells, connection->fd, politely);
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
    case EPROTO:
        return "its positions in shared memory make no sense";
    default:
        return "transport failed";
    }
}

/* False if the connection has ended. */
static bool read_turn(struct pd_connection *connection)
{
    const struct pd_connection_ops *ops = connection->ops;
    struct pd_span spans[PD_CONNECTION_READ_SPANS];
    for (size_t total = 0; total < TURN_READ_BYTES;) {
        unsigned count = ops->read_target(connection->context, spans);
        connection->paused = count == 0;
        if (count == 0) {
            return true;
        }
        ssize_t got = pd_stream_read(&connection->stream, spans, count);
        if (got == -EAGAIN) {
            return true;
        }
        if (got < 0) {
            end(connection, failure((int)-got), false);
            return false;
        }
        if (got == 0) {
            connection->input_ended = true;
            return true;
        }
        ops->received(connection->context, (size_t)got);
        total += (size_t)got;
        if (connection->stream.exhausted || ops->bulk_waits(connection->context)) {
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
    connection->write_blocked = false;
    for (size_t total = 0;;) {
        unsigned count = ops->write_source(connection->context, spans);
        if (count == 0) {
            return true;
        }
        if (total >= TURN_WRITE_BYTES) {
            connection->write_blocked = true;
            return true;
        }
        ssize_t sent = pd_stream_write(&connection->stream, spans, count);
        if (sent == -EAGAIN) {
            connection->write_blocked = true;
            return true;
        }
        if (sent < 0) {
            end(connection, failure((int)-sent), false);
            return false;
        }
        ops->written(connection->context, (size_t)sent);
        total += (size_t)sent;
        if (connection->stream.exhausted) {
            connection->write_blocked = true;
            return true;
        }
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void on_again(uv_idle_t *again);

/* While the loop polls, the memory is looked at in each turn, and the peer need not ring. The
 * socket shows that the peer is gone, whatever is waited for. */
static int shared_events(struct pd_connection *connection)
{
    bool for_bytes = !connection->input_ended && !connection->paused;
    if (!connection->ops->polls(connection->context) &&
        pd_stream_sleep(&connection->stream, for_bytes, connection->write_blocked)) {
        (void)uv_idle_stop(&connection->again);
    } else {
        (void)uv_idle_start(&connection->again, on_again);
    }
    return pd_stream_peer_gone(&connection->stream) ? 0 : UV_READABLE;
}

/* While it is not read, a hang-up still shows that the peer is gone; once, since it would show
 * again and again. */
static void set_events(struct pd_connection *connection)
{
    int events = connection->write_blocked ? UV_WRITABLE : 0;
    if (pd_stream_shared(&connection->stream)) {
        events = shared_events(connection);
    } else if (!connection->input_ended && !connection->paused) {
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
    bool unheard = connection->write_blocked && pd_stream_peer_gone(&connection->stream);
    if ((connection->input_ended && !connection->write_blocked) || unheard) {
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
    if (pd_stream_shared(&connection->stream)) {
        pd_stream_woken(&connection->stream);
        events |= UV_WRITABLE; /* which of the two it was for does not matter */
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

static void on_again(uv_idle_t *again)
{
    struct pd_connection *connection = again->data;
    if (read_turn(connection)) {
        connection->write_blocked = false;
        pd_connection_update(connection);
    }
}

struct pd_connection *pd_connection_open(uv_loop_t *loop, int fd, uint64_t *shared_budget,
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
    (void)uv_idle_init(loop, &connection->again); /* cannot fail */
    connection->again.data = connection;
    connection->poll.data = connection;
    connection->fd = fd;
    connection->ops = ops;
    connection->context = context;
    connection->farewells = farewells;
    connection->shared_budget = shared_budget;
    pd_stream_init(&connection->stream, fd);
    if (shared_budget != NULL) {
        connection->shared_bytes = pd_stream_share(&connection->stream, *shared_budget);
        *shared_budget -= connection->shared_bytes;
    }
    set_events(connection);
    return connection;
}

void pd_connection_close(struct pd_connection *connection, const char *reason)
{
    end(connection, reason, true);
}
