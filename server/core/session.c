/* Push ids by slot, in pages. The slots of a shard, every so many-th one, lie together. */
#include "server/core/session.h"

#include <stdlib.h>

#include "proto/plant.h"

enum { MASK_BITS = 64, PAGE_BYTES = PD_SESSION_PAGE_SLOTS * sizeof(struct pd_slot_ids) };

struct pd_session *pd_session_create(struct pd_model *model, const struct pd_session_key *key,
                                     uint32_t shards, uint64_t *room)
{
    struct pd_session *session = calloc(1, sizeof *session);
    if (session != NULL) {
        session->key = *key;
        session->model = model;
        session->shards = shards;
        session->room = room;
    }
    return session;
}

void pd_session_destroy(struct pd_session *session)
{
    if (session == NULL) {
        return;
    }
    for (unsigned i = 0; i < PD_SESSION_PAGES; i++) {
        *session->room += session->pages[i] != NULL ? PAGE_BYTES : 0;
        free(session->pages[i]);
    }
    free(session);
}

bool pd_session_reserve(struct pd_session *session, uint32_t slot)
{
    struct pd_slot_ids **page = &session->pages[slot / session->shards / PD_SESSION_PAGE_SLOTS];
    if (*page == NULL && *session->room >= PAGE_BYTES) {
        *page = calloc(1, PAGE_BYTES);
        *session->room -= *page != NULL ? PAGE_BYTES : 0;
    }
    return *page != NULL;
}

struct pd_slot_ids *pd_session_ids(const struct pd_session *session, uint32_t slot)
{
    uint32_t place = slot / session->shards;
    struct pd_slot_ids *page = session->pages[place / PD_SESSION_PAGE_SLOTS];
    return page != NULL ? &page[place % PD_SESSION_PAGE_SLOTS] : NULL;
}

enum paramd_status pd_slot_ids_look(const struct pd_slot_ids *ids, uint64_t push_id)
{
    if (push_id > ids->last) {
        bool next = push_id == ids->last + 1 || pd_plant(gap_accepted);
        return next ? PARAMD_OK : PARAMD_EXPECTED;
    }
    if (pd_plant(no_dedupe)) {
        return PARAMD_OK;
    }
    uint64_t age = ids->last - push_id;
    bool refused = age < MASK_BITS && (ids->refused >> age & 1) != 0;
    return refused ? PARAMD_REFUSED : PARAMD_ALREADY;
}

void pd_slot_ids_use(struct pd_slot_ids *ids, bool refused)
{
    if (refused && pd_plant(refused_id_not_used)) {
        return;
    }
    ids->last++;
    ids->refused = ids->refused << 1 | (refused ? 1 : 0);
}

void pd_slot_ids_skip(struct pd_slot_ids *ids, uint64_t to)
{
    uint64_t count = to - ids->last;
    ids->refused =
        count >= MASK_BITS ? UINT64_MAX : ids->refused << count | (((uint64_t)1 << count) - 1);
    ids->last = to;
}
