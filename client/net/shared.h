/* Memory shared with a daemon on this host: the answer to having asked for it, then bytes through
 * its rings. The socket it came by carries single bytes that wake the other side, and shows the
 * daemon's end. Never blocks. */
#ifndef PARAMD_CLIENT_NET_SHARED_H
#define PARAMD_CLIENT_NET_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "proto/ring.h"

struct pd_shared {
    void *_memory;
    size_t _bytes;
    int _fd;
    bool _socket_ended;
    struct pd_rings _rings;
};

enum pd_shared_answer {
    PD_SHARED_PENDING, /* it has not come */
    PD_SHARED_NONE,    /* frames go over the socket; an ERROR frame may be there already */
    PD_SHARED_MAPPED,
    PD_SHARED_BAD /* the daemon counts on memory that cannot be used, or is gone */
};

/* Looks for the answer on fd, a Unix socket that stays the caller's. MAPPED: close it in the end.
 */
enum pd_shared_answer pd_shared_open(struct pd_shared *shared, int fd);
void pd_shared_close(struct pd_shared *shared);

/* As readv and sendmsg, with -errno for errno; -EAGAIN: nothing can be moved now. */
ssize_t pd_shared_read(struct pd_shared *shared, const struct pd_span *spans, size_t count);
ssize_t pd_shared_write(struct pd_shared *shared, const struct pd_span *spans, size_t count);

/* The socket is readable: takes the bytes that woke this side, or notes its end. */
void pd_shared_woken(struct pd_shared *shared);
/* Before waiting for the socket. False: do not wait, there is something to read (its end, maybe),
 * or room to write if that is waited for. */
bool pd_shared_sleep(struct pd_shared *shared, bool for_room);

#endif
