/* Written beside its place and renamed, so that a script that waits for it never reads half of it.
 */
#include "server/address_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Of a path, as the kernel takes it. */
enum { PATH_BYTES = 4096 };

enum paramd_status pd_address_file_write(const char *path, const char *tcp, const char *unix_path,
                                         char *error, size_t error_bytes)
{
    char temporary[PATH_BYTES];
    int length = snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid());
    FILE *file = NULL;
    errno = ENAMETOOLONG;
    if (length > 0 && (size_t)length < sizeof temporary) {
        file = fopen(temporary, "we");
    }
    bool good = file != NULL;
    if (good) {
        (void)fprintf(file, "tcp %s\n", tcp);
        if (unix_path != NULL) {
            (void)fprintf(file, "unix %s\n", unix_path);
        }
        /* fclose reports what any of the writes before could not do. */
        good = ferror(file) == 0;
        good = fclose(file) == 0 && good && rename(temporary, path) == 0;
    }
    if (good) {
        return PARAMD_OK;
    }
    (void)snprintf(error, error_bytes,
                   "the address file %s cannot be written (%s): choose another path with "
                   "--address-file",
                   path, strerror(errno));
    if (file != NULL) {
        (void)unlink(temporary);
    }
    return PARAMD_UNREACHABLE;
}
