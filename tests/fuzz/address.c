/* Fuzzes both readers of addresses. Whatever the client can be told to connect to, the daemon can
 * be told to listen on, and both read the same. */
#include <stdlib.h>
#include <string.h>

#include "client/net/address.h"
#include "server/net/address.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    PD_FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';

    char host[PD_HOST_BYTES];
    uint16_t port = 0;
    struct pd_address address;
    memset(host, 0x7f, sizeof host);
    memset(&address, 0x7f, sizeof address);
    bool listens = pd_address_split(text, host, &port);
    bool connects = pd_address_parse(text, &address);
    PD_FUZZ_CHECK(!listens || memchr(host, 0, sizeof host) != NULL);
    if (connects) {
        PD_FUZZ_CHECK(address.host[0] != '\0');
        PD_FUZZ_CHECK(memchr(address.host, 0, sizeof address.host) != NULL);
        PD_FUZZ_CHECK(memchr(address.port, 0, sizeof address.port) != NULL);
    }
    if (connects && !address.is_unix) {
        PD_FUZZ_CHECK(listens && strcmp(host, address.host) == 0);
        PD_FUZZ_CHECK(strtoul(address.port, NULL, 10) == port);
    }
    free(text);
    return 0;
}
