/* The daemon as a whole: the control loop on the calling thread, a thread for each shard, the
 * sockets it listens on, and its way from start to stop. */
#ifndef PARAMD_SERVER_NODE_H
#define PARAMD_SERVER_NODE_H

#include "server/config.h"

/* Runs until a signal ends it. Returns 0, or 1 after saying on stderr why it could not start. To be
 * called once in a process, before it has other threads. */
int pd_node_run(const struct pd_config *config);

#endif
