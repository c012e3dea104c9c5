/* paramctl export MODEL DIR: pulls a model piece by piece, optimizer state with it, and writes it
 * as safetensors files that PyTorch users load as they are. A block is of one version; blocks may
 * be of different ones where workers push meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/checkpoint.h"
#include "client/ctl/ctl.h"
#include "client/ctl/folder.h"
#include "client/ctl/progress.h"
#include "client/ctl/tensor_files.h"
#include "client/ctl/units.h"
#include "server/optim/optim.h"

#define FILE_BYTES_DEFAULT 5000000000U

/* What one export has under way. */
struct export
{
    const struct pd_ctl *ctl;
    struct paramd_stat *stat;
    struct paramd_model *model;
    struct pd_ctl_folder folder;
    struct pd_ctl_checkpoint checkpoint;
    struct pd_ctl_tensor_files weights;
    struct pd_ctl_tensor_files state;
    size_t
        *first_state; /* of each tensor: the place of its first moment among the state's tensors */
    struct pd_ctl_piece piece;
    struct paramd_io ios[PD_CTL_PIECE_SPANS];
    float *parts[PD_CTL_PARTS];
};

static enum pd_ctl_exit no_memory(const struct export *export)
{
    return pd_ctl_refuse("there is no memory to export model %s", export->ctl->arguments[0]);
}

/* ---- What the model is ---- */

/* Whether a SET has given it another value than the model was created with. */
static bool has_changed(const struct pd_optimizer *optimizer, const struct pd_hyper *created,
                        const struct paramd_hyper_info *now)
{
    struct pd_hyper_item item;
    for (size_t i = 0; pd_hyper_item(optimizer, created, i, &item); i++) {
        if (strcmp(item.name, now->name) == 0) {
            return memcmp(&item.number, &now->number, sizeof item.number) != 0 ||
                   strcmp(item.text, now->text) != 0;
        }
    }
    return true;
}

static bool find_changed(const struct paramd_stat *stat, const struct paramd_group *group,
                         struct pd_ctl_group *ret)
{
    char error[256];
    struct pd_hyper created;
    const struct pd_optimizer *optimizer = pd_optimizer_find(group->optimizer);
    pd_hyper_defaults(optimizer, &created);
    for (size_t i = 0; i < group->hyper_count; i++) {
        const struct paramd_hyper *one = &group->hypers[i];
        if (pd_hyper_set(optimizer, &created, one->name, one->number, one->text, error,
                         sizeof error) != PARAMD_OK) {
            return false;
        }
    }
    ret->changed = calloc(stat->hyper_count + 1, sizeof *ret->changed);
    for (size_t i = 0; i < stat->hyper_count && ret->changed != NULL; i++) {
        const struct paramd_hyper_info *now = &stat->hypers[i];
        if (strcmp(now->group, group->name) == 0 && has_changed(optimizer, &created, now)) {
            ret->changed[ret->changed_count++] =
                (struct paramd_hyper){.name = now->name,
                                      .number = now->number,
                                      .text = now->text[0] != '\0' ? now->text : NULL};
        }
    }
    return ret->changed != NULL;
}

/* A copy of count items, or NULL. */
static void *copy(const void *items, size_t count, size_t bytes)
{
    void *copied = calloc(count + 1, bytes);
    if (copied != NULL && count > 0) {
        memcpy(copied, items, count * bytes);
    }
    return copied;
}

