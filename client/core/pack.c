/* Makes frames of units: runs of consecutive units that go well together share one, so that
 * thousands of small tensors travel in a handful of frames. A frame's weight is the sum over the
 * calls whose first block is in it: each call's samples are recorded once, however many frames it
 * takes. */
#include "client/core/state.h"

enum {
    HEADER_FIXED_BYTES = 128, /* what a data header takes beside its entries, at most */
    PULL_FILLS = PD_ENTRIES_MAX / 4
};

/* What the frame being made has so far. */
struct packing {
    struct pd_link *link;
    struct pd_lane *lane;
    uint64_t id;
    size_t entries;
    size_t header_bytes;
    size_t payload_bytes;
    double weight;
    const struct pd_unit *first;
};

static bool same_numbers(float a, float b)
{
    return !(a < b) && !(b < a);
}

static bool push_fits(const struct packing *packing, const struct pd_unit *unit)
{
    const struct pd_op *first = packing->first->op;
    const struct pd_op *op = unit->op;
    bool alike = pd_unit_pushes(unit) && op->kind == first->kind && op->dtype == first->dtype &&
                 same_numbers(op->scale, first->scale) && !pd_unit_skips(unit);
    return alike && packing->payload_bytes + pd_unit_bytes(unit) <= PD_PACKED_BYTES;
}

static bool pull_fits(const struct packing *packing, const struct pd_unit *unit)
{
    return unit->op->kind != PD_OP_INIT && !pd_unit_pushes(unit) &&
           unit->op->dtype == packing->first->op->dtype &&
           unit->parts_missing == packing->first->parts_missing;
}

static bool init_fits(const struct packing *packing, const struct pd_unit *unit)
{
    return unit->op == packing->first->op &&
           packing->payload_bytes + pd_unit_bytes(unit) <= PD_PACKED_BYTES;
}

/* Takes the unit's numbers into the header, if there is room. a and b go to pack.push_id and
 * pack.version. */
static bool add_entry(struct packing *packing, const struct pd_unit *unit, uint64_t a, uint64_t b)
{
    struct pd_client *client = packing->link->client;
    uint32_t tensor = pd_unit_tensor(unit);
    size_t bytes = pd_varint_bytes(tensor) + pd_varint_bytes(unit->block) + pd_varint_bytes(a) +
                   pd_varint_bytes(b);
    if (packing->entries == PD_ENTRIES_MAX || packing->header_bytes + bytes > PD_HEADER_BYTES_MAX) {
        return false;
    }
    client->pack.tensor[packing->entries] = tensor;
    client->pack.block[packing->entries] = unit->block;
    client->pack.push_id[packing->entries] = a;
    client->pack.version[packing->entries] = b;
    packing->entries++;
    packing->header_bytes += bytes;
    return true;
}

/* Where values come back, a block may stand in a frame once: the answer names blocks only. */
static bool mark_block(const struct packing *packing, const struct pd_unit *unit)
{
    struct pd_block_state *block = pd_unit_block(unit);
    if (block->mark == packing->id) {
        return false;
    }
    block->mark = packing->id;
    return true;
}

static struct packing packing_begin(struct pd_lane *lane, struct pd_link *link,
                                    const struct pd_unit *first)
{
    return (struct packing){.link = link,
                            .lane = lane,
                            .id = ++link->client->request_id,
                            .header_bytes = HEADER_FIXED_BYTES,
                            .first = first};
}

/* Makes the request of a header and of the first entries of a list. False without memory. */
static struct pd_request *packing_end(struct packing *packing, enum pd_kind kind,
                                      const ProtobufCMessage *header)
{
    struct pd_request *request = pd_link_request(packing->link, kind, pd_frame_head_bytes(header));
    if (request == NULL) {
        pd_lane_hold(packing->lane);
        return NULL;
    }
    request->id = packing->id;
    request->lane = packing->lane;
    request->dtype = packing->first->op->dtype;
    return request;
}

