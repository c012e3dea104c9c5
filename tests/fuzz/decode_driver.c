/* Decodes headers for decode_test.py and says what it found. On stdin: kind (2 bytes), length (4
 * bytes, both little-endian) and the header, again and again. On stdout a line each: "-" if it was
 * refused, else every field as number=value, floats as their bits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/limits.h"

/* Of a float. */
#define SIGN UINT32_C(0x80000000)
#define INFINITE UINT32_C(0x7f800000)
#define QUIET UINT32_C(0x00400000)

static void print_message(const ProtobufCMessage *message);

static void print_bytes(const uint8_t *bytes, size_t count)
{
    (void)putchar('"');
    for (size_t i = 0; i < count; i++) {
        (void)printf("%02x", bytes[i]);
    }
    (void)putchar('"');
}

/* How far the elements of a repeated field lie apart. */
static size_t element_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(uint64_t);
    default:
        return sizeof(uint32_t);
    }
}

static void print_value(ProtobufCType type, const void *value)
{
    const ProtobufCBinaryData *data = value;
    const char *text;
    uint32_t bits;
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
        memcpy(&text, value, sizeof text);
        print_bytes((const uint8_t *)text, strlen(text));
        break;
    case PROTOBUF_C_TYPE_BYTES:
        print_bytes(data->data, data->len);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        print_message(*(ProtobufCMessage *const *)value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        (void)printf("%" PRIx64, *(const uint64_t *)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        (void)printf("%d", *(const protobuf_c_boolean *)value != 0);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        memcpy(&bits, value, sizeof bits);
        /* Python holds it as a double, where every NaN of a float is a quiet one. */
        bits |= (bits & ~SIGN) > INFINITE ? QUIET : 0;
        (void)printf("%" PRIx32, bits);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_ENUM:
        (void)printf("%" PRIx32, *(const uint32_t *)value);
        break;
    default:
        (void)fprintf(stderr, "decode_driver: a type the schema did not have: %d\n", (int)type);
        exit(EXIT_FAILURE);
    }
}

static void print_message(const ProtobufCMessage *message)
{
    (void)putchar('{');
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const uint8_t *member = (const uint8_t *)message + field->offset;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            const uint8_t *elements;
            size_t count;
            memcpy(&elements, member, sizeof elements);
            memcpy(&count, (const uint8_t *)message + field->quantifier_offset, sizeof count);
            for (size_t j = 0; j < count; j++) {
                (void)printf("%u=", field->id);
                print_value(field->type, elements + j * element_bytes(field->type));
                (void)putchar(';');
            }
        } else if (field->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)member != NULL) {
            (void)printf("%u=", field->id);
            print_value(field->type, member);
            (void)putchar(';');
        }
    }
    (void)putchar('}');
}

int main(void)
{
    static uint8_t bytes[PD_HEADER_BYTES_MAX];
    uint8_t head[6];
    struct pd_arena arena;
    pd_arena_init(&arena, PD_DECODED_BYTES_MAX);
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        uint32_t count;
        memcpy(&count, head + 2, sizeof count);
        if (count > sizeof bytes || fread(bytes, 1, count, stdin) != count) {
            return EXIT_FAILURE;
        }
        const ProtobufCMessage *message = pd_decode(
            pd_kind_descriptor((unsigned)head[0] | (unsigned)head[1] << 8), &arena, bytes, count);
        if (message != NULL) {
            print_message(message);
        } else {
            (void)putchar('-');
        }
        (void)putchar('\n');
        pd_arena_reset(&arena);
    }
    pd_arena_deinit(&arena);
    return EXIT_SUCCESS;
}