static enum pd_ctl_exit describe_model(struct export *export)
{
    const struct paramd_definition *from = paramd_model_definition(export->model);
    struct paramd_definition *to = &export->checkpoint.definition;
    struct paramd_group *groups = copy(from->groups, from->group_count, sizeof *groups);
    *to = *from;
    to->groups = groups;
    to->tensors = copy(from->tensors, from->tensor_count, sizeof *from->tensors);
    to->group_count = 0;
    if (groups == NULL || to->tensors == NULL) {
        to->tensor_count = 0;
        return no_memory(export);
    }
    for (size_t i = 0; i < from->group_count; i++) {
        groups[i].hypers = copy(groups[i].hypers, groups[i].hyper_count, sizeof *groups[i].hypers);
        to->group_count++;
        if (groups[i].hypers == NULL) {
            return no_memory(export);
        }
    }
    enum pd_ctl_exit outcome = pd_ctl_checkpoint_complete(&export->checkpoint);
    for (size_t i = 0; i < to->group_count && outcome == PD_CTL_OK; i++) {
        outcome = find_changed(export->stat, &groups[i], &export->checkpoint.groups[i])
                      ? PD_CTL_OK
                      : no_memory(export);
    }
    return outcome;
}

/* ---- The files ---- */

/* state NULL: the weights themselves. False without memory. */
static bool name_tensor(struct pd_safetensors_tensor *ret, const struct paramd_tensor *tensor,
                        const char *state)
{
    ret->dtype = "F32";
    ret->rank = tensor->rank;
    memcpy(ret->shape, tensor->shape, sizeof ret->shape);
    if (state == NULL) {
        ret->name = strdup(tensor->name);
    } else if (asprintf(&ret->name, "state.%s.%s", tensor->name, state) < 0) {
        ret->name = NULL;
    }
    return ret->name != NULL;
}

/* The optimizer's tensors: of each of the model's its moments, then its step, a single number. */
static bool name_state(struct export *export, size_t tensor, struct pd_safetensors_tensor *state,
                       size_t *count)
{
    const struct pd_ctl_group *group = pd_ctl_group_of(&export->checkpoint, tensor);
    const struct paramd_tensor *of = &export->checkpoint.definition.tensors[tensor];
    export->first_state[tensor] = *count;
    for (unsigned i = 0; i < group->moments; i++) {
        if (!name_tensor(&state[(*count)++], of, group->moment_names[i])) {
            return false;
        }
    }
    bool named = name_tensor(&state[*count], of, "step");
    state[(*count)++].rank = 0;
    return named;
}

static void free_tensors(struct pd_safetensors_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count && tensors != NULL; i++) {
        free(tensors[i].name);
    }
    free(tensors);
}

static bool make_files(struct export *export)
{
    const struct paramd_definition *definition = &export->checkpoint.definition;
    size_t count = definition->tensor_count;
    size_t state_count = 0;
    uint64_t most = export->ctl->file_bytes != 0 ? export->ctl->file_bytes : FILE_BYTES_DEFAULT;
    struct pd_safetensors_tensor *weights = calloc(count, sizeof *weights);
    struct pd_safetensors_tensor *state = calloc(count, PD_CTL_PARTS * sizeof *state);
    export->first_state = calloc(count, sizeof *export->first_state);
    bool named = weights != NULL && state != NULL && export->first_state != NULL;
    for (size_t i = 0; i < count && named; i++) {
        named = name_tensor(&weights[i], &definition->tensors[i], NULL) &&
                name_state(export, i, state, &state_count);
    }
    if (!named) {
        free_tensors(weights, count);
        free_tensors(state, state_count);
        (void)no_memory(export);
        return false;
    }
    if (!pd_ctl_tensor_files_make(&export->weights, &export->folder, "model", weights, count,
                                  most)) {
        free_tensors(state, state_count);
        return false;
    }
    return pd_ctl_tensor_files_make(&export->state, &export->folder, "optimizer", state,
                                    state_count, most);
}

static bool open_folder(struct export *export)
{
    const char *path = export->ctl->arguments[1];
    if (!pd_ctl_folder_make(&export->folder, path)) {
        return false;
    }
    bool there = pd_ctl_folder_has(&export->folder, PD_CTL_DESCRIPTION) ||
                 pd_ctl_tensor_files_there(&export->folder, "model") ||
                 pd_ctl_tensor_files_there(&export->folder, "optimizer");
    if (there && !export->ctl->force) {
        (void)pd_ctl_refuse("%s holds a checkpoint: name another directory, or give --force to "
                            "replace it",
                            path);
        return false;
    }
    return true;
}

