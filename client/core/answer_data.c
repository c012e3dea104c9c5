/* Answers to PUSH, PUSH_PULL, PULL, SKIP and INIT: each entry's result finds its unit. */
#include "client/core/state.h"

#include <stdlib.h>
#include <utlist.h>

/* ---- ACK ---- */

static bool ack_matches(const struct pd_request *request, const Paramd__Ack *ack)
{
    size_t count = request->units.count;
    if (request->acked || ack->n_slot != count || ack->n_push_id != count ||
        ack->n_status != count || ack->n_version != count) {
        return false;
    }
    size_t i = 0;
    const struct pd_unit *unit;
    DL_FOREACH(request->units.head, unit) {
        if (ack->slot[i] != pd_unit_slot(unit) || ack->push_id[i] != unit->push_id) {
            return false;
        }
        i++;
    }
    return true;
}

/* The push has its final answer. */
static void push_final(struct pd_lane *lane, struct pd_unit *unit, int status, uint64_t version)
{
    struct pd_client_session *session = lane->session;
    struct pd_block_state *block = pd_unit_block(unit);
    if (status == PARAMD_OK) {
        session->counters.pushes++;
        block->applied++;
        /* One that comes late, from a daemon that is gone, speaks of versions of that one. */
        bool now = lane->generation == session->generation;
        block->seen = now && version > block->seen ? version : block->seen;
    } else if (status != PARAMD_CANCELLED) {
        session->counters.refused++;
    }
    pd_lane_slot_done(lane, unit);
    unit->answered = true;
    unit->status = status;
    if (unit->op->kind == PD_OP_PUSH || unit->op->cancelled) {
        pd_unit_finish(unit, status);
    }
}

static bool passing(int status)
{
    return status == PARAMD_EXPECTED || paramd_status_retryable(status);
}

static bool ack_entry(struct pd_lane *lane, struct pd_unit *unit, int status, uint64_t version)
{
    if (status == PARAMD_EXPECTED && version <= lane->session->slots[pd_unit_slot(unit)].answered) {
        return false; /* it forgot what it acknowledged on this very connection */
    }
    if (passing(status)) {
        pd_lane_return(lane, unit);
        return true;
    }
    lane->retry_us = PD_RETRY_US_MIN;
    push_final(lane, unit, status == PARAMD_ALREADY ? PARAMD_OK : status, version);
    if (unit->op->kind == PD_OP_PUSH) {
        pd_unit_leave(unit);
    }
    return true;
}

bool pd_answer_ack(struct pd_link *link, struct pd_request *request, const Paramd__Ack *ack)
{
    struct pd_lane *lane = request->lane;
    if (!ack_matches(request, ack)) {
        return pd_answer_broken(link, "an ACK that does not match its push");
    }
    struct pd_unit *unit = request->units.head;
    for (size_t i = 0; i < ack->n_slot; i++) {
        struct pd_unit *next = unit->next;
        if (!ack_entry(lane, unit, ack->status[i], ack->version[i])) {
            return pd_answer_broken(link, "push ids were forgotten without a restart");
        }
        unit = next;
    }
    lane->pushes_in_flight--;
    pd_lane_settle(lane);
    request->acked = true;
    request->cursor = request->units.head;
    if (request->kind == PD_KIND_PUSH_PULL) {
        lane->pulls_in_flight++;
    } else {
        pd_link_request_free(link, request);
    }
    return true;
}

bool pd_answer_skipped(struct pd_link *link, struct pd_request *request,
                       const Paramd__Skipped *skipped)
{
    struct pd_lane *lane = request->lane;
    struct pd_unit *unit = request->units.head;
    if (skipped->status != PARAMD_OK && skipped->status != PARAMD_ALREADY &&
        skipped->status != PARAMD_EXPECTED) {
        return pd_answer_broken(link, "a SKIPPED with a status that cannot be");
    }
    if (unit == NULL && skipped->status == PARAMD_EXPECTED) {
        return pd_answer_broken(link, "push ids were forgotten without a restart");
    }
    lane->pushes_in_flight--;
    if (unit != NULL && skipped->status == PARAMD_EXPECTED) {
        pd_lane_return(lane, unit);
    } else if (unit != NULL) {
        int status = PARAMD_CANCELLED;
        if (skipped->status == PARAMD_ALREADY) {
            uint64_t back = skipped->last - unit->push_id; /* huge if last is below it */
            bool known = skipped->last >= unit->push_id && back < PD_UNANSWERED_MAX;
            bool refused = known && (skipped->refused_mask >> back & 1) != 0;
            status = !known ? PARAMD_UNKNOWN : refused ? PARAMD_REFUSED : PARAMD_OK;
            if (status == PARAMD_REFUSED && unit->skip_resent) {
                status = PARAMD_CANCELLED; /* the mask may show the SKIP whose answer was lost */
            }
        }
        push_final(lane, unit, status, 0);
        pd_unit_leave(unit);
    }
    pd_lane_settle(lane);
    pd_link_request_free(link, request);
    return true;
}

