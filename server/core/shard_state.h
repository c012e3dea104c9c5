/* What the files of the shard core share: its state, and the calls between them. Private to
 * server/core. */
#ifndef PARAMD_SERVER_CORE_SHARD_STATE_H
#define PARAMD_SERVER_CORE_SHARD_STATE_H

#include "proto/codec.h"
#include "server/core/shard.h"

/* A session on a connection. */
struct pd_attachment {
    uint64_t model_number;
    struct pd_session *session;
};

/* One entry of a frame, looked up. */
struct pd_entry {
    struct pd_block *block; /* NULL: another shard's */
    uint32_t slot;
    uint32_t elements;
    enum pd_record_result result;
    size_t offset; /* of its values in the payload */
};

/* An answer of values under way: what is still to be sent of a PULL or PUSH_PULL. */
struct pd_cursor {
    struct pd_link link;
    struct pd_model *model;
    uint64_t request_id;
    uint64_t after_lsn; /* to be sent when that is durable */
    enum pd_dtype dtype;
    unsigned parts; /* bit 1 << part */
    uint32_t next;
    uint32_t count;
    size_t bytes;          /* of this structure; maybe more than its entries need */
    struct pd_view *view;  /* of the block whose parts are being sent */
    unsigned next_part;    /* of that block */
    uint64_t view_version; /* the block's when the view began */
    uint64_t view_step;
    struct pd_cursor_entry {
        struct pd_block *block;
        uint64_t newer_than;
    } entries[];
};

struct pd_shard {
    struct pd_shard_options options;
    struct pd_model *models; /* uthash by number */
    struct pd_link dropped;  /* models whose memory is being given back */
    struct pd_pool copies;
    struct pd_link spare_cursors; /* ended, for the next requests */
    uint32_t spare_cursor_count;
    uint64_t seen_us;      /* when sessions with traffic were last told to control */
    uint64_t connected_us; /* and all that have a connection */
    uint64_t memory_bytes;
    uint64_t push_ids_room;  /* bytes that push ids may still take */
    size_t definition_bytes; /* of CREATEs that have not come whole yet, or are not answered */
    uint64_t copied;         /* blocks that had to be copied for a reader */
    struct pd_shard_snapshot *snapshot; /* that is being written; NULL: none */
    struct pd_shard_loaded *loaded;     /* until the log behind it is replayed; NULL: nothing */
    uint64_t applied_count;             /* entries of pushes, of all models */
    struct pd_entry entries[PD_ENTRIES_MAX]; /* of the frame in hand */

    /* Of the event in hand. What cannot be refused is recorded without taking memory. */
    struct pd_record records[PD_RECORDS_MAX];
    Paramd__RecordTold told;
    uint8_t told_session[PD_SESSION_BYTES];
    struct pd_group_hypers told_hypers;
    Paramd__GroupHypers *told_group;
};

/* ---- answers ---- */

void pd_reply(struct pd_effects *effects, enum pd_kind kind, const ProtobufCMessage *header);
/* ERROR to one request; the connection goes on. */
void pd_reply_error(struct pd_effects *effects, uint64_t request_id, enum paramd_status status,
                    const char *message);
void pd_reply_done(struct pd_effects *effects, uint64_t request_id);
void pd_reply_moved(struct pd_shard *shard, struct pd_effects *effects, uint64_t request_id);
/* The peer broke the protocol: ERROR of the connection, and a close. reason is static. */
void pd_close(struct pd_effects *effects, enum paramd_status status, const char *reason);
/* A message to control; NULL (no memory) is answered with RESOURCE_EXHAUSTED by the caller. */
struct pd_message *pd_tell(struct pd_shard *shard, struct pd_effects *effects,
                           enum pd_message_kind kind);

/* ---- records (shard_record.c) ---- */

/* Whether the log has room for a record with so many bytes beside its own header, and the effects
 * for one more; true where none are wanted. */
bool pd_shard_record_room(const struct pd_shard *shard, const struct pd_event *event,
                          const struct pd_effects *effects, size_t bytes);
/* There was no room for a request: it waits, or is refused with this text. */
void pd_shard_no_record_room(const struct pd_event *event, struct pd_effects *effects,
                             const char *text);
/* To be logged, and to be waited for. The header lives until the next event. */
void pd_shard_record(struct pd_shard *shard, enum pd_record_kind kind,
                     const ProtobufCMessage *header, struct pd_effects *effects);
/* With the event's payload. */
void pd_shard_record_frame(struct pd_shard *shard, const struct pd_event *event,
                           enum pd_record_kind kind, const ProtobufCMessage *header,
                           struct pd_effects *effects);
/* What the event's message told; nothing where no records are wanted. MODEL and SET_HYPERS take
 * groups. */
void pd_shard_record_told(struct pd_shard *shard, const struct pd_event *event,
                          enum pd_record_kind kind, Paramd__GroupHypers **groups,
                          size_t group_count, struct pd_effects *effects);

/* ---- between the files ---- */

struct pd_attachment *pd_peer_attachment(struct pd_peer *peer, uint64_t model_number);
struct pd_model *pd_shard_model(struct pd_shard *shard, uint64_t number);

/* The model of a data request and the attachment through which it comes; NULL after it was
 * answered. */
struct pd_attachment *pd_attachment_for(struct pd_shard *shard, const struct pd_event *event,
                                        uint64_t model_number, struct pd_effects *effects);

