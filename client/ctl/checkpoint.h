/* What a directory of `export` says of a model beside its numbers, and how the numbers are taken in
 * pieces. paramd.json holds what makes the model again: definition, hyper-parameters, steps. */
#ifndef PARAMD_CLIENT_CTL_CHECKPOINT_H
#define PARAMD_CLIENT_CTL_CHECKPOINT_H

#include <jansson.h>

#include "client/ctl/ctl.h"
#include "client/ctl/folder.h"
#include "proto/limits.h"

#define PD_CTL_DESCRIPTION "paramd.json"

enum {
    PD_CTL_PARTS = 1 + PARAMD_MOMENTS_MAX, /* weights and moments */
    PD_CTL_PIECE_ELEMENTS = 2 * 1024 * 1024,
    PD_CTL_PIECE_SPANS = 1024
};

/* Highest step a block may have: an exact double. */
#define PD_CTL_STEP_MAX ((uint64_t)1 << 53)

struct pd_ctl_group {
    unsigned moments;
    const char *moment_names[PARAMD_MOMENTS_MAX];
    struct paramd_hyper *changed; /* by SET since the model was created */
    size_t changed_count;
};

struct pd_ctl_checkpoint {
    struct paramd_definition definition; /* as the model was created */
    struct pd_ctl_group groups[PD_GROUPS_MAX];
    uint64_t *first_block; /* of each tensor, counted through all of them; last: the sum */
    uint64_t *steps;       /* of all blocks */
    json_t *document;      /* owns the texts of what was read */
};

/* Sets groups' moments, first_block and steps (zeros) from the definition, whose arrays and texts
 * must outlive it or be its own (below). PD_CTL_FAILED after the error was printed. */
enum pd_ctl_exit pd_ctl_checkpoint_complete(struct pd_ctl_checkpoint *checkpoint);

/* From paramd.json. */
enum pd_ctl_exit pd_ctl_checkpoint_read(struct pd_ctl_checkpoint *checkpoint,
                                        const struct pd_ctl_folder *folder);
/* NULL without memory. A new reference. */
json_t *pd_ctl_checkpoint_describe(const struct pd_ctl_checkpoint *checkpoint);
/* Frees definition.groups (with their hypers and changed) and definition.tensors too. Zeroed is
 * fine. */
void pd_ctl_checkpoint_free(struct pd_ctl_checkpoint *checkpoint);

uint64_t pd_ctl_tensor_elements(const struct paramd_tensor *tensor);
uint64_t pd_ctl_step_max(const struct pd_ctl_checkpoint *checkpoint, size_t tensor);
const struct pd_ctl_group *pd_ctl_group_of(const struct pd_ctl_checkpoint *checkpoint,
                                           size_t tensor);
/* All parts of all tensors, in bytes of f32. */
uint64_t pd_ctl_checkpoint_bytes(const struct pd_ctl_checkpoint *checkpoint);

/* Blocks of one tensor in a piece. */
struct pd_ctl_span {
    uint32_t tensor;
    uint64_t first_block;
    uint64_t block_count;
    uint64_t first_element; /* in the tensor */
    size_t elements;
    size_t place; /* of its first element in the piece */
};

/* As many blocks as are moved at a time. It begins zeroed. */
struct pd_ctl_piece {
    struct pd_ctl_span spans[PD_CTL_PIECE_SPANS];
    size_t count;
    uint32_t next_tensor;
    uint64_t next_block;
};

/* The next piece; false behind the last. */
bool pd_ctl_piece_next(const struct pd_ctl_checkpoint *checkpoint, struct pd_ctl_piece *piece);

#endif
