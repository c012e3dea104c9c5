/* Fuzzes the payload of CREATE: decoded under its quota, checked, and, if it is a definition, the
 * same one after it was encoded and read back. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/definition.h"
#include "tests/fuzz/fuzz.h"

static struct pd_definition *read_definition(const uint8_t *bytes, size_t count)
{
    struct pd_arena arena;
    struct pd_definition *definition = NULL;
    char error[PD_ERROR_TEXT_BYTES];
    pd_arena_init(&arena, PD_DEFINITION_DECODED_MAX);
    const ProtobufCMessage *message =
        pd_decode(&paramd__definition__descriptor, &arena, bytes, count);
    if (message != NULL) {
        memset(error, 0x7f, sizeof error);
        enum paramd_status status =
            pd_definition_create("model", (const Paramd__Definition *)message, &definition, error);
        PD_FUZZ_CHECK((status == PARAMD_OK) == (definition != NULL));
        PD_FUZZ_CHECK(status == PARAMD_OK || (memchr(error, 0, sizeof error) != NULL && *error));
    }
    pd_arena_deinit(&arena);
    return definition;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pd_definition *definition = read_definition(data, size);
    if (definition != NULL) {
        uint8_t *bytes = NULL;
        size_t count = 0;
        char difference[PD_ERROR_TEXT_BYTES];
        PD_FUZZ_CHECK(pd_definition_encode(definition, &bytes, &count) == PARAMD_OK);
        struct pd_definition *again = read_definition(bytes, count);
        PD_FUZZ_CHECK(again != NULL);
        PD_FUZZ_CHECK(pd_definition_same(definition, again, difference));
        PD_FUZZ_CHECK(again->block_count == definition->block_count &&
                      again->element_count == definition->element_count);
        pd_definition_destroy(again);
        free(bytes);
    }
    pd_definition_destroy(definition);
    return 0;
}
