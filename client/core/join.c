/* From a definition (or a name) to a session that can be used.
 *
 *     ASKING -> ATTACHING -> READY                          ready: others have given it its values
 *       ^ ^         |
 *       | |         v
 *       | +----- FILLING    initialiser: moments first, then weights; then asks whether all of it
 * has arrived
 *       +-- waits (not ready, not the initialiser: asks again now and then, to take over if that
 * one dies)
 */
#include "client/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { POLL_US_MIN = 1000, POLL_US_MAX = 250 * 1000, PARTS = 1 + PARAMD_MOMENTS_MAX };

enum join_state { ASKING, ATTACHING, FILLING, READY, FAILED };

struct pd_join {
    struct pd_client *client;
    struct pd_join *prev;
    struct pd_join *next;
    enum join_state state;
    struct pd_join_options options;
    char model[PARAMD_NAME_BYTES];
    bool named_only;     /* joins what is there: no CREATE */
    bool to_fill;        /* after ATTACHING */
    uint64_t filled;     /* the attempt whose values were all acknowledged */
    unsigned parts_done; /* FILLING: MOMENT0 .. MOMENT2, then WEIGHTS */
    uint64_t wake_us;
    uint64_t poll_us;
    struct pd_call *call;
    struct pd_op *op;
    struct pd_client_session *session;
    int status;
    char text[PD_CALL_TEXT_BYTES];
};

struct pd_join *pd_join_create(struct pd_client *client, const struct pd_join_options *options)
{
    struct pd_join *join = calloc(1, sizeof *join);
    if (join == NULL) {
        pd_definition_destroy(options->definition);
        return NULL;
    }
    join->client = client;
    join->options = *options;
    join->named_only = options->definition == NULL;
    join->status = PARAMD_PENDING;
    join->poll_us = POLL_US_MIN;
    (void)snprintf(join->model, sizeof join->model, "%s", options->model);
    (void)snprintf(join->text, sizeof join->text, "joining model %s", join->model);
    DL_APPEND(client->joins, join);
    return join;
}

/* Gives the session up and keeps the definition for another try. */
static void drop_session(struct pd_join *join)
{
    if (join->op != NULL) {
        pd_op_release(join->op);
        join->op = NULL;
    }
    if (join->session != NULL) {
        join->options.definition = pd_client_session_dissolve(join->session);
        join->session = NULL;
    }
}

void pd_join_destroy(struct pd_join *join)
{
    if (join == NULL) {
        return;
    }
    pd_call_destroy(join->call);
    drop_session(join);
    pd_definition_destroy(join->options.definition);
    DL_DELETE(join->client->joins, join);
    free(join);
}

struct pd_join *pd_join_next(const struct pd_join *join)
{
    return join->next;
}

static void fail(struct pd_join *join, int status, const char *text)
{
    join->state = FAILED;
    join->status = status;
    (void)snprintf(join->text, sizeof join->text, "model %s: %s", join->model, text);
}

/* Back to the daemon, after a pause that grows. */
static void ask_later(struct pd_join *join, const char *waiting_for)
{
    join->state = ASKING;
    join->wake_us = pd_client_later(join->client, join->poll_us);
    join->poll_us = join->poll_us * 2 > POLL_US_MAX ? POLL_US_MAX : join->poll_us * 2;
    (void)snprintf(join->text, sizeof join->text, "model %s: %s", join->model, waiting_for);
}

/* ---- ASKING ---- */

static struct pd_call *start_create(struct pd_join *join)
{
    const struct pd_definition *definition =
        join->session != NULL ? join->session->definition : join->options.definition;
    uint8_t *bytes;
    size_t count;
    if (pd_definition_encode(definition, &bytes, &count) != PARAMD_OK) {
        return NULL;
    }
    Paramd__Create create = PARAMD__CREATE__INIT;
    create.model = join->model;
    create.session.data = join->options.session;
    create.session.len = PD_SESSION_BYTES;
    create.nonce = join->options.nonce;
    struct pd_call *call =
        pd_call_start(join->client, NULL, PD_KIND_CREATE, &create.base, bytes, count);
    free(bytes);
    return call;
}

static void ask(struct pd_join *join)
{
    if (join->named_only) {
        Paramd__Stat stat = PARAMD__STAT__INIT;
        stat.model = join->model;
        stat.definition = true;
        join->call = pd_call_start(join->client, NULL, PD_KIND_STAT, &stat.base, NULL, 0);
    } else {
        join->call = start_create(join);
    }
    if (join->call == NULL) {
        fail(join, PARAMD_NO_MEMORY, paramd_status_text(PARAMD_NO_MEMORY));
    }
}

static bool make_session(struct pd_join *join, uint64_t number, uint64_t generation)
{
    if (join->session != NULL && join->session->number != number) {
        drop_session(join); /* deleted and made anew in between */
    }
    if (join->session != NULL) {
        return true;
    }
    const struct pd_client_session *other;
    DL_FOREACH(join->client->sessions, other) {
        if (other->number == number && other->gone == PARAMD_OK) {
            fail(join, PARAMD_INVALID,
                 "this client has a handle of it: use that one, or open another client");
            return false;
        }
    }
    join->session = pd_client_session_create(join->client, join->options.definition);
    if (join->session == NULL) {
        fail(join, PARAMD_NO_MEMORY, paramd_status_text(PARAMD_NO_MEMORY));
        return false;
    }
    join->options.definition = NULL;
    memcpy(join->session->id, join->options.session, PD_SESSION_BYTES);
    join->session->nonce = join->options.nonce;
    join->session->number = number;
    join->session->generation = generation;
    return true;
}

