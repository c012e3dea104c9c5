/* Reads addresses. Names are not resolved here. */
#include "client/net/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static bool parse_unix(const char *path, struct pd_address *ret_address)
{
    size_t bytes = strlen(path);
    if (bytes == 0 || bytes >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        return false;
    }
    ret_address->is_unix = true;
    memcpy(ret_address->host, path, bytes + 1);
    ret_address->port[0] = '\0';
    return true;
}

static bool parse_port(const char *text, struct pd_address *ret_address)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[digits] != '\0' || strtoul(text, NULL, 10) > 65535 ||
        strtoul(text, NULL, 10) == 0) {
        return false;
    }
    memcpy(ret_address->port, text, digits + 1);
    return true;
}

bool pd_address_parse(const char *text, struct pd_address *ret_address)
{
    struct pd_address address = {0};
    if (strncmp(text, "unix:", 5) == 0) {
        return parse_unix(text + 5, ret_address);
    }
    const char *host = text;
    const char *colon = strrchr(text, ':');
    if (colon == NULL || !parse_port(colon + 1, &address)) {
        return false;
    }
    size_t bytes = (size_t)(colon - text);
    if (host[0] == '[') {
        if (bytes < 3 || host[bytes - 1] != ']') {
            return false;
        }
        host++;
        bytes -= 2;
    } else if (memchr(host, ':', bytes) != NULL) {
        return false; /* an IPv6 address without brackets: which colon begins the port? */
    }
    if (bytes == 0 || bytes >= sizeof address.host) {
        return false;
    }
    memcpy(address.host, host, bytes);
    *ret_address = address;
    return true;
}