/* ---- The numbers ---- */

static enum pd_ctl_exit pull_piece(struct export *export)
{
    const struct pd_ctl_piece *piece = &export->piece;
    struct pd_ctl_checkpoint *checkpoint = &export->checkpoint;
    for (size_t i = 0; i < piece->count; i++) {
        const struct pd_ctl_span *span = &piece->spans[i];
        struct paramd_io *io = &export->ios[i];
        *io = (struct paramd_io){.tensor = span->tensor,
                                 .values = export->parts[0] + span->place,
                                 .first_block = span->first_block,
                                 .block_count = span->block_count};
        for (unsigned j = 0; j < pd_ctl_group_of(checkpoint, span->tensor)->moments; j++) {
            io->moments[j] = export->parts[1 + j] + span->place;
        }
    }
    int status = paramd_pull_wait(export->model, export->ios, piece->count, NULL,
                                  export->ctl->timeout_ms, NULL);
    for (size_t i = 0; i < piece->count && status == PARAMD_OK; i++) {
        const struct pd_ctl_span *span = &piece->spans[i];
        uint64_t *steps =
            checkpoint->steps + checkpoint->first_block[span->tensor] + span->first_block;
        for (uint64_t j = 0; j < span->block_count && status == PARAMD_OK; j++) {
            struct paramd_block_info info = {0};
            status = paramd_block(export->model, span->tensor, span->first_block + j, &info);
            steps[j] = info.step;
        }
    }
    return status == PARAMD_OK ? PD_CTL_OK : pd_ctl_failed(export->ctl, status);
}

static bool write_piece(const struct export *export)
{
    for (size_t i = 0; i < export->piece.count; i++) {
        const struct pd_ctl_span *span = &export->piece.spans[i];
        uint64_t offset = span->first_element * sizeof(float);
        size_t bytes = span->elements * sizeof(float);
        size_t state = export->first_state[span->tensor];
        if (!pd_ctl_tensor_files_write(&export->weights, span->tensor, offset,
                                       export->parts[0] + span->place, bytes)) {
            return false;
        }
        pd_ctl_progress_add(bytes);
        for (unsigned j = 0; j < pd_ctl_group_of(&export->checkpoint, span->tensor)->moments; j++) {
            if (!pd_ctl_tensor_files_write(&export->state, state + j, offset,
                                           export->parts[1 + j] + span->place, bytes)) {
                return false;
            }
            pd_ctl_progress_add(bytes);
        }
    }
    return true;
}

static bool write_steps(const struct export *export)
{
    const struct pd_ctl_checkpoint *checkpoint = &export->checkpoint;
    for (size_t i = 0; i < checkpoint->definition.tensor_count; i++) {
        /* torch's own type for it; exact numbers are in paramd.json. */
        float step = (float)pd_ctl_step_max(checkpoint, i);
        size_t place = export->first_state[i] + pd_ctl_group_of(checkpoint, i)->moments;
        if (!pd_ctl_tensor_files_write(&export->state, place, 0, &step, sizeof step)) {
            return false;
        }
    }
    return true;
}

static enum pd_ctl_exit move_numbers(struct export *export)
{
    for (unsigned i = 0; i < PD_CTL_PARTS; i++) {
        export->parts[i] = malloc(PD_CTL_PIECE_ELEMENTS * sizeof(float));
        if (export->parts[i] == NULL) {
            return no_memory(export);
        }
    }
    pd_ctl_progress_begin("export", pd_ctl_checkpoint_bytes(&export->checkpoint),
                          export->ctl->progress);
    while (pd_ctl_piece_next(&export->checkpoint, &export->piece)) {
        enum pd_ctl_exit outcome = pull_piece(export);
        if (outcome != PD_CTL_OK) {
            return outcome;
        }
        if (!write_piece(export)) {
            return PD_CTL_FAILED;
        }
    }
    return write_steps(export) ? PD_CTL_OK : PD_CTL_FAILED;
}

/* First everything is on the disk, then the names change; paramd.json goes first and comes last, so
 * that a directory that has it is whole. */
