/* Decoding under a quota. What protobuf-c lets pass is caught by a walk over the bytes before it
 * sees them: tag 0, too many unknown fields, texts with a NUL or that are not UTF-8, messages
 * nested too deep or in two pieces. */
#include "proto/codec.h"

#include <string.h>

#include "proto/kinds.h"
#include "proto/limits.h"

enum { DEPTH_MAX = 4, VARINT_BYTES_MAX = 10 }; /* of the schema; a test walks the descriptors */

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

static bool take_varint(struct cursor *cursor, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && cursor->at < cursor->end; i++) {
        uint8_t byte = *cursor->at++;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Passes over one value; of WIRE_BYTES ret_inside is set to what it holds. */
static bool take_value(struct cursor *cursor, unsigned wire_type, struct cursor *ret_inside)
{
    uint64_t length = 0;
    switch (wire_type) {
    case WIRE_VARINT:
        return take_varint(cursor, &length);
    case WIRE_64:
        length = 8;
        break;
    case WIRE_32:
        length = 4;
        break;
    case WIRE_BYTES:
        if (!take_varint(cursor, &length)) {
            return false;
        }
        break;
    default:
        return false;
    }
    if (length > (uint64_t)(cursor->end - cursor->at)) {
        return false;
    }
    ret_inside->at = cursor->at;
    cursor->at += length;
    ret_inside->end = cursor->at;
    return true;
}

/* How many bytes follow the first one of a UTF-8 character; 4 if it cannot be a first one. */
static unsigned utf8_more(uint8_t first)
{
    if (first < 0x80) {
        return 0;
    }
    if (first >= 0xc2 && first < 0xe0) {
        return 1;
    }
    if (first >= 0xe0 && first < 0xf0) {
        return 2;
    }
    return first >= 0xf0 && first < 0xf5 ? 3 : 4;
}

static bool text_sound(struct cursor text)
{
    while (text.at < text.end) {
        uint8_t first = *text.at++;
        unsigned more = utf8_more(first);
        if (first == 0 || more == 4 || more > (size_t)(text.end - text.at)) {
            return false;
        }
        if (more > 0) {
            uint8_t second = *text.at;
            bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
            bool outside = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
            if (overlong || outside) {
                return false;
            }
        }
        for (; more > 0; more--) {
            if ((*text.at++ & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

/* Whether a field may come with this wire type, as far as protobuf-c does not look itself. */
static bool wire_type_sound(ProtobufCType type, unsigned wire_type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return wire_type == WIRE_BYTES;
    case PROTOBUF_C_TYPE_BOOL: /* the schema repeats none, so it is never packed */
        return wire_type == WIRE_VARINT;
    default:
        return true;
    }
}

/* Whether it is a message that was there before: protobuf would merge the two, which protobuf-c
 * does wrongly. Field numbers are below 64; a test holds the schema to that. */
static bool message_again(const ProtobufCFieldDescriptor *field, uint64_t *seen)
{
    uint64_t bit = UINT64_C(1) << field->id;
    bool again = field->type == PROTOBUF_C_TYPE_MESSAGE &&
                 field->label != PROTOBUF_C_LABEL_REPEATED && (*seen & bit) != 0;
    *seen |= bit;
    return again;
}

static bool message_sound(const ProtobufCMessageDescriptor *descriptor, struct cursor bytes,
                          int depth)
{
    unsigned unknown = 0;
    uint64_t seen = 0;
    while (bytes.at < bytes.end) {
        uint64_t key;
        struct cursor inside = {bytes.at, bytes.at};
        if (!take_varint(&bytes, &key) || key >> 3 == 0 || key >> 32 != 0 ||
            !take_value(&bytes, (unsigned)(key & 7), &inside)) {
            return false;
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
        if (field == NULL) {
            if (++unknown > PD_UNKNOWN_FIELDS_MAX) {
                return false;
            }
        } else if (!wire_type_sound(field->type, (unsigned)(key & 7)) ||
                   message_again(field, &seen)) {
            return false;
        } else if (field->type == PROTOBUF_C_TYPE_STRING && !text_sound(inside)) {
            return false;
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE &&
                   (depth == DEPTH_MAX || !message_sound(field->descriptor, inside, depth + 1))) {
            return false;
        }
    }
    return true;
}

ProtobufCMessage *pd_decode(const ProtobufCMessageDescriptor *descriptor, struct pd_arena *arena,
                            const uint8_t *bytes, size_t count)
{
    if (!message_sound(descriptor, (struct cursor){bytes, bytes + count}, 1)) {
        return NULL;
    }
    return protobuf_c_message_unpack(descriptor, &arena->allocator, count, bytes);
}

const ProtobufCMessageDescriptor *pd_kind_descriptor(unsigned kind)
{
    switch (kind) {
#define KIND_DESCRIPTOR(NAME, number, message, from_client, from_server)                           \
    case PD_KIND_##NAME:                                                                           \
        return &paramd__##message##__descriptor;
        PD_KIND_LIST(KIND_DESCRIPTOR)
#undef KIND_DESCRIPTOR
    default:
        return NULL;
    }
}

uint64_t pd_request_id(const ProtobufCMessage *header)
{
    /* Every message that heads a frame begins with it; a test holds the schema to that. */
    return ((const Paramd__Ping *)header)->request_id;
}

unsigned pd_varint_bytes(uint64_t value)
{
    unsigned bytes = 1;
    while (value >= 0x80) {
        value >>= 7;
        bytes++;
    }
    return bytes;
}

bool pd_name_valid(const char *name)
{
    size_t count = 0;
    for (; name[count] != '\0'; count++) {
        char c = name[count];
        bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '/' || c == '-';
        if (!allowed || count == PD_NAME_BYTES_MAX) {
            return false;
        }
    }
    return count > 0;
}
