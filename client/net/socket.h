/* A connected stream socket: moves bytes, and is set as suits the way to its daemon. Knows no
 * frame. */
#ifndef PARAMD_CLIENT_NET_SOCKET_H
#define PARAMD_CLIENT_NET_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "proto/frame.h"

enum { PD_SOCKET_SPANS_MAX = 256 };

/* Both ends on one host: payload sums would guard against nothing but this host's own memory. */
bool pd_socket_local(int fd);
/* Before it is connected to that address. */
void pd_socket_tune(int fd, const struct sockaddr *address, socklen_t bytes);

/* Bytes moved; read: 0 at the end of the stream; or a negative errno. ret_last: there is no more to
 * move now. count is at most PD_SOCKET_SPANS_MAX. */
ssize_t pd_socket_read(int fd, const struct pd_span *spans, size_t count, bool *ret_last);
ssize_t pd_socket_write(int fd, const struct pd_span *spans, size_t count, bool *ret_last);

#endif
