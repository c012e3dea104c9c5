/* Checkpoints: reading and writing paramd.json, and cutting a model into pieces. */
#include "client/ctl/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"

enum { FORMAT_VERSION = 1 };

uint64_t pd_ctl_tensor_elements(const struct paramd_tensor *tensor)
{
    uint64_t elements = 1;
    for (unsigned i = 0; i < tensor->rank; i++) {
        elements *= tensor->shape[i];
    }
    return elements;
}

const struct pd_ctl_group *pd_ctl_group_of(const struct pd_ctl_checkpoint *checkpoint,
                                           size_t tensor)
{
    return &checkpoint->groups[checkpoint->definition.tensors[tensor].group];
}

uint64_t pd_ctl_step_max(const struct pd_ctl_checkpoint *checkpoint, size_t tensor)
{
    uint64_t step = 0;
    for (uint64_t i = checkpoint->first_block[tensor]; i < checkpoint->first_block[tensor + 1];
         i++) {
        step = checkpoint->steps[i] > step ? checkpoint->steps[i] : step;
    }
    return step;
}

uint64_t pd_ctl_checkpoint_bytes(const struct pd_ctl_checkpoint *checkpoint)
{
    uint64_t elements = 0;
    for (size_t i = 0; i < checkpoint->definition.tensor_count; i++) {
        elements += pd_ctl_tensor_elements(&checkpoint->definition.tensors[i]) *
                    (1 + pd_ctl_group_of(checkpoint, i)->moments);
    }
    return elements * sizeof(float);
}

void pd_ctl_checkpoint_free(struct pd_ctl_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->definition.group_count; i++) {
        free((void *)(uintptr_t)checkpoint->definition.groups[i].hypers);
        free(checkpoint->groups[i].changed);
    }
    free((void *)(uintptr_t)checkpoint->definition.groups);
    free((void *)(uintptr_t)checkpoint->definition.tensors);
    free(checkpoint->first_block);
    free(checkpoint->steps);
    json_decref(checkpoint->document);
    *checkpoint = (struct pd_ctl_checkpoint){0};
}

/* ---- What follows from the definition ---- */

static enum pd_ctl_exit find_moments(const struct paramd_group *group, struct pd_ctl_group *ret)
{
    char error[256];
    struct pd_hyper hyper;
    const struct pd_optimizer *optimizer = pd_optimizer_find(group->optimizer);
    if (optimizer == NULL) {
        return pd_ctl_refuse("group %s: this paramctl knows no optimizer \"%s\"", group->name,
                             group->optimizer);
    }
    pd_hyper_defaults(optimizer, &hyper);
    for (size_t i = 0; i < group->hyper_count; i++) {
        const struct paramd_hyper *one = &group->hypers[i];
        if (pd_hyper_set(optimizer, &hyper, one->name, one->number, one->text, error,
                         sizeof error) != PARAMD_OK) {
            return pd_ctl_refuse("group %s: %s", group->name, error);
        }
    }
    ret->moments = pd_optimizer_moments(optimizer, &hyper);
    for (unsigned i = 0; i < ret->moments; i++) {
        ret->moment_names[i] = pd_optimizer_moment_name(optimizer, &hyper, i);
    }
    return PD_CTL_OK;
}

enum pd_ctl_exit pd_ctl_checkpoint_complete(struct pd_ctl_checkpoint *checkpoint)
{
    const struct paramd_definition *definition = &checkpoint->definition;
    uint64_t blocks = 0;
    for (size_t i = 0; i < definition->group_count; i++) {
        enum pd_ctl_exit outcome = find_moments(&definition->groups[i], &checkpoint->groups[i]);
        if (outcome != PD_CTL_OK) {
            return outcome;
        }
    }
    checkpoint->first_block = calloc(definition->tensor_count + 1, sizeof *checkpoint->first_block);
    for (size_t i = 0; i < definition->tensor_count && checkpoint->first_block != NULL; i++) {
        uint64_t elements = pd_ctl_tensor_elements(&definition->tensors[i]);
        checkpoint->first_block[i] = blocks;
        blocks += (elements + definition->block_elements - 1) / definition->block_elements;
        checkpoint->first_block[i + 1] = blocks;
    }
    checkpoint->steps = calloc((size_t)blocks + 1, sizeof *checkpoint->steps);
    return checkpoint->first_block != NULL && checkpoint->steps != NULL
               ? PD_CTL_OK
               : pd_ctl_refuse("there is no memory for the model's %llu blocks",
                               (unsigned long long)blocks);
}

