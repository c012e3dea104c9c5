/* What the files of the control core share: its state, and the calls between them. Private to
 * server/core. */
#ifndef PARAMD_SERVER_CORE_CONTROL_STATE_H
#define PARAMD_SERVER_CORE_CONTROL_STATE_H

#include "proto/arena.h"
#include "proto/codec.h"
#include "proto/definition.h"
#include "proto/frame.h"
#include "server/base/map.h"
#include "server/core/control.h"
#include "server/core/record.h"

enum pd_model_state {
    PD_MODEL_CREATING,     /* shards are taking memory */
    PD_MODEL_FAILED,       /* a shard had none: dropped as soon as there is memory to say so */
    PD_MODEL_INITIALISING, /* waits for first values */
    PD_MODEL_RESTARTING,   /* shards are dropping the values of an attempt that is over */
    PD_MODEL_READY,
    PD_MODEL_DELETED /* no name any more; waits for the shards to give its memory back */
};

struct pd_control_group {
    struct pd_hyper hyper;   /* now */
    struct pd_hyper created; /* as the model was created with */
    uint64_t clock;          /* of the last SET with one */
    uint64_t set;            /* number of the last SET; 0: there was none */
};

/* What control knows of a model. */
struct pd_control_model {
    uint64_t number;
    uint64_t generation;
    enum pd_model_state state;
    struct pd_definition *definition;
    struct pd_control_group *groups;
    uint64_t bytes; /* of weights and moments */
    uint32_t shards_freed;
    uint64_t attempt;
    uint32_t shards_initialised; /* of this attempt */
    bool ready_told;             /* the shards know that it is ready */
    struct pd_session_key initialiser;
    uint64_t initialiser_seen_us;
    uint32_t sessions;
    uint64_t sets;     /* numbered so far */
    uint64_t openings; /* of sessions, numbered so far */
    UT_hash_handle by_name;
    UT_hash_handle by_number;
};

/* A session, as a whole. */
struct pd_control_session {
    struct pd_control_session_id {
        uint64_t model;
        uint8_t bits[PD_SESSION_BYTES];
    } id;
    uint64_t nonce;
    uint64_t opening;      /* its number */
    uint64_t seen_us;      /* traffic: the lease */
    uint64_t connected_us; /* a connection: the retention */
    uint64_t clock;        /* as last reported */
    double loss;
    uint64_t samples;
    uint64_t tokens;
    bool reported;
    UT_hash_handle by_id;
};

/* A question to all shards, until all have answered. */
struct pd_control_ask {
    uint64_t number;
    enum pd_message_kind kind;
    uint32_t waiting;
    enum paramd_status status; /* the worst */
    uint64_t model;
    struct pd_message *request; /* who wants to know; NULL: nobody */
    struct pd_conn_id conn;
    uint64_t request_id;
    struct pd_count *count; /* COUNT: the sum of all shards */
    UT_hash_handle by_number;
};

/* Who asked for snapshots: their REQUESTs, which go back behind the answers. */
struct pd_control_snapshots {
    struct pd_link waiting[2]; /* for the next one: without a pause, with one */
    struct pd_link sharing;    /* the one that is being taken */
    uint32_t asker_count;
    bool under_way;
    bool paused; /* the last one that began, with a pause */
    bool ended;  /* none will begin any more */
    uint64_t taken;
    uint64_t failed;
    uint64_t done_us;               /* when the last one was published */
    struct pd_snapshot_result last; /* of those that were; the text is nobody's */
};

struct pd_control {
    struct pd_control_options options;
    struct pd_control_model *models;  /* by name; not the deleted ones */
    struct pd_control_model *numbers; /* by number; all */
    struct pd_control_session *sessions;
    struct pd_control_ask *asks;
    uint32_t model_count;
    uint32_t session_count;
    uint64_t memory_bytes;
    uint64_t next_number;
    uint64_t generation; /* of models that are made now: the highest there was */
    uint64_t epoch;      /* of the last start; 0: none */
    uint64_t first_number;
    bool state_complete; /* what the starts before left is known */
    uint64_t next_ask;
    uint64_t started_us; /* of the first event */
    uint64_t sessions_expired;
    struct pd_control_snapshots snapshots;
    struct pd_arena arena;      /* for decoding and answering one event */
    uint64_t now_us;            /* of the event in hand */
    struct pd_message *in_hand; /* the REQUEST, until an ask takes it over */
};

