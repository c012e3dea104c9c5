/* A model's definition: from a decoded message to a checked structure and back. Everything a peer
 * says is checked here once; behind it counts and places can be believed. */
#include "proto/definition.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/slot.h"

__attribute__((format(printf, 3, 4))) static enum paramd_status
refuse(char error[PD_ERROR_TEXT_BYTES], enum paramd_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error, PD_ERROR_TEXT_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

static enum paramd_status no_memory(char error[PD_ERROR_TEXT_BYTES])
{
    return refuse(error, PARAMD_NO_MEMORY, "no memory for the definition");
}

static enum paramd_status check_block_elements(uint32_t elements, char error[PD_ERROR_TEXT_BYTES])
{
    bool power_of_two = (elements & (elements - 1)) == 0;
    if (elements != 0 &&
        (elements < PD_BLOCK_ELEMENTS_MIN || elements > PD_BLOCK_ELEMENTS_MAX || !power_of_two)) {
        return refuse(error, PARAMD_INVALID,
                      "block_elements is %u: a power of two from %d to %d is allowed", elements,
                      PD_BLOCK_ELEMENTS_MIN, PD_BLOCK_ELEMENTS_MAX);
    }
    return PARAMD_OK;
}

/* What a definition may ask for and this version does not keep. */
static enum paramd_status check_supported(const Paramd__Definition *message,
                                          char error[PD_ERROR_TEXT_BYTES])
{
    if (message->ack_level != PARAMD__ACK_LEVEL__APPLIED &&
        message->ack_level != PARAMD__ACK_LEVEL__LOGGED) {
        return refuse(error, PARAMD_UNSUPPORTED,
                      "ack level \"%s\" is not built yet: ask for \"applied\" or \"logged\"",
                      message->ack_level == PARAMD__ACK_LEVEL__REPLICATED ? "replicated" : "?");
    }
    if (message->n_tables > 0) {
        return refuse(error, PARAMD_UNSUPPORTED, "table %.100s: tables are not built yet",
                      message->tables[0]->name);
    }
    if (message->gate[0] != '\0' && strcmp(message->gate, "none") != 0) {
        return refuse(error, PARAMD_UNSUPPORTED,
                      "pull gate \"%.100s\" is not built yet: leave it out or say \"none\"",
                      message->gate);
    }
    for (size_t i = 0; i < message->n_groups; i++) {
        const Paramd__Group *group = message->groups[i];
        if (group->merge[0] != '\0' && strcmp(group->merge, "async") != 0) {
            return refuse(error, PARAMD_UNSUPPORTED,
                          "group %.60s: merge policy \"%.60s\" is not built yet: leave it out or "
                          "say \"async\"",
                          group->name, group->merge);
        }
    }
    return PARAMD_OK;
}

static enum paramd_status check_counts(const char *model, const Paramd__Definition *message,
                                       char error[PD_ERROR_TEXT_BYTES])
{
    if (!pd_name_valid(model)) {
        return refuse(error, PARAMD_INVALID,
                      "the model's name \"%.100s\" is not 1 to 255 of A-Z a-z 0-9 . _ / -", model);
    }
    if (message->n_tensors == 0 || message->n_tensors > PD_TENSORS_MAX) {
        return refuse(error, PARAMD_INVALID, "%zu tensors: 1 to %d are allowed", message->n_tensors,
                      PD_TENSORS_MAX);
    }
    if (message->n_groups == 0 || message->n_groups > PD_GROUPS_MAX) {
        return refuse(error, PARAMD_INVALID, "%zu groups: 1 to %d are allowed", message->n_groups,
                      PD_GROUPS_MAX);
    }
    return check_block_elements(message->block_elements, error);
}

static enum paramd_status read_group(const Paramd__Group *message, struct pd_group_def *group,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    if (!pd_name_valid(message->name)) {
        return refuse(error, PARAMD_INVALID,
                      "group name \"%.100s\" is not 1 to 255 of A-Z a-z 0-9 . _ / -",
                      message->name);
    }
    if (message->n_hypers > PD_HYPERS_MAX) {
        return refuse(error, PARAMD_INVALID,
                      "group %.100s names %zu hyper-parameters: %d are allowed", message->name,
                      message->n_hypers, PD_HYPERS_MAX);
    }
    group->name = strdup(message->name);
    group->optimizer = strdup(message->optimizer);
    group->hypers = calloc(message->n_hypers + 1, sizeof *group->hypers);
    if (group->name == NULL || group->optimizer == NULL || group->hypers == NULL) {
        return no_memory(error);
    }
    group->hyper_count = message->n_hypers;
    for (size_t i = 0; i < message->n_hypers; i++) {
        group->hypers[i].name = strdup(message->hypers[i]->name);
        group->hypers[i].text = strdup(message->hypers[i]->text);
        group->hypers[i].number = message->hypers[i]->number;
        if (group->hypers[i].name == NULL || group->hypers[i].text == NULL) {
            return no_memory(error);
        }
    }
    return PARAMD_OK;
}

static enum paramd_status check_init(const Paramd__Tensor *message, char error[PD_ERROR_TEXT_BYTES])
{
    if (message->init < PARAMD__INITIALISER__CLIENT ||
        message->init > PARAMD__INITIALISER__NORMAL) {
        return refuse(error, PARAMD_UNSUPPORTED, "tensor %.100s: initialiser %d is not built",
                      message->name, (int)message->init);
    }
    bool in_range = isfinite(message->a) && isfinite(message->b) && fabs(message->a) <= 1e30 &&
                    fabs(message->b) <= 1e30;
    if (!in_range || (message->init == PARAMD__INITIALISER__UNIFORM && message->a > message->b) ||
        (message->init == PARAMD__INITIALISER__NORMAL && message->b < 0)) {
        return refuse(error, PARAMD_INVALID,
                      "tensor %.100s: the initialiser's a=%g, b=%g are out of range (finite, up to "
                      "1e30; uniform: "
                      "a <= b; normal: b >= 0)",
                      message->name, message->a, message->b);
    }
    return PARAMD_OK;
}

static enum paramd_status read_shape(const Paramd__Tensor *message, struct pd_tensor_def *tensor,
                                     char error[PD_ERROR_TEXT_BYTES])
{
    if (message->n_shape == 0 || message->n_shape > PD_RANK_MAX) {
        return refuse(error, PARAMD_INVALID, "tensor %.100s has rank %zu: 1 to %d are allowed",
                      message->name, message->n_shape, PD_RANK_MAX);
    }
    tensor->rank = (uint32_t)message->n_shape;
    tensor->elements = 1;
    for (size_t i = 0; i < message->n_shape; i++) {
        uint64_t size = message->shape[i];
        if (size == 0 || size > PD_TENSOR_ELEMENTS_MAX / tensor->elements) {
            return refuse(error, PARAMD_INVALID,
                          "tensor %.100s: a shape must have 1 to 2^40 elements in all",
                          message->name);
        }
        tensor->shape[i] = size;
        tensor->elements *= size;
    }
    return PARAMD_OK;
}

static enum paramd_status read_tensor(const Paramd__Definition *definition,
                                      const Paramd__Tensor *message, struct pd_tensor_def *tensor,
                                      char error[PD_ERROR_TEXT_BYTES])
{
    if (!pd_name_valid(message->name)) {
        return refuse(error, PARAMD_INVALID,
                      "tensor name \"%.100s\" is not 1 to 255 of A-Z a-z 0-9 . _ / -",
                      message->name);
    }
    if (message->group >= definition->n_groups) {
        return refuse(error, PARAMD_INVALID,
                      "tensor %.100s is in group number %u, but there are %zu", message->name,
                      message->group, definition->n_groups);
    }
    enum paramd_status status = check_init(message, error);
    if (status == PARAMD_OK) {
        status = read_shape(message, tensor, error);
    }
    if (status != PARAMD_OK) {
        return status;
    }
    tensor->group = message->group;
    tensor->init = message->init;
    /* -0 becomes 0, as which protobuf-c would encode it: what is decoded again is the same. */
    tensor->a = message->a + 0.0;
    tensor->b = message->b + 0.0;
    tensor->seed = message->seed;
    tensor->name = strdup(message->name);
    return tensor->name != NULL ? PARAMD_OK : no_memory(error);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses a name that occurs twice. */
static enum paramd_status check_unique(const char *what, const char **names, size_t count,
                                       char error[PD_ERROR_TEXT_BYTES])
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return refuse(error, PARAMD_INVALID, "two %s are named %.100s", what, names[i]);
        }
    }
    return PARAMD_OK;
}

