/* paramctl import DIR [MODEL]: makes a model from safetensors files, of an export or of another
 * program, and gives it its first values piece by piece. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/checkpoint.h"
#include "client/ctl/ctl.h"
#include "client/ctl/folder.h"
#include "client/ctl/progress.h"
#include "client/ctl/tensor_files.h"
#include "client/ctl/units.h"
#include "proto/dtype.h"

/* Where a tensor's parts are; a place equal to the files' count: it is not there. */
struct places {
    size_t part[PD_CTL_PARTS]; /* the weights' among the weights, the others among the state */
};

struct import {
    const struct pd_ctl *ctl;
    struct pd_ctl_folder folder;
    bool described; /* it has paramd.json */
    bool has_state;
    struct pd_ctl_checkpoint checkpoint;
    struct pd_ctl_tensor_files weights;
    struct pd_ctl_tensor_files state;
    struct places *places; /* one for each tensor */
    struct paramd_model *model;
    struct pd_ctl_piece piece;
    struct paramd_fill fills[PD_CTL_PIECE_SPANS];
    float *values;
    uint16_t *narrow; /* as they are in the file, where that is 16 bits */
};

static enum pd_ctl_exit no_memory(const struct import *import)
{
    return pd_ctl_refuse("there is no memory to import %s", import->folder.path);
}

/* The dtypes that parameters may have. */
static bool find_dtype(const char *name, enum pd_dtype *ret_dtype)
{
    static const char *const names[] = {[PD_F32] = "F32", [PD_BF16] = "BF16", [PD_F16] = "F16"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *ret_dtype = (enum pd_dtype)i;
            return true;
        }
    }
    return false;
}

/* ---- What the model is ---- */

/* A checkpoint of another program: its tensors in the files' order, in one group. */
static enum pd_ctl_exit describe_plain(struct import *import)
{
    const struct pd_ctl *ctl = import->ctl;
    struct paramd_definition *definition = &import->checkpoint.definition;
    size_t count = import->weights.count;
    struct paramd_group *group = calloc(1, sizeof *group);
    struct paramd_tensor *tensors = calloc(count + 1, sizeof *tensors);
    struct paramd_hyper *hypers = calloc(PD_CTL_HYPERS_MAX, sizeof *hypers);
    definition->groups = group;
    definition->tensors = tensors;
    if (group == NULL || tensors == NULL || hypers == NULL) {
        free(hypers);
        return no_memory(import);
    }
    memcpy(hypers, ctl->hypers, sizeof ctl->hypers);
    *group = (struct paramd_group){"all", ctl->optimizer, hypers, ctl->hyper_count};
    definition->group_count = 1;
    definition->tensor_count = count;
    definition->block_elements = PD_BLOCK_ELEMENTS_DEFAULT;
    for (size_t i = 0; i < count; i++) {
        const struct pd_safetensors_tensor *from = &import->weights.tensors[i];
        tensors[i].name = from->name;
        tensors[i].rank = from->rank;
        memcpy(tensors[i].shape, from->shape, sizeof tensors[i].shape);
        if (from->rank == 0 || from->end == from->begin) {
            return pd_ctl_refuse("%s: tensor %s has no elements or no dimension: leave it out of "
                                 "the checkpoint, or give it one",
                                 import->folder.path, from->name);
        }
    }
    return pd_ctl_checkpoint_complete(&import->checkpoint);
}

