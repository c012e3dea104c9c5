/* Processes that train: started, watched and stopped together, each leaving one JSON file. It knows
 * nothing of what they compute. */
#ifndef FASHION_CREW_H
#define FASHION_CREW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { CREW_MAX = 64, CREW_TEXT_BYTES = 256 };

struct crew_member {
    char name[CREW_TEXT_BYTES];   /* for messages */
    char result[CREW_TEXT_BYTES]; /* path of its JSON file */
    pid_t pid;                    /* 0: not running */
};

struct crew {
    struct crew_member members[CREW_MAX];
    size_t count;
};

/* Call once: from now on SIGINT, SIGTERM and SIGHUP are seen by crew_poll, and a crew never
 * outlives this process, unless that is killed. */
void crew_prepare(void);

/* One crew at a time: it must stay where it is until crew_deinit. */
void crew_init(struct crew *crew);
/* Stops those that still run. */
void crew_deinit(struct crew *crew);

/* Starts a program with arguments that end with NULL. Ends this process if it cannot. */
void crew_start(struct crew *crew, const char *name, const char *result,
                const char *const *arguments);

/* Whether any of them still runs. If one failed or a signal came, says why and ends this process,
 * and with it the others. Never blocks. */
bool crew_poll(struct crew *crew);

/* Takes what a member left behind. Ends this process if there is nothing. */
json_t *crew_result(const struct crew_member *member);

#endif