static enum paramd_status check_names(const struct pd_definition *definition,
                                      char error[PD_ERROR_TEXT_BYTES])
{
    size_t count = definition->tensor_count > definition->group_count ? definition->tensor_count
                                                                      : definition->group_count;
    const char **names = calloc(count, sizeof *names);
    if (names == NULL) {
        return no_memory(error);
    }
    for (size_t i = 0; i < definition->tensor_count; i++) {
        names[i] = definition->tensors[i].name;
    }
    enum paramd_status status = check_unique("tensors", names, definition->tensor_count, error);
    if (status == PARAMD_OK) {
        for (size_t i = 0; i < definition->group_count; i++) {
            names[i] = definition->groups[i].name;
        }
        status = check_unique("groups", names, definition->group_count, error);
    }
    free(names);
    return status;
}

static enum paramd_status fill(struct pd_definition *definition, const char *model,
                               const Paramd__Definition *message, char error[PD_ERROR_TEXT_BYTES])
{
    definition->name = strdup(model);
    definition->groups = calloc(message->n_groups, sizeof *definition->groups);
    definition->tensors = calloc(message->n_tensors, sizeof *definition->tensors);
    if (definition->name == NULL || definition->groups == NULL || definition->tensors == NULL) {
        return no_memory(error);
    }
    definition->ack_level = message->ack_level;
    definition->block_elements =
        message->block_elements != 0 ? message->block_elements : PD_BLOCK_ELEMENTS_DEFAULT;
    definition->first_slot = pd_slot_first(model);
    for (size_t i = 0; i < message->n_groups; i++) {
        definition->group_count = i + 1;
        enum paramd_status status = read_group(message->groups[i], &definition->groups[i], error);
        if (status != PARAMD_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < message->n_tensors; i++) {
        struct pd_tensor_def *tensor = &definition->tensors[i];
        definition->tensor_count = i + 1;
        enum paramd_status status = read_tensor(message, message->tensors[i], tensor, error);
        if (status != PARAMD_OK) {
            return status;
        }
        tensor->blocks = pd_tensor_blocks(tensor->elements, definition->block_elements);
        tensor->first_block = definition->block_count;
        definition->block_count += tensor->blocks;
        definition->element_count += tensor->elements;
    }
    return check_names(definition, error);
}

enum paramd_status pd_definition_create(const char *model, const Paramd__Definition *message,
                                        struct pd_definition **ret_definition,
                                        char error[PD_ERROR_TEXT_BYTES])
{
    enum paramd_status status = check_counts(model, message, error);
    if (status == PARAMD_OK) {
        status = check_supported(message, error);
    }
    if (status != PARAMD_OK) {
        return status;
    }
    struct pd_definition *definition = calloc(1, sizeof *definition);
    if (definition == NULL) {
        return no_memory(error);
    }
    status = fill(definition, model, message, error);
    if (status != PARAMD_OK) {
        pd_definition_destroy(definition);
        return status;
    }
    *ret_definition = definition;
    return PARAMD_OK;
}

void pd_definition_destroy(struct pd_definition *definition)
{
    if (definition == NULL) {
        return;
    }
    for (size_t i = 0; i < definition->group_count; i++) {
        struct pd_group_def *group = &definition->groups[i];
        for (size_t j = 0; j < group->hyper_count; j++) {
            free(group->hypers[j].name);
            free(group->hypers[j].text);
        }
        free(group->name);
        free(group->optimizer);
        free(group->hypers);
    }
    for (size_t i = 0; i < definition->tensor_count; i++) {
        free(definition->tensors[i].name);
    }
    free(definition->groups);
    free(definition->tensors);
    free(definition->name);
    free(definition);
}

/* Bit patterns, so that -0 and 0 differ and nothing compares unequal to itself. */
static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static bool same_tensor(const struct pd_tensor_def *first, const struct pd_tensor_def *second,
                        char difference[PD_ERROR_TEXT_BYTES])
{
    const char *what = NULL;
    if (strcmp(first->name, second->name) != 0) {
        (void)refuse(difference, PARAMD_MISMATCH, "tensor %.100s stands where the model has %.100s",
                     second->name, first->name);
        return false;
    }
    if (first->rank != second->rank ||
        memcmp(first->shape, second->shape, sizeof first->shape) != 0) {
        what = "shape";
    } else if (first->group != second->group) {
        what = "group";
    } else if (first->init == PARAMD__INITIALISER__CLIENT) {
        return true; /* its values were brought: how they would have been made is no difference */
    } else if (first->init != second->init || !same_bits(first->a, second->a) ||
               !same_bits(first->b, second->b) || first->seed != second->seed) {
        what = "initialiser";
    }
    if (what != NULL) {
        (void)refuse(difference, PARAMD_MISMATCH, "tensor %.100s has another %s", first->name,
                     what);
    }
    return what == NULL;
}

static const char *level_name(Paramd__AckLevel level)
{
    return level == PARAMD__ACK_LEVEL__LOGGED ? "logged" : "applied";
}

bool pd_definition_same(const struct pd_definition *first, const struct pd_definition *second,
                        char difference[PD_ERROR_TEXT_BYTES])
{
    if (first->ack_level != second->ack_level) {
        (void)refuse(difference, PARAMD_MISMATCH, "the ack level is %s, the model has %s",
                     level_name(second->ack_level), level_name(first->ack_level));
        return false;
    }
    if (first->block_elements != second->block_elements) {
        (void)refuse(difference, PARAMD_MISMATCH, "block_elements is %u, the model has %u",
                     second->block_elements, first->block_elements);
        return false;
    }
    if (first->group_count != second->group_count || first->tensor_count != second->tensor_count) {
        (void)refuse(difference, PARAMD_MISMATCH,
                     "%zu groups and %zu tensors, the model has %zu and %zu", second->group_count,
                     second->tensor_count, first->group_count, first->tensor_count);
        return false;
    }
    for (size_t i = 0; i < first->group_count; i++) {
        if (strcmp(first->groups[i].name, second->groups[i].name) != 0 ||
            strcmp(first->groups[i].optimizer, second->groups[i].optimizer) != 0) {
            (void)refuse(difference, PARAMD_MISMATCH,
                         "group %zu is %.60s with %.40s, the model has %.60s with %.40s", i,
                         second->groups[i].name, second->groups[i].optimizer, first->groups[i].name,
                         first->groups[i].optimizer);
            return false;
        }
    }
    for (size_t i = 0; i < first->tensor_count; i++) {
        if (!same_tensor(&first->tensors[i], &second->tensors[i], difference)) {
            return false;
        }
    }
    return true;
}

static void message_of_group(const struct pd_group_def *group, Paramd__Group *message,
                             Paramd__Hyper *hypers, Paramd__Hyper **pointers)
{
    paramd__group__init(message);
    message->name = group->name;
    message->optimizer = group->optimizer;
    message->hypers = pointers;
    message->n_hypers = group->hyper_count;
    for (size_t i = 0; i < group->hyper_count; i++) {
        paramd__hyper__init(&hypers[i]);
        hypers[i].name = group->hypers[i].name;
        hypers[i].number = group->hypers[i].number;
        hypers[i].text = group->hypers[i].text;
        pointers[i] = &hypers[i];
    }
}

static void message_of_tensor(struct pd_tensor_def *tensor, Paramd__Tensor *message)
{
    paramd__tensor__init(message);
    message->name = tensor->name;
    message->shape = tensor->shape;
    message->n_shape = tensor->rank;
    message->group = tensor->group;
    message->init = tensor->init;
    message->a = tensor->a;
    message->b = tensor->b;
    message->seed = tensor->seed;
}

enum paramd_status pd_definition_encode(const struct pd_definition *definition, uint8_t **ret_bytes,
                                        size_t *ret_count)
{
    size_t hyper_count = 0;
    for (size_t i = 0; i < definition->group_count; i++) {
        hyper_count += definition->groups[i].hyper_count;
    }
    struct pd_arena arena;
    pd_arena_init(&arena, SIZE_MAX / 2);
    Paramd__Group *groups = pd_arena_take(&arena, definition->group_count * sizeof *groups);
    Paramd__Group **group_pointers =
        pd_arena_take(&arena, definition->group_count * sizeof *group_pointers);
    Paramd__Hyper *hypers = pd_arena_take(&arena, (hyper_count + 1) * sizeof *hypers);
    Paramd__Hyper **hyper_pointers =
        pd_arena_take(&arena, (hyper_count + 1) * sizeof *hyper_pointers);
    Paramd__Tensor *tensors = pd_arena_take(&arena, definition->tensor_count * sizeof *tensors);
    Paramd__Tensor **tensor_pointers =
        pd_arena_take(&arena, definition->tensor_count * sizeof *tensor_pointers);
    enum paramd_status status = PARAMD_NO_MEMORY;
    if (groups != NULL && group_pointers != NULL && hypers != NULL && hyper_pointers != NULL &&
        tensors != NULL && tensor_pointers != NULL) {
        Paramd__Definition message = PARAMD__DEFINITION__INIT;
        message.ack_level = definition->ack_level;
        message.block_elements = definition->block_elements;
        message.groups = group_pointers;
        message.n_groups = definition->group_count;
        message.tensors = tensor_pointers;
        message.n_tensors = definition->tensor_count;
        for (size_t i = 0, hyper = 0; i < definition->group_count; i++) {
            message_of_group(&definition->groups[i], &groups[i], hypers + hyper,
                             hyper_pointers + hyper);
            hyper += definition->groups[i].hyper_count;
            group_pointers[i] = &groups[i];
        }
        for (size_t i = 0; i < definition->tensor_count; i++) {
            message_of_tensor(&definition->tensors[i], &tensors[i]);
            tensor_pointers[i] = &tensors[i];
        }
        size_t count = protobuf_c_message_get_packed_size(&message.base);
        uint8_t *bytes = malloc(count);
        if (bytes != NULL) {
            *ret_count = protobuf_c_message_pack(&message.base, bytes);
            *ret_bytes = bytes;
            status = PARAMD_OK;
        }
    }
    pd_arena_deinit(&arena);
    return status;
}
