/* Looks into an op of the client's core. */
#include "tests/sim/unit.h"

#include "client/core/state.h"

size_t sim_unit_count(const struct pd_op *op)
{
    return op->unit_count;
}

struct sim_unit sim_unit_at(const struct pd_op *op, size_t i)
{
    const struct pd_unit *unit = &op->units[i];
    return (struct sim_unit){unit->entry, unit->block, unit->status, unit->version};
}
