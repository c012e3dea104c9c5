/* Processes and their connections for peer.h. Both ends are made before the fork, so that nobody
 * has to wait for anybody to listen. */
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/peer.h"

const char *pd_transport_name(enum pd_transport transport)
{
    static const char *const names[PD_TRANSPORTS] = {"tcp", "unix", "shm"};
    return names[transport];
}

enum pd_transport pd_transport_socket(enum pd_transport transport)
{
    return transport == PD_TRANSPORT_UNIX ? PD_TRANSPORT_UNIX : PD_TRANSPORT_TCP;
}

static void check(int result, const char *what)
{
    if (result < 0) {
        err(1, "%s", what);
    }
}

static void set_buffers(int fd, int bytes)
{
    if (bytes > 0) {
        check(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), "SO_SNDBUF");
        check(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), "SO_RCVBUF");
    }
}

/* Buffers must be set before the handshake: it fixes the window's scale. */
static int tcp_socket(int buffer_bytes)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd, "socket");
    set_buffers(fd, buffer_bytes);
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "TCP_NODELAY");
    /* Not to be had in every kernel; then the system's own it is, which the report names. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", strlen("cubic"));
    return fd;
}

static void tcp_pair(int buffer_bytes, int ret_fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    int listener = tcp_socket(buffer_bytes);
    check(bind(listener, (struct sockaddr *)&address, bytes), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &bytes), "getsockname");
    ret_fds[0] = tcp_socket(buffer_bytes);
    check(connect(ret_fds[0], (struct sockaddr *)&address, bytes), "connect");
    ret_fds[1] = accept4(listener, (struct sockaddr *)&address, &bytes, SOCK_CLOEXEC);
    check(ret_fds[1], "accept");
    (void)close(listener);
}

static void unix_pair(int buffer_bytes, int ret_fds[2])
{
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds), "socketpair");
    set_buffers(ret_fds[0], buffer_bytes);
    set_buffers(ret_fds[1], buffer_bytes);
}

pid_t pd_peer_fork(void)
{
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t pid = fork();
    check(pid, "fork");
    if (pid == 0) {
        check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
        /* A handler of the parent's is about what belongs to the parent. */
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        (void)signal(SIGHUP, SIG_DFL);
        if (getppid() != parent) {
            _exit(1);
        }
    }
    return pid;
}

struct serving {
    pd_peer_serve *serve;
    const void *arg;
    int fd;
    unsigned index;
};

static void *serve_thread(void *arg)
{
    const struct serving *serving = arg;
    serving->serve(serving->fd, serving->index, serving->arg);
    return NULL;
}

static void serve_all(struct serving *serving, unsigned count)
{
    pthread_t threads[PD_PEER_CONNECTIONS_MAX];
    for (unsigned i = 1; i < count; i++) {
        if (pthread_create(&threads[i], NULL, serve_thread, &serving[i]) != 0) {
            errx(1, "no thread");
        }
    }
    (void)serve_thread(&serving[0]);
    for (unsigned i = 1; i < count; i++) {
        (void)pthread_join(threads[i], NULL);
    }
}

struct pd_peer pd_peer_start(enum pd_transport transport, unsigned connections,
                             int socket_buffer_bytes, pd_peer_serve *serve, const void *arg)
{
    struct pd_peer peer = {.connections = connections};
    struct serving serving[PD_PEER_CONNECTIONS_MAX] = {0};
    if (connections < 1 || connections > PD_PEER_CONNECTIONS_MAX) {
        errx(1, "not made for %u connections", connections);
    }
    for (unsigned i = 0; i < connections; i++) {
        int fds[2];
        if (transport == PD_TRANSPORT_TCP) {
            tcp_pair(socket_buffer_bytes, fds);
        } else {
            unix_pair(socket_buffer_bytes, fds);
        }
        peer.fds[i] = fds[0];
        serving[i] = (struct serving){.serve = serve, .arg = arg, .fd = fds[1], .index = i};
    }
    peer.pid = pd_peer_fork();
    for (unsigned i = 0; i < connections; i++) {
        (void)close(peer.pid == 0 ? peer.fds[i] : serving[i].fd);
    }
    if (peer.pid == 0) {
        serve_all(serving, connections);
        _exit(0);
    }
    return peer;
}

void pd_peer_stop(struct pd_peer *peer)
{
    for (unsigned i = 0; i < peer->connections; i++) {
        /* Later children hold copies of the descriptor: closing alone would not end it. */
        (void)shutdown(peer->fds[i], SHUT_RDWR);
        (void)close(peer->fds[i]);
    }
    (void)waitpid(peer->pid, NULL, 0);
}

void pd_peer_pin(int index)
{
    static cpu_set_t all;
    static bool known;
    if (!known && sched_getaffinity(0, sizeof all, &all) != 0) {
        err(1, "sched_getaffinity");
    }
    known = true;
    cpu_set_t wanted = all;
    if (index >= 0 && CPU_COUNT(&all) > 1) {
        int seen = 0;
        CPU_ZERO(&wanted);
        for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            if (CPU_ISSET(cpu, &all) && seen++ == index % CPU_COUNT(&all)) {
                CPU_SET(cpu, &wanted);
            }
        }
    }
    check(sched_setaffinity(0, sizeof wanted, &wanted), "sched_setaffinity");
}

bool pd_peer_read(int fd, void *buf, size_t bytes)
{
    char *at = buf;
    while (bytes > 0) {
        ssize_t n = recv(fd, at, bytes, 0);
        if (n <= 0) {
            return false;
        }
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

bool pd_peer_write(int fd, const void *buf, size_t bytes)
{
    const char *at = buf;
    while (bytes > 0) {
        ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
        if (n <= 0) {
            return false;
        }
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}
