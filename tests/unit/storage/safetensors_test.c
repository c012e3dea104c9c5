/* Heads of safetensors files: what is written is what the format asks for and reads back the same;
 * what no sound file has is refused with a sentence. */
#include "server/storage/safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"

static uint64_t length_of(const uint8_t *head)
{
    uint64_t length;
    memcpy(&length, head, sizeof length);
    return length;
}

/* A head of this text, as a file has it; ret_bytes counts both. */
static uint8_t *head_of(const char *text, size_t *ret_bytes)
{
    uint64_t length = strlen(text);
    uint8_t *head = malloc(sizeof length + (size_t)length);
    memcpy(head, &length, sizeof length);
    memcpy(head + sizeof length, text, (size_t)length);
    *ret_bytes = sizeof length + (size_t)length;
    return head;
}

START_TEST(a_head_is_laid_out_as_the_format_asks_for)
{
    struct pd_safetensors_tensor tensors[] = {
        {.name = (char[]){"w"}, .dtype = "F32", .rank = 2, .shape = {3, 5}},
        {.name = (char[]){"half"}, .dtype = "BF16", .rank = 1, .shape = {7}},
        {.name = (char[]){"state.w.step"}, .dtype = "F32"}};
    static const char text[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[3,5],\"data_offsets\":[0,60]},"
        "\"half\":{\"dtype\":\"BF16\",\"shape\":[7],\"data_offsets\":[60,74]},"
        "\"state.w.step\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[74,78]}}";
    uint8_t *head;
    size_t bytes;
    ck_assert_int_eq(pd_safetensors_make_head(tensors, 3, &head, &bytes), PARAMD_OK);
    ck_assert_uint_eq(bytes % 8, 0);
    ck_assert_uint_eq(length_of(head), bytes - 8);
    ck_assert_mem_eq(head + 8, text, strlen(text));
    for (size_t i = 8 + strlen(text); i < bytes; i++) {
        ck_assert_int_eq(head[i], ' ');
    }
    ck_assert_uint_eq(tensors[2].begin, 74);
    ck_assert_uint_eq(tensors[2].end, 78);
    free(head);
}
END_TEST

START_TEST(what_is_written_reads_back_the_same)
{
    enum { COUNT = 500 };
    struct pd_safetensors_tensor tensors[COUNT];
    char names[COUNT][32];
    uint8_t *head;
    size_t bytes;
    uint64_t head_bytes;
    struct pd_safetensors *read;
    char error[PD_SAFETENSORS_ERROR_BYTES] = "";
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof names[i], "layer \"%u\" \xc3\xa9/x", i);
        tensors[i] = (struct pd_safetensors_tensor){.name = names[i],
                                                    .dtype = i % 3 == 0 ? "F16" : "F32",
                                                    .rank = i % 9,
                                                    .shape = {1 + i % 4, 1, 2, 1, i % 7, 1, 1, 3}};
    }
    ck_assert_int_eq(pd_safetensors_make_head(tensors, COUNT, &head, &bytes), PARAMD_OK);
    uint64_t file_bytes = bytes + tensors[COUNT - 1].end;
    ck_assert_int_eq(pd_safetensors_head_bytes(head, file_bytes, &head_bytes, error), PARAMD_OK);
    ck_assert_uint_eq(head_bytes, bytes);
    ck_assert_msg(pd_safetensors_read_head(head, bytes, file_bytes, &read, error) == PARAMD_OK,
                  "%s", error);
    ck_assert_uint_eq(read->count, COUNT);
    ck_assert_uint_eq(read->head_bytes, bytes);
    for (unsigned i = 0; i < COUNT; i++) {
        const struct pd_safetensors_tensor *one = &read->tensors[i];
        /* Those without bytes may stand in any order among those at the same place. */
        if (tensors[i].begin != tensors[i].end && one->end != one->begin) {
            ck_assert_str_eq(one->name, tensors[i].name);
            ck_assert_str_eq(one->dtype, tensors[i].dtype);
            ck_assert_uint_eq(one->rank, tensors[i].rank);
            ck_assert_mem_eq(one->shape, tensors[i].shape, one->rank * sizeof one->shape[0]);
        }
        ck_assert_uint_eq(one->begin, tensors[i].begin);
    }
    pd_safetensors_destroy(read);
    free(head);
}
END_TEST