/* ---- BLOCKS ---- */

static bool place_reserve(struct pd_link *link, size_t count)
{
    if (count <= link->placed_capacity) {
        return true;
    }
    struct pd_span *placed = realloc(link->placed, PD_ENTRIES_MAX * sizeof *placed);
    if (placed == NULL) {
        return false;
    }
    link->placed = placed;
    struct pd_unit **units = realloc(link->placed_units, PD_ENTRIES_MAX * sizeof(struct pd_unit *));
    if (units == NULL) {
        return false;
    }
    link->placed_units = units;
    link->placed_capacity = PD_ENTRIES_MAX;
    return true;
}

/* The unit of a block, looked for from where the last one was found: answers come in the order of
 * the request. */
static struct pd_unit *find_unit(struct pd_request *request, uint32_t tensor, uint64_t block)
{
    struct pd_unit *unit = request->cursor;
    for (size_t i = 0; i < request->units.count; i++) {
        unit = unit == NULL ? request->units.head : unit;
        if (unit->block == block && pd_unit_tensor(unit) == tensor) {
            request->cursor = unit->next;
            return unit;
        }
        unit = unit->next;
    }
    return NULL;
}

static bool blocks_sound(const struct pd_request *request, const Paramd__Blocks *blocks)
{
    size_t count = blocks->n_tensor;
    return count <= PD_ENTRIES_MAX && blocks->n_block == count && blocks->n_version == count &&
           blocks->n_step == count && blocks->dtype == (uint32_t)request->dtype &&
           (uint32_t)blocks->part <= PARAMD_MOMENTS_MAX &&
           (request->parts >> blocks->part & 1) != 0 &&
           (request->kind != PD_KIND_PUSH_PULL || request->acked);
}

bool pd_answer_blocks_head(struct pd_link *link, struct pd_request *request,
                           const Paramd__Blocks *blocks)
{
    if (!blocks_sound(request, blocks)) {
        return pd_answer_broken(link, "BLOCKS that do not match their request");
    }
    if (!place_reserve(link, blocks->n_tensor)) {
        pd_link_down(link, "this process is out of memory");
        return false;
    }
    size_t offset = 0;
    for (size_t i = 0; i < blocks->n_tensor; i++) {
        struct pd_unit *unit = find_unit(request, blocks->tensor[i], blocks->block[i]);
        if (unit == NULL || (unit->parts_missing >> blocks->part & 1) == 0 ||
            offset + pd_unit_bytes(unit) > link->reader.payload_bytes) {
            return pd_answer_broken(link, "BLOCKS with an entry that was not asked for");
        }
        unit->parts_missing = (uint8_t)(unit->parts_missing & ~(1U << blocks->part));
        uint8_t *to =
            unit->finished ? link->discard + offset : pd_unit_place(unit, (unsigned)blocks->part);
        link->placed[i] = (struct pd_span){to, pd_unit_bytes(unit)};
        link->placed_units[i] = unit->finished ? NULL : unit;
        offset += pd_unit_bytes(unit);
    }
    link->placed_count = blocks->n_tensor;
    return offset == link->reader.payload_bytes ||
           pd_answer_broken(link, "BLOCKS whose payload has another length");
}

/* One part of a block is there. False: its parts are of different versions. */
static bool block_received(struct pd_lane *lane, struct pd_unit *unit, uint64_t generation,
                           uint64_t version, uint64_t step)
{
    struct pd_client_session *session = lane->session;
    if (version == 0 || (unit->version != 0 && unit->version != version)) {
        return false;
    }
    unit->version = version;
    if (unit->parts_missing != 0) {
        return true;
    }
    if (generation == session->generation) {
        struct pd_block_state *block = pd_unit_block(unit);
        block->pulled = version > block->pulled ? version : block->pulled;
        block->seen = version > block->seen ? version : block->seen;
        block->step = step;
    }
    pd_unit_finish(unit, unit->answered ? unit->status : PARAMD_OK);
    return true;
}

