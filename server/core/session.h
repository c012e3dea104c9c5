/* A session on one shard: its push ids by slot, and which of the last 64 of each were refused. This
 * is what makes a push that comes twice be applied once. */
#ifndef PARAMD_SERVER_CORE_SESSION_H
#define PARAMD_SERVER_CORE_SESSION_H

#include "server/base/map.h"
#include <stdbool.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/paramd_status.h"
#include "server/core/message.h"

enum { PD_SESSION_PAGE_SLOTS = 64, PD_SESSION_PAGES = PD_SLOTS / PD_SESSION_PAGE_SLOTS };

struct pd_model;

struct pd_slot_ids {
    uint64_t last;    /* the last push id used, 0: none */
    uint64_t refused; /* bit i: id last - i was refused, or skipped */
};

struct pd_session {
    struct pd_session_key key;
    uint64_t opening;       /* which of the model's sessions, as control counts them */
    bool kept;              /* in a recovery: control knows it */
    struct pd_model *model; /* NULL once it is ended */
    struct pd_slot_ids *pages[PD_SESSION_PAGES]; /* of 64 of the shard's slots, made when needed */
    uint32_t shards;
    uint64_t *room;         /* the shard's: bytes that pages may still take */
    uint32_t attachments;   /* connections that hold it */
    bool ended;             /* forgotten; freed with its last attachment */
    bool seen;              /* had traffic since the last report to control */
    UT_hash_handle by_bits; /* of the model's sessions; of those that wait: by opening */
};

/* NULL without memory. room is what all sessions of the shard share. */
struct pd_session *pd_session_create(struct pd_model *model, const struct pd_session_key *key,
                                     uint32_t shards, uint64_t *room);
void pd_session_destroy(struct pd_session *session);

/* Makes sure that the slot, which is the shard's, has a place, so that using an id cannot fail
 * later. False without memory or room. */
bool pd_session_reserve(struct pd_session *session, uint32_t slot);

/* The ids of a slot that was reserved or used; NULL if it never was. */
struct pd_slot_ids *pd_session_ids(const struct pd_session *session, uint32_t slot);

/* What a push with this id is: PARAMD_OK if it is the next one; PARAMD_ALREADY if it was applied,
 * PARAMD_REFUSED if it was refused, PARAMD_EXPECTED if one before it is missing. */
enum paramd_status pd_slot_ids_look(const struct pd_slot_ids *ids, uint64_t push_id);

/* Uses up the next id. */
void pd_slot_ids_use(struct pd_slot_ids *ids, bool refused);

/* Uses up the ids to `to`, all of them as refused. */
void pd_slot_ids_skip(struct pd_slot_ids *ids, uint64_t to);

#endif
