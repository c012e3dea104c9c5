/* Addresses as people write and read them, and whether a peer lives on this machine. */
#ifndef PARAMD_SERVER_NET_ADDRESS_H
#define PARAMD_SERVER_NET_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PD_HOST_BYTES = 256, PD_ADDRESS_BYTES = 64 };

/* "HOST:PORT", "[V6]:PORT", or ":PORT" for every address of the machine (host is then ""). False if
 * it is none of these; the host itself is not looked up. */
bool pd_address_split(const char *text, char ret_host[PD_HOST_BYTES], uint16_t *ret_port);

/* "127.0.0.1:7700", "[::1]:7700" or "unix". */
void pd_address_name(const struct sockaddr *address, char ret_name[PD_ADDRESS_BYTES]);

bool pd_address_is_loopback(const struct sockaddr *address);

/* Whether the peer of this connected socket is on this machine: a Unix socket, a loopback address,
 * or the same address on both sides. */
bool pd_address_peer_is_local(int fd);

#endif