/* A request in hand. */
struct pd_control_request {
    struct pd_conn_id conn;
    uint64_t request_id;
    const ProtobufCMessage *header;
    const struct pd_message *message;
};

/* ---- answers (control.c) ---- */

void pd_control_answer(struct pd_control_effects *effects, struct pd_conn_id conn,
                       enum pd_kind kind, const ProtobufCMessage *header);
/* With a payload cut into frames; the flag `more` on all but the last. */
void pd_control_answer_payload(struct pd_control_effects *effects, struct pd_conn_id conn,
                               enum pd_kind kind, const ProtobufCMessage *header,
                               const uint8_t *payload, size_t count);
void pd_control_done(struct pd_control_effects *effects, struct pd_conn_id conn,
                     uint64_t request_id);
__attribute__((format(printf, 5, 6))) void
pd_control_error(struct pd_control_effects *effects, struct pd_conn_id conn, uint64_t request_id,
                 enum paramd_status status, const char *format, ...);
__attribute__((format(printf, 3, 4))) void pd_control_note(struct pd_control_effects *effects,
                                                           enum pd_note_level level,
                                                           const char *format, ...);

/* The request is answered: its message goes back behind the answer, so that nothing has to be
 * allocated for its shard to know. */
void pd_control_give_back(struct pd_message *request, struct pd_control_effects *effects);

/* ---- questions (control.c) ---- */

/* NULL without memory. The shards get copies of `like` with its number, and answer. The request in
 * hand is answered when all have; NULL: it is not, or there is none. */
struct pd_control_ask *pd_control_ask_all(struct pd_control *control, const struct pd_message *like,
                                          const struct pd_control_request *request,
                                          struct pd_control_effects *effects);
/* A message to every shard that needs no answer; false without memory, and then to none. */
bool pd_control_tell_all(struct pd_control *control, const struct pd_message *like,
                         struct pd_control_effects *effects) __attribute__((warn_unused_result));
/* A record, and with it a question to all shards; NULL without memory or room in the log, and then
 * neither. */
struct pd_control_ask *pd_control_decide(struct pd_control *control, enum pd_record_kind kind,
                                         const Paramd__RecordDecided *decided,
                                         const struct pd_message *like,
                                         const struct pd_control_request *request,
                                         struct pd_control_effects *effects);

struct pd_control_model *pd_control_find(struct pd_control *control, const char *name);
struct pd_control_model *pd_control_find_number(struct pd_control *control, uint64_t number);

/* ---- records (control_records.c) ---- */

/* The header of a record about a model, to be completed; key may be NULL. */
Paramd__RecordDecided pd_control_decided(const struct pd_control *control, uint64_t model,
                                         const struct pd_session_key *key);
/* Does nothing without options.records. False without memory or room in the log. */
bool pd_control_log(struct pd_control *control, enum pd_record_kind kind,
                    const ProtobufCMessage *header, const uint8_t *payload, size_t payload_count,
                    struct pd_control_effects *effects) __attribute__((warn_unused_result));
/* Takes the last one back: what it says could not be begun. */
void pd_control_unlog(const struct pd_control *control, struct pd_control_effects *effects);
/* The record that makes a model exist, with its definition; the same. */
bool pd_control_log_created(struct pd_control *control, const struct pd_control_model *model,
                            const uint8_t *definition, size_t count,
                            struct pd_control_effects *effects) __attribute__((warn_unused_result));
/* A SET of a group, as it is in the log: its number, its clock (0: none), all hyper-parameters. */
struct pd_control_set {
    Paramd__RecordDecided decided;
    struct pd_group_hypers hypers;
    Paramd__GroupHypers *group;
};
void pd_control_set_fill(struct pd_control_set *set, const struct pd_control *control,
                         const struct pd_control_model *model, size_t place,
                         const struct pd_hyper *hyper, uint64_t number, uint64_t clock);
/* The shards' answer to what a start told them. */
void pd_control_restored(struct pd_control *control, const struct pd_control_ask *ask,
                         struct pd_control_effects *effects);

/* ---- models (control_models.c) ---- */

void pd_control_create_request(struct pd_control *control, const struct pd_control_request *request,
                               struct pd_control_effects *effects);
/* True after it was answered: the model cannot be used yet, nor is it in a record. */
bool pd_control_being_made(const struct pd_control_model *model,
                           const struct pd_control_request *request,
                           struct pd_control_effects *effects);
void pd_control_created(struct pd_control *control, struct pd_control_ask *ask,
                        struct pd_control_effects *effects);