static enum pd_ctl_exit describe(struct import *import)
{
    const struct pd_ctl *ctl = import->ctl;
    const char *path = import->folder.path;
    if (import->described && (ctl->optimizer != NULL || ctl->hyper_count > 0)) {
        return pd_ctl_bad_usage("%s/" PD_CTL_DESCRIPTION " says which optimizer it is: leave "
                                "--optimizer and --set out, and use paramctl set afterwards",
                                path);
    }
    if (!import->described && (ctl->optimizer == NULL || ctl->argument_count < 2)) {
        return pd_ctl_bad_usage("%s has no " PD_CTL_DESCRIPTION
                                ": say which model it is to be, and "
                                "its optimizer, as in paramctl import %s NAME --optimizer adam",
                                path, path);
    }
    enum pd_ctl_exit outcome = import->described
                                   ? pd_ctl_checkpoint_read(&import->checkpoint, &import->folder)
                                   : describe_plain(import);
    if (ctl->argument_count == 2) {
        import->checkpoint.definition.name = ctl->arguments[1];
    }
    if (ctl->ack_level_given) {
        import->checkpoint.definition.ack_level = ctl->ack_level;
    }
    return outcome;
}

/* ---- What is where ---- */

static enum pd_ctl_exit check_fit(const struct import *import, const struct paramd_tensor *tensor,
                                  const struct pd_safetensors_tensor *stored)
{
    enum pd_dtype dtype;
    if (!find_dtype(stored->dtype, &dtype)) {
        return pd_ctl_refuse("%s: tensor %s is %s: only F32, BF16 and F16 can be trained",
                             import->folder.path, stored->name, stored->dtype);
    }
    if (stored->rank != tensor->rank ||
        memcmp(stored->shape, tensor->shape, tensor->rank * sizeof tensor->shape[0]) != 0) {
        return pd_ctl_refuse("%s: tensor %s has another shape than %s, which the model gives it",
                             import->folder.path, stored->name,
                             pd_ctl_shape(tensor->rank, tensor->shape).text);
    }
    return PD_CTL_OK;
}

/* The place of state.TENSOR.WHAT, or the state's count. */
static size_t find_state(const struct import *import, const char *tensor, const char *what)
{
    char name[PARAMD_NAME_BYTES + 64];
    (void)snprintf(name, sizeof name, "state.%s.%s", tensor, what);
    return pd_ctl_tensor_files_find(&import->state, name);
}

/* A tensor of one number, which is a whole one. */
static enum pd_ctl_exit read_step(const struct import *import, size_t place, double *ret_step)
{
    const struct pd_safetensors_tensor *stored = &import->state.tensors[place];
    union {
        float f32;
        double f64;
        int64_t i64;
    } raw = {.f64 = 0};
    double step = -1;
    size_t bytes = (size_t)(stored->end - stored->begin);
    if (bytes <= sizeof raw && !pd_ctl_tensor_files_read(&import->state, place, 0, &raw, bytes)) {
        return PD_CTL_FAILED;
    }
    if (strcmp(stored->dtype, "F32") == 0 && bytes == sizeof raw.f32) {
        step = (double)raw.f32;
    } else if (strcmp(stored->dtype, "F64") == 0 && bytes == sizeof raw.f64) {
        step = raw.f64;
    } else if (strcmp(stored->dtype, "I64") == 0 && bytes == sizeof raw.i64) {
        step = (double)raw.i64;
    }
    if (!(step >= 0 && step <= (double)PD_CTL_STEP_MAX && step == floor(step))) {
        return pd_ctl_refuse("%s: %s is not a whole number from 0 to 2^53, in F32, F64 or I64",
                             import->folder.path, stored->name);
    }
    *ret_step = step;
    return PD_CTL_OK;
}

/* The steps of paramd.json hold where they are those that the files were written with; who has
 * trained on since then has written others. */
static enum pd_ctl_exit take_step(struct import *import, size_t tensor, size_t place)
{
    const struct pd_ctl_checkpoint *checkpoint = &import->checkpoint;
    double step = 0;
    enum pd_ctl_exit outcome = read_step(import, place, &step);
    double written = (double)(float)pd_ctl_step_max(checkpoint, tensor);
    if (outcome != PD_CTL_OK || (import->described && step == written)) {
        return outcome;
    }
    for (uint64_t i = checkpoint->first_block[tensor]; i < checkpoint->first_block[tensor + 1];
         i++) {
        checkpoint->steps[i] = (uint64_t)step;
    }
    return PD_CTL_OK;
}

