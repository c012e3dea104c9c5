/* The file that tells scripts where a daemon can be reached. It is there whole or not at all. */
#ifndef PARAMD_SERVER_ADDRESS_FILE_H
#define PARAMD_SERVER_ADDRESS_FILE_H

#include <stddef.h>

#include "proto/paramd_status.h"

/* Writes `tcp HOST:PORT` and, unless unix_path is NULL, `unix PATH`. On failure (UNREACHABLE) error
 * is a sentence. Blocks as files do. */
enum paramd_status pd_address_file_write(const char *path, const char *tcp, const char *unix_path,
                                         char *error, size_t error_bytes)
    __attribute__((warn_unused_result));

#endif
