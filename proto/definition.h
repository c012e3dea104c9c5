/* The definition of a model as both sides hold it: checked, with places and counts worked out. */
#ifndef PARAMD_PROTO_DEFINITION_H
#define PARAMD_PROTO_DEFINITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/paramd.pb-c.h"
#include "proto/paramd_status.h"

struct pd_hyper_def {
    char *name;
    double number;
    char *text; /* "" for a number */
};

struct pd_group_def {
    char *name;
    char *optimizer;
    struct pd_hyper_def *hypers;
    size_t hyper_count;
};

struct pd_tensor_def {
    char *name;
    uint64_t shape[PD_RANK_MAX];
    uint32_t rank;
    uint32_t group;
    uint64_t elements;
    uint64_t blocks;
    uint64_t first_block; /* of the model's blocks, counted through all tensors */
    Paramd__Initialiser init;
    double a;
    double b;
    uint64_t seed;
};

struct pd_definition {
    char *name; /* of the model */
    Paramd__AckLevel ack_level;
    uint32_t block_elements;
    uint32_t first_slot;
    struct pd_group_def *groups;
    size_t group_count;
    struct pd_tensor_def *tensors;
    size_t tensor_count;
    uint64_t block_count;
    uint64_t element_count;
};

enum { PD_ERROR_TEXT_BYTES = 640 };

/* Checks a decoded message and makes a definition of it (heap; free with pd_definition_destroy). On
 * failure error says in one sentence what is wrong and where. PARAMD_INVALID, PARAMD_UNSUPPORTED
 * (what this version cannot keep, by name), PARAMD_TOO_LARGE, PARAMD_NO_MEMORY. */
enum paramd_status pd_definition_create(const char *model, const Paramd__Definition *message,
                                        struct pd_definition **ret_definition,
                                        char error[PD_ERROR_TEXT_BYTES])
    __attribute__((warn_unused_result));
void pd_definition_destroy(struct pd_definition *definition);

/* Names the first difference of two definitions of one model in one sentence; true if there is
 * none. A tensor whose first values a client gave is the same with any initialiser. Groups are
 * compared without their hyper-parameters: what defaults mean is the optimizer's business. */
bool pd_definition_same(const struct pd_definition *first, const struct pd_definition *second,
                        char difference[PD_ERROR_TEXT_BYTES]);

/* The definition as a protobuf message: malloc'd bytes for the payload of CREATE or STATED. */
enum paramd_status pd_definition_encode(const struct pd_definition *definition, uint8_t **ret_bytes,
                                        size_t *ret_count) __attribute__((warn_unused_result));

#endif
