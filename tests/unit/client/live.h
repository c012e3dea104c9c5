/* The fake daemon behind a real socket and a thread of its own, for tests of the public API. */
#ifndef PARAMD_TESTS_UNIT_CLIENT_LIVE_H
#define PARAMD_TESTS_UNIT_CLIENT_LIVE_H

#include "tests/unit/client/fake_server.h"

struct live;

/* tcp: on a free port of 127.0.0.1; else a Unix socket in a directory of its own. */
struct live *live_start(unsigned shards, bool tcp);
/* What paramd_open takes. */
const char *live_address(const struct live *live);
/* Locks the server for a look or a change. */
struct fake_server *live_lock(struct live *live);
void live_unlock(struct live *live);
/* Closes all connections, as a daemon that is restarted with its state. */
void live_break(struct live *live);
void live_stop(struct live *live);

#endif
