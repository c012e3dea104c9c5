/* Fuzzes the decoding of headers: the first byte is the kind of a frame, or, with 128 added, of a
 * record in a log. What is accepted keeps its meaning when it is packed and decoded again. */
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/limits.h"
#include "server/core/record.h"
#include "tests/fuzz/fuzz.h"

enum { OF_RECORDS = 128 };

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
    unsigned kind = size > 0 ? data[0] : 0;
    const ProtobufCMessageDescriptor *descriptor =
        kind < OF_RECORDS ? pd_kind_descriptor(kind) : pd_record_descriptor(kind - OF_RECORDS);
    if (descriptor == NULL) {
        return 0;
    }
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