#define ENTRY(name, dtype, shape, offsets)                                                         \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* Each with 16 bytes of data behind it. */
static const struct {
    const char *text;
    const char *named; /* in the sentence; NULL: it is sound */
} heads[] = {
    {"{" ENTRY("a", "F32", "[4]", "[0,16]") "}", NULL},
    {"{" ENTRY("b", "F32", "[2]", "[8,16]") "," ENTRY("a", "F32", "[2]", "[0,8]") "}   ", NULL},
    {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("e", "F32", "[0]", "[16,16]") "}", NULL},
    {"{" ENTRY("e", "I64", "[0]", "[8,8]") "," ENTRY("b", "U8", "[8]", "[8,16]") "," ENTRY(
         "a", "F64", "[]", "[0,8]") "}",
     NULL},
    {"", "begin with {"},
    {" {" ENTRY("a", "F32", "[4]", "[0,16]") "}", "begin with {"},
    {"[1]", "begin with {"},
    {"{", "no JSON"},
    {"{" ENTRY("a", "F32", "[4]", "[0,16]") "} x", "no JSON"},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("a", "F32", "[2]", "[8,16]") "}", "no JSON"},
    {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}}",
     "no JSON"},
    {"{" ENTRY("a\\u0000", "F32", "[4]", "[0,16]") "}", "no JSON"},
    {"{" ENTRY("\xff", "F32", "[4]", "[0,16]") "}", "no JSON"},
    {"{" ENTRY("a", "F33", "[4]", "[0,16]") "}", "tensor a has dtype \"F33\""},
    {"{\"a\":7}", "tensor a has dtype \"\""},
    {"{\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}}", "tensor a has dtype"},
    {"{" ENTRY("a", "F32", "7", "[0,16]") "}", "tensor a has no shape"},
    {"{" ENTRY("a", "F32", "[-4]", "[0,16]") "}", "tensor a has no shape"},
    {"{" ENTRY("a", "F32", "[4.0]", "[0,16]") "}", "tensor a has no shape"},
    {"{" ENTRY("a", "F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]") "}", "tensor a has no shape"},
    {"{" ENTRY("a", "F32", "[4]", "[0]") "}", "no data_offsets"},
    {"{" ENTRY("a", "F32", "[4]", "[-16,0]") "}", "no data_offsets"},
    {"{" ENTRY("a", "F32", "[4]", "[0,\\\"16\\\"]") "}", "no JSON"},
    {"{" ENTRY("a", "F32", "[4]", "[16,0]") "}", "another size"},
    {"{" ENTRY("a", "F32", "[5]", "[0,16]") "}", "another size"},
    {"{" ENTRY("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", "another size"},
    {"{" ENTRY("a", "F32", "[4294967296,4294967296]", "[0,16]") "}", "another size"},
    {"{" ENTRY("a", "F32", "[3]", "[4,16]") "}", "a hole before tensor a"},
    {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[1]", "[12,16]") "}",
     "a hole before tensor b, at byte 12"},
    {"{" ENTRY("a", "F32", "[3]", "[0,12]") "," ENTRY("b", "F32", "[2]", "[8,16]") "}",
     "an overlap before tensor b"},
    {"{" ENTRY("a", "F32", "[4]", "[0,16]") "," ENTRY("b", "F32", "[4]", "[0,16]") "}",
     "an overlap"},
    {"{" ENTRY("a", "F32", "[3]", "[0,12]") "}", "have 12 bytes, and 16 follow"},
    {"{" ENTRY("a", "F32", "[5]", "[0,20]") "}", "have 20 bytes, and 16 follow"},
    {"{}", "have 0 bytes, and 16 follow"},
    {"{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("a", "F32", "[4]", "[0,16]") "}", NULL},
    {"{\"__metadata__\":{\"format\":7}," ENTRY("a", "F32", "[4]", "[0,16]") "}", "metadata"},
    {"{\"__metadata__\":[]," ENTRY("a", "F32", "[4]", "[0,16]") "}", "metadata"},
};

