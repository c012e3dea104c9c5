/* Sockets with readv and sendmsg, straight from and to the caller's buffers. */
#include "client/net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FETCHED_BYTES = 256 * 1024, CACHE_LINE_BYTES = 64 };

bool pd_socket_local(int fd)
{
    struct sockaddr_storage own = {0};
    struct sockaddr_storage peer = {0};
    socklen_t own_bytes = sizeof own;
    socklen_t peer_bytes = sizeof peer;
    if (getsockname(fd, (struct sockaddr *)&own, &own_bytes) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) != 0) {
        return false;
    }
    if (peer.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)&own;
        const struct sockaddr_in *b = (const struct sockaddr_in *)&peer;
        return a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    if (peer.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)&own;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)&peer;
        return memcmp(&a->sin6_addr, &b->sin6_addr, sizeof a->sin6_addr) == 0;
    }
    return peer.ss_family == AF_UNIX;
}

/* Whether the address is this host's: connecting for datagrams sends nothing. */
static bool leads_here(const struct sockaddr *address, socklen_t bytes)
{
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool local = fd >= 0 && connect(fd, address, bytes) == 0 && pd_socket_local(fd);
    if (fd >= 0) {
        (void)close(fd);
    }
    return local;
}

/* `bbr`, where it is the default, paces loopback to a half of what it can do, and a socket that was
 * ever connected with it stays paced; the daemon's end does the same. */
void pd_socket_tune(int fd, const struct sockaddr *address, socklen_t bytes)
{
    static const char cubic[] = "cubic";
    if (leads_here(address, bytes)) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cubic, sizeof cubic - 1);
    }
}

static size_t to_iovecs(const struct pd_span *spans, size_t count, struct iovec *ret_iovecs)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        ret_iovecs[i] = (struct iovec){.iov_base = spans[i].data, .iov_len = spans[i].bytes};
        bytes += spans[i].bytes;
    }
    return bytes;
}

ssize_t pd_socket_read(int fd, const struct pd_span *spans, size_t count, bool *ret_last)
{
    struct iovec iovecs[PD_SOCKET_SPANS_MAX];
    size_t wanted = to_iovecs(spans, count, iovecs);
    ssize_t bytes;
    do {
        bytes = readv(fd, iovecs, (int)count);
    } while (bytes < 0 && errno == EINTR);
    *ret_last = bytes < (ssize_t)wanted;
    return bytes < 0 ? -errno : bytes;
}

/* Reads what is about to be copied into the socket, up to a block: plain loads run far ahead of
 * memory, which the kernel's copy does not. */
static void fetch(const struct pd_span *spans, size_t count)
{
    size_t left = FETCHED_BYTES;
    for (size_t i = 0; i < count && left > 0; i++) {
        const volatile uint8_t *bytes = spans[i].data;
        size_t end = spans[i].bytes < left ? spans[i].bytes : left;
        for (size_t at = 0; at < end; at += CACHE_LINE_BYTES) {
            (void)bytes[at];
        }
        left -= end;
    }
}

ssize_t pd_socket_write(int fd, const struct pd_span *spans, size_t count, bool *ret_last)
{
    struct iovec iovecs[PD_SOCKET_SPANS_MAX];
    size_t wanted = to_iovecs(spans, count, iovecs);
    struct msghdr message = {.msg_iov = iovecs, .msg_iovlen = count};
    ssize_t bytes;
    fetch(spans, count);
    do {
        bytes = sendmsg(fd, &message, MSG_NOSIGNAL);
    } while (bytes < 0 && errno == EINTR);
    *ret_last = bytes < (ssize_t)wanted;
    return bytes < 0 ? -errno : bytes;
}
