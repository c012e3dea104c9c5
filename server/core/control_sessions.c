/* Sessions as wholes: who may attach, whose lease runs, whose push ids are forgotten. */
#include <stdlib.h>
#include <string.h>

#include "proto/plant.h"
#include "server/core/control_state.h"

struct pd_control_session *pd_control_session_find(struct pd_control *control, uint64_t model,
                                                   const uint8_t *bits)
{
    struct pd_control_session_id id = {.model = model};
    memcpy(id.bits, bits, PD_SESSION_BYTES);
    struct pd_control_session *session = NULL;
    /* The analyzer does not believe that memcpy fills what it copies to.
     * NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
    HASH_FIND(by_id, control->sessions, &id, sizeof id, session);
    return session;
}

/* The session that a shard speaks of; NULL if it is forgotten, or another process has taken it over
 * meanwhile. */
static struct pd_control_session *find_asker(struct pd_control *control,
                                             const struct pd_message *message)
{
    struct pd_control_session *session =
        pd_control_session_find(control, message->model, message->session.bits);
    return session != NULL && session->nonce == message->session.nonce ? session : NULL;
}

void pd_control_session_drop(struct pd_control *control, struct pd_control_session *session)
{
    struct pd_control_model *model = pd_control_find_number(control, session->id.model);
    if (model != NULL) {
        model->sessions--;
    }
    HASH_DELETE(by_id, control->sessions, session);
    control->session_count--;
    free(session);
}

static bool lease_runs(const struct pd_control *control, const struct pd_control_session *session)
{
    return control->now_us - session->seen_us <= control->options.lease_us;
}

/* Has all shards forget the session's push ids; who asked (NULL: nobody) is told when they have.
 * False without memory or room in the log, and then nothing has happened. */
static bool end(struct pd_control *control, struct pd_control_session *session,
                Paramd__SessionEnd why, const struct pd_control_request *request,
                struct pd_control_effects *effects)
{
    struct pd_message like = {.kind = PD_MESSAGE_END_SESSION, .model = session->id.model};
    memcpy(like.session.bits, session->id.bits, PD_SESSION_BYTES);
    Paramd__RecordDecided decided = pd_control_decided(control, session->id.model, &like.session);
    decided.end = why;
    if (pd_control_decide(control, PD_RECORD_ENDED, &decided, &like, request, effects) == NULL) {
        return false;
    }
    pd_control_session_drop(control, session);
    return true;
}

/* Makes room below the cap: the session that was longest without a connection goes, never one whose
 * lease runs. */
static bool make_room(struct pd_control *control, struct pd_control_effects *effects)
{
    if (control->session_count < control->options.sessions_max) {
        return true;
    }
    struct pd_control_session *oldest = NULL;
    struct pd_control_session *session = control->sessions;
    for (; session != NULL; session = session->by_id.next) {
        if (!lease_runs(control, session) &&
            (oldest == NULL || session->connected_us < oldest->connected_us)) {
            oldest = session;
        }
    }
    if (oldest == NULL) {
        return false;
    }
    control->sessions_expired++;
    return end(control, oldest, PARAMD__SESSION_END__EVICTED, NULL, effects);
}

struct pd_control_session *pd_control_session_add(struct pd_control *control,
                                                  struct pd_control_model *model,
                                                  const struct pd_session_key *key)
{
    struct pd_control_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return NULL;
    }
    session->id.model = model->number;
    session->connected_us = control->now_us;
    session->nonce = key->nonce;
    memcpy(session->id.bits, key->bits, PD_SESSION_BYTES);
    HASH_ADD(by_id, control->sessions, id, sizeof session->id, session);
    if (session->by_id.tbl == NULL) {
        free(session);
        return NULL;
    }
    control->session_count++;
    model->sessions++;
    session->opening = ++model->openings;
    return session;
}

/* The session to be opened: that which is there (NULL: none), or a new one; NULL after it was
 * answered. */
static struct pd_control_session *admit(struct pd_control *control, struct pd_control_model *model,
                                        struct pd_control_session *session,
                                        const struct pd_control_request *request,
                                        const Paramd__Attach *attach,
                                        const struct pd_session_key *key,
                                        struct pd_control_effects *effects)
{
    if (session == NULL && attach->mode == PARAMD__ATTACH_MODE__RESUME &&
        !pd_plant(expired_session_applied)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_SESSION_EXPIRED,
                         "model %.100s does not know this session (any more): what it had not "
                         "acknowledged cannot be known; start a new session",
                         attach->model);
        return NULL;
    }
    if (session != NULL && session->nonce != attach->nonce && lease_runs(control, session)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_SESSION_IN_USE,
                         "another live process uses this session: give each worker its own, or "
                         "wait %llu s for its lease to end",
                         (unsigned long long)(control->options.lease_us / 1000000));
        return NULL;
    }
    if (session != NULL && session->nonce != attach->nonce &&
        attach->mode == PARAMD__ATTACH_MODE__RESUME && !pd_plant(replaced_session_resumed)) {
        /* The ids it has in flight may have been used by the other process meanwhile. */
        pd_control_error(effects, request->conn, request->request_id, PARAMD_SESSION_EXPIRED,
                         "another process took this session over: what it had not acknowledged "
                         "cannot be known; start a new session");
        return NULL;
    }
    if (session != NULL) {
        return session;
    }
    session = make_room(control, effects) ? pd_control_session_add(control, model, key) : NULL;
    if (session == NULL) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_BUSY,
                         "there are %u sessions, the most this daemon keeps: try again later",
                         control->session_count);
    }
    return session;
}