/* Finds a tensor's moments and step: all of them are there, or none where nothing says that there
 * must be. */
static enum pd_ctl_exit place_state(struct import *import, size_t tensor, size_t *used)
{
    const struct paramd_tensor *of = &import->checkpoint.definition.tensors[tensor];
    const struct pd_ctl_group *group = pd_ctl_group_of(&import->checkpoint, tensor);
    size_t none = import->state.count;
    size_t *part = import->places[tensor].part;
    size_t step = find_state(import, of->name, "step");
    size_t found = step != none;
    const char *missing = step == none ? "step" : NULL;
    for (unsigned i = 0; i < PARAMD_MOMENTS_MAX; i++) {
        part[1 + i] = none;
    }
    for (unsigned i = 0; i < group->moments; i++) {
        part[1 + i] = find_state(import, of->name, group->moment_names[i]);
        missing = part[1 + i] == none ? group->moment_names[i] : missing;
        found += part[1 + i] != none;
    }
    if (missing != NULL && (found > 0 || import->described)) {
        return pd_ctl_refuse("%s: state.%s.%s is missing, which %s keeps", import->folder.path,
                             of->name, missing,
                             import->checkpoint.definition.groups[of->group].optimizer);
    }
    enum pd_ctl_exit outcome = found > 0 ? take_step(import, tensor, step) : PD_CTL_OK;
    for (unsigned i = 0; i < group->moments && found > 0 && outcome == PD_CTL_OK; i++) {
        outcome = check_fit(import, of, &import->state.tensors[part[1 + i]]);
    }
    *used += found;
    return outcome;
}

/* files hold one tensor that nothing was found for. */
static enum pd_ctl_exit refuse_surplus(const struct import *import,
                                       const struct pd_ctl_tensor_files *files, size_t used)
{
    return pd_ctl_refuse("%s: %zu tensors of %s.safetensors are none that the model has: take them "
                         "out%s",
                         import->folder.path, files->count - used, files->stem,
                         import->described ? ", or " PD_CTL_DESCRIPTION
                                             " away to import what is there as it is"
                                           : "");
}

static enum pd_ctl_exit place_all(struct import *import)
{
    const struct paramd_definition *definition = &import->checkpoint.definition;
    size_t used = 0;
    import->places = calloc(definition->tensor_count, sizeof *import->places);
    if (import->places == NULL) {
        return no_memory(import);
    }
    for (size_t i = 0; i < definition->tensor_count; i++) {
        const struct paramd_tensor *tensor = &definition->tensors[i];
        size_t place = pd_ctl_tensor_files_find(&import->weights, tensor->name);
        if (place == import->weights.count) {
            return pd_ctl_refuse("%s: tensor %s is missing", import->folder.path, tensor->name);
        }
        import->places[i].part[0] = place;
        enum pd_ctl_exit outcome = check_fit(import, tensor, &import->weights.tensors[place]);
        if (outcome == PD_CTL_OK) {
            outcome = place_state(import, i, &used);
        }
        if (outcome != PD_CTL_OK) {
            return outcome;
        }
    }
    if (definition->tensor_count < import->weights.count) {
        return refuse_surplus(import, &import->weights, definition->tensor_count);
    }
    return used < import->state.count ? refuse_surplus(import, &import->state, used) : PD_CTL_OK;
}

/* ---- The numbers ---- */

static bool read_values(const struct import *import, const struct pd_ctl_tensor_files *files,
                        size_t place, const struct pd_ctl_span *span)
{
    enum pd_dtype dtype = PD_F32;
    float *to = import->values + span->place;
    (void)find_dtype(files->tensors[place].dtype, &dtype);
    size_t bytes = span->elements * pd_dtype_bytes(dtype);
    void *raw = dtype == PD_F32 ? (void *)to : (void *)import->narrow;
    if (!pd_ctl_tensor_files_read(files, place, span->first_element * pd_dtype_bytes(dtype), raw,
                                  bytes)) {
        return false;
    }
    if (dtype != PD_F32) {
        pd_dtype_widen(dtype, raw, to, span->elements);
    }
    return true;
}