/* Moves the units in, writes the head, and queues the frame. */
static void send(struct packing *packing, struct pd_request *request, struct pd_units *from,
                 const ProtobufCMessage *header)
{
    struct pd_link *link = packing->link;
    bool sum = link->payload_sum && packing->payload_bytes > 0;
    for (size_t i = 0; i < packing->entries; i++) {
        struct pd_unit *unit = from->head;
        if (sum) {
            link->client->pack.spans[i] =
                (struct pd_span){(uint8_t *)(uintptr_t)pd_unit_out(unit), pd_unit_bytes(unit)};
        }
        pd_unit_unlink(unit);
        pd_units_append(&request->units, unit);
    }
    request->out_unit = request->units.head;
    request->cursor = request->units.head;
    uint64_t payload_sum = sum ? pd_payload_sum(link->client->pack.spans, packing->entries) : 0;
    pd_frame_head_write(request->head, request->kind, sum ? PD_FRAME_PAYLOAD_SUM : 0, header,
                        (uint32_t)packing->payload_bytes, payload_sum);
    pd_link_send(link, request, request->head_bytes + packing->payload_bytes);
}

static bool pack_push(struct pd_lane *lane, struct pd_link *link, struct pd_units *from)
{
    struct pd_client_session *session = lane->session;
    struct packing packing = packing_begin(lane, link, from->head);
    const struct pd_op *op = from->head->op;
    bool pulls = op->kind == PD_OP_PUSH_PULL;
    for (struct pd_unit *unit = from->head; unit != NULL; unit = unit->next) {
        if (unit != packing.first && !push_fits(&packing, unit)) {
            break;
        }
        struct pd_slot_state *slot = &session->slots[pd_unit_slot(unit)];
        uint64_t push_id = unit->push_id != 0 ? unit->push_id : slot->assigned + 1;
        if ((pulls && !mark_block(&packing, unit)) ||
            !add_entry(&packing, unit, push_id, unit->known_version)) {
            break;
        }
        if (unit->push_id == 0) {
            unit->push_id = ++slot->assigned;
        }
        packing.payload_bytes += pd_unit_bytes(unit);
        packing.weight += unit == unit->op->units ? unit->op->weight : 0;
    }
    Paramd__Push push = PARAMD__PUSH__INIT;
    push.request_id = packing.id;
    push.model = session->number;
    push.generation = session->generation;
    push.dtype = (uint32_t)op->dtype;
    push.scale = op->scale;
    push.weight = packing.weight;
    push.n_tensor = push.n_block = push.n_push_id = push.n_base_version = packing.entries;
    push.tensor = link->client->pack.tensor;
    push.block = link->client->pack.block;
    push.push_id = link->client->pack.push_id;
    push.base_version = link->client->pack.version;
    struct pd_request *request =
        packing_end(&packing, pulls ? PD_KIND_PUSH_PULL : PD_KIND_PUSH, &push.base);
    if (request == NULL) {
        return false;
    }
    request->parts = 1;
    lane->pushes_in_flight++;
    send(&packing, request, from, &push.base);
    return true;
}

static bool pack_pull(struct pd_lane *lane, struct pd_link *link, const struct pd_unit *first)
{
    struct packing packing = packing_begin(lane, link, first);
    for (const struct pd_unit *unit = first; unit != NULL; unit = unit->next) {
        if (!pull_fits(&packing, unit) || !mark_block(&packing, unit) ||
            !add_entry(&packing, unit, 0, unit->op->kind == PD_OP_PULL ? unit->known_version : 0)) {
            break;
        }
    }
    Paramd__Pull pull = PARAMD__PULL__INIT;
    pull.request_id = packing.id;
    pull.model = lane->session->number;
    pull.generation = lane->session->generation;
    pull.dtype = (uint32_t)packing.first->op->dtype;
    pull.parts = packing.first->parts_missing;
    pull.n_tensor = pull.n_block = pull.n_newer_than = packing.entries;
    pull.tensor = link->client->pack.tensor;
    pull.block = link->client->pack.block;
    pull.newer_than = link->client->pack.version;
    struct pd_request *request = packing_end(&packing, PD_KIND_PULL, &pull.base);
    if (request == NULL) {
        return false;
    }
    request->parts = pull.parts;
    lane->pulls_in_flight++;
    send(&packing, request, &lane->ready, &pull.base);
    return true;
}

