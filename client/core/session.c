/* A session in one model: its lanes, what is known of its blocks and slots, and its end. */
#include "client/core/state.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static bool make_lanes(struct pd_client_session *session)
{
    unsigned count = session->client->shards;
    struct pd_lane *lanes = calloc(count, sizeof *lanes);
    if (lanes == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        pd_lane_init(&lanes[i], session, i);
    }
    session->lanes = lanes;
    session->lane_count = count;
    return true;
}

struct pd_client_session *pd_client_session_create(struct pd_client *client,
                                                   struct pd_definition *definition)
{
    struct pd_client_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return NULL;
    }
    session->client = client;
    session->slots = calloc(PD_SLOTS, sizeof *session->slots);
    session->blocks = calloc(definition->block_count, sizeof *session->blocks);
    session->tensor_mark = calloc(definition->tensor_count, sizeof *session->tensor_mark);
    if (session->slots == NULL || session->blocks == NULL || session->tensor_mark == NULL ||
        !make_lanes(session)) {
        free(session->slots);
        free(session->blocks);
        free(session->tensor_mark);
        free(session);
        return NULL;
    }
    for (unsigned i = 0; i < PD_SLOTS; i++) {
        session->slots[i].parked.place = PD_PARKED;
    }
    session->definition = definition;
    DL_APPEND(client->sessions, session);
    return session;
}

static void drop_units(struct pd_units *units, int status)
{
    while (units->head != NULL) {
        pd_unit_drop(units->head, status);
    }
}

static void drop_request(struct pd_client_session *session, struct pd_request *request, int status)
{
    if (request->lane != NULL && request->lane->session == session) {
        drop_units(&request->units, status);
        request->cursor = NULL;
        request->out_unit = NULL;
        request->lane = NULL;
    }
}

/* Finishes everything; nothing of the session stays in the core. */
static void drop_all(struct pd_client_session *session, int status)
{
    for (unsigned i = 0; i < PD_SHARDS_MAX; i++) {
        struct pd_link *link = session->client->links[i];
        if (link == NULL) {
            continue;
        }
        pd_link_revoke(link, NULL, session);
        struct pd_request *request;
        DL_FOREACH(link->waiting, request) {
            drop_request(session, request, status);
        }
        DL_FOREACH(link->out, request) {
            drop_request(session, request, status);
        }
    }
    for (unsigned i = 0; i < PD_SLOTS; i++) {
        drop_units(&session->slots[i].parked, status);
        session->slots[i].admitted = 0;
    }
    for (unsigned i = 0; i < session->lane_count; i++) {
        struct pd_lane *lane = &session->lanes[i];
        drop_units(&lane->returned, status);
        drop_units(&lane->resend, status);
        drop_units(&lane->ready, status);
        pd_lane_init(lane, session, i);
    }
    struct pd_op *op;
    DL_FOREACH(session->ops, op) {
        for (size_t i = 0; op->waits_for_set && i < op->unit_count; i++) {
            pd_unit_finish(&op->units[i], status == PARAMD_NOT_FOUND ? status : PARAMD_CANCELLED);
        }
        op->waits_for_set = false;
    }
}

const char *pd_gone_text(int status)
{
    switch (status) {
    case PARAMD_NOT_FOUND:
        return "the model was deleted, or the daemon restarted without it: join anew";
    case PARAMD_SESSION_EXPIRED:
        return "the daemon has forgotten this session and its push ids: close the handle and join "
               "anew";
    default:
        return paramd_status_text(status);
    }
}

void pd_client_session_end(struct pd_client_session *session, int status)
{
    if (session->gone != PARAMD_OK) {
        return;
    }
    session->gone = status;
    drop_all(session, status);
    struct pd_call *call;
    DL_FOREACH(session->client->calls, call) {
        if (call->session == session && call->state == PD_CALL_QUEUED) {
            pd_call_finish(call, status, pd_gone_text(status));
        }
    }
}

void pd_client_session_left(struct pd_client_session *session)
{
    session->left = true;
}

/* A connection holds one session in a model until it ends: where this one was attached, only a new
 * connection can take the next. */
static void free_links(struct pd_client_session *session)
{
    for (unsigned i = 0; i < session->lane_count && !session->left; i++) {
        if (session->lanes[i].state != PD_LANE_DETACHED) {
            pd_link_down(session->client->links[i], "a model handle was closed");
        }
    }
}

