/* A mailbox: how one thread hands things to another's loop. The only locked code of the daemon;
 * what is sent is a list of links whose things change owner. */
#ifndef PARAMD_SERVER_NET_MAILBOX_H
#define PARAMD_SERVER_NET_MAILBOX_H

#include <uv.h>

#include "proto/paramd_status.h"
#include "server/base/list.h"

/* The memory is the receiver's and must stay until pd_mailbox_close has closed it. */
struct pd_mailbox {
    uv_async_t _wake;
    uv_mutex_t _lock;
    struct pd_link _list;
    void (*_receive)(void *context, struct pd_link *list);
    void *_context;
};

/* receive is called on the loop's thread with everything that has arrived, in each sender's order;
 * it empties the list and owns what was in it. RESOURCE_EXHAUSTED: no descriptor left. Receiver's
 * thread, or before it runs. */
enum paramd_status pd_mailbox_open(struct pd_mailbox *mailbox, uv_loop_t *loop,
                                   void (*receive)(void *context, struct pd_link *list),
                                   void *context) __attribute__((warn_unused_result));

/* Moves all of list to the receiver and wakes it once; list is empty afterwards. An empty list
 * wakes nobody. Any thread, while the mailbox is open. */
void pd_mailbox_send(struct pd_mailbox *mailbox, struct pd_link *list);

/* The receiver's thread, after the last sender has stopped. What still lies in it is left there;
 * the memory is free when the loop has run once more. */
void pd_mailbox_close(struct pd_mailbox *mailbox);

/* After the loop has ended: what nobody has received, moved to list. */
void pd_mailbox_deinit(struct pd_mailbox *mailbox, struct pd_link *list);

#endif