static void attach(struct pd_join *join, bool to_fill)
{
    join->session->lanes[0].wanted = true;
    join->to_fill = to_fill;
    join->state = ATTACHING;
    (void)snprintf(join->text, sizeof join->text, "model %s: waiting for the session to be opened",
                   join->model);
}

static void take_created(struct pd_join *join, const Paramd__Created *created)
{
    if (!make_session(join, created->model, created->generation)) {
        return;
    }
    join->session->attempt = created->attempt;
    if (join->options.fill && (created->ready || !created->initialiser)) {
        fail(join, PARAMD_NOT_INITIALISER,
             created->ready ? "it exists and has values: delete it first, or take another name"
                            : "another process gives it its first values: wait for that one, or "
                              "delete the model");
    } else if (created->ready || join->options.fill) {
        attach(join, false);
    } else if (created->initialiser && join->filled != created->attempt) {
        attach(join, true);
    } else {
        ask_later(join, created->initialiser ? "the daemon is taking its first values in"
                                             : "its initialiser has not sent all values yet");
    }
}

static void take_stated(struct pd_join *join, const Paramd__Stated *stated)
{
    size_t count;
    const uint8_t *bytes = pd_call_payload(join->call, &count);
    if (stated->model == NULL || count == 0) {
        fail(join, PARAMD_PROTOCOL, "the daemon told no definition");
        return;
    }
    struct pd_arena arena;
    char text[PD_ERROR_TEXT_BYTES] = "its definition cannot be read";
    pd_arena_init(&arena, PD_DEFINITION_DECODED_MAX);
    const ProtobufCMessage *message =
        pd_decode(&paramd__definition__descriptor, &arena, bytes, count);
    struct pd_definition *definition = NULL;
    int status = PARAMD_PROTOCOL;
    if (message != NULL) {
        status = pd_definition_create(join->model, (const Paramd__Definition *)message, &definition,
                                      text);
    }
    pd_arena_deinit(&arena);
    if (status != PARAMD_OK) {
        fail(join, status, text);
        return;
    }
    drop_session(join);
    pd_definition_destroy(join->options.definition);
    join->options.definition = definition;
    if (make_session(join, stated->model->number, stated->model->generation)) {
        attach(join, false);
    }
}

static void tick_asking(struct pd_join *join)
{
    if (join->call == NULL) {
        if (join->client->now_us >= join->wake_us) {
            ask(join);
        }
        return;
    }
    int status = pd_call_status(join->call);
    if (status == PARAMD_PENDING) {
        return;
    }
    if (status != PARAMD_OK) {
        fail(join, status, "");
        /* The daemon's sentence names the model itself. */
        (void)snprintf(join->text, sizeof join->text, "%s", pd_call_text(join->call));
    } else if (join->named_only) {
        take_stated(join, (const Paramd__Stated *)pd_call_answer(join->call));
    } else {
        take_created(join, (const Paramd__Created *)pd_call_answer(join->call));
    }
    pd_call_destroy(join->call);
    join->call = NULL;
}

/* ---- ATTACHING and FILLING ---- */

/* False: the session is over, and what follows is decided. */
static bool session_alive(struct pd_join *join)
{
    int gone = join->session->gone;
    if (gone == PARAMD_OK) {
        return true;
    }
    if (gone == PARAMD_NOT_FOUND && !join->named_only) {
        drop_session(join);
        ask_later(join, "it was deleted while it was being joined");
    } else {
        fail(join, gone, pd_gone_text(gone));
    }
    return false;
}

static void tick_attaching(struct pd_join *join)
{
    if (!session_alive(join) || join->session->lanes[0].state != PD_LANE_ATTACHED) {
        return;
    }
    if (!join->to_fill) {
        join->state = READY;
        join->status = PARAMD_OK;
        return;
    }
    join->state = FILLING;
    join->parts_done = 0;
    (void)snprintf(join->text, sizeof join->text, "model %s: its first values are on their way",
                   join->model);
}

static void tick_filling(struct pd_join *join)
{
    while (join->state == FILLING && session_alive(join)) {
        if (join->op != NULL && !pd_op_finished(join->op)) {
            return;
        }
        struct paramd_result result = {.status = PARAMD_OK};
        if (join->op != NULL) {
            pd_op_result(join->op, &result);
            pd_op_release(join->op);
            join->op = NULL;
        }
        if (result.status == PARAMD_NOT_INITIALISER) {
            ask_later(join, "another process initialises it now");
        } else if (result.status != PARAMD_OK) {
            fail(join, result.status, paramd_status_text(result.status));
        } else if (join->parts_done == PARTS) {
            join->filled = join->session->attempt;
            join->poll_us = POLL_US_MIN;
            ask_later(join, "the daemon is taking its first values in");
            join->wake_us = join->client->now_us;
        } else {
            uint32_t part = ++join->parts_done % PARTS;
            int status = pd_op_start_init(join->session, join->options.initial, part, &join->op);
            if (status != PARAMD_OK) {
                fail(join, status, paramd_status_text(status));
            }
        }
    }
}

uint64_t pd_join_tick(struct pd_join *join)
{
    enum join_state before;
    do {
        before = join->state;
        if (join->state == ATTACHING) {
            tick_attaching(join);
        } else if (join->state == FILLING) {
            tick_filling(join);
        } else if (join->state == ASKING) {
            tick_asking(join);
        }
    } while (join->state != before);
    if (join->state == ASKING && join->call == NULL) {
        return join->wake_us;
    }
    return PD_NEVER;
}

int pd_join_status(const struct pd_join *join)
{
    return join->status;
}

const char *pd_join_text(const struct pd_join *join)
{
    return join->text;
}

struct pd_client_session *pd_join_take_session(struct pd_join *join)
{
    struct pd_client_session *session = join->session;
    join->session = NULL;
    return session;
}
