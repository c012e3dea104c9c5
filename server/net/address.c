/* Addresses: splitting, naming and telling local ones from others. */
#include "server/net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* A decimal number from 0 to 65535 and nothing else. */
static bool parse_port(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0') {
        return false;
    }
    for (size_t i = 0; i < digits; i++) {
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    if (port > UINT16_MAX) {
        return false;
    }
    *ret_port = (uint16_t)port;
    return true;
}

bool pd_address_split(const char *text, char ret_host[PD_HOST_BYTES], uint16_t *ret_port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        return false;
    }
    const char *host = text;
    size_t bytes = (size_t)(colon - text);
    bool bracketed = bytes >= 2 && host[0] == '[' && host[bytes - 1] == ']';
    if (bracketed) {
        host++;
        bytes -= 2;
    }
    /* A bare IPv6 address would leave open where the port begins. */
    if (bytes >= PD_HOST_BYTES || (bracketed && bytes == 0) ||
        (!bracketed && memchr(host, ':', bytes) != NULL) || !parse_port(colon + 1, ret_port)) {
        return false;
    }
    memcpy(ret_host, host, bytes);
    ret_host[bytes] = '\0';
    return true;
}

void pd_address_name(const struct sockaddr *address, char ret_name[PD_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN];
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        (void)snprintf(ret_name, PD_ADDRESS_BYTES, "%s:%u", host, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        (void)snprintf(ret_name, PD_ADDRESS_BYTES, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        (void)snprintf(ret_name, PD_ADDRESS_BYTES, "unix");
    }
}

bool pd_address_is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
    }
    return address->sa_family == AF_UNIX;
}

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family) {
        return false;
    }
    if (a->ss_family == AF_INET) {
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    }
    return a->ss_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool pd_address_peer_is_local(int fd)
{
    struct sockaddr_storage peer = {0};
    struct sockaddr_storage self = {0};
    socklen_t peer_bytes = sizeof peer;
    socklen_t self_bytes = sizeof self;
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&self, &self_bytes) != 0) {
        return false;
    }
    return pd_address_is_loopback((const struct sockaddr *)&peer) || same_host(&peer, &self);
}