static bool pack_init(struct pd_lane *lane, struct pd_link *link, const struct pd_unit *first)
{
    struct packing packing = packing_begin(lane, link, first);
    const struct pd_op *op = first->op;
    for (const struct pd_unit *unit = first; unit != NULL; unit = unit->next) {
        if ((unit != packing.first && !init_fits(&packing, unit)) ||
            !add_entry(&packing, unit, 0, pd_unit_step(unit))) {
            break;
        }
        packing.payload_bytes += pd_unit_bytes(unit);
    }
    Paramd__Init init = PARAMD__INIT__INIT;
    init.request_id = packing.id;
    init.model = lane->session->number;
    init.attempt = lane->session->attempt;
    init.part = (Paramd__Part)op->part;
    init.n_tensor = init.n_block = init.n_step = packing.entries;
    init.tensor = link->client->pack.tensor;
    init.block = link->client->pack.block;
    init.step = link->client->pack.version;
    struct pd_request *request = packing_end(&packing, PD_KIND_INIT, &init.base);
    if (request == NULL) {
        return false;
    }
    lane->pulls_in_flight++;
    send(&packing, request, &lane->ready, &init.base);
    return true;
}

static bool send_skip(struct pd_lane *lane, struct pd_link *link, uint32_t slot, uint64_t from,
                      uint64_t to, struct pd_unit *unit)
{
    Paramd__Skip skip = PARAMD__SKIP__INIT;
    skip.request_id = ++link->client->request_id;
    skip.model = lane->session->number;
    skip.slot = slot;
    skip.from = from;
    skip.to = to;
    if (!pd_link_send_header(link, PD_KIND_SKIP, lane, skip.request_id, &skip.base)) {
        pd_lane_hold(lane);
        return false;
    }
    struct pd_request *request = link->out->prev; /* utlist: the head's prev is the last */
    request->slot = slot;
    if (unit != NULL) {
        unit->skip_resent = unit->skip_sent;
        unit->skip_sent = true;
        pd_unit_unlink(unit);
        pd_units_append(&request->units, unit);
    }
    lane->pushes_in_flight++;
    return true;
}

/* SKIP of ids that a restarted daemon lost. */
static bool pack_gap(struct pd_lane *lane, struct pd_link *link)
{
    for (; lane->gaps_next < PD_SLOTS; lane->gaps_next += lane->session->lane_count) {
        struct pd_slot_state *slot = &lane->session->slots[lane->gaps_next];
        if (slot->skip_from != 0) {
            if (!send_skip(lane, link, lane->gaps_next, slot->skip_from, slot->skip_to, NULL)) {
                return false;
            }
            slot->skip_from = 0;
            return true;
        }
    }
    return false;
}

/* With some small frames in flight, small work waits until it fills one or an answer is there:
 * calls made one by one share frames as soon as the daemon is slower than they come. */
static bool worth_a_frame(const struct pd_lane *lane, bool pushes)
{
    unsigned in_flight = pushes ? lane->pushes_in_flight : lane->pulls_in_flight;
    return in_flight < PD_LANE_UNFILLED_MAX || lane->ready.bytes >= PD_PACKED_BYTES ||
           lane->ready.count >= (pushes ? PD_ENTRIES_MAX : PULL_FILLS);
}

bool pd_pack_next(struct pd_lane *lane, struct pd_link *link)
{
    if (lane->state != PD_LANE_ATTACHED || lane->held_until_us > link->client->now_us) {
        return false;
    }
    if (pack_gap(lane, link)) {
        return true;
    }
    if (lane->returned.head != NULL) {
        return false;
    }
    struct pd_units *from = lane->resend.head != NULL ? &lane->resend : &lane->ready;
    struct pd_unit *unit = from->head;
    if (unit == NULL) {
        return false;
    }
    if (unit->push_id != 0 && pd_unit_skips(unit)) {
        return send_skip(lane, link, pd_unit_slot(unit), unit->push_id, unit->push_id, unit);
    }
    if (from == &lane->ready && !worth_a_frame(lane, pd_unit_pushes(unit))) {
        return false;
    }
    if (pd_unit_pushes(unit)) {
        return pack_push(lane, link, from);
    }
    return unit->op->kind == PD_OP_INIT ? pack_init(lane, link, unit) : pack_pull(lane, link, unit);
}