/* The last frame of an answer: what was left out has not changed, if that was allowed. */
static bool blocks_last(struct pd_link *link, struct pd_request *request)
{
    struct pd_lane *lane = request->lane;
    while (request->units.head != NULL) {
        struct pd_unit *unit = request->units.head;
        bool unchanged =
            unit->op->kind == PD_OP_PULL && unit->known_version != 0 && unit->version == 0;
        if (!unit->finished && !unchanged) {
            return pd_answer_broken(link, "an answer without all blocks that were asked for");
        }
        pd_unit_finish(unit, PARAMD_OK);
        pd_unit_leave(unit);
    }
    lane->pulls_in_flight--;
    pd_link_request_free(link, request);
    return true;
}

bool pd_answer_blocks(struct pd_link *link, struct pd_request *request,
                      const Paramd__Blocks *blocks)
{
    struct pd_lane *lane = request->lane;
    lane->session->counters.bytes_pulled += link->reader.payload_bytes;
    lane->retry_us = PD_RETRY_US_MIN;
    for (size_t i = 0; i < link->placed_count; i++) {
        struct pd_unit *unit = link->placed_units[i];
        if (unit != NULL &&
            !block_received(lane, unit, blocks->generation, blocks->version[i], blocks->step[i])) {
            return pd_answer_broken(link, "parts of one block with different versions");
        }
    }
    return !blocks->last || blocks_last(link, request);
}

/* ---- ERROR, MOVED and DONE ---- */

static void return_unit(struct pd_lane *lane, struct pd_unit *unit)
{
    if (pd_unit_pushes(unit)) {
        pd_lane_return(lane, unit);
    } else if (unit->finished) {
        pd_unit_leave(unit);
    } else {
        pd_unit_restart(unit);
        pd_unit_unlink(unit);
        pd_units_append(&lane->taken_others, unit);
        pd_lane_hold(lane);
    }
}

/* The whole frame failed for good: no push id was used, so each one is passed over later. */
static void fail_unit(struct pd_lane *lane, struct pd_unit *unit, int status, const char *text)
{
    pd_op_set_text(unit->op, text);
    pd_unit_finish(unit, unit->answered ? unit->status : status);
    if (pd_unit_pushes(unit)) {
        unit->refused = true;
        pd_lane_return(lane, unit);
    } else {
        pd_unit_leave(unit);
    }
}

void pd_answer_data_error(struct pd_link *link, struct pd_request *request, int status,
                          const char *text)
{
    struct pd_lane *lane = request->lane;
    bool skip = request->kind == PD_KIND_SKIP;
    bool pushing = skip || ((request->kind == PD_KIND_PUSH || request->kind == PD_KIND_PUSH_PULL) &&
                            !request->acked);
    if (status == PARAMD_NOT_FOUND || status == PARAMD_SESSION_EXPIRED) {
        pd_client_session_end(lane->session, status); /* takes the units out of this request too */
        if (link->state == PD_LINK_READY) { /* else a half-sent push cost the connection, and it */
            pd_link_request_free(link, request);
        }
        return;
    }
    bool gap = skip && request->units.head == NULL;
    bool again = paramd_status_retryable(status) || status == PARAMD_NOT_ATTACHED || skip;
    while (request->units.head != NULL) {
        if (again) {
            return_unit(lane, request->units.head);
        } else {
            fail_unit(lane, request->units.head, status, text);
        }
    }
    pd_units_move_front(&lane->ready, &lane->taken_others);
    if (pushing) {
        lane->pushes_in_flight--;
    } else {
        lane->pulls_in_flight--;
    }
    if (status == PARAMD_NOT_ATTACHED && lane->state == PD_LANE_ATTACHED) {
        lane->state = PD_LANE_DETACHED;
        pd_lane_hold(lane);
    }
    pd_link_request_free(link, request);
    if (gap) {
        pd_link_down(
            link, "a SKIP of lost push ids failed"); /* the next ATTACHED shows what is missing */
        return;
    }
    pd_lane_settle(lane);
}

void pd_answer_init_done(struct pd_link *link, struct pd_request *request)
{
    struct pd_lane *lane = request->lane;
    while (request->units.head != NULL) {
        pd_unit_finish(request->units.head, PARAMD_OK);
        pd_unit_leave(request->units.head);
    }
    lane->pulls_in_flight--;
    lane->retry_us = PD_RETRY_US_MIN;
    pd_link_request_free(link, request);
}
