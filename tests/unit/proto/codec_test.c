/* Decoding refuses what protobuf-c would let pass, under a quota; the schema keeps its own rules;
 * statuses and slots are what both sides believe them to be. */
#include "proto/codec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "proto/kinds.h"
#include "proto/slot.h"
#include "tests/support/check_main.h"

static struct pd_arena arena;

static void start(void)
{
    pd_arena_init(&arena, PD_DECODED_BYTES_MAX);
}

static void stop(void)
{
    pd_arena_deinit(&arena);
}

static bool decodes(const ProtobufCMessageDescriptor *descriptor, const char *bytes, size_t count)
{
    pd_arena_reset(&arena);
    return pd_decode(descriptor, &arena, (const uint8_t *)bytes, count) != NULL;
}

#define DECODES(message, literal)                                                                  \
    decodes(&paramd__##message##__descriptor, (literal), sizeof(literal) - 1)

START_TEST(what_protobuf_cannot_mean_is_refused)
{
    ck_assert(DECODES(ping, ""));
    ck_assert(DECODES(ping, "\x08\x05"));
    ck_assert(!DECODES(ping, "\x08"));                   /* no value */
    ck_assert(!DECODES(ping, "\x08\xff"));               /* half a number */
    ck_assert(!DECODES(ping, "\x00\x05"));               /* field 0 */
    ck_assert(!DECODES(ping, "\x0b\x0c"));               /* a group */
    ck_assert(!DECODES(ping, "\x0a\x01\x05"));           /* a number as bytes */
    ck_assert(!DECODES(hello, "\x1a\x05hell"));          /* longer than there is */
    ck_assert(!DECODES(hello, "\x18\x05"));              /* a text as a number */
    ck_assert(!DECODES(hello, "\x1d\x01\x01\x01\x01"));  /* a text as a fixed number */
    ck_assert(!DECODES(set, "\x20\x05"));                /* a message as a number */
    ck_assert(!DECODES(blocks, "\x55\x01\x01\x01\x01")); /* a truth as a fixed number */
    ck_assert(!DECODES(blocks, "\x52\x01\x01"));         /* a truth as bytes */
    ck_assert(!DECODES(set, "\x22\x02\x00\x00"));        /* field 0 inside */
    ck_assert(!DECODES(ping, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00"));
    ck_assert(!DECODES(ping, "\x80\x80\x80\x80\x80\x80\x01\x00")); /* a tag beyond 32 bits */
}
END_TEST

START_TEST(a_message_in_two_pieces_is_refused)
{
    ck_assert(DECODES(moved, "\x12\x02\x08\x05"));
    ck_assert(!DECODES(moved, "\x12\x02\x08\x05\x12\x00"));
    ck_assert(DECODES(set, "\x22\x00\x22\x00"));   /* one that is repeated */
    ck_assert(DECODES(moved, "\x08\x05\x08\x06")); /* of a number the last one counts */
}
END_TEST

START_TEST(texts_are_utf8_without_nul)
{
    ck_assert(DECODES(hello, "\x1a\x02\xc3\xa9"));
    ck_assert(DECODES(hello, "\x1a\x03\xe2\x82\xac"));
    ck_assert(DECODES(hello, "\x1a\x04\xf0\x9f\x98\x80"));
    ck_assert(!DECODES(hello, "\x1a\x03"
                              "a\0b"));
    ck_assert(!DECODES(hello, "\x1a\x01\xff"));
    ck_assert(!DECODES(hello, "\x1a\x01\xc3"));             /* its end is missing */
    ck_assert(!DECODES(hello, "\x1a\x02\xc3\x41"));         /* no continuation */
    ck_assert(!DECODES(hello, "\x1a\x02\xc0\x80"));         /* overlong */
    ck_assert(!DECODES(hello, "\x1a\x03\xe0\x80\x80"));     /* overlong */
    ck_assert(!DECODES(hello, "\x1a\x04\xf0\x80\x80\x80")); /* overlong */
    ck_assert(!DECODES(hello, "\x1a\x03\xed\xa0\x80"));     /* a surrogate */
    ck_assert(!DECODES(hello, "\x1a\x04\xf4\x90\x80\x80")); /* beyond Unicode */
    ck_assert(!DECODES(set, "\x22\x03\x0a\x01\xff"));       /* in a message inside */
}
END_TEST

START_TEST(sixteen_unknown_fields_are_ignored_and_seventeen_are_not)
{
    static const uint8_t field_111[] = {0xf8, 0x06, 0x07};
    static const uint8_t field_1[] = {0x08, 0x05};
    char bytes[17 * 3 + 2];
    for (unsigned i = 0; i < 17; i++) {
        memcpy(bytes + (size_t)i * 3, field_111, 3);
    }
    memcpy(bytes + 16 * 3, field_1, 2);
    ck_assert(decodes(&paramd__ping__descriptor, bytes, 16 * 3 + 2));
    memcpy(bytes + 16 * 3, field_111, 3);
    memcpy(bytes + 17 * 3, field_1, 2);
    ck_assert(!decodes(&paramd__ping__descriptor, bytes, 17 * 3 + 2));
}
END_TEST

START_TEST(a_message_above_the_quota_is_refused)
{
    /* Two bytes each make an empty Hyper of many more. */
    enum { HYPERS = 20000 };
    static const uint8_t empty_hyper[] = {0x22, 0x00};
    char *bytes = malloc(HYPERS * 2);
    ck_assert_ptr_nonnull(bytes);
    for (unsigned i = 0; i < HYPERS; i++) {
        memcpy(bytes + (size_t)i * 2, empty_hyper, 2);
    }
    ck_assert(decodes(&paramd__set__descriptor, bytes, 200));
    ck_assert(!decodes(&paramd__set__descriptor, bytes, HYPERS * 2));
    free(bytes);
}
END_TEST

START_TEST(every_prefix_and_every_flipped_bit_of_a_message_is_survived)
{
    Paramd__Stated stated = PARAMD__STATED__INIT;
    Paramd__TensorInfo tensor = PARAMD__TENSOR_INFO__INIT;
    Paramd__TensorInfo *tensors[] = {&tensor, &tensor};
    uint64_t shape[] = {1, 300, 70000};
    uint8_t bytes[256];
    tensor.name = "layer/weight";
    tensor.shape = shape;
    tensor.n_shape = 3;
    stated.request_id = 9;
    stated.tensors = tensors;
    stated.n_tensors = 2;
    size_t count = protobuf_c_message_pack(&stated.base, bytes);
    unsigned refused = 0;
    for (size_t i = 0; i < count; i++) {
        refused += decodes(&paramd__stated__descriptor, (char *)bytes, i) ? 0 : 1;
    }
    for (size_t bit = 0; bit < count * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        refused += decodes(&paramd__stated__descriptor, (char *)bytes, count) ? 0 : 1;
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    ck_assert_uint_gt(refused, count);
    ck_assert(decodes(&paramd__stated__descriptor, (char *)bytes, count));
}
END_TEST

/* ---- the schema ---- */

static int depth_of(const ProtobufCMessageDescriptor *descriptor, int depth)
{
    int deepest = depth;
    ck_assert_msg(depth <= 4, "%s is nested too deep, or contains itself", descriptor->name);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &descriptor->fields[i];
        /* What the codec's walk takes for granted. */
        ck_assert_uint_lt(field->id, 64);
        ck_assert(field->type != PROTOBUF_C_TYPE_BOOL || field->label != PROTOBUF_C_LABEL_REPEATED);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            int inside = depth_of(field->descriptor, depth + 1);
            deepest = inside > deepest ? inside : deepest;
        }
    }
    return deepest;
}

START_TEST(every_header_begins_with_its_request_id_and_is_flat)
{
    unsigned kinds = 0;
    for (unsigned kind = 0; kind < PD_KIND_END + 10; kind++) {
        const ProtobufCMessageDescriptor *descriptor = pd_kind_descriptor(kind);
        if (descriptor == NULL) {
            ck_assert_str_eq(pd_kind_name(kind), "?");
            continue;
        }
        const ProtobufCFieldDescriptor *first =
            protobuf_c_message_descriptor_get_field(descriptor, 1);
        ck_assert_ptr_nonnull(first);
        ck_assert_str_eq(first->name, "request_id");
        ck_assert_int_eq(first->type, PROTOBUF_C_TYPE_UINT64);
        ck_assert_uint_eq(first->offset, offsetof(Paramd__Ping, request_id));
        ck_assert_int_le(depth_of(descriptor, 1), 3);
        pd_arena_reset(&arena);
        const ProtobufCMessage *header =
            pd_decode(descriptor, &arena, (const uint8_t *)"\x08\xac\x02", 3);
        ck_assert_ptr_nonnull(header);
        ck_assert_uint_eq(pd_request_id(header), 300);
        kinds++;
    }
    ck_assert_uint_eq(kinds, 29);
    ck_assert_int_le(depth_of(&paramd__definition__descriptor, 1), 3);
}
END_TEST

/* ---- small things ---- */

START_TEST(statuses_have_numbers_names_and_texts_of_their_own)
{
    static const int statuses[] = {
#define NUMBER(name, number, retryable, text) (number),
        PARAMD_STATUS_LIST(NUMBER)
#undef NUMBER
    };
    size_t count = sizeof statuses / sizeof statuses[0];
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_le(statuses[i], 0);
        ck_assert_str_ne(paramd_status_name(statuses[i]), "?");
        ck_assert_uint_gt(strlen(paramd_status_text(statuses[i])), 3);
        for (size_t j = 0; j < i; j++) {
            ck_assert_int_ne(statuses[i], statuses[j]);
            ck_assert_str_ne(paramd_status_name(statuses[i]), paramd_status_name(statuses[j]));
            ck_assert_str_ne(paramd_status_text(statuses[i]), paramd_status_text(statuses[j]));
        }
    }
    ck_assert_int_eq(PARAMD_OK, 0);
    ck_assert_str_eq(paramd_status_name(1), "?");
    ck_assert(paramd_status_retryable(PARAMD_BUSY));
    ck_assert(!paramd_status_retryable(PARAMD_MISMATCH));
    ck_assert(!paramd_status_retryable(-1000));
}
END_TEST

START_TEST(names_are_checked)
{
    char name[PD_NAME_BYTES_MAX + 2];
    memset(name, 'n', sizeof name);
    name[PD_NAME_BYTES_MAX] = '\0';
    ck_assert(pd_name_valid(name));
    name[PD_NAME_BYTES_MAX] = 'n';
    name[PD_NAME_BYTES_MAX + 1] = '\0';
    ck_assert(!pd_name_valid(name));
    ck_assert(pd_name_valid("aZ09._/-"));
    ck_assert(!pd_name_valid(""));
    ck_assert(!pd_name_valid("a b"));
    ck_assert(!pd_name_valid("\xc3\xa9"));
}
END_TEST

START_TEST(varints_have_the_bytes_that_protobuf_writes)
{
    for (unsigned bits = 0; bits < 64; bits++) {
        for (int more = -1; more <= 1; more++) {
            Paramd__Ping ping = PARAMD__PING__INIT;
            ping.request_id = (UINT64_C(1) << bits) + (uint64_t)more;
            if (ping.request_id != 0) { /* a zero is not written at all */
                ck_assert_uint_eq(pd_varint_bytes(ping.request_id),
                                  protobuf_c_message_get_packed_size(&ping.base) - 1);
            }
        }
    }
    ck_assert_uint_eq(pd_varint_bytes(0), 1);
}
END_TEST

START_TEST(slots_follow_the_formula_around_the_end)
{
    static const char *names[] = {"m", "fashion", "a/b-c.d_e", "x"};
    for (unsigned i = 0; i < 4; i++) {
        uint32_t first = (uint32_t)(XXH3_64bits(names[i], strlen(names[i])) % 4096);
        ck_assert_uint_eq(pd_slot_first(names[i]), first);
        uint32_t expected = first;
        for (uint64_t block = 0; block < 9000; block++) {
            uint32_t slot = pd_slot_of_block(first, block);
            ck_assert_uint_eq(slot, expected);
            ck_assert_uint_eq(pd_slot_shard(slot, 3), expected % 3);
            ck_assert_uint_eq(pd_slot_shard(slot, 7), expected % 7);
            expected = expected == 4095 ? 0 : expected + 1;
        }
    }
    ck_assert_uint_eq(pd_slot_of_block(4095, UINT64_C(1) << 40), 4095);
}
END_TEST

START_TEST(blocks_of_a_tensor_cover_it_exactly)
{
    for (uint64_t elements = 1; elements < 5000; elements += 7) {
        uint64_t blocks = pd_tensor_blocks(elements, 1024);
        uint64_t sum = 0;
        for (uint64_t i = 0; i < blocks; i++) {
            uint32_t size = pd_block_elements(elements, 1024, i);
            ck_assert(size > 0 && (size == 1024 || i + 1 == blocks));
            sum += size;
        }
        ck_assert_uint_eq(sum, elements);
    }
}
END_TEST

START_TEST(an_arena_keeps_to_its_quota_and_begins_anew)
{
    struct pd_arena small;
    pd_arena_init(&small, 200000);
    for (unsigned turn = 0; turn < 3; turn++) {
        size_t taken = 0;
        uint8_t *piece;
        while ((piece = pd_arena_take(&small, 999)) != NULL) {
            ck_assert_uint_eq((uintptr_t)piece % 16, 0);
            memset(piece, (int)turn, 999);
            taken += 1008;
        }
        ck_assert_uint_le(taken, 200000);
        ck_assert_uint_gt(taken, 198000);
        pd_arena_reset(&small);
    }
    ck_assert_ptr_null(pd_arena_take(&small, 200001));
    ck_assert_ptr_null(pd_arena_take(&small, SIZE_MAX));
    ck_assert_ptr_nonnull(pd_arena_take(&small, 150000));
    pd_arena_deinit(&small);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("codec");
    TCase *decode = tcase_create("decode");
    tcase_add_checked_fixture(decode, start, stop);
    tcase_add_test(decode, what_protobuf_cannot_mean_is_refused);
    tcase_add_test(decode, texts_are_utf8_without_nul);
    tcase_add_test(decode, a_message_in_two_pieces_is_refused);
    tcase_add_test(decode, sixteen_unknown_fields_are_ignored_and_seventeen_are_not);
    tcase_add_test(decode, a_message_above_the_quota_is_refused);
    tcase_add_test(decode, every_prefix_and_every_flipped_bit_of_a_message_is_survived);
    tcase_add_test(decode, every_header_begins_with_its_request_id_and_is_flat);
    suite_add_tcase(suite, decode);
    TCase *small = tcase_create("small");
    tcase_add_test(small, statuses_have_numbers_names_and_texts_of_their_own);
    tcase_add_test(small, names_are_checked);
    tcase_add_test(small, varints_have_the_bytes_that_protobuf_writes);
    tcase_add_test(small, slots_follow_the_formula_around_the_end);
    tcase_add_test(small, blocks_of_a_tensor_cover_it_exactly);
    tcase_add_test(small, an_arena_keeps_to_its_quota_and_begins_anew);
    suite_add_tcase(suite, small);
    return suite;
}
