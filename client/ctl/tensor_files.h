/* Many tensors in one safetensors file or several: STEM.safetensors, or
 * STEM-00001-of-0000N.safetensors with STEM.safetensors.index.json, which says what is where. They
 * are made under names of their own, and take their places when all of them are whole. Every
 * function says on stderr what went wrong and returns false. */
#ifndef PARAMD_CLIENT_CTL_TENSOR_FILES_H
#define PARAMD_CLIENT_CTL_TENSOR_FILES_H

#include "client/ctl/folder.h"
#include "server/storage/safetensors.h"

/* Each is open as long as the set is. */
enum { PD_CTL_FILES_MAX = 400 };

struct pd_ctl_file {
    char name[PD_CTL_FILE_NAME_BYTES]; /* in the end */
    int fd;
    uint64_t head_bytes;
};

struct pd_ctl_tensor_files {
    const struct pd_ctl_folder *folder; /* borrowed, as stem */
    const char *stem;
    struct pd_safetensors_tensor *tensors; /* of all files, in their order; names are its own */
    uint16_t *file_of;                     /* one for each tensor */
    size_t count;
    struct pd_ctl_file *files;
    size_t file_count;
    uint64_t bytes;  /* of all tensors */
    size_t *by_name; /* when read: places of tensors, sorted by their names */
    bool made;       /* and not read */
};

/* Makes files of at most file_bytes of tensors each, unless one tensor has more. tensors (malloc'd,
 * with malloc'd names) are consumed. */
bool pd_ctl_tensor_files_make(struct pd_ctl_tensor_files *files, const struct pd_ctl_folder *folder,
                              const char *stem, struct pd_safetensors_tensor *tensors, size_t count,
                              uint64_t file_bytes);
/* Opens what pd_ctl_tensor_files_there says is there; every head is read and checked. */
bool pd_ctl_tensor_files_open(struct pd_ctl_tensor_files *files, const struct pd_ctl_folder *folder,
                              const char *stem);
bool pd_ctl_tensor_files_there(const struct pd_ctl_folder *folder, const char *stem);
/* Zeroed is fine, and what was not put in place is removed. */
void pd_ctl_tensor_files_close(struct pd_ctl_tensor_files *files);

/* The tensor's place, or files->count. */
size_t pd_ctl_tensor_files_find(const struct pd_ctl_tensor_files *files, const char *name);
/* Some of a tensor's bytes, from offset on. */
bool pd_ctl_tensor_files_read(const struct pd_ctl_tensor_files *files, size_t tensor,
                              uint64_t offset, void *bytes, size_t count);
bool pd_ctl_tensor_files_write(const struct pd_ctl_tensor_files *files, size_t tensor,
                               uint64_t offset, const void *bytes, size_t count);

/* All bytes are on the disk, still under other names. */
bool pd_ctl_tensor_files_sync(struct pd_ctl_tensor_files *files);
/* They take their places, and files of an earlier set of this stem that are none of them go. */
bool pd_ctl_tensor_files_publish(struct pd_ctl_tensor_files *files);

#endif
