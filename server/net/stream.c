/* Streams over sockets and over shared memory. The memory is sealed before it is mapped, so that no
 * peer can take pages away from under this process. */
#include "server/net/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { BELLS_PER_TURN = 64 };

void pd_stream_init(struct pd_stream *stream, int fd)
{
    *stream = (struct pd_stream){._fd = fd};
}

void pd_stream_deinit(struct pd_stream *stream)
{
    if (stream->_memory != NULL) {
        (void)munmap(stream->_memory, pd_rings_memory_bytes(PD_RING_BYTES));
        stream->_memory = NULL;
    }
}

bool pd_stream_shared(const struct pd_stream *stream)
{
    return stream->_memory != NULL;
}

/* ---- Going over to shared memory ---- */

/* -1: the system does not give it. */
static int make_memory(size_t bytes, void **ret_memory)
{
    int fd = memfd_create("paramd", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) {
        return -1;
    }
    void *memory = MAP_FAILED;
    if (ftruncate(fd, (off_t)bytes) == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0) {
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (memory == MAP_FAILED) {
        (void)close(fd);
        return -1;
    }
    *ret_memory = memory;
    return fd;
}

/* memory_fd -1: none. The socket is fresh and has room. */
static bool send_answer(int fd, uint32_t ring_bytes, int memory_fd)
{
    uint8_t answer[PD_SHARED_ANSWER_BYTES];
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof memory_fd)];
    } control = {0};
    struct iovec vector = {.iov_base = answer, .iov_len = sizeof answer};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    pd_shared_answer_write(ring_bytes, answer);
    if (memory_fd >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof memory_fd);
        memcpy(CMSG_DATA(header), &memory_fd, sizeof memory_fd);
    }
    return sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof answer;
}

/* Elsewhere the descriptor would be dropped without a word. */
static bool passes_descriptors(int fd)
{
    int domain = 0;
    socklen_t bytes = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &bytes) == 0 && domain == AF_UNIX;
}

uint64_t pd_stream_share(struct pd_stream *stream, uint64_t budget)
{
    size_t bytes = pd_rings_memory_bytes(PD_RING_BYTES);
    void *memory = NULL;
    int fd = -1;
    if (budget >= bytes && passes_descriptors(stream->_fd)) {
        fd = make_memory(bytes, &memory);
    }
    if (fd >= 0) {
        bool sent = send_answer(stream->_fd, PD_RING_BYTES, fd);
        (void)close(fd);
        if (sent) {
            stream->_memory = memory;
            pd_rings_init(&stream->_rings, memory, PD_RING_BYTES, PD_RINGS_SERVER);
            return bytes;
        }
        (void)munmap(memory, bytes);
    }
    /* If not even this can be sent, the peer waits in vain and gives up. */
    (void)send_answer(stream->_fd, 0, -1);
    return 0;
}

/* ---- Moving bytes ---- */

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

/* A full socket holds bytes that will wake the peer, a broken one shows when it is polled. */
static void ring_bell(struct pd_stream *stream)
{
    if (pd_rings_wants_bell(&stream->_rings)) {
        (void)send(stream->_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static ssize_t nothing_moved(struct pd_stream *stream)
{
    stream->exhausted = true;
    return stream->_rings.broken ? -EPROTO : -EAGAIN;
}

ssize_t pd_stream_read(struct pd_stream *stream, const struct pd_span *spans, unsigned count)
{
    if (stream->_memory != NULL) {
        size_t moved = pd_rings_read(&stream->_rings, spans, count);
        stream->exhausted = false;
        if (moved == 0) {
            ssize_t status = nothing_moved(stream);
            return status == -EAGAIN && stream->_socket_ended ? 0 : status;
        }
        ring_bell(stream);
        return (ssize_t)moved;
    }
    struct iovec vectors[PD_STREAM_SPANS_MAX];
    size_t asked = to_vectors(spans, count, vectors);
    ssize_t got;
    do {
        got = readv(stream->_fd, vectors, (int)count);
    } while (got < 0 && errno == EINTR);
    stream->exhausted = got < (ssize_t)asked;
    return got < 0 ? -errno : got;
}

ssize_t pd_stream_write(struct pd_stream *stream, const struct pd_span *spans, unsigned count)
{
    if (stream->_memory != NULL) {
        size_t moved = pd_rings_write(&stream->_rings, spans, count);
        stream->exhausted = false;
        if (moved == 0) {
            return nothing_moved(stream);
        }
        ring_bell(stream);
        return (ssize_t)moved;
    }
    struct iovec vectors[PD_STREAM_SPANS_MAX];
    size_t asked = to_vectors(spans, count, vectors);
    struct msghdr message = {.msg_iov = vectors, .msg_iovlen = count};
    ssize_t sent;
    do {
        sent = sendmsg(stream->_fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    stream->exhausted = sent < (ssize_t)asked;
    return sent < 0 ? -errno : sent;
}

/* ---- Sleeping and waking ---- */

void pd_stream_woken(struct pd_stream *stream)
{
    char bells[BELLS_PER_TURN];
    ssize_t got = recv(stream->_fd, bells, sizeof bells, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        stream->_socket_ended = true;
    }
}

bool pd_stream_sleep(struct pd_stream *stream, bool for_bytes, bool for_room)
{
    return pd_rings_sleep(&stream->_rings, for_bytes, for_room) &&
           !(for_bytes && stream->_socket_ended);
}

bool pd_stream_peer_gone(const struct pd_stream *stream)
{
    return stream->_memory != NULL && stream->_socket_ended;
}