/* ---- Pieces ---- */

bool pd_ctl_piece_next(const struct pd_ctl_checkpoint *checkpoint, struct pd_ctl_piece *piece)
{
    const struct paramd_definition *definition = &checkpoint->definition;
    uint64_t block_elements = definition->block_elements;
    uint64_t room = PD_CTL_PIECE_ELEMENTS;
    piece->count = 0;
    while (piece->next_tensor < definition->tensor_count && piece->count < PD_CTL_PIECE_SPANS) {
        uint32_t tensor = piece->next_tensor;
        uint64_t blocks = checkpoint->first_block[tensor + 1] - checkpoint->first_block[tensor];
        uint64_t first = piece->next_block * block_elements;
        uint64_t left = pd_ctl_tensor_elements(&definition->tensors[tensor]) - first;
        /* What does not fit in is cut behind a block. */
        uint64_t elements = left <= room ? left : room / block_elements * block_elements;
        if (elements == 0) {
            break;
        }
        uint64_t count = (elements + block_elements - 1) / block_elements;
        piece->spans[piece->count++] =
            (struct pd_ctl_span){.tensor = tensor,
                                 .first_block = piece->next_block,
                                 .block_count = count,
                                 .first_element = first,
                                 .elements = (size_t)elements,
                                 .place = (size_t)(PD_CTL_PIECE_ELEMENTS - room)};
        room -= elements;
        piece->next_block += count;
        if (piece->next_block == blocks) {
            piece->next_block = 0;
            piece->next_tensor++;
        }
    }
    return piece->count > 0;
}

/* ---- Writing paramd.json ---- */

static bool put(json_t *array, json_t *value)
{
    return json_array_append_new(array, value) == 0;
}

