/* How the bytes of one connection move: over its socket, or through memory shared with a peer on
 * this host, whose socket then carries single bytes that wake the other side, and shows its end.
 * Never blocks. */
#ifndef PARAMD_SERVER_NET_STREAM_H
#define PARAMD_SERVER_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/ring.h"

enum { PD_STREAM_SPANS_MAX = 64 };

struct pd_stream {
    bool exhausted; /* the last read or write found the end of what there is now */
    int _fd;
    void *_memory; /* NULL: the socket moves the bytes */
    bool _socket_ended;
    struct pd_rings _rings;
};

/* fd, a connected and non-blocking stream socket, stays the caller's and outlives the stream. */
void pd_stream_init(struct pd_stream *stream, int fd);
/* The memory goes; the peer keeps its own mapping. */
void pd_stream_deinit(struct pd_stream *stream);

/* Before the first byte, for a peer that has asked for shared memory: answers, and goes over to it
 * if budget (bytes left for such memory, which are taken from it) and the system allow; else the
 * socket stays in use. Returns how much was taken from budget. */
uint64_t pd_stream_share(struct pd_stream *stream, uint64_t budget);
bool pd_stream_shared(const struct pd_stream *stream);

/* Bytes moved; 0 of read: the peer has closed its side. Else a negative errno, -EAGAIN if nothing
 * can be moved now. */
ssize_t pd_stream_read(struct pd_stream *stream, const struct pd_span *spans, unsigned count);
ssize_t pd_stream_write(struct pd_stream *stream, const struct pd_span *spans, unsigned count);

/* Of shared memory, when the socket is readable: takes the bytes that woke this side. */
void pd_stream_woken(struct pd_stream *stream);
/* Of shared memory, before waiting for the socket: what is waited for. False: do not wait, it is
 * there. */
bool pd_stream_sleep(struct pd_stream *stream, bool for_bytes, bool for_room);
/* Of shared memory: the peer has closed the socket, and will read nothing more. */
bool pd_stream_peer_gone(const struct pd_stream *stream);

#endif
