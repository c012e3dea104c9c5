/* The safetensors format as other programs write and expect it: the head of a file made from a list
 * of tensors, and read back with everything in it checked. Bytes in, bytes out: it knows no file,
 * and no tensor's data. */
#ifndef PARAMD_SERVER_STORAGE_SAFETENSORS_H
#define PARAMD_SERVER_STORAGE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/limits.h"
#include "proto/paramd_status.h"

enum {
    PD_SAFETENSORS_LENGTH_BYTES = 8,             /* a file begins with its header's length */
    PD_SAFETENSORS_HEADER_BYTES_MAX = 100000000, /* what the format's own library allows */
    PD_SAFETENSORS_ERROR_BYTES = 256
};

struct pd_safetensors_tensor {
    char *name;
    const char *dtype; /* as the format spells it: "F32", "BF16", ... */
    unsigned rank;     /* 0: a single number */
    uint64_t shape[PD_RANK_MAX];
    uint64_t begin; /* of its bytes, row-major, counted from the end of the head */
    uint64_t end;
};

/* What a head says: tensors in the order of their bytes. */
struct pd_safetensors {
    struct pd_safetensors_tensor *tensors; /* names belong to it */
    size_t count;
    uint64_t head_bytes; /* where the first tensor begins in the file */
};

/* Lays tensors out one after the other (sets begin and end) and makes the head of their file, of a
 * multiple of 8 bytes: malloc'd. Names differ. PARAMD_TOO_LARGE: no reader would take so long a
 * header; PARAMD_NO_MEMORY. */
enum paramd_status pd_safetensors_make_head(struct pd_safetensors_tensor *tensors, size_t count,
                                            uint8_t **ret_head, size_t *ret_bytes)
    __attribute__((warn_unused_result));

/* How many bytes the whole head has, from a file's first PD_SAFETENSORS_LENGTH_BYTES.
 * PARAMD_INVALID with a sentence in error: a file of so many bytes cannot have it. */
enum paramd_status pd_safetensors_head_bytes(const uint8_t *start, uint64_t file_bytes,
                                             uint64_t *ret_bytes,
                                             char error[PD_SAFETENSORS_ERROR_BYTES])
    __attribute__((warn_unused_result));

/* Reads a whole head. file_bytes is what the file has: its tensors fill it to the last byte,
 * without holes or overlaps. PARAMD_INVALID with a sentence in error, PARAMD_NO_MEMORY. */
enum paramd_status pd_safetensors_read_head(const uint8_t *head, size_t head_bytes,
                                            uint64_t file_bytes,
                                            struct pd_safetensors **ret_tensors,
                                            char error[PD_SAFETENSORS_ERROR_BYTES])
    __attribute__((warn_unused_result));

/* NULL is fine. */
void pd_safetensors_destroy(struct pd_safetensors *tensors);

#endif
