/* The safetensors format: eight bytes of length, a JSON object that says which tensor lies where,
 * then their bytes. https://huggingface.co/docs/safetensors: what its own library refuses is
 * refused here too. */
#include "server/storage/safetensors.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_BYTES = 8 };

static const char metadata_key[] = "__metadata__";

static const struct {
    const char *name;
    unsigned bytes;
} dtypes[] = {{"F32", 4},  {"BF16", 2}, {"F16", 2},     {"F64", 8},     {"I64", 8},    {"I32", 4},
              {"I16", 2},  {"I8", 1},   {"U64", 8},     {"U32", 4},     {"U16", 2},    {"U8", 1},
              {"BOOL", 1}, {"C64", 8},  {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};

/* The place in dtypes, or -1. */
static int find_dtype(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

/* Bytes of a tensor; false if no number holds them. */
static bool count_bytes(const struct pd_safetensors_tensor *tensor, uint64_t *ret_bytes)
{
    uint64_t bytes = dtypes[find_dtype(tensor->dtype)].bytes;
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (__builtin_mul_overflow(bytes, tensor->shape[i], &bytes)) {
            return false;
        }
    }
    *ret_bytes = bytes;
    return true;
}

/* ---- Making ---- */

static json_t *describe(const struct pd_safetensors_tensor *tensor)
{
    json_t *shape = json_array();
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape", shape, "data_offsets",
                     (json_int_t)tensor->begin, (json_int_t)tensor->end);
}

/* NULL without memory. transformers takes no file without the metadata. */
static json_t *make_header(const struct pd_safetensors_tensor *tensors, size_t count)
{
    json_t *header = json_pack("{s:{s:s}}", metadata_key, "format", "pt");
    for (size_t i = 0; i < count && header != NULL; i++) {
        if (json_object_set_new(header, tensors[i].name, describe(&tensors[i])) != 0) {
            json_decref(header);
            header = NULL;
        }
    }
    return header;
}

static void put_length(uint8_t *to, uint64_t length)
{
    for (unsigned i = 0; i < PD_SAFETENSORS_LENGTH_BYTES; i++) {
        to[i] = (uint8_t)(length >> (8 * i));
    }
}

enum paramd_status pd_safetensors_make_head(struct pd_safetensors_tensor *tensors, size_t count,
                                            uint8_t **ret_head, size_t *ret_bytes)
{
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t bytes;
        tensors[i].begin = at;
        if (!count_bytes(&tensors[i], &bytes) || __builtin_add_overflow(at, bytes, &at)) {
            return PARAMD_TOO_LARGE;
        }
        tensors[i].end = at;
    }
    json_t *header = make_header(tensors, count);
    size_t length = header != NULL ? json_dumpb(header, NULL, 0, JSON_COMPACT) : 0;
    size_t padded = (length + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    bool fits = padded <= PD_SAFETENSORS_HEADER_BYTES_MAX;
    uint8_t *head = length > 0 && fits ? malloc(PD_SAFETENSORS_LENGTH_BYTES + padded) : NULL;
    if (head != NULL) {
        put_length(head, padded);
        memset(head + PD_SAFETENSORS_LENGTH_BYTES, ' ', padded);
        (void)json_dumpb(header, (char *)head + PD_SAFETENSORS_LENGTH_BYTES, length, JSON_COMPACT);
        *ret_head = head;
        *ret_bytes = PD_SAFETENSORS_LENGTH_BYTES + padded;
    }
    json_decref(header);
    return !fits ? PARAMD_TOO_LARGE : head == NULL ? PARAMD_NO_MEMORY : PARAMD_OK;
}

/* ---- Reading ---- */

static enum paramd_status refuse(char error[PD_SAFETENSORS_ERROR_BYTES], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static enum paramd_status refuse(char error[PD_SAFETENSORS_ERROR_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error, PD_SAFETENSORS_ERROR_BYTES, format, args);
    va_end(args);
    return PARAMD_INVALID;
}

enum paramd_status pd_safetensors_head_bytes(const uint8_t *start, uint64_t file_bytes,
                                             uint64_t *ret_bytes,
                                             char error[PD_SAFETENSORS_ERROR_BYTES])
{
    uint64_t length = 0;
    for (unsigned i = 0; i < PD_SAFETENSORS_LENGTH_BYTES; i++) {
        length |= (uint64_t)start[i] << (8 * i);
    }
    if (length > PD_SAFETENSORS_HEADER_BYTES_MAX) {
        return refuse(error, "its header would have %llu bytes, %d are the most",
                      (unsigned long long)length, PD_SAFETENSORS_HEADER_BYTES_MAX);
    }
    if (file_bytes < PD_SAFETENSORS_LENGTH_BYTES ||
        length > file_bytes - PD_SAFETENSORS_LENGTH_BYTES) {
        return refuse(error, "it is cut short: %llu bytes, and its header alone has %llu",
                      (unsigned long long)file_bytes, (unsigned long long)length);
    }
    *ret_bytes = PD_SAFETENSORS_LENGTH_BYTES + length;
    return PARAMD_OK;
}

static bool read_count(const json_t *value, uint64_t *ret_count)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return false;
    }
    *ret_count = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_shape(const json_t *shape, struct pd_safetensors_tensor *tensor)
{
    if (!json_is_array(shape) || json_array_size(shape) > PD_RANK_MAX) {
        return false;
    }
    tensor->rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (!read_count(json_array_get(shape, i), &tensor->shape[i])) {
            return false;
        }
    }
    return true;
}