static enum pd_ctl_exit fill_part(struct import *import, unsigned part)
{
    const struct pd_ctl_checkpoint *checkpoint = &import->checkpoint;
    const struct pd_ctl_tensor_files *files = part == 0 ? &import->weights : &import->state;
    size_t count = 0;
    for (size_t i = 0; i < import->piece.count; i++) {
        const struct pd_ctl_span *span = &import->piece.spans[i];
        size_t place = import->places[span->tensor].part[part];
        if (place == files->count) {
            continue;
        }
        if (!read_values(import, files, place, span)) {
            return PD_CTL_FAILED;
        }
        import->fills[count++] = (struct paramd_fill){
            .tensor = span->tensor,
            .first_block = span->first_block,
            .block_count = span->block_count,
            .values = import->values + span->place,
            .steps = checkpoint->steps + checkpoint->first_block[span->tensor] + span->first_block};
        pd_ctl_progress_add(span->elements * sizeof(float));
    }
    if (count == 0) {
        return PD_CTL_OK;
    }
    int status = paramd_fill(import->model, part, import->fills, count, import->ctl->timeout_ms);
    return status == PARAMD_OK ? PD_CTL_OK : pd_ctl_failed(import->ctl, status);
}

/* Moments before weights, which complete the blocks. */
static enum pd_ctl_exit fill_all(struct import *import)
{
    enum pd_ctl_exit outcome = PD_CTL_OK;
    import->values = malloc(PD_CTL_PIECE_ELEMENTS * sizeof(float));
    import->narrow = malloc(PD_CTL_PIECE_ELEMENTS * sizeof(uint16_t));
    if (import->values == NULL || import->narrow == NULL) {
        return no_memory(import);
    }
    pd_ctl_progress_begin("import", pd_ctl_checkpoint_bytes(&import->checkpoint),
                          import->ctl->progress);
    while (outcome == PD_CTL_OK && pd_ctl_piece_next(&import->checkpoint, &import->piece)) {
        for (unsigned i = 1; i <= PD_CTL_PARTS && outcome == PD_CTL_OK; i++) {
            outcome = fill_part(import, i % PD_CTL_PARTS);
        }
    }
    return outcome;
}

/* A pull is answered when the model has all its values. */
static int wait_until_ready(struct import *import)
{
    struct paramd_io io = {.tensor = 0, .values = import->values, .block_count = 1};
    return paramd_pull_wait(import->model, &io, 1, NULL, import->ctl->timeout_ms, NULL);
}

/* Before anybody can push: what SET had made of the hyper-parameters. */
static int set_changed(const struct import *import)
{
    const struct paramd_definition *definition = &import->checkpoint.definition;
    int status = PARAMD_OK;
    for (size_t i = 0; i < definition->group_count && status == PARAMD_OK; i++) {
        const struct pd_ctl_group *group = &import->checkpoint.groups[i];
        if (group->changed_count > 0) {
            status = paramd_set(import->model, definition->groups[i].name, group->changed,
                                group->changed_count, 0, import->ctl->timeout_ms);
        }
    }
    return status;
}

/* ---- The whole ---- */

static enum pd_ctl_exit open_all(struct import *import)
{
    const char *path = import->ctl->arguments[0];
    if (!pd_ctl_folder_open(&import->folder, path)) {
        return PD_CTL_FAILED;
    }
    import->described = pd_ctl_folder_has(&import->folder, PD_CTL_DESCRIPTION);
    if (!pd_ctl_tensor_files_there(&import->folder, "model")) {
        return pd_ctl_refuse("%s holds no model.safetensors and no model.safetensors.index.json",
                             path);
    }
    import->has_state = pd_ctl_tensor_files_there(&import->folder, "optimizer");
    bool opened = pd_ctl_tensor_files_open(&import->weights, &import->folder, "model") &&
                  (!import->has_state ||
                   pd_ctl_tensor_files_open(&import->state, &import->folder, "optimizer"));
    return opened ? PD_CTL_OK : PD_CTL_FAILED;
}

