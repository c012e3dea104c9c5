/* A disk of one small file, whatever it is called: cheap enough to be made for each input. */
#ifndef PARAMD_TESTS_FUZZ_ONE_FILE_H
#define PARAMD_TESTS_FUZZ_ONE_FILE_H

#include "server/storage/disk.h"

enum { PD_ONE_FILE_BYTES_MAX = 64 * 1024 };

struct pd_one_file {
    size_t count;
    uint8_t bytes[PD_ONE_FILE_BYTES_MAX];
};

/* The file is borrowed. There is no lock, list or allocate. */
struct pd_disk pd_one_file_disk(struct pd_one_file *file);

#endif
