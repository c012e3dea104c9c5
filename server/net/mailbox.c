/* Mailboxes on uv_async_t: a mutex around one list, and a wake-up that libuv coalesces. */
#include "server/net/mailbox.h"

static void on_wake(uv_async_t *wake)
{
    struct pd_mailbox *mailbox = wake->data;
    struct pd_link arrived;
    pd_link_init(&arrived);
    uv_mutex_lock(&mailbox->_lock);
    pd_list_move(&arrived, &mailbox->_list);
    uv_mutex_unlock(&mailbox->_lock);
    if (!pd_link_alone(&arrived)) {
        mailbox->_receive(mailbox->_context, &arrived);
    }
}

enum paramd_status pd_mailbox_open(struct pd_mailbox *mailbox, uv_loop_t *loop,
                                   void (*receive)(void *context, struct pd_link *list),
                                   void *context)
{
    if (uv_mutex_init(&mailbox->_lock) != 0) {
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    if (uv_async_init(loop, &mailbox->_wake, on_wake) != 0) {
        uv_mutex_destroy(&mailbox->_lock);
        return PARAMD_RESOURCE_EXHAUSTED;
    }
    mailbox->_wake.data = mailbox;
    pd_link_init(&mailbox->_list);
    mailbox->_receive = receive;
    mailbox->_context = context;
    return PARAMD_OK;
}

void pd_mailbox_send(struct pd_mailbox *mailbox, struct pd_link *list)
{
    if (pd_link_alone(list)) {
        return;
    }
    uv_mutex_lock(&mailbox->_lock);
    /* Things that lie there already have a wake-up under way. */
    bool wake = pd_link_alone(&mailbox->_list);
    pd_list_move(&mailbox->_list, list);
    uv_mutex_unlock(&mailbox->_lock);
    if (wake) {
        (void)uv_async_send(&mailbox->_wake);
    }
}

void pd_mailbox_close(struct pd_mailbox *mailbox)
{
    uv_close((uv_handle_t *)&mailbox->_wake, NULL);
}

void pd_mailbox_deinit(struct pd_mailbox *mailbox, struct pd_link *list)
{
    pd_list_move(list, &mailbox->_list);
    uv_mutex_destroy(&mailbox->_lock);
}
