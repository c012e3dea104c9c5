/* The data half of the fake daemon: blocks, push ids, PUSH, PULL, INIT, SKIP. */
#ifndef PARAMD_TESTS_UNIT_CLIENT_FAKE_DATA_H
#define PARAMD_TESTS_UNIT_CLIENT_FAKE_DATA_H

#include "tests/unit/client/fake_server.h"

void fake_data_make_blocks(struct fake_server *server);
void fake_data_drop_values(struct fake_server *server);
/* Fills what the daemon initialises itself; ready if every block has a version. */
void fake_data_check_ready(struct fake_server *server);
/* Answers the data frame in the connection's reader. */
void fake_data_frame(struct fake_conn *conn);

/* In fake_server.c. */
void fake_error(struct fake_conn *conn, int status, const char *text);
void fake_moved(struct fake_conn *conn, uint64_t request_id);
void fake_done(struct fake_conn *conn);

#endif
