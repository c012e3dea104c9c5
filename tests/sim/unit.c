/* Looks into the client's core. */
#include "tests/sim/unit.h"

#include "client/core/state.h"
#include "proto/slot.h"

size_t sim_unit_count(const struct pd_op *op)
{
    return op->unit_count;
}

struct sim_unit sim_unit_at(const struct pd_op *op, size_t i)
{
    const struct pd_unit *unit = &op->units[i];
    return (struct sim_unit){unit->entry, unit->block, unit->status, unit->version};
}

uint64_t sim_session_generation(const struct pd_client_session *session)
{
    return session->generation;
}

bool sim_session_attached(const struct pd_client_session *session)
{
    bool attached = true;
    for (uint32_t i = 0; i < PD_SLOTS; i++) {
        const struct pd_lane *lane = &session->lanes[pd_slot_shard(i, session->lane_count)];
        attached = attached && (session->slots[i].answered == 0 || lane->state == PD_LANE_ATTACHED);
    }
    return attached;
}
