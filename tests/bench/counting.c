/* A library for LD_PRELOAD that counts a process's system calls about sockets, at the price of an
 * addition: strace would slow one end down, and the other would fill its buffers meanwhile. Calls
 * that find nothing to do count too. */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/bench/calls.h"

/* The functions behind the ones below. */
static struct {
    ssize_t (*read)(int fd, void *buf, size_t bytes);
    ssize_t (*readv)(int fd, const struct iovec *iovecs, int count);
    ssize_t (*recv)(int fd, void *buf, size_t bytes, int flags);
    ssize_t (*recvmsg)(int fd, struct msghdr *message, int flags);
    ssize_t (*write)(int fd, const void *buf, size_t bytes);
    ssize_t (*writev)(int fd, const struct iovec *iovecs, int count);
    ssize_t (*send)(int fd, const void *buf, size_t bytes, int flags);
    ssize_t (*sendmsg)(int fd, const struct msghdr *message, int flags);
    int (*poll)(struct pollfd *fds, nfds_t count, int timeout);
    int (*epoll_wait)(int fd, struct epoll_event *events, int count, int timeout);
    int (*epoll_pwait)(int fd, struct epoll_event *events, int count, int timeout,
                       const sigset_t *mask);
    int (*epoll_ctl)(int epoll, int operation, int fd, struct epoll_event *event);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t bytes);
} next;

static struct pd_calls_table *table;
static struct pd_calls_row *own; /* NULL: nothing is counted */

/* Behind exec it is the row that the process had before. */
static void take_row(void)
{
    int self = (int)getpid();
    own = NULL;
    for (int i = 0; own == NULL && i < PD_CALLS_ROWS; i++) {
        int holder = 0;
        if (atomic_compare_exchange_strong(&table->rows[i].pid, &holder, self) || holder == self) {
            own = &table->rows[i];
        }
    }
}

static void find(const char *name, void *ret_function)
{
    void *function = dlsym(RTLD_NEXT, name);
    memcpy(ret_function, &function, sizeof function);
}

__attribute__((constructor)) static void begin(void)
{
    find("read", &next.read);
    find("readv", &next.readv);
    find("recv", &next.recv);
    find("recvmsg", &next.recvmsg);
    find("write", &next.write);
    find("writev", &next.writev);
    find("send", &next.send);
    find("sendmsg", &next.sendmsg);
    find("poll", &next.poll);
    find("epoll_wait", &next.epoll_wait);
    find("epoll_pwait", &next.epoll_pwait);
    find("epoll_ctl", &next.epoll_ctl);
    find("setsockopt", &next.setsockopt);
    const char *path = getenv(PD_CALLS_ENVIRONMENT);
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *memory =
        fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) {
        table = memory;
        take_row();
        (void)pthread_atfork(NULL, NULL, take_row);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static void count(enum pd_call call)
{
    if (own != NULL) {
        (void)atomic_fetch_add_explicit(&own->counts[call], 1, memory_order_relaxed);
    }
}

/* Parameters have this project's names, not those of the C library's headers. */
/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */
ssize_t read(int fd, void *buf, size_t bytes)
{
    count(PD_CALL_READ);
    return next.read(fd, buf, bytes);
}

ssize_t readv(int fd, const struct iovec *iovecs, int iovec_count)
{
    count(PD_CALL_READ);
    return next.readv(fd, iovecs, iovec_count);
}

ssize_t recv(int fd, void *buf, size_t bytes, int flags)
{
    count(PD_CALL_READ);
    return next.recv(fd, buf, bytes, flags);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    count(PD_CALL_READ);
    return next.recvmsg(fd, message, flags);
}

ssize_t write(int fd, const void *buf, size_t bytes)
{
    count(PD_CALL_WRITE);
    return next.write(fd, buf, bytes);
}

ssize_t writev(int fd, const struct iovec *iovecs, int iovec_count)
{
    count(PD_CALL_WRITE);
    return next.writev(fd, iovecs, iovec_count);
}

ssize_t send(int fd, const void *buf, size_t bytes, int flags)
{
    count(PD_CALL_WRITE);
    return next.send(fd, buf, bytes, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    count(PD_CALL_WRITE);
    return next.sendmsg(fd, message, flags);
}

int poll(struct pollfd *fds, nfds_t fd_count, int timeout)
{
    count(PD_CALL_POLL);
    return next.poll(fds, fd_count, timeout);
}

int epoll_wait(int fd, struct epoll_event *events, int event_count, int timeout)
{
    count(PD_CALL_POLL);
    return next.epoll_wait(fd, events, event_count, timeout);
}

int epoll_pwait(int fd, struct epoll_event *events, int event_count, int timeout,
                const sigset_t *mask)
{
    count(PD_CALL_POLL);
    return next.epoll_pwait(fd, events, event_count, timeout, mask);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    count(PD_CALL_POLL);
    return next.epoll_ctl(epoll, operation, fd, event);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    count(PD_CALL_SETSOCKOPT);
    return next.setsockopt(fd, level, name, value, bytes);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
