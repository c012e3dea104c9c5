/* A crew fails as a whole: one member that ends badly takes the others along, so that nobody reads
 * figures of half a run. */
#include "client/examples/fashion/crew.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

/* The crew at work, for the end of this process, wherever that comes about. */
static struct crew *crew_of_process;

static void on_signal(int number)
{
    caught = number;
}

static void stop_all(void)
{
    for (size_t i = 0; crew_of_process != NULL && i < crew_of_process->count; i++) {
        if (crew_of_process->members[i].pid > 0) {
            kill(crew_of_process->members[i].pid, SIGTERM);
        }
    }
    for (size_t i = 0; crew_of_process != NULL && i < crew_of_process->count; i++) {
        struct crew_member *member = &crew_of_process->members[i];
        while (member->pid > 0 && waitpid(member->pid, NULL, 0) < 0 && errno == EINTR) {
        }
        member->pid = 0;
    }
}

void crew_init(struct crew *crew)
{
    crew->count = 0;
    crew_of_process = crew;
}

void crew_deinit(struct crew *crew)
{
    stop_all();
    crew->count = 0;
    crew_of_process = NULL;
}

void crew_prepare(void)
{
    atexit(stop_all);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

void crew_start(struct crew *crew, const char *name, const char *result,
                const char *const *arguments)
{
    if (crew->count == CREW_MAX) {
        errx(1, "more than %d processes", CREW_MAX);
    }
    struct crew_member *member = &crew->members[crew->count++];
    snprintf(member->name, sizeof member->name, "%s", name);
    snprintf(member->result, sizeof member->result, "%s", result);
    fflush(NULL);
    member->pid = fork();
    if (member->pid < 0) {
        err(1, "cannot start %s", name);
    }
    if (member->pid == 0) {
        execv(arguments[0], (char *const *)arguments);
        fprintf(stderr, "%s: %s: build it with cmake --build --preset release\n", arguments[0],
                strerror(errno));
        _exit(127);
    }
}

static void fail(const struct crew_member *member, int status)
{
    if (WIFSIGNALED(status)) {
        errx(1,
             "%s was killed by signal %d (%s): the run is not complete, and its figures would "
             "mean nothing",
             member->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    }
    errx(1, "%s failed with exit code %d; what it said stands above", member->name,
         WEXITSTATUS(status));
}

bool crew_poll(struct crew *crew)
{
    bool running = false;
    if (caught != 0) {
        errx(128 + caught, "stopped by a signal");
    }
    for (size_t i = 0; i < crew->count; i++) {
        struct crew_member *member = &crew->members[i];
        int status;
        if (member->pid > 0 && waitpid(member->pid, &status, WNOHANG) == member->pid) {
            member->pid = 0;
            if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                fail(member, status);
            }
        }
        running = running || member->pid > 0;
    }
    return running;
}

json_t *crew_result(const struct crew_member *member)
{
    json_error_t error;
    json_t *result = json_load_file(member->result, JSON_REJECT_DUPLICATES, &error);
    if (result == NULL) {
        errx(1, "%s left no result: %s: %s", member->name, member->result, error.text);
    }
    return result;
}
