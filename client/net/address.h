/* Reads the addresses users write: "HOST:PORT", "[IPV6]:PORT", "unix:PATH". */
#ifndef PARAMD_CLIENT_NET_ADDRESS_H
#define PARAMD_CLIENT_NET_ADDRESS_H

#include <stdbool.h>

struct pd_address {
    bool is_unix;
    char host[256]; /* or the path */
    char port[8];
};

/* False: it cannot be read. */
bool pd_address_parse(const char *text, struct pd_address *ret_address);

#endif
