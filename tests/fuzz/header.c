/* Fuzzes the decoding of headers: the first byte chooses the kind. What is accepted keeps its
 * meaning when it is packed and decoded again. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/kinds.h"
#include "proto/limits.h"
#include "tests/fuzz/fuzz.h"

static uint8_t *pack(const ProtobufCMessage *message, size_t *ret_count)
{
    *ret_count = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(*ret_count + 1);
    PD_FUZZ_CHECK(bytes != NULL);
    PD_FUZZ_CHECK(protobuf_c_message_pack(message, bytes) == *ret_count);
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const ProtobufCMessageDescriptor *descriptor =
        pd_kind_descriptor(1 + data[0] % (PD_KIND_END - 1));
    struct pd_arena arena;
    pd_arena_init(&arena, PD_DECODED_BYTES_MAX);
    const ProtobufCMessage *message = pd_decode(descriptor, &arena, data + 1, size - 1);
    if (message != NULL) {
        size_t count;
        size_t count_again;
        uint8_t *packed = pack(message, &count);
        pd_arena_reset(&arena);
        message = pd_decode(descriptor, &arena, packed, count);
        PD_FUZZ_CHECK(message != NULL);
        uint8_t *again = pack(message, &count_again);
        PD_FUZZ_CHECK(count == count_again && memcmp(packed, again, count) == 0);
        free(packed);
        free(again);
    }
    pd_arena_deinit(&arena);
    return 0;
}