/* Records what is new about the session and has the asker's shard answer. False without memory or
 * room in the log, and then nothing has happened. */
static bool open_session(struct pd_control *control, struct pd_control_session *session, bool fresh,
                         const struct pd_control_request *request, const struct pd_session_key *key,
                         struct pd_control_effects *effects)
{
    struct pd_message like = {
        .kind = PD_MESSAGE_CLOSE_OTHERS, .model = session->id.model, .session = *key};
    bool takes_over = session->nonce != key->nonce;
    struct pd_message *open = pd_message_create(PD_MESSAGE_OPEN_SESSION, request->conn.shard);
    Paramd__RecordDecided decided = pd_control_decided(control, session->id.model, key);
    decided.opening = session->opening;
    if (open == NULL ||
        ((fresh || takes_over) &&
         !pd_control_log(control, PD_RECORD_OPENED, &decided.base, NULL, 0, effects))) {
        pd_message_destroy(open);
        return false;
    }
    if (takes_over && !pd_control_tell_all(control, &like, effects)) {
        pd_control_unlog(control, effects);
        pd_message_destroy(open);
        return false;
    }
    session->nonce = key->nonce;
    session->seen_us = control->now_us;
    session->connected_us = control->now_us;
    open->conn = request->conn;
    open->request_id = request->request_id;
    open->model = session->id.model;
    open->session = *key;
    open->opening = session->opening;
    pd_list_push(&effects->messages, &open->link);
    return true;
}

void pd_control_attach(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects)
{
    const Paramd__Attach *attach = (const Paramd__Attach *)request->header;
    struct pd_control_model *model = pd_control_find(control, attach->model);
    if (model == NULL) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_NOT_FOUND,
                         "no model is named \"%.100s\": CREATE it first", attach->model);
        return;
    }
    if (attach->session.len != PD_SESSION_BYTES ||
        (attach->mode != PARAMD__ATTACH_MODE__NEW && attach->mode != PARAMD__ATTACH_MODE__RESUME)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_INVALID,
                         "the session has %zu bytes (16 are needed), or the mode does not exist",
                         attach->session.len);
        return;
    }
    if (pd_control_being_made(model, request, effects)) {
        return;
    }
    struct pd_session_key key = {.nonce = attach->nonce};
    memcpy(key.bits, attach->session.data, PD_SESSION_BYTES);
    struct pd_control_session *known = pd_control_session_find(control, model->number, key.bits);
    struct pd_control_session *session =
        admit(control, model, known, request, attach, &key, effects);
    if (session == NULL) {
        return;
    }
    if (!open_session(control, session, known == NULL, request, &key, effects)) {
        if (known == NULL) {
            pd_control_session_drop(control, session);
        }
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory, or no room in the log, for this request: send it again later");
    }
}

void pd_control_goodbye(struct pd_control *control, const struct pd_control_request *request,
                        struct pd_control_effects *effects)
{
    struct pd_control_session *session = find_asker(control, request->message);
    if (session == NULL) {
        pd_control_done(effects, request->conn, request->request_id);
    } else if (!end(control, session, PARAMD__SESSION_END__GOODBYE, request, effects)) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_RESOURCE_EXHAUSTED,
                         "no memory, or no room in the log, for this request: send it again later");
    }
}

void pd_control_seen(struct pd_control *control, const struct pd_message *message)
{
    bool traffic = message->status == PARAMD_OK;
    struct pd_control_model *model = pd_control_find_number(control, message->model);
    struct pd_control_session *session = find_asker(control, message);
    if (session == NULL) {
        return;
    }
    session->connected_us = control->now_us;
    if (!traffic) {
        return;
    }
    session->seen_us = control->now_us;
    if (model != NULL && model->initialiser.nonce == message->session.nonce &&
        memcmp(model->initialiser.bits, message->session.bits, PD_SESSION_BYTES) == 0) {
        model->initialiser_seen_us = control->now_us;
    }
}

void pd_control_report(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects)
{
    const Paramd__Report *report = (const Paramd__Report *)request->header;
    struct pd_control_session *session = find_asker(control, request->message);
    if (session == NULL) {
        pd_control_error(effects, request->conn, request->request_id, PARAMD_SESSION_EXPIRED,
                         "the session was ended: ATTACH a new one");
        return;
    }
    session->clock = report->clock;
    session->loss = report->loss;
    session->samples = report->samples;
    session->tokens = report->tokens;
    session->reported = true;
    pd_control_done(effects, request->conn, request->request_id);
}

void pd_control_expire(struct pd_control *control, struct pd_control_effects *effects)
{
    struct pd_control_session *session;
    struct pd_control_session *next;
    HASH_ITER(by_id, control->sessions, session, next) {
        if (control->now_us - session->connected_us <= control->options.retention_us) {
            continue;
        }
        if (!end(control, session, PARAMD__SESSION_END__EXPIRED, NULL, effects)) {
            return;
        }
        control->sessions_expired++;
    }
}

void pd_control_forget(struct pd_control *control, uint64_t model)
{
    struct pd_control_session *session;
    struct pd_control_session *next;
    HASH_ITER(by_id, control->sessions, session, next) {
        if (session->id.model == model) {
            pd_control_session_drop(control, session);
        }
    }
}
