/* A lane is one session on one link: attached or not, and its queues. Push ids of a slot go out in
 * order: at most 64 units of a slot are admitted to a lane, the rest is parked in the slot; what
 * was refused in passing (returned) waits until nothing is in flight, so that it can be sent again
 * before everything younger. */
#include "client/core/state.h"

#include <string.h>
#include <utlist.h>

#include "proto/plant.h"

void pd_lane_init(struct pd_lane *lane, struct pd_client_session *session, unsigned link)
{
    *lane = (struct pd_lane){.session = session, .link = link, .gaps_next = PD_SLOTS};
    lane->ready.place = PD_READY;
    lane->resend.place = PD_RESEND;
    lane->returned.place = PD_RESEND;
    lane->taken_pushes.place = PD_TAKEN_BACK;
    lane->taken_others.place = PD_TAKEN_BACK;
    lane->retry_us = PD_RETRY_US_MIN;
}

void pd_lane_submit(struct pd_lane *lane, struct pd_unit *unit)
{
    lane->wanted = true;
    if (pd_unit_pushes(unit)) {
        struct pd_slot_state *slot = &lane->session->slots[pd_unit_slot(unit)];
        if (slot->admitted == PD_UNANSWERED_MAX || slot->parked.head != NULL) {
            pd_units_append(&slot->parked, unit);
            return;
        }
        slot->admitted++;
    }
    pd_units_append(&lane->ready, unit);
}

void pd_lane_slot_done(struct pd_lane *lane, struct pd_unit *unit)
{
    struct pd_slot_state *slot = &lane->session->slots[pd_unit_slot(unit)];
    slot->admitted--;
    if (unit->push_id > slot->answered) {
        slot->answered = unit->push_id;
    }
    while (slot->parked.head != NULL && slot->admitted < PD_UNANSWERED_MAX) {
        struct pd_unit *next = slot->parked.head;
        pd_unit_unlink(next);
        pd_units_append(&lane->ready, next);
        slot->admitted++;
    }
}

void pd_lane_hold(struct pd_lane *lane)
{
    struct pd_client *client = lane->session->client;
    if (lane->held_until_us > client->now_us) {
        return;
    }
    lane->held_until_us = pd_client_later(client, lane->retry_us);
    lane->retry_us = lane->retry_us * 2 > PD_RETRY_US_MAX ? PD_RETRY_US_MAX : lane->retry_us * 2;
}

void pd_lane_return(struct pd_lane *lane, struct pd_unit *unit)
{
    pd_unit_unlink(unit);
    pd_units_append(&lane->returned, unit);
    pd_lane_hold(lane);
}

void pd_lane_settle(struct pd_lane *lane)
{
    if (lane->pushes_in_flight == 0) {
        pd_units_move_front(&lane->resend, &lane->returned);
    }
}

/* ---- A lost connection ---- */

void pd_lane_take_back(struct pd_lane *lane, struct pd_request *request)
{
    while (request->units.head != NULL) {
        struct pd_unit *unit = request->units.head;
        if (pd_unit_pushes(unit)) {
            lane->session->counters.resent += !pd_unit_skips(unit);
            unit->push_id = pd_plant(resent_as_new) ? 0 : unit->push_id;
            pd_unit_unlink(unit);
            pd_units_append(&lane->taken_pushes, unit);
        } else if (unit->finished) {
            pd_unit_leave(unit);
        } else {
            pd_unit_restart(unit);
            pd_unit_unlink(unit);
            pd_units_append(&lane->taken_others, unit);
        }
    }
}

void pd_lane_detached(struct pd_lane *lane)
{
    lane->state = PD_LANE_DETACHED;
    lane->pushes_in_flight = 0;
    lane->pulls_in_flight = 0;
    lane->held_until_us = 0;
    lane->gaps_next = PD_SLOTS;
    pd_units_move_front(&lane->resend, &lane->taken_pushes);
    pd_units_move_front(&lane->resend, &lane->returned);
    pd_units_move_front(&lane->ready, &lane->taken_others);
}