/* attach.c */
void pd_shard_forward(struct pd_shard *shard, const struct pd_event *event,
                      struct pd_effects *effects);
/* The same for a kind that speaks for the connection's session in a model. */
void pd_shard_forward_of(struct pd_shard *shard, const struct pd_event *event, uint64_t model,
                         struct pd_effects *effects);
void pd_shard_create_request(struct pd_shard *shard, const struct pd_event *event,
                             struct pd_effects *effects);
void pd_shard_message(struct pd_shard *shard, const struct pd_event *event,
                      struct pd_effects *effects);
void pd_session_detach(struct pd_shard *shard, struct pd_session *session);
/* PARAMD_OK or PARAMD_RESOURCE_EXHAUSTED. The message is CREATE_MODEL. */
enum paramd_status pd_shard_make_model(struct pd_shard *shard, const struct pd_message *message)
    __attribute__((warn_unused_result));
/* Whether pushes to the model are recorded. */
bool pd_shard_logs(const struct pd_shard *shard, const struct pd_model *model);
/* Into the table, and its memory counted. False without memory: the model is gone. */
bool pd_shard_enter_model(struct pd_shard *shard, struct pd_model *model);
void pd_shard_drop_model(struct pd_shard *shard, struct pd_model *model);
/* NULL if there is none with these bits. */
struct pd_session *pd_session_find(struct pd_model *model, const uint8_t bits[PD_SESSION_BYTES]);
/* Finds or makes the session, which has this nonce from now on; one of another opening is ended
 * first. NULL without memory. */
struct pd_session *pd_session_open(struct pd_shard *shard, struct pd_model *model,
                                   const struct pd_session_key *key, uint64_t opening);
void pd_session_end(struct pd_model *model, struct pd_session *session);
/* All of them, and those that wait. */
void pd_sessions_end(struct pd_model *model);
void pd_model_release(struct pd_shard *shard, struct pd_model *model);

/* shard_snapshot.c: a new attempt, which the snapshot that is being written cannot tell. */
void pd_shard_snapshot_spoil(struct pd_shard *shard, const struct pd_model *model);

/* init.c */
void pd_shard_init(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);
/* Goes on with the server's own initialisers; in how many microseconds they want to go on again.
 * UINT64_MAX: with the next event. */
uint64_t pd_shard_initialise_step(struct pd_shard *shard, const struct pd_event *event,
                                  struct pd_effects *effects);
void pd_shard_tell_initialised(struct pd_shard *shard, struct pd_model *model,
                               struct pd_effects *effects);

/* push.c */
void pd_shard_push(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);
void pd_shard_skip(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);

/* pull.c */
void pd_shard_pull(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);
/* A cursor for so many entries, at the end of the peer's; the caller fills in the entries. NULL
 * without memory. */
struct pd_cursor *pd_cursor_create(struct pd_shard *shard, struct pd_peer *peer,
                                   struct pd_model *model, uint32_t count);
void pd_cursor_destroy(struct pd_shard *shard, struct pd_peer *peer, struct pd_cursor *cursor);
/* Frees those kept for the next requests. */
void pd_cursors_deinit(struct pd_shard *shard);
void pd_shard_send(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);
void pd_shard_sent(struct pd_shard *shard, const struct pd_event *event,
                   struct pd_effects *effects);

/* ---- replay ---- */

/* A record that is done again, or a piece of a snapshot: decoded, and its model found. */
struct pd_replay {
    struct pd_shard *shard;
    struct pd_model *model;
    struct pd_arena *arena;
    uint64_t lsn;
    const uint8_t *payload;
    size_t payload_count;
    const char *text; /* why it was refused */
};

extern const char pd_replay_no_memory[];
/* PARAMD_INVALID, with static text. */
enum paramd_status pd_replay_refuse(struct pd_replay *replay, const char *text)
    __attribute__((warn_unused_result));
/* The session that a record names; NULL if there is none. */
struct pd_session *pd_replay_session(const struct pd_replay *replay, ProtobufCBinaryData bits);
/* The hyper-parameters of all groups, in the arena; NULL if they do not fit, or without memory. */
struct pd_hyper *pd_replay_groups(struct pd_replay *replay, Paramd__GroupHypers *const *groups,
                                  size_t count, const struct pd_definition *definition);
/* Whether the record is to be done for this slot: it is not in the snapshot's. */
bool pd_replay_takes(const struct pd_replay *replay, uint32_t slot);
/* Whether the record was made while the snapshot was: some slots have it, others do not. */
bool pd_replay_within(const struct pd_replay *replay);
/* The session, just opened, gets what the snapshot has of its push ids. False: they are of
 * another. */
bool pd_replay_open(const struct pd_replay *replay, struct pd_session *session);
enum paramd_status pd_replay_push(struct pd_replay *replay, const Paramd__RecordPush *record)
    __attribute__((warn_unused_result));
enum paramd_status pd_replay_skip(struct pd_replay *replay, const Paramd__RecordSkip *record)
    __attribute__((warn_unused_result));
enum paramd_status pd_replay_init(struct pd_replay *replay, const Paramd__RecordInit *record)
    __attribute__((warn_unused_result));
enum paramd_status pd_replay_initialised(struct pd_replay *replay,
                                         const Paramd__RecordInitialised *record)
    __attribute__((warn_unused_result));

#endif
