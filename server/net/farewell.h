/* The last moments of a socket whose last words have been written: closing it with unread bytes
 * would make the kernel send RST, and the peer might never read why. So it is shut down for
 * writing, and what still comes is thrown away until the peer closes too or a second has passed. */
#ifndef PARAMD_SERVER_NET_FAREWELL_H
#define PARAMD_SERVER_NET_FAREWELL_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "server/base/list.h"

/* The farewells under way on one loop; loop's thread only. */
struct pd_farewells {
    uv_loop_t *_loop;
    struct pd_link _list; /* the oldest first */
    uint32_t _count;
    uint32_t _count_max;
    void (*_gone)(void *context);
    void *_context;
};

/* At most count_max at a time: one more ends the oldest. gone is called whenever a descriptor has
 * been closed, of a farewell or of none; may be NULL. */
void pd_farewells_init(struct pd_farewells *farewells, uv_loop_t *loop, uint32_t count_max,
                       void (*gone)(void *context), void *context);

/* Takes fd, on which there is no handle any more. polite: a farewell, if there is memory for it;
 * otherwise fd is closed at once. */
void pd_farewells_begin(struct pd_farewells *farewells, int fd, bool polite);

bool pd_farewells_empty(const struct pd_farewells *farewells);

/* Ends all at once; the loop then has to run once more. */
void pd_farewells_abort(struct pd_farewells *farewells);

#endif