static bool publish(struct export *export)
{
    static const char part[] = PD_CTL_DESCRIPTION ".part";
    const struct pd_ctl_folder *folder = &export->folder;
    return pd_ctl_tensor_files_sync(&export->weights) && pd_ctl_tensor_files_sync(&export->state) &&
           pd_ctl_document_write(folder, part, pd_ctl_checkpoint_describe(&export->checkpoint)) &&
           pd_ctl_file_remove(folder, PD_CTL_DESCRIPTION) && pd_ctl_folder_sync(folder) &&
           pd_ctl_tensor_files_publish(&export->weights) &&
           pd_ctl_tensor_files_publish(&export->state) && pd_ctl_folder_sync(folder) &&
           pd_ctl_file_rename(folder, part, PD_CTL_DESCRIPTION) && pd_ctl_folder_sync(folder);
}

/* ---- The whole ---- */

static enum pd_ctl_exit print_result(const struct export *export)
{
    const struct paramd_model_info *model = &export->stat->model;
    const char *path = export->ctl->arguments[1];
    uint64_t bytes = export->weights.bytes + export->state.bytes;
    size_t files = export->weights.file_count + export->state.file_count;
    if (export->ctl->json) {
        return pd_ctl_print_json(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "model", model->name,
                                           "directory", path, "tensors", (json_int_t)model->tensors,
                                           "elements", (json_int_t)model->elements, "files",
                                           (json_int_t)files, "bytes", (json_int_t)bytes));
    }
    (void)printf("exported model %s to %s: %s tensors, %s elements, %s in %zu files\n", model->name,
                 path, pd_ctl_thousands(model->tensors).text,
                 pd_ctl_thousands(model->elements).text, pd_ctl_bytes((double)bytes).text, files);
    return PD_CTL_OK;
}

static enum pd_ctl_exit run(struct export *export)
{
    const struct pd_ctl *ctl = export->ctl;
    int status = paramd_stat(ctl->client, ctl->arguments[0], ctl->timeout_ms, &export->stat);
    if (status == PARAMD_OK && !export->stat->model.ready) {
        return pd_ctl_refuse("model %s has no values yet: its initialiser is at work",
                             ctl->arguments[0]);
    }
    if (status == PARAMD_OK) {
        status = paramd_attach(ctl->client, ctl->arguments[0], ctl->timeout_ms, &export->model);
    }
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    enum pd_ctl_exit outcome = describe_model(export);
    if (outcome == PD_CTL_OK && !(open_folder(export) && make_files(export))) {
        outcome = PD_CTL_FAILED;
    }
    if (outcome == PD_CTL_OK) {
        outcome = move_numbers(export);
    }
    if (outcome == PD_CTL_OK && !publish(export)) {
        outcome = PD_CTL_FAILED;
    }
    pd_ctl_progress_end();
    return outcome == PD_CTL_OK ? print_result(export) : outcome;
}

enum pd_ctl_exit pd_ctl_export(const struct pd_ctl *ctl)
{
    struct export *export = calloc(1, sizeof *export);
    if (export == NULL) {
        return pd_ctl_refuse("there is no memory to export a model");
    }
    export->ctl = ctl;
    export->folder.fd = -1;
    enum pd_ctl_exit outcome = run(export);
    for (unsigned i = 0; i < PD_CTL_PARTS; i++) {
        free(export->parts[i]);
    }
    pd_ctl_tensor_files_close(&export->state);
    pd_ctl_tensor_files_close(&export->weights);
    pd_ctl_checkpoint_free(&export->checkpoint);
    free(export->first_state);
    pd_ctl_folder_close(&export->folder);
    /* The session is of no use to anybody; should it stay, the daemon forgets it by itself. */
    if (export->model != NULL && paramd_leave(export->model, ctl->timeout_ms) == PARAMD_TIMEOUT) {
        paramd_model_close(export->model);
    }
    paramd_free(export->stat);
    free(export);
    return outcome;
}