static enum paramd_status read_tensor(const char *name, const json_t *entry,
                                      struct pd_safetensors_tensor *tensor,
                                      char error[PD_SAFETENSORS_ERROR_BYTES])
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    uint64_t bytes;
    int place = dtype != NULL ? find_dtype(dtype) : -1;
    if (place < 0) {
        return refuse(error, "tensor %.100s has dtype \"%.20s\", which is unknown", name,
                      dtype != NULL ? dtype : "");
    }
    tensor->dtype = dtypes[place].name;
    if (!read_shape(json_object_get(entry, "shape"), tensor)) {
        return refuse(error, "tensor %.100s has no shape of at most %d whole numbers", name,
                      PD_RANK_MAX);
    }
    if (json_array_size(offsets) != 2 || !read_count(json_array_get(offsets, 0), &tensor->begin) ||
        !read_count(json_array_get(offsets, 1), &tensor->end)) {
        return refuse(error, "tensor %.100s has no data_offsets of two whole numbers", name);
    }
    if (!count_bytes(tensor, &bytes) || tensor->end < tensor->begin ||
        tensor->end - tensor->begin != bytes) {
        return refuse(error, "tensor %.100s has another size than its shape and dtype say", name);
    }
    tensor->name = strdup(name);
    return tensor->name != NULL ? PARAMD_OK : PARAMD_NO_MEMORY;
}

static int compare_offsets(const void *a, const void *b)
{
    const struct pd_safetensors_tensor *first = a;
    const struct pd_safetensors_tensor *second = b;
    if (first->begin != second->begin) {
        return first->begin < second->begin ? -1 : 1;
    }
    /* One without bytes stands before what begins at the same place. */
    return (first->end > second->end) - (first->end < second->end);
}

static enum paramd_status check_layout(struct pd_safetensors *tensors, uint64_t data_bytes,
                                       char error[PD_SAFETENSORS_ERROR_BYTES])
{
    uint64_t at = 0;
    qsort(tensors->tensors, tensors->count, sizeof tensors->tensors[0], compare_offsets);
    for (size_t i = 0; i < tensors->count; i++) {
        const struct pd_safetensors_tensor *tensor = &tensors->tensors[i];
        if (tensor->begin != at) {
            return refuse(error, "there is %s before tensor %.100s, at byte %llu of the data",
                          tensor->begin > at ? "a hole" : "an overlap", tensor->name,
                          (unsigned long long)tensor->begin);
        }
        at = tensor->end;
    }
    if (at != data_bytes) {
        return refuse(error, "its tensors have %llu bytes, and %llu follow its header",
                      (unsigned long long)at, (unsigned long long)data_bytes);
    }
    return PARAMD_OK;
}

static bool metadata_sound(const json_t *metadata)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return false;
        }
    }
    return metadata == NULL || json_is_object(metadata);
}

static enum paramd_status read_tensors(json_t *header, struct pd_safetensors *tensors,
                                       char error[PD_SAFETENSORS_ERROR_BYTES])
{
    const char *name;
    json_t *entry;
    if (!json_is_object(header) || !metadata_sound(json_object_get(header, metadata_key))) {
        return refuse(error, "its header is no object, or has metadata that is no text");
    }
    tensors->tensors = calloc(json_object_size(header) + 1, sizeof tensors->tensors[0]);
    if (tensors->tensors == NULL) {
        return PARAMD_NO_MEMORY;
    }
    json_object_foreach(header, name, entry)
    {
        if (strcmp(name, metadata_key) == 0) {
            continue;
        }
        enum paramd_status status =
            read_tensor(name, entry, &tensors->tensors[tensors->count], error);
        if (status != PARAMD_OK) {
            return status;
        }
        tensors->count++;
    }
    return PARAMD_OK;
}

enum paramd_status pd_safetensors_read_head(const uint8_t *head, size_t head_bytes,
                                            uint64_t file_bytes,
                                            struct pd_safetensors **ret_tensors,
                                            char error[PD_SAFETENSORS_ERROR_BYTES])
{
    const char *text = (const char *)head + PD_SAFETENSORS_LENGTH_BYTES;
    size_t length = head_bytes - PD_SAFETENSORS_LENGTH_BYTES;
    json_error_t at;
    if (length == 0 || text[0] != '{') {
        return refuse(error, "its header does not begin with {");
    }
    json_t *header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &at);
    if (header == NULL) {
        return refuse(error, "its header is no JSON: %s at byte %d", at.text, at.position);
    }
    struct pd_safetensors *tensors = calloc(1, sizeof *tensors);
    enum paramd_status status =
        tensors != NULL ? read_tensors(header, tensors, error) : PARAMD_NO_MEMORY;
    json_decref(header);
    if (status == PARAMD_OK) {
        tensors->head_bytes = head_bytes;
        status = check_layout(tensors, file_bytes - head_bytes, error);
    }
    if (status != PARAMD_OK) {
        pd_safetensors_destroy(tensors);
        return status;
    }
    *ret_tensors = tensors;
    return PARAMD_OK;
}

void pd_safetensors_destroy(struct pd_safetensors *tensors)
{
    if (tensors == NULL) {
        return;
    }
    for (size_t i = 0; i < tensors->count; i++) {
        free(tensors->tensors[i].name);
    }
    free(tensors->tensors);
    free(tensors);
}