static json_t *describe_groups(const struct pd_ctl_checkpoint *checkpoint)
{
    json_t *list = json_array();
    for (size_t i = 0; i < checkpoint->definition.group_count; i++) {
        const struct paramd_group *group = &checkpoint->definition.groups[i];
        const struct pd_ctl_group *more = &checkpoint->groups[i];
        if (!put(list, json_pack("{s:s, s:s, s:o, s:o}", "name", group->name, "optimizer",
                                 group->optimizer, "hypers",
                                 pd_ctl_json_hypers(group->hypers, group->hyper_count), "changed",
                                 pd_ctl_json_hypers(more->changed, more->changed_count)))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* One number if all blocks agree. */
static json_t *describe_steps(const struct pd_ctl_checkpoint *checkpoint, size_t tensor)
{
    const uint64_t *steps = checkpoint->steps + checkpoint->first_block[tensor];
    size_t count = (size_t)(checkpoint->first_block[tensor + 1] - checkpoint->first_block[tensor]);
    size_t alike = 1;
    while (alike < count && steps[alike] == steps[0]) {
        alike++;
    }
    if (alike == count) {
        return json_integer((json_int_t)steps[0]);
    }
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (!put(list, json_integer((json_int_t)steps[i]))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *describe_tensor(const struct pd_ctl_checkpoint *checkpoint, size_t i)
{
    const struct paramd_tensor *tensor = &checkpoint->definition.tensors[i];
    json_t *shape = json_array();
    for (unsigned j = 0; j < tensor->rank; j++) {
        if (!put(shape, json_integer((json_int_t)tensor->shape[j]))) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:s, s:o}", "name", tensor->name, "shape", shape, "group",
                     checkpoint->definition.groups[tensor->group].name, "step",
                     describe_steps(checkpoint, i));
}

static json_t *describe_tensors(const struct pd_ctl_checkpoint *checkpoint)
{
    json_t *list = json_array();
    for (size_t i = 0; i < checkpoint->definition.tensor_count; i++) {
        if (!put(list, describe_tensor(checkpoint, i))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *pd_ctl_checkpoint_describe(const struct pd_ctl_checkpoint *checkpoint)
{
    return json_pack("{s:i, s:s, s:I, s:s, s:o, s:o}", "version", FORMAT_VERSION, "model",
                     checkpoint->definition.name, "block_elements",
                     (json_int_t)checkpoint->definition.block_elements, "ack_level",
                     pd_ctl_ack_level_name(checkpoint->definition.ack_level), "groups",
                     describe_groups(checkpoint), "tensors", describe_tensors(checkpoint));
}

/* ---- Reading paramd.json ---- */

static bool read_count(const json_t *value, uint64_t max, uint64_t *ret_count)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max) {
        return false;
    }
    *ret_count = (uint64_t)json_integer_value(value);
    return true;
}

/* NULL: no object of numbers and texts, or no memory. */
static struct paramd_hyper *read_hypers(json_t *object, size_t *ret_count)
{
    const char *name;
    json_t *value;
    size_t count = 0;
    struct paramd_hyper *hypers = calloc(json_object_size(object) + 1, sizeof *hypers);
    bool sound =
        hypers != NULL && json_is_object(object) && json_object_size(object) <= PD_CTL_HYPERS_MAX;
    json_object_foreach(object, name, value)
    {
        sound = sound && (json_is_number(value) || json_is_string(value));
        if (!sound) {
            break;
        }
        hypers[count++] = (struct paramd_hyper){
            .name = name, .number = json_number_value(value), .text = json_string_value(value)};
    }
    if (!sound) {
        free(hypers);
        return NULL;
    }
    *ret_count = count;
    return hypers;
}

static bool read_groups(struct pd_ctl_checkpoint *checkpoint, json_t *list)
{
    size_t count = json_array_size(list);
    struct paramd_group *groups = calloc(count + 1, sizeof *groups);
    checkpoint->definition.groups = groups;
    if (groups == NULL || count == 0 || count > PD_GROUPS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        json_t *group = json_array_get(list, i);
        groups[i].name = json_string_value(json_object_get(group, "name"));
        groups[i].optimizer = json_string_value(json_object_get(group, "optimizer"));
        checkpoint->definition.group_count++;
        groups[i].hypers = read_hypers(json_object_get(group, "hypers"), &groups[i].hyper_count);
        checkpoint->groups[i].changed =
            read_hypers(json_object_get(group, "changed"), &checkpoint->groups[i].changed_count);
        if (groups[i].name == NULL || groups[i].optimizer == NULL || groups[i].hypers == NULL ||
            checkpoint->groups[i].changed == NULL) {
            return false;
        }
    }
    return true;
}

static bool read_shape(const json_t *shape, struct paramd_tensor *tensor)
{
    uint64_t elements = 1;
    if (json_array_size(shape) < 1 || json_array_size(shape) > PARAMD_RANK_MAX) {
        return false;
    }
    tensor->rank = (unsigned)json_array_size(shape);
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (!read_count(json_array_get(shape, i), PD_TENSOR_ELEMENTS_MAX, &tensor->shape[i]) ||
            tensor->shape[i] == 0 || tensor->shape[i] > PD_TENSOR_ELEMENTS_MAX / elements) {
            return false;
        }
        elements *= tensor->shape[i];
    }
    return true;
}

static bool read_tensor(const struct paramd_definition *definition, const json_t *entry,
                        struct paramd_tensor *tensor)
{
    const char *group = json_string_value(json_object_get(entry, "group"));
    tensor->name = json_string_value(json_object_get(entry, "name"));
    while (group != NULL && tensor->group < definition->group_count &&
           strcmp(definition->groups[tensor->group].name, group) != 0) {
        tensor->group++;
    }
    return tensor->name != NULL && group != NULL && tensor->group < definition->group_count &&
           read_shape(json_object_get(entry, "shape"), tensor);
}

static bool read_tensors(struct pd_ctl_checkpoint *checkpoint, const json_t *list)
{
    struct paramd_definition *definition = &checkpoint->definition;
    size_t count = json_array_size(list);
    struct paramd_tensor *tensors = calloc(count + 1, sizeof *tensors);
    definition->tensors = tensors;
    definition->tensor_count = count;
    bool sound = tensors != NULL && count > 0 && count <= PD_TENSORS_MAX;
    for (size_t i = 0; i < count && sound; i++) {
        sound = read_tensor(definition, json_array_get(list, i), &tensors[i]);
    }
    return sound;
}

static bool read_steps(const struct pd_ctl_checkpoint *checkpoint, const json_t *list)
{
    bool sound = true;
    for (size_t i = 0; i < checkpoint->definition.tensor_count && sound; i++) {
        const json_t *step = json_object_get(json_array_get(list, i), "step");
        uint64_t first = checkpoint->first_block[i];
        uint64_t count = checkpoint->first_block[i + 1] - first;
        sound = !json_is_array(step) || json_array_size(step) == count;
        for (uint64_t j = 0; j < count && sound; j++) {
            const json_t *one = json_is_array(step) ? json_array_get(step, (size_t)j) : step;
            sound = read_count(one, PD_CTL_STEP_MAX, &checkpoint->steps[first + j]);
        }
    }
    return sound;
}

enum pd_ctl_exit pd_ctl_checkpoint_read(struct pd_ctl_checkpoint *checkpoint,
                                        const struct pd_ctl_folder *folder)
{
    *checkpoint =
        (struct pd_ctl_checkpoint){.document = pd_ctl_document_read(folder, PD_CTL_DESCRIPTION)};
    json_t *document = checkpoint->document;
    json_t *tensors = json_object_get(document, "tensors");
    uint64_t version = 0;
    uint64_t block_elements = 0;
    if (document == NULL) {
        return PD_CTL_FAILED;
    }
    if (!read_count(json_object_get(document, "version"), UINT32_MAX, &version) ||
        version != FORMAT_VERSION) {
        return pd_ctl_refuse("%s/" PD_CTL_DESCRIPTION " has a format that this paramctl does not "
                             "know: take a newer one",
                             folder->path);
    }
    checkpoint->definition.name = json_string_value(json_object_get(document, "model"));
    const char *level = json_string_value(json_object_get(document, "ack_level"));
    bool sound = checkpoint->definition.name != NULL && level != NULL &&
                 pd_ctl_find_ack_level(level, &checkpoint->definition.ack_level) &&
                 read_count(json_object_get(document, "block_elements"), PD_BLOCK_ELEMENTS_MAX,
                            &block_elements) &&
                 block_elements >= PD_BLOCK_ELEMENTS_MIN &&
                 read_groups(checkpoint, json_object_get(document, "groups")) &&
                 read_tensors(checkpoint, tensors);
    checkpoint->definition.block_elements = (uint32_t)block_elements;
    enum pd_ctl_exit outcome = sound ? pd_ctl_checkpoint_complete(checkpoint) : PD_CTL_OK;
    if (outcome == PD_CTL_OK && !(sound && read_steps(checkpoint, tensors))) {
        outcome = pd_ctl_refuse("%s/" PD_CTL_DESCRIPTION " does not describe a model as export "
                                "writes it",
                                folder->path);
    }
    return outcome;
}