START_TEST(a_head_is_sound_or_refused_with_a_sentence)
{
    size_t bytes;
    uint8_t *head = head_of(heads[_i].text, &bytes);
    char error[PD_SAFETENSORS_ERROR_BYTES] = "";
    struct pd_safetensors *read = NULL;
    enum paramd_status status = pd_safetensors_read_head(head, bytes, bytes + 16, &read, error);
    ck_assert_int_eq(status, heads[_i].named == NULL ? PARAMD_OK : PARAMD_INVALID);
    ck_assert_msg(heads[_i].named == NULL || strstr(error, heads[_i].named) != NULL,
                  "\"%s\" is not in \"%s\" of %s", heads[_i].named, error, heads[_i].text);
    pd_safetensors_destroy(read);
    free(head);
}
END_TEST

START_TEST(a_head_cut_or_changed_anywhere_does_no_harm)
{
    static const char text[] = "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY(
        "a", "F32", "[2,1]", "[0,8]") "," ENTRY("b", "BF16", "[4]", "[8,16]") "}";
    static const char instead[] = "\"{}[],:0-9e\\ \xff\x80";
    size_t bytes;
    uint8_t *head = head_of(text, &bytes);
    size_t refused = 0;
    size_t tried = 0;
    for (size_t at = 8; at < bytes; at++) {
        for (size_t i = 0; i < sizeof instead; i++) {
            /* Every other time it ends there: a byte beyond would be seen by the sanitizers. */
            size_t length = i % 2 == 0 ? bytes : at + 1;
            uint8_t *changed = malloc(length);
            char error[PD_SAFETENSORS_ERROR_BYTES] = "";
            struct pd_safetensors *read = NULL;
            memcpy(changed, head, length);
            changed[at] = (uint8_t)instead[i];
            bool sound =
                pd_safetensors_read_head(changed, length, length + 16, &read, error) == PARAMD_OK;
            ck_assert_msg(sound || strlen(error) > 10, "byte %zu, change %zu", at, i);
            refused += !sound;
            tried++;
            pd_safetensors_destroy(read);
            free(changed);
        }
    }
    ck_assert_uint_gt(refused, tried * 9 / 10);
    free(head);
}
END_TEST

START_TEST(a_length_that_cannot_be_is_refused_before_anything_is_read)
{
    static const struct {
        uint64_t length;
        uint64_t file_bytes;
        const char *named;
    } rows[] = {
        {100000001, UINT64_MAX, "100000000 are the most"},
        {UINT64_MAX, UINT64_MAX, "are the most"},
        {0, 7, "cut short"},
        {93, 100, "cut short"},
        {92, 100, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char error[PD_SAFETENSORS_ERROR_BYTES] = "";
        uint8_t start[8];
        uint64_t bytes = 0;
        memcpy(start, &rows[i].length, sizeof start);
        enum paramd_status status =
            pd_safetensors_head_bytes(start, rows[i].file_bytes, &bytes, error);
        ck_assert_int_eq(status, rows[i].named == NULL ? PARAMD_OK : PARAMD_INVALID);
        ck_assert(rows[i].named != NULL ? strstr(error, rows[i].named) != NULL : bytes == 100);
    }
}
END_TEST

START_TEST(what_no_reader_would_take_is_not_written)
{
    struct pd_safetensors_tensor huge = {
        .name = (char[]){"a"}, .dtype = "F32", .rank = 2, .shape = {UINT32_MAX, UINT32_MAX}};
    uint8_t *head;
    size_t bytes;
    ck_assert_int_eq(pd_safetensors_make_head(&huge, 1, &head, &bytes), PARAMD_TOO_LARGE);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("safetensors");
    TCase *tests = tcase_create("heads");
    tcase_add_test(tests, a_head_is_laid_out_as_the_format_asks_for);
    tcase_add_test(tests, what_is_written_reads_back_the_same);
    tcase_add_loop_test(tests, a_head_is_sound_or_refused_with_a_sentence, 0,
                        sizeof heads / sizeof heads[0]);
    tcase_add_test(tests, a_head_cut_or_changed_anywhere_does_no_harm);
    tcase_add_test(tests, a_length_that_cannot_be_is_refused_before_anything_is_read);
    tcase_add_test(tests, what_no_reader_would_take_is_not_written);
    suite_add_tcase(suite, tests);
    return suite;
}
