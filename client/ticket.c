/* Push, pull and push_pull: asynchronous with tickets, and the blocking forms made of them. */
#include <stdlib.h>
#include <utlist.h>

#include "client/private.h"

/* ---- Start ---- */

static struct paramd_ticket *ticket_create(struct paramd_client *client)
{
    struct paramd_ticket *ticket = calloc(1, sizeof *ticket);
    if (ticket != NULL) {
        ticket->client = client;
        DL_APPEND(client->tickets, ticket);
    }
    return ticket;
}

static void ticket_free(struct paramd_ticket *ticket)
{
    DL_DELETE(ticket->client->tickets, ticket);
    free(ticket);
}

void pd_ticket_release(struct paramd_ticket *ticket)
{
    pd_op_release(ticket->op);
    ticket_free(ticket);
}

/* The end of a start: the ticket that was made for it is given away, or freed. Mutex held. */
static int started(struct paramd_ticket *ticket, int status, const char *text,
                   struct paramd_ticket **ret_ticket)
{
    if (status != PARAMD_OK) {
        ticket_free(ticket);
        (void)pd_error_set(status, "%s", text);
        return status;
    }
    pd_op_set_owner(ticket->op, ticket);
    pd_client_kick(ticket->client);
    *ret_ticket = ticket;
    return PARAMD_OK;
}

/* Mutex held. */
static int start(struct paramd_model *model, enum pd_op_kind kind, const struct paramd_io *entries,
                 size_t count, const struct paramd_call *call, struct paramd_ticket **ret_ticket)
{
    static const struct paramd_call defaults = {0};
    char text[PD_CALL_TEXT_BYTES];
    const struct paramd_call *chosen = call != NULL ? call : &defaults;
    struct paramd_ticket *ticket = ticket_create(model->client);
    if (ticket == NULL) {
        return pd_error_plain(PARAMD_NO_MEMORY);
    }
    int status = pd_op_start(model->session, kind, entries, count, chosen, &ticket->op, text);
    ticket->calls_done = chosen->done != NULL;
    return started(ticket, status, text, ret_ticket);
}

static int enter_and_start(struct paramd_model *model, enum pd_op_kind kind,
                           const struct paramd_io *entries, size_t count,
                           const struct paramd_call *call, struct paramd_ticket **ret_ticket)
{
    int status = pd_client_enter(model->client);
    if (status != PARAMD_OK) {
        return status;
    }
    status = start(model, kind, entries, count, call, ret_ticket);
    pd_client_leave(model->client);
    return status;
}

int paramd_push(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                const struct paramd_call *call, struct paramd_ticket **ret_ticket)
{
    return enter_and_start(model, PD_OP_PUSH, entries, count, call, ret_ticket);
}

int paramd_pull(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                const struct paramd_call *call, struct paramd_ticket **ret_ticket)
{
    return enter_and_start(model, PD_OP_PULL, entries, count, call, ret_ticket);
}

int paramd_push_pull(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                     const struct paramd_call *call, struct paramd_ticket **ret_ticket)
{
    return enter_and_start(model, PD_OP_PUSH_PULL, entries, count, call, ret_ticket);
}

/* ---- Wait, cancel, release ---- */

/* A finished ticket is shown as finished when its done function has returned, so that its owner may
 * free what that uses; inside that function it is finished, too. */
static bool ticket_over(const void *arg)
{
    const struct paramd_ticket *ticket = arg;
    if (!pd_op_finished(ticket->op)) {
        return false;
    }
    return !ticket->calls_done || ticket->done_returned ||
           (ticket->client->in_done == ticket && pd_client_inside_done(ticket->client));
}

static bool op_over(const void *arg)
{
    return pd_op_finished(arg);
}

static void tell(const struct paramd_ticket *ticket, struct paramd_result *ret_result)
{
    struct paramd_result result;
    pd_op_result(ticket->op, &result);
    if (ret_result != NULL) {
        *ret_result = result;
    }
}

/* The status of a finished ticket, with a sentence for the calling thread. */
static int final_status(const struct paramd_ticket *ticket)
{
    struct paramd_result result;
    pd_op_result(ticket->op, &result);
    if (result.status != PARAMD_OK) {
        char text[PD_CALL_TEXT_BYTES];
        pd_op_text(ticket->op, text);
        (void)pd_error_set(result.status, "%s", text);
    }
    return result.status;
}

/* Mutex held. */
static int wait_for(struct paramd_ticket *ticket, uint64_t deadline_us,
                    struct paramd_result *ret_result)
{
    bool over = pd_client_wait(ticket->client, ticket_over, ticket, deadline_us);
    tell(ticket, ret_result);
    return over ? final_status(ticket) : pd_timeout(ticket->client, "the call is not finished");
}

