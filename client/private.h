/* What the files of the public API share: the handles, the lock, waiting, and texts for errors. The
 * core is only touched with client->mutex held; done callbacks run without it. */
#ifndef PARAMD_CLIENT_PRIVATE_H
#define PARAMD_CLIENT_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/core/core.h"
#include "client/include/paramd.h"
#include "client/net/transport.h"
#include "proto/arena.h"
#include "proto/paramd.pb-c.h"

struct pd_identity;

struct paramd_client {
    struct pd_client *core;
    struct pd_transport *transport;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* broadcast when a waiter should look again */
    unsigned forks;         /* pd_forks() when it was opened */
    bool threaded;
    bool driven; /* without a thread: somebody is in the transport */
    pthread_t thread;
    void (*lost)(struct paramd_model *model, uint64_t blocks, void *arg);
    void *lost_arg;
    const void *in_done; /* the ticket or model whose function runs, on the thread below */
    pthread_t done_thread;
    struct paramd_model *models;
    struct paramd_ticket *tickets;
};

struct paramd_model {
    struct paramd_client *client;
    struct paramd_model *prev;
    struct paramd_model *next;
    struct pd_client_session *session;
    struct pd_identity *identity;         /* of a chosen session id; else NULL */
    struct paramd_definition *definition; /* one allocation */
    uint64_t lost_told;
};

struct paramd_ticket {
    struct paramd_client *client;
    struct paramd_ticket *prev;
    struct paramd_ticket *next;
    struct pd_op *op;
    bool calls_done; /* it has a done function */
    bool done_returned;
};

/* error.c: sets paramd_error() of this thread; returns status. */
int pd_error_set(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The status' own sentence. */
int pd_error_plain(int status);

/* Grows in every child process: what was opened with another number belongs to a parent. */
unsigned pd_forks(void);
/* A number that this process start has alone; drawn anew after a fork. */
uint64_t pd_process_nonce(void);
/* Takes a chosen session id of a model for one handle of this process. PARAMD_OK,
 * PARAMD_SESSION_IN_USE: another handle has it, PARAMD_NO_MEMORY. Any thread. */
int pd_identity_take(const char *model, const uint8_t id[PD_SESSION_BYTES],
                     struct pd_identity **ret_identity);
/* NULL is fine. */
void pd_identity_give(struct pd_identity *identity);
/* In the child of a fork: none is taken. */
void pd_identity_forked(void);
/* From the system's random source; false if there is none. */
bool pd_random_bytes(void *memory, size_t bytes);

/* PARAMD_OK with the mutex held, or PARAMD_FORKED with nothing touched. */
int pd_client_enter(struct paramd_client *client);
void pd_client_leave(struct paramd_client *client);
/* The core has new work (mutex held). */
void pd_client_kick(struct paramd_client *client);
uint64_t pd_deadline_us(int timeout_ms);
/* Waits until ready(arg); false: the deadline came first. Mutex held before and after, not in
 * between. Without a thread it does the I/O itself. */
bool pd_client_wait(struct paramd_client *client, bool (*ready)(const void *arg), const void *arg,
                    uint64_t deadline_us);

/* Whether a pd_call has its answer, for pd_client_wait. */
bool pd_client_call_over(const void *call);
/* Waits for a control call's answer (mutex held). PARAMD_OK: it is there, and the caller destroys
 * the call. Else the call is destroyed and paramd_error() says what became of `what`. call NULL:
 * there was no memory for it. */
int pd_client_finish_call(struct paramd_client *client, struct pd_call *call, uint64_t deadline_us,
                          const char *what);
/* PARAMD_TIMEOUT with a sentence that says what is known. */
int pd_timeout(struct paramd_client *client, const char *what);

/* Inside a done function of this client. */
bool pd_client_inside_done(const struct paramd_client *client);
/* Frees a ticket and what it runs (mutex held). */
void pd_ticket_release(struct paramd_ticket *ticket);
/* Messages that borrow hypers' texts, in arena memory; NULL without memory. Names are not NULL. */
Paramd__Hyper **pd_hyper_messages(struct pd_arena *arena, const struct paramd_hyper *hypers,
                                  size_t count);
/* Frees a model handle (mutex held). */
void pd_client_model_free(struct paramd_model *model);

#endif
