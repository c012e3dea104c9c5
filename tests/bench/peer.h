/* A second process at the other end of one or two connections: the shape of every limit that is
 * about sockets. */
#ifndef PARAMD_TESTS_BENCH_PEER_H
#define PARAMD_TESTS_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PD_PEER_CONNECTIONS_MAX = 2, PD_SOCKET_BUFFER_LARGE = 4 << 20 };

/* Shared memory is agreed on over a Unix socket; only clients of the library can have it. */
enum pd_transport { PD_TRANSPORT_TCP, PD_TRANSPORT_UNIX, PD_TRANSPORT_SHM, PD_TRANSPORTS };

const char *pd_transport_name(enum pd_transport transport);
/* The sockets that a limit for it is measured on. Shared memory has none of its own: it is held
 * against TCP, which it replaces. */
enum pd_transport pd_transport_socket(enum pd_transport transport);

/* What the other process does with connection number index until its end; on a thread of its own if
 * there are several. */
typedef void pd_peer_serve(int fd, unsigned index, const void *arg);

struct pd_peer {
    pid_t pid;
    unsigned connections;
    int fds[PD_PEER_CONNECTIONS_MAX]; /* blocking */
};

/* socket_buffer_bytes 0: as the kernel does by itself. TCP sockets run without Nagle's delay and
 * under cubic, where they can: bbr halves loopback. arg is read in the other process, as it is now.
 * Ends the program on failure. */
struct pd_peer pd_peer_start(enum pd_transport transport, unsigned connections,
                             int socket_buffer_bytes, pd_peer_serve *serve, const void *arg);
void pd_peer_stop(struct pd_peer *peer);

/* fork for measuring processes: the child ends when its parent does. Ends the program on failure.
 */
pid_t pd_peer_fork(void);

/* Keeps this thread, or the whole process if it has no others, on the index-th core it may use; -1:
 * lets it go everywhere again. Round trips need it: whether the kernel puts both ends on one core
 * or on two makes them 15 us or 60. */
void pd_peer_pin(int index);

/* All bytes or false (the other end is gone). */
bool pd_peer_read(int fd, void *buf, size_t bytes);
bool pd_peer_write(int fd, const void *buf, size_t bytes);

#endif
