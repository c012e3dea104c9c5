/* What became of each block of a client's op, and what its session knows. Apart, because the
 * client's core and the server's each have a struct pd_link of their own. */
#ifndef PARAMD_TESTS_SIM_UNIT_H
#define PARAMD_TESTS_SIM_UNIT_H

#include "client/core/core.h"

struct sim_unit {
    uint32_t entry; /* in the call */
    uint64_t block; /* in its tensor */
    int status;
    uint64_t version; /* of the values received; 0: none were */
};

size_t sim_unit_count(const struct pd_op *op);
struct sim_unit sim_unit_at(const struct pd_op *op, size_t i);

/* Which generation of the model its versions are of. */
uint64_t sim_session_generation(const struct pd_client_session *session);
/* Whether it is, wherever it has pushed. */
bool sim_session_attached(const struct pd_client_session *session);

#endif