static enum pd_ctl_exit print_result(const struct import *import)
{
    const struct paramd_definition *definition = &import->checkpoint.definition;
    uint64_t elements = 0;
    for (size_t i = 0; i < definition->tensor_count; i++) {
        elements += pd_ctl_tensor_elements(&definition->tensors[i]);
    }
    if (import->ctl->json) {
        return pd_ctl_print_json(
            json_pack("{s:s, s:s, s:I, s:I, s:b}", "model", definition->name, "directory",
                      import->folder.path, "tensors", (json_int_t)definition->tensor_count,
                      "elements", (json_int_t)elements, "optimizer_state", (int)import->has_state));
    }
    (void)printf("imported model %s from %s: %s tensors, %s elements, %s optimizer state\n",
                 definition->name, import->folder.path,
                 pd_ctl_thousands(definition->tensor_count).text, pd_ctl_thousands(elements).text,
                 import->has_state ? "with" : "without");
    return PD_CTL_OK;
}

/* Half a model is of no use: the very one that was made here goes. */
static void take_back(const struct import *import, uint64_t number)
{
    if (number != 0 && paramd_delete(import->ctl->client, import->checkpoint.definition.name,
                                     number, import->ctl->timeout_ms) != PARAMD_OK) {
        (void)pd_ctl_refuse("model %s stays behind without values: paramctl delete takes it away",
                            import->checkpoint.definition.name);
    }
}

static enum pd_ctl_exit fill_model(struct import *import)
{
    const struct pd_ctl *ctl = import->ctl;
    struct paramd_stat *stat = NULL;
    const struct paramd_definition *definition = &import->checkpoint.definition;
    int status = paramd_create(ctl->client, definition, ctl->timeout_ms, &import->model);
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    status = paramd_stat(ctl->client, definition->name, ctl->timeout_ms, &stat);
    uint64_t number = status == PARAMD_OK ? stat->model.number : 0;
    paramd_free(stat);
    if (status == PARAMD_OK) {
        status = set_changed(import);
    }
    enum pd_ctl_exit outcome = PD_CTL_OK;
    if (status == PARAMD_OK) {
        outcome = fill_all(import);
        status = outcome == PD_CTL_OK ? wait_until_ready(import) : PARAMD_OK;
    }
    if (status != PARAMD_OK) {
        outcome = pd_ctl_failed(ctl, status);
    }
    pd_ctl_progress_end();
    if (outcome != PD_CTL_OK) {
        take_back(import, number);
    }
    return outcome;
}

static enum pd_ctl_exit run(struct import *import)
{
    enum pd_ctl_exit outcome = open_all(import);
    if (outcome == PD_CTL_OK) {
        outcome = describe(import);
    }
    if (outcome == PD_CTL_OK) {
        outcome = place_all(import);
    }
    if (outcome == PD_CTL_OK) {
        outcome = fill_model(import);
    }
    return outcome == PD_CTL_OK ? print_result(import) : outcome;
}

enum pd_ctl_exit pd_ctl_import(const struct pd_ctl *ctl)
{
    struct import *import = calloc(1, sizeof *import);
    if (import == NULL) {
        return pd_ctl_refuse("there is no memory to import a model");
    }
    import->ctl = ctl;
    import->folder.fd = -1;
    enum pd_ctl_exit outcome = run(import);
    if (import->model != NULL && paramd_leave(import->model, ctl->timeout_ms) == PARAMD_TIMEOUT) {
        paramd_model_close(import->model);
    }
    pd_ctl_checkpoint_free(&import->checkpoint);
    pd_ctl_tensor_files_close(&import->state);
    pd_ctl_tensor_files_close(&import->weights);
    free(import->places);
    free(import->values);
    free(import->narrow);
    pd_ctl_folder_close(&import->folder);
    free(import);
    return outcome;
}
