/* The sockets the daemon listens on: one TCP address (IPv4, IPv6 or both) and one Unix socket. What
 * they accept goes to arrivals. The sockets are polled and accept4 is called here, so that a full
 * descriptor table shows and accepting can pause. */
#ifndef PARAMD_SERVER_NET_LISTENER_H
#define PARAMD_SERVER_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>
#include <uv.h>

#include "proto/paramd_status.h"
#include "server/base/log.h"
#include "server/net/address.h"
#include "server/net/arrivals.h"

enum {
    PD_LISTENER_SOCKETS = 2,
    PD_CONGESTION_BYTES = 16,
    PD_UNIX_PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path)
};

struct pd_listener_socket {
    uv_poll_t poll;
    int fd; /* -1: none */
    struct pd_listener *owner;
};

/* The memory must not move. */
struct pd_listener {
    uv_loop_t *_loop;
    struct pd_arrivals *_arrivals;
    struct pd_listener_socket _sockets[PD_LISTENER_SOCKETS];
    uv_timer_t _pause;
    bool _paused;
    struct pd_log_limit _log_limit;
    char _system_congestion[PD_CONGESTION_BYTES]; /* how TCP controls it by default */
    uint64_t _unix_device; /* of the socket file, so that nobody else's is unlinked */
    uint64_t _unix_inode;
    char _unix_path[PD_UNIX_PATH_BYTES]; /* "": none */
};

void pd_listener_init(struct pd_listener *listener, uv_loop_t *loop, struct pd_arrivals *arrivals);

/* Listens on host ("": all addresses, IPv6 and IPv4) and port (0: a free one). ret_name is the
 * address as it turned out, ret_loopback whether only this machine reaches it. Looks host up, so it
 * may block. On failure error is a sentence that says what to do: INVALID, BUSY (in use) or
 * UNREACHABLE. */
enum paramd_status pd_listener_tcp(struct pd_listener *listener, const char *host, uint16_t port,
                                   char ret_name[PD_ADDRESS_BYTES], bool *ret_loopback, char *error,
                                   size_t error_bytes) __attribute__((warn_unused_result));

/* Listens on a Unix socket. A socket file that no process listens on any more is replaced; a live
 * one, and any other file, is left alone and refused. */
enum paramd_status pd_listener_unix(struct pd_listener *listener, const char *path, char *error,
                                    size_t error_bytes) __attribute__((warn_unused_result));

/* Accepts no more and unlinks the Unix socket; the loop then has to run once more. */
void pd_listener_close(struct pd_listener *listener);

#endif
