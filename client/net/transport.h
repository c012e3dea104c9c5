/* Moves bytes between the core and the daemon: one libuv loop, polled descriptors, readv and
 * sendmsg straight from and to the buffers that the core names. It knows nothing of frames and
 * tensors. */
#ifndef PARAMD_CLIENT_NET_TRANSPORT_H
#define PARAMD_CLIENT_NET_TRANSPORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/core/core.h"

struct pd_transport;

/* shared_memory: asks for it over a Unix socket. busy_poll_us: how long it looks for more after the
 * last bytes (run: from its call on) before it sleeps. The core is only touched with the mutex
 * held. after(arg) is called on the loop's thread, without the mutex, whenever something may have
 * changed for those who wait. PARAMD_INVALID: an address that cannot be read; PARAMD_NO_MEMORY
 * (also when the process has no descriptor left). */
int pd_transport_create(const char *address, bool shared_memory, uint64_t busy_poll_us,
                        struct pd_client *core, pthread_mutex_t *mutex, void (*after)(void *arg),
                        void *arg, struct pd_transport **ret_transport);
/* No thread is in loop or run. NULL is fine. */
void pd_transport_destroy(struct pd_transport *transport);

/* Runs until stop; the background thread's body. */
void pd_transport_loop(struct pd_transport *transport);
/* Any thread. */
void pd_transport_stop(struct pd_transport *transport);
/* Any thread: the core has new work. */
void pd_transport_wake(struct pd_transport *transport);

/* Instead of loop: one turn, which waits for events for at most timeout_us (PD_NEVER: without end).
 */
void pd_transport_run(struct pd_transport *transport, uint64_t timeout_us);

/* The clock that the core is given. */
uint64_t pd_transport_now_us(void);

#endif
