/* A growing array of names, filled by the disk's listing. */
#include "server/storage/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listing {
    struct pd_names *names;
    bool (*wanted)(const void *argument, const char *name);
    const void *argument;
    bool no_memory;
};

static void note(void *argument, const char *name)
{
    struct listing *listing = argument;
    struct pd_names *names = listing->names;
    if (strlen(name) >= PD_DISK_NAME_BYTES || !listing->wanted(listing->argument, name)) {
        return;
    }
    void *grown = realloc(names->list, (names->count + 1) * sizeof *names->list);
    if (grown == NULL) {
        listing->no_memory = true;
        return;
    }
    names->list = grown;
    (void)snprintf(names->list[names->count++], PD_DISK_NAME_BYTES, "%s", name);
}

struct pd_disk_result pd_names_init(struct pd_names *names, const struct pd_disk *disk,
                                    bool (*wanted)(const void *argument, const char *name),
                                    const void *argument)
{
    *names = (struct pd_names){.list = NULL};
    struct listing listing = {.names = names, .wanted = wanted, .argument = argument};
    struct pd_disk_result result = disk->list(disk->context, note, &listing);
    if (listing.no_memory) {
        result = (struct pd_disk_result){PARAMD_NO_MEMORY, "no memory for a list of names"};
    }
    return result;
}

void pd_names_deinit(struct pd_names *names)
{
    free(names->list);
}

struct pd_disk_result pd_names_unlink(const struct pd_names *names, const struct pd_disk *disk)
{
    struct pd_disk_result result = {PARAMD_OK, "nothing to be done"};
    for (size_t i = 0; result.status == PARAMD_OK && i < names->count; i++) {
        result = disk->unlink(disk->context, names->list[i]);
    }
    if (result.status == PARAMD_OK && names->count > 0) {
        result = disk->sync_names(disk->context);
    }
    return result;
}
