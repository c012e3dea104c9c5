/* Files of one directory, for commands: each function says on stderr what went wrong, with the
 * path, and returns false. All of them block. */
#ifndef PARAMD_CLIENT_CTL_FOLDER_H
#define PARAMD_CLIENT_CTL_FOLDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PD_CTL_FILE_NAME_BYTES = 64 };

struct pd_ctl_folder {
    const char *path; /* borrowed */
    int fd;
};

/* To read from. */
bool pd_ctl_folder_open(struct pd_ctl_folder *folder, const char *path);
/* To write into: made if it is not there, and kept from others who write until it is closed. */
bool pd_ctl_folder_make(struct pd_ctl_folder *folder, const char *path);
void pd_ctl_folder_close(struct pd_ctl_folder *folder);
/* Every name up to now is on the disk. */
bool pd_ctl_folder_sync(const struct pd_ctl_folder *folder);
/* Calls each for every name, until it returns false. */
bool pd_ctl_folder_list(const struct pd_ctl_folder *folder,
                        bool (*each)(void *arg, const char *name), void *arg);
bool pd_ctl_folder_has(const struct pd_ctl_folder *folder, const char *name);

/* A descriptor to read from, or -1. */
int pd_ctl_file_open(const struct pd_ctl_folder *folder, const char *name, uint64_t *ret_bytes);
/* The same to write into: empty, with room taken for so many bytes. */
int pd_ctl_file_make(const struct pd_ctl_folder *folder, const char *name, uint64_t bytes);
/* -1 is fine. */
void pd_ctl_file_close(int fd);
bool pd_ctl_file_read(const struct pd_ctl_folder *folder, const char *name, int fd, uint64_t offset,
                      void *bytes, size_t count);
bool pd_ctl_file_write(const struct pd_ctl_folder *folder, const char *name, int fd,
                       uint64_t offset, const void *bytes, size_t count);
bool pd_ctl_file_sync(const struct pd_ctl_folder *folder, const char *name, int fd);
bool pd_ctl_file_rename(const struct pd_ctl_folder *folder, const char *from, const char *to);
/* One that is not there is removed already. */
bool pd_ctl_file_remove(const struct pd_ctl_folder *folder, const char *name);

/* A whole JSON file; NULL after the error was printed. */
json_t *pd_ctl_document_read(const struct pd_ctl_folder *folder, const char *name);
/* Makes one that is on the disk when this returns, and takes the reference. NULL: there was no
 * memory for it. */
bool pd_ctl_document_write(const struct pd_ctl_folder *folder, const char *name, json_t *document);

#endif
