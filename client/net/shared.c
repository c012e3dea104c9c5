/* Shared memory from the daemon. It is believed only when it is as large as it was said to be and
 * sealed, so that it stays so; a forked child does not get it. */
#include "client/net/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BELLS_PER_TURN = 64, DESCRIPTORS_MAX = 4 };

/* ---- The answer ---- */

/* The one descriptor that came with the message; -1: none, or not one. All others are closed. */
static int take_descriptor(struct msghdr *message)
{
    int fd = -1;
    unsigned count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t at = 0; CMSG_LEN(at + sizeof fd) <= header->cmsg_len; at += sizeof fd) {
            if (fd >= 0) {
                (void)close(fd);
            }
            memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
            count++;
        }
    }
    if (fd >= 0 && (count > 1 || (message->msg_flags & MSG_CTRUNC) != 0)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static ssize_t receive(int fd, uint8_t answer[PD_SHARED_ANSWER_BYTES], int *ret_memory_fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec vector = {.iov_base = answer, .iov_len = PD_SHARED_ANSWER_BYTES};
    struct msghdr message = {.msg_iov = &vector,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *ret_memory_fd = got >= 0 ? take_descriptor(&message) : -1;
    return got;
}

static void *map(int memory_fd, size_t bytes)
{
    int wanted = F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(memory_fd, F_GET_SEALS);
    if (seals < 0 || (seals & wanted) != wanted || lseek(memory_fd, 0, SEEK_END) != (off_t)bytes) {
        return NULL;
    }
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
    if (memory == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(memory, bytes, MADV_DONTFORK);
    return memory;
}

enum pd_shared_answer pd_shared_open(struct pd_shared *shared, int fd)
{
    uint8_t answer[PD_SHARED_ANSWER_BYTES];
    uint32_t ring_bytes = 0;
    int memory_fd = -1;
    /* What is no answer is left there to be read. */
    ssize_t got = recv(fd, answer, sizeof answer, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return PD_SHARED_PENDING;
    }
    if (got != (ssize_t)sizeof answer) {
        return PD_SHARED_BAD;
    }
    if (!pd_shared_answer_read(answer, &ring_bytes)) {
        return PD_SHARED_NONE;
    }
    got = receive(fd, answer, &memory_fd);
    void *memory = NULL;
    bool wanted = ring_bytes != 0;
    if (wanted && memory_fd >= 0 && got == (ssize_t)sizeof answer &&
        pd_ring_bytes_valid(ring_bytes)) {
        memory = map(memory_fd, pd_rings_memory_bytes(ring_bytes));
    }
    if (memory_fd >= 0) {
        (void)close(memory_fd);
    }
    if (memory == NULL) {
        return wanted ? PD_SHARED_BAD : PD_SHARED_NONE;
    }
    *shared = (struct pd_shared){
        ._memory = memory, ._bytes = pd_rings_memory_bytes(ring_bytes), ._fd = fd};
    pd_rings_init(&shared->_rings, memory, ring_bytes, PD_RINGS_CLIENT);
    return PD_SHARED_MAPPED;
}

void pd_shared_close(struct pd_shared *shared)
{
    (void)munmap(shared->_memory, shared->_bytes);
}

/* ---- Bytes ---- */

/* A full socket holds bytes that will wake the daemon, a broken one shows when it is polled. */
static ssize_t moved(struct pd_shared *shared, size_t bytes)
{
    if (bytes == 0) {
        return shared->_rings.broken ? -EPROTO : -EAGAIN;
    }
    if (pd_rings_wants_bell(&shared->_rings)) {
        (void)send(shared->_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return (ssize_t)bytes;
}

ssize_t pd_shared_read(struct pd_shared *shared, const struct pd_span *spans, size_t count)
{
    ssize_t bytes = moved(shared, pd_rings_read(&shared->_rings, spans, count));
    return bytes == -EAGAIN && shared->_socket_ended ? 0 : bytes;
}

ssize_t pd_shared_write(struct pd_shared *shared, const struct pd_span *spans, size_t count)
{
    return moved(shared, pd_rings_write(&shared->_rings, spans, count));
}

void pd_shared_woken(struct pd_shared *shared)
{
    char bells[BELLS_PER_TURN];
    ssize_t got = recv(shared->_fd, bells, sizeof bells, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
        shared->_socket_ended = true;
    }
}

bool pd_shared_sleep(struct pd_shared *shared, bool for_room)
{
    return pd_rings_sleep(&shared->_rings, true, for_room) && !shared->_socket_ended;
}
