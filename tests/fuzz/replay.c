/* Stands in for libFuzzer where it is not: gives each file of the folders on the command line to
 * the target once, so that the corpora are tests in every build. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

static void replay(const char *path, size_t bytes)
{
    /* Exactly as long as the input, so that a sanitizer sees a step beyond it. */
    uint8_t *data = malloc(bytes > 0 ? bytes : 1);
    FILE *file = fopen(path, "rb");
    if (data == NULL || file == NULL || fread(data, 1, bytes, file) != bytes) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(data, bytes);
    free(data);
}

static unsigned replay_folder(const char *folder)
{
    struct dirent **entries;
    unsigned replayed = 0;
    int count = scandir(folder, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char path[4096];
        struct stat status;
        (void)snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
            /* The last line before a crash names the input. */
            (void)fprintf(stderr, "%s\n", path);
            replay(path, (size_t)status.st_size);
            replayed++;
        }
        free(entries[i]);
    }
    if (count >= 0) {
        free(entries);
    }
    return replayed;
}

int main(int argc, char **argv)
{
    unsigned replayed = 0;
    for (int i = 1; i < argc; i++) {
        replayed += replay_folder(argv[i]);
    }
    (void)printf("%u inputs\n", replayed);
    return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
