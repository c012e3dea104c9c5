/* Listening sockets, polled. When the process or the machine has no descriptor left, accepting
 * pauses for a moment and the log says so: connections wait in the kernel's queue instead of being
 * dropped. */
#include "server/net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAUSE_MS = 100, ACCEPTS_PER_TURN = 64, BACKLOG = 4096 };
enum { TCP_SOCKET = 0, UNIX_SOCKET = 1 };

void pd_listener_init(struct pd_listener *listener, uv_loop_t *loop, struct pd_arrivals *arrivals)
{
    *listener = (struct pd_listener){._loop = loop, ._arrivals = arrivals};
    for (int i = 0; i < PD_LISTENER_SOCKETS; i++) {
        listener->_sockets[i].fd = -1;
        listener->_sockets[i].owner = listener;
    }
    (void)uv_timer_init(loop, &listener->_pause);
    listener->_pause.data = listener;
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct pd_listener *listener = timer->data;
    listener->_paused = false;
    for (int i = 0; i < PD_LISTENER_SOCKETS; i++) {
        if (listener->_sockets[i].fd >= 0) {
            (void)uv_poll_start(&listener->_sockets[i].poll, UV_READABLE, on_connection);
        }
    }
}

static void pause_accepting(struct pd_listener *listener, int error)
{
    struct pd_log_line line;
    pd_log_begin_limited(&line, &listener->_log_limit, uv_hrtime() / 1000, PD_LOG_WARN,
                         "accepting pauses");
    pd_log_text(&line, "reason", "%s", strerror(error));
    pd_log_end(&line);
    listener->_paused = true;
    for (int i = 0; i < PD_LISTENER_SOCKETS; i++) {
        if (listener->_sockets[i].fd >= 0) {
            (void)uv_poll_stop(&listener->_sockets[i].poll);
        }
    }
    (void)uv_timer_start(&listener->_pause, on_pause_over, PAUSE_MS, 0);
}

/* Within one machine there is no congestion to control, and `bbr`, where it is the default, paces
 * loopback to a half of what it can do. A connection that ever had it stays paced, with a timer,
 * under whatever follows: so all are born without it, and only those from elsewhere get the
 * default. Fails harmlessly where there is no cubic. */
static void set_congestion_control(struct pd_listener *listener, int fd)
{
    static const char name[] = "cubic";
    socklen_t bytes = sizeof listener->_system_congestion - 1;
    (void)getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, listener->_system_congestion, &bytes);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name - 1);
}

static void reset_congestion_control(const struct pd_listener *listener, int fd)
{
    const char *name = listener->_system_congestion;
    if (!pd_address_peer_is_local(fd)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    }
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct pd_listener_socket *socket = poll->data;
    if (status < 0) {
        pause_accepting(socket->owner, EBADF);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNIX};
        socklen_t bytes = sizeof peer;
        int fd =
            accept4(socket->fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            reset_congestion_control(socket->owner, fd);
            pd_arrivals_add(socket->owner->_arrivals, fd, (const struct sockaddr *)&peer);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(socket->owner, errno);
            return;
        }
        /* Anything else is about the one connection, which is gone. */
    }
}

/* Puts a bound socket to work, or closes it. */
static int listen_on(struct pd_listener *listener, int place, int fd)
{
    struct pd_listener_socket *socket = &listener->_sockets[place];
    if (listen(fd, BACKLOG) != 0) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    int error = uv_poll_init(listener->_loop, &socket->poll, fd);
    if (error != 0) {
        (void)close(fd);
        return -error;
    }
    socket->fd = fd;
    socket->poll.data = socket;
    (void)uv_poll_start(&socket->poll, UV_READABLE, on_connection);
    return 0;
}

/* Opens and binds; returns 0 and the descriptor, or errno. */
static int bind_tcp(const struct addrinfo *at, int *ret_fd)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    /* A restarted daemon gets its address back at once; [::] takes IPv4 as well, whatever the
     * machine's default is. */
    static const int on = 1;
    static const int off = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    }
    if (bind(fd, at->ai_addr, at->ai_addrlen) != 0) {
        int error = errno;
        (void)close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

static enum paramd_status tcp_failed(int error, const char *host, uint16_t port, char *text,
                                     size_t text_bytes)
{
    const char *shown = host[0] == '\0' ? "*" : host;
    if (error == EADDRINUSE) {
        (void)snprintf(text, text_bytes,
                       "%s port %u is in use by another program: stop it, or choose another port "
                       "with --listen (port 0 picks a free one)",
                       shown, port);
        return PARAMD_BUSY;
    }
    if (error == EADDRNOTAVAIL) {
        (void)snprintf(
            text, text_bytes,
            "%s is no address of this machine: give one that is (ip address lists them), "
            "127.0.0.1 or [::] to --listen",
            shown);
        return PARAMD_UNREACHABLE;
    }
    if (error == EACCES) {
        (void)snprintf(
            text, text_bytes,
            "port %u may not be taken by this user: choose one from 1024 on with --listen", port);
        return PARAMD_UNREACHABLE;
    }
    (void)snprintf(text, text_bytes, "listening on %s port %u failed (%s): check --listen", shown,
                   port, strerror(error));
    return PARAMD_UNREACHABLE;
}

/* "" is all addresses: by IPv6 for both kinds, by IPv4 where the machine has no IPv6. */
static int look_up(const char *host, uint16_t port, struct addrinfo **ret_found)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    char service[8];
    (void)snprintf(service, sizeof service, "%u", port);
    return getaddrinfo(host[0] == '\0' ? "::" : host, service, &hints, ret_found);
}