struct pd_definition *pd_client_session_dissolve(struct pd_client_session *session)
{
    struct pd_client *client = session->client;
    struct pd_definition *definition = session->definition;
    free_links(session);
    drop_all(session, PARAMD_CANCELLED);
    struct pd_call *call;
    DL_FOREACH(client->calls, call) {
        if (call->session == session) {
            call->session = NULL;
            call->is_set = false;
            if (call->state == PD_CALL_QUEUED) {
                pd_call_finish(call, PARAMD_CLOSED, paramd_status_text(PARAMD_CLOSED));
            }
        }
    }
    while (session->ops != NULL) {
        struct pd_op *op = session->ops;
        DL_DELETE(session->ops, op);
        op->session = NULL;
        DL_APPEND(client->orphans, op);
    }
    if (client->next_served == session) {
        client->next_served = NULL;
    }
    DL_DELETE(client->sessions, session);
    free(session->lanes);
    free(session->slots);
    free(session->blocks);
    free(session->tensor_mark);
    free(session);
    return definition;
}

void pd_client_session_destroy(struct pd_client_session *session)
{
    pd_definition_destroy(pd_client_session_dissolve(session));
}

/* Versions of another generation count as 0: they may name other values now. Generations grow: a
 * lower one comes late, from a daemon that is gone. */
void pd_client_session_generation(struct pd_client_session *session, uint64_t generation)
{
    if (generation <= session->generation) {
        return;
    }
    session->generation = generation;
    for (uint64_t i = 0; i < session->definition->block_count; i++) {
        session->blocks[i].pulled = 0;
        session->blocks[i].seen = 0;
    }
    struct pd_op *op;
    DL_FOREACH(session->ops, op) {
        for (size_t i = 0; i < op->unit_count; i++) {
            op->units[i].known_version = 0;
        }
    }
}

struct pd_lane *pd_client_session_lane(struct pd_client_session *session,
                                       const struct pd_unit *unit)
{
    return &session->lanes[pd_slot_shard(pd_unit_slot(unit), session->lane_count)];
}

/* The number of shards has changed and all links are down: units go to their new lanes, those with
 * push ids first. A slot's units were all in one lane, so their order stays. */
void pd_client_session_reshard(struct pd_client_session *session)
{
    struct pd_lane *old = session->lanes;
    unsigned old_count = session->lane_count;
    if (!make_lanes(session)) {
        pd_client_session_end(session, PARAMD_NO_MEMORY);
        return;
    }
    session->lanes[0].wanted = true;
    for (uint32_t slot = 0; slot < PD_SLOTS; slot++) { /* what of it was lost, if anything? */
        struct pd_lane *lane = &session->lanes[pd_slot_shard(slot, session->lane_count)];
        lane->wanted = lane->wanted || session->slots[slot].answered > 0;
    }
    for (unsigned i = 0; i < old_count; i++) {
        while (old[i].resend.head != NULL) {
            struct pd_unit *unit = old[i].resend.head;
            struct pd_lane *lane = pd_client_session_lane(session, unit);
            pd_unit_unlink(unit);
            pd_units_append(&lane->resend, unit);
            lane->wanted = true;
        }
        while (old[i].ready.head != NULL) {
            struct pd_unit *unit = old[i].ready.head;
            struct pd_lane *lane = pd_client_session_lane(session, unit);
            pd_unit_unlink(unit);
            pd_units_append(&lane->ready, unit);
            lane->wanted = true;
        }
    }
    free(old);
}

void pd_client_session_set_over(struct pd_client_session *session)
{
    if (--session->sets_pending > 0) {
        return;
    }
    struct pd_op *op;
    DL_FOREACH(session->ops, op) {
        if (op->waits_for_set) {
            pd_op_submit(op);
        }
    }
}

/* ---- What is known without asking ---- */

const struct pd_definition *pd_client_session_definition(const struct pd_client_session *session)
{
    return session->definition;
}

uint64_t pd_client_session_number(const struct pd_client_session *session)
{
    return session->number;
}

int pd_client_session_gone(const struct pd_client_session *session)
{
    return session->gone;
}

size_t pd_client_session_unfinished(const struct pd_client_session *session)
{
    return session->unfinished;
}

void pd_client_session_counters(const struct pd_client_session *session,
                                struct paramd_counters *ret_counters)
{
    *ret_counters = session->counters;
}

void pd_client_session_block(const struct pd_client_session *session, uint32_t tensor,
                             uint64_t block, struct paramd_block_info *ret_info)
{
    const struct pd_block_state *state =
        &session->blocks[session->definition->tensors[tensor].first_block + block];
    *ret_info = (struct paramd_block_info){
        .version = state->seen, .step = state->step, .applied = state->applied};
}
