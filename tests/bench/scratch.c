/* Making and removing the folders of scratch.h. */
#include <err.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/scratch.h"

enum { SCRATCHES_MAX = 16, LOOK_AGAIN_MS = 100 };

/* What a run that ends early leaves behind; NULL in between. */
static struct pd_scratch *made[SCRATCHES_MAX];
static pid_t maker; /* the process that made them */

/* By a program, which a signal's handler may start. */
static void remove_all(const char *path)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)execl("/bin/rm", "rm", "-rf", "--", path, (char *)NULL);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

/* Workers end by themselves (pd_peer_fork); files do not, and a daemon might still make some.
 * Children may end like this process and know of its folders: they leave them alone. */
static void remove_rest(void)
{
    for (size_t i = 0; i < SCRATCHES_MAX && getpid() == maker; i++) {
        if (made[i] != NULL && made[i]->user > 0) {
            (void)kill(made[i]->user, SIGKILL);
            (void)waitpid(made[i]->user, NULL, 0);
        }
    }
    for (size_t i = 0; i < SCRATCHES_MAX && getpid() == maker; i++) {
        if (made[i] != NULL) {
            remove_all(made[i]->path);
        }
    }
}

static void on_signal(int signal)
{
    remove_rest();
    _exit(128 + signal);
}

static void catch_ends(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (sigaction(signals[i], &action, NULL) != 0) {
            err(1, "sigaction");
        }
    }
    maker = getpid();
    if (atexit(remove_rest) != 0) {
        errx(1, "atexit");
    }
}

/* Puts now in place of before. */
static void replace(const struct pd_scratch *before, struct pd_scratch *now)
{
    for (size_t i = 0; i < SCRATCHES_MAX; i++) {
        if (made[i] == before) {
            made[i] = now;
            return;
        }
    }
    errx(1, "not made for so many folders");
}

struct pd_scratch *pd_scratch_create(const char *parent)
{
    struct pd_scratch *scratch = calloc(1, sizeof *scratch);
    const char *temporary = getenv("TMPDIR");
    if (scratch == NULL) {
        err(1, "folder");
    }
    if (parent == NULL) {
        parent = temporary != NULL && temporary[0] != '\0' ? temporary : "/tmp";
    }
    if (snprintf(scratch->path, sizeof scratch->path, "%s/paramd-bench-XXXXXX", parent) >=
        (int)sizeof scratch->path) {
        errx(1, "the path is too long: %s", parent);
    }
    if (mkdtemp(scratch->path) == NULL) {
        err(1, "%s", scratch->path);
    }
    replace(NULL, scratch);
    if (maker == 0) {
        catch_ends();
    }
    return scratch;
}

void pd_scratch_destroy(struct pd_scratch *scratch)
{
    remove_all(scratch->path);
    replace(scratch, NULL);
    free(scratch);
}

/* Sleeps until something in the folder changes; looks for the process's end in between. */
void pd_scratch_wait(const struct pd_scratch *scratch, const char *file)
{
    char events[1024];
    int watch = inotify_init1(IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, scratch->path, IN_CREATE | IN_MOVED_TO) < 0) {
        err(1, "inotify");
    }
    struct pollfd wanted = {.fd = watch, .events = POLLIN};
    while (access(file, R_OK) != 0) {
        if (waitpid(scratch->user, NULL, WNOHANG) != 0) {
            errx(1, "a server does not start");
        }
        if (poll(&wanted, 1, LOOK_AGAIN_MS) > 0 && read(watch, events, sizeof events) < 0) {
            err(1, "inotify");
        }
    }
    (void)close(watch);
}