int paramd_wait(struct paramd_ticket *ticket, int timeout_ms, struct paramd_result *ret_result)
{
    int status = pd_client_enter(ticket->client);
    if (status != PARAMD_OK) {
        return status;
    }
    status = wait_for(ticket, pd_deadline_us(timeout_ms), ret_result);
    pd_client_leave(ticket->client);
    return status;
}

/* Mutex held. */
static void cancel(struct paramd_ticket *ticket, uint64_t deadline_us)
{
    pd_op_cancel(ticket->op);
    if (!pd_client_wait(ticket->client, op_over, ticket->op, deadline_us)) {
        pd_op_abandon(ticket->op);
    }
    pd_client_kick(ticket->client); /* its done function may be due */
}

int paramd_cancel(struct paramd_ticket *ticket, int timeout_ms, struct paramd_result *ret_result)
{
    int status = pd_client_enter(ticket->client);
    if (status != PARAMD_OK) {
        return status;
    }
    cancel(ticket, pd_deadline_us(timeout_ms));
    tell(ticket, ret_result);
    status = final_status(ticket);
    pd_client_leave(ticket->client);
    return status;
}

static bool not_in_done(const void *arg)
{
    const struct paramd_ticket *ticket = arg;
    return ticket->client->in_done != ticket;
}

/* Mutex held. Its done function may be running on another thread: that ends first. */
static void release(struct paramd_ticket *ticket)
{
    struct paramd_client *client = ticket->client;
    if (!not_in_done(ticket)) {
        (void)pd_client_wait(client, not_in_done, ticket, PD_NEVER);
    }
    pd_ticket_release(ticket);
    pd_client_kick(client);
}

void paramd_release(struct paramd_ticket *ticket)
{
    if (ticket == NULL || pd_client_enter(ticket->client) != PARAMD_OK) {
        return;
    }
    struct paramd_client *client = ticket->client;
    release(ticket);
    pd_client_leave(client);
}

/* ---- The blocking forms ---- */

/* Mutex held. The buffers are the caller's again on return, in any case. */
static int wait_and_release(struct paramd_ticket *ticket, uint64_t deadline_us,
                            struct paramd_result *ret_result)
{
    int status = wait_for(ticket, deadline_us, ret_result);
    if (status == PARAMD_TIMEOUT && !pd_op_finished(ticket->op)) {
        pd_op_cancel(ticket->op);
        pd_op_abandon(ticket->op);
        tell(ticket, ret_result);
        if (ret_result != NULL) {
            ret_result->status = PARAMD_TIMEOUT;
        }
    }
    release(ticket);
    return status;
}

static int start_and_wait(struct paramd_model *model, enum pd_op_kind kind,
                          const struct paramd_io *entries, size_t count,
                          const struct paramd_call *call, int timeout_ms,
                          struct paramd_result *ret_result)
{
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    struct paramd_ticket *ticket = NULL;
    struct paramd_client *client = model->client;
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    status = start(model, kind, entries, count, call, &ticket);
    if (ticket != NULL) {
        status = wait_and_release(ticket, deadline_us, ret_result);
    }
    pd_client_leave(client);
    return status;
}

int paramd_push_wait(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                     const struct paramd_call *call, int timeout_ms,
                     struct paramd_result *ret_result)
{
    return start_and_wait(model, PD_OP_PUSH, entries, count, call, timeout_ms, ret_result);
}

int paramd_pull_wait(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                     const struct paramd_call *call, int timeout_ms,
                     struct paramd_result *ret_result)
{
    return start_and_wait(model, PD_OP_PULL, entries, count, call, timeout_ms, ret_result);
}

int paramd_push_pull_wait(struct paramd_model *model, const struct paramd_io *entries, size_t count,
                          const struct paramd_call *call, int timeout_ms,
                          struct paramd_result *ret_result)
{
    return start_and_wait(model, PD_OP_PUSH_PULL, entries, count, call, timeout_ms, ret_result);
}

int paramd_fill(struct paramd_model *model, unsigned part, const struct paramd_fill *entries,
                size_t count, int timeout_ms)
{
    char text[PD_CALL_TEXT_BYTES];
    uint64_t deadline_us = pd_deadline_us(timeout_ms);
    struct paramd_client *client = model->client;
    int status = pd_client_enter(client);
    if (status != PARAMD_OK) {
        return status;
    }
    struct paramd_ticket *ticket = ticket_create(client);
    if (ticket == NULL) {
        status = pd_error_plain(PARAMD_NO_MEMORY);
    } else {
        status = pd_op_start_fill(model->session, part, entries, count, &ticket->op, text);
        status = started(ticket, status, text, &ticket);
    }
    if (status == PARAMD_OK) {
        status = wait_and_release(ticket, deadline_us, NULL);
    }
    pd_client_leave(client);
    return status;
}