void pd_control_restarted(struct pd_control *control, struct pd_control_ask *ask,
                          struct pd_control_effects *effects);
void pd_control_initialised(struct pd_control *control, const struct pd_message *message,
                            struct pd_control_effects *effects);
/* Tells shards that a model is ready, or failed, where there was no memory for it before. */
void pd_control_remind(struct pd_control *control, struct pd_control_effects *effects);
void pd_control_set(struct pd_control *control, const struct pd_control_request *request,
                    struct pd_control_effects *effects);
void pd_control_delete(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects);
void pd_control_freed(struct pd_control *control, const struct pd_message *message);
void pd_control_model_destroy(struct pd_control_model *model);
/* A model of this definition, decoded from the bytes in the arena; it is in no table yet.
 * PARAMD_INVALID, PARAMD_UNSUPPORTED, PARAMD_TOO_LARGE, PARAMD_NO_MEMORY, and a sentence. */
enum paramd_status pd_control_model_read(struct pd_control *control, const char *name,
                                         const uint8_t *bytes, size_t count,
                                         struct pd_control_model **ret_model,
                                         char error[PD_ERROR_TEXT_BYTES])
    __attribute__((warn_unused_result));
/* The bytes of all its weights and moments; UINT64_MAX if they are beyond counting. */
uint64_t pd_control_model_bytes(const struct pd_control_model *model);
/* Enters it in both tables; false without memory. */
bool pd_control_enter(struct pd_control *control, struct pd_control_model *model);
/* Its name and its sessions are gone; its number and memory go with the last shard's. */
void pd_control_leave(struct pd_control *control, struct pd_control_model *model);
void pd_control_remove(struct pd_control *control, struct pd_control_model *model);
/* The group has these hyper-parameters by the model's last SET, of this number; clock 0: without
 * one. */
void pd_control_group_set(struct pd_control_model *model, size_t place,
                          const struct pd_hyper *hyper, uint64_t number, uint64_t clock);
/* Asks all shards to make their part; false without memory. */
bool pd_control_make(struct pd_control *control, const struct pd_control_model *model,
                     const struct pd_control_request *request, struct pd_control_effects *effects);
enum pd_hypers_of {
    PD_HYPERS_NOW,     /* of all groups */
    PD_HYPERS_CHANGED, /* now, of the groups that were SET */
    PD_HYPERS_CREATED  /* of all groups, as the model was created with */
};
/* In the arena. NULL without memory. */
Paramd__GroupHypers **pd_control_hypers(struct pd_control *control,
                                        const struct pd_control_model *model,
                                        enum pd_hypers_of which, size_t *ret_count);

/* ---- sessions (control_sessions.c) ---- */

void pd_control_attach(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects);
void pd_control_goodbye(struct pd_control *control, const struct pd_control_request *request,
                        struct pd_control_effects *effects);
void pd_control_seen(struct pd_control *control, const struct pd_message *message);
void pd_control_report(struct pd_control *control, const struct pd_control_request *request,
                       struct pd_control_effects *effects);
void pd_control_expire(struct pd_control *control, struct pd_control_effects *effects);
struct pd_control_session *pd_control_session_find(struct pd_control *control, uint64_t model,
                                                   const uint8_t *bits);
/* NULL without memory. */
struct pd_control_session *pd_control_session_add(struct pd_control *control,
                                                  struct pd_control_model *model,
                                                  const struct pd_session_key *key);
void pd_control_session_drop(struct pd_control *control, struct pd_control_session *session);
/* Forgets the sessions of a deleted model. */
void pd_control_forget(struct pd_control *control, uint64_t model);

/* ---- snapshots (control_snapshots.c) ---- */

void pd_control_snapshots_init(struct pd_control_snapshots *snapshots);
void pd_control_snapshots_deinit(struct pd_control_snapshots *snapshots);
void pd_control_snapshot_request(struct pd_control *control,
                                 const struct pd_control_request *request,
                                 struct pd_control_effects *effects);

/* ---- looking (control_stat.c) ---- */

void pd_control_list(struct pd_control *control, const struct pd_control_request *request,
                     struct pd_control_effects *effects);
void pd_control_stat(struct pd_control *control, const struct pd_control_request *request,
                     struct pd_control_effects *effects);
void pd_control_count(struct pd_control_ask *ask, const struct pd_message *message);
void pd_control_counted(struct pd_control *control, struct pd_control_ask *ask,
                        struct pd_control_effects *effects);

#endif