enum paramd_status pd_listener_tcp(struct pd_listener *listener, const char *host, uint16_t port,
                                   char ret_name[PD_ADDRESS_BYTES], bool *ret_loopback, char *error,
                                   size_t error_bytes)
{
    struct addrinfo *found = NULL;
    int lookup = look_up(host, port, &found);
    if (lookup != 0) {
        (void)snprintf(error, error_bytes,
                       "the host \"%s\" cannot be looked up (%s): give an address of this machine "
                       "to --listen",
                       host, gai_strerror(lookup));
        return PARAMD_INVALID;
    }
    int fd = -1;
    int failure = bind_tcp(found, &fd);
    if (failure == EAFNOSUPPORT && host[0] == '\0') {
        freeaddrinfo(found);
        return pd_listener_tcp(listener, "0.0.0.0", port, ret_name, ret_loopback, error,
                               error_bytes);
    }
    freeaddrinfo(found);
    if (failure == 0) {
        set_congestion_control(listener, fd);
        struct sockaddr_storage bound = {0};
        socklen_t bytes = sizeof bound;
        (void)getsockname(fd, (struct sockaddr *)&bound, &bytes);
        pd_address_name((const struct sockaddr *)&bound, ret_name);
        *ret_loopback = pd_address_is_loopback((const struct sockaddr *)&bound);
        failure = listen_on(listener, TCP_SOCKET, fd);
    }
    return failure == 0 ? PARAMD_OK : tcp_failed(failure, host, port, error, error_bytes);
}

enum path_state { PATH_FREE, PATH_STALE, PATH_LIVE, PATH_OTHER };

/* What lies at the path. A socket nobody listens on refuses connections. */
static enum path_state look_at(const struct sockaddr_un *address)
{
    uv_fs_t request;
    int missing = uv_fs_lstat(NULL, &request, address->sun_path, NULL);
    bool is_socket = missing == 0 && S_ISSOCK(request.statbuf.st_mode);
    uv_fs_req_cleanup(&request);
    if (missing == UV_ENOENT) {
        return PATH_FREE;
    }
    if (!is_socket) {
        return PATH_OTHER;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return PATH_OTHER;
    }
    bool refused = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                   errno == ECONNREFUSED;
    (void)close(fd);
    return refused ? PATH_STALE : PATH_LIVE;
}

static enum paramd_status make_way(const struct sockaddr_un *address, char *error,
                                   size_t error_bytes)
{
    switch (look_at(address)) {
    case PATH_FREE:
        return PARAMD_OK;
    case PATH_STALE:
        (void)unlink(address->sun_path);
        return PARAMD_OK;
    case PATH_LIVE:
        (void)snprintf(error, error_bytes,
                       "another program listens on %s: stop it, or choose another path with --unix",
                       address->sun_path);
        return PARAMD_BUSY;
    default:
        (void)snprintf(error, error_bytes,
                       "%s exists and is no socket, or cannot be looked at: remove it, or choose "
                       "another path with --unix",
                       address->sun_path);
        return PARAMD_INVALID;
    }
}

static void remember_file(struct pd_listener *listener, const char *path)
{
    uv_fs_t request;
    if (uv_fs_lstat(NULL, &request, path, NULL) == 0) {
        listener->_unix_device = request.statbuf.st_dev;
        listener->_unix_inode = request.statbuf.st_ino;
        (void)snprintf(listener->_unix_path, sizeof listener->_unix_path, "%s", path);
    }
    uv_fs_req_cleanup(&request);
}

enum paramd_status pd_listener_unix(struct pd_listener *listener, const char *path, char *error,
                                    size_t error_bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path) {
        (void)snprintf(
            error, error_bytes,
            "the path of a Unix socket has 1 to %zu bytes: choose another one with --unix",
            sizeof address.sun_path - 1);
        return PARAMD_INVALID;
    }
    memcpy(address.sun_path, path, strlen(path));
    enum paramd_status status = make_way(&address, error, error_bytes);
    if (status != PARAMD_OK) {
        return status;
    }
    int failure = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        failure = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
    } else {
        remember_file(listener, path);
        failure = listen_on(listener, UNIX_SOCKET, fd);
    }
    if (failure != 0) {
        (void)snprintf(error, error_bytes,
                       "listening on %s failed (%s): choose another path with --unix", path,
                       strerror(failure));
        return failure == EADDRINUSE ? PARAMD_BUSY : PARAMD_UNREACHABLE;
    }
    return PARAMD_OK;
}

static void unlink_own_file(const struct pd_listener *listener)
{
    uv_fs_t request;
    if (uv_fs_lstat(NULL, &request, listener->_unix_path, NULL) == 0 &&
        request.statbuf.st_dev == listener->_unix_device &&
        request.statbuf.st_ino == listener->_unix_inode) {
        (void)unlink(listener->_unix_path);
    }
    uv_fs_req_cleanup(&request);
}

void pd_listener_close(struct pd_listener *listener)
{
    for (int i = 0; i < PD_LISTENER_SOCKETS; i++) {
        struct pd_listener_socket *socket = &listener->_sockets[i];
        if (socket->fd >= 0) {
            (void)uv_poll_stop(&socket->poll);
            uv_close((uv_handle_t *)&socket->poll, NULL);
            (void)close(socket->fd);
            socket->fd = -1;
        }
    }
    if (listener->_unix_path[0] != '\0') {
        unlink_own_file(listener);
    }
    uv_close((uv_handle_t *)&listener->_pause, NULL);
}