/* ---- ATTACH ---- */

bool pd_lane_attach(struct pd_lane *lane, struct pd_link *link)
{
    struct pd_client_session *session = lane->session;
    if (!lane->wanted || lane->state != PD_LANE_DETACHED || session->gone != PARAMD_OK ||
        lane->held_until_us > session->client->now_us) {
        return false;
    }
    for (unsigned i = 0; !session->established && i < session->lane_count; i++) {
        if (session->lanes[i].state == PD_LANE_ATTACHING) {
            return false; /* one asks for NEW, then the others RESUME */
        }
    }
    Paramd__Attach attach = PARAMD__ATTACH__INIT;
    attach.request_id = ++session->client->request_id;
    attach.model = session->definition->name;
    attach.session.data = session->id;
    attach.session.len = sizeof session->id;
    attach.nonce = session->nonce;
    attach.mode = session->established ? PARAMD__ATTACH_MODE__RESUME : PARAMD__ATTACH_MODE__NEW;
    if (!pd_link_send_header(link, PD_KIND_ATTACH, lane, attach.request_id, &attach.base)) {
        pd_lane_hold(lane);
        return false;
    }
    lane->state = PD_LANE_ATTACHING;
    return true;
}

/* All ids behind the last one are lost; returns how many of them had been counted before. */
static uint64_t note_gap(struct pd_slot_state *slot, uint64_t last)
{
    struct pd_gap gap = {.from = last + 1, .to = slot->answered};
    uint64_t known = 0;
    while (slot->gap_count > 0 && slot->gaps[slot->gap_count - 1].to > last) {
        const struct pd_gap *old = &slot->gaps[--slot->gap_count];
        known += old->to - (old->from > last ? old->from - 1 : last);
        gap.from = old->from < gap.from ? old->from : gap.from;
    }
    if (slot->gap_count == PD_GAPS_MAX) {
        memmove(slot->gaps, slot->gaps + 1, (PD_GAPS_MAX - 1) * sizeof *slot->gaps);
        slot->gap_count--;
    }
    slot->gaps[slot->gap_count++] = gap;
    return known;
}

/* Compares what the daemon remembers of a slot with what it has told us. What is missing was lost
 * in a restart: it is counted once, and passed over before anything is sent again. */
static void slot_attached(struct pd_client_session *session, struct pd_slot_state *slot,
                          uint64_t last)
{
    slot->skip_from = 0;
    if (last >= slot->answered) {
        if (last > slot->assigned) { /* the session's earlier process had come that far */
            slot->assigned = last;
            slot->answered = last;
        }
        return;
    }
    session->counters.lost += slot->answered - last - note_gap(slot, last);
    slot->skip_from = last + 1;
    slot->skip_to = slot->answered;
}

bool pd_lane_attached(struct pd_lane *lane, const Paramd__Attached *attached)
{
    struct pd_client_session *session = lane->session;
    if (attached->n_slot != attached->n_push_id) {
        return false;
    }
    uint64_t last[PD_SLOTS] = {0};
    for (size_t i = 0; i < attached->n_slot; i++) {
        uint32_t slot = attached->slot[i];
        if (slot >= PD_SLOTS || pd_slot_shard(slot, session->lane_count) != lane->link) {
            return false;
        }
        last[slot] = attached->push_id[i];
    }
    lane->state = PD_LANE_ATTACHED;
    lane->generation = attached->generation;
    lane->gaps_next = lane->link;
    for (uint32_t slot = lane->link; slot < PD_SLOTS; slot += session->lane_count) {
        slot_attached(session, &session->slots[slot], last[slot]);
    }
    return true;
}

uint64_t pd_lane_wake(const struct pd_lane *lane)
{
    bool work = lane->ready.head != NULL || lane->resend.head != NULL ||
                lane->returned.head != NULL || lane->state == PD_LANE_DETACHED;
    return work && lane->held_until_us > lane->session->client->now_us ? lane->held_until_us
                                                                       : PD_NEVER;
}
