/* Starting and stopping paramd for daemon.h. */
#include <err.h>
#include <errno.h>
#include <linux/limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/base.h"
#include "tests/bench/daemon.h"

enum { DAEMONS_MAX = 8, FOLDER_BYTES = 64, PATH_BYTES = 128, LOOK_AGAIN_MS = 100 };

struct pd_daemon {
    pid_t pid;
    char folder[FOLDER_BYTES];
    char address_file[PATH_BYTES];
    char unix_path[PATH_BYTES];
    char tcp[PATH_BYTES];
    char unix_address[PATH_BYTES];
};

/* What an interrupted run leaves to the signal's handler; NULL in between. */
static const struct pd_daemon *running[DAEMONS_MAX];

static void remove_folder(const struct pd_daemon *daemon)
{
    (void)unlink(daemon->address_file);
    (void)unlink(daemon->unix_path);
    (void)rmdir(daemon->folder);
}

/* Workers end by themselves (pd_peer_fork); files do not, and the daemon might still make some. */
static void on_end(int signal)
{
    for (size_t i = 0; i < DAEMONS_MAX; i++) {
        if (running[i] != NULL) {
            (void)kill(running[i]->pid, SIGKILL);
            (void)waitpid(running[i]->pid, NULL, 0);
            remove_folder(running[i]);
        }
    }
    _exit(128 + signal);
}

static void catch_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = on_end};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (sigaction(signals[i], &action, NULL) != 0) {
            err(1, "sigaction");
        }
    }
}

/* Puts now in place of before. */
static void replace_running(const struct pd_daemon *before, const struct pd_daemon *now)
{
    for (size_t i = 0; i < DAEMONS_MAX; i++) {
        if (running[i] == before) {
            running[i] = now;
            return;
        }
    }
    errx(1, "not made for so many daemons");
}

/* What is 0 in the task is left to the daemon. */
static void run(const struct pd_daemon *daemon, const struct pd_daemon_task *task)
{
    char path[PATH_MAX];
    char shards[16];
    char connections[16];
    char us[16];
    const char *arguments[24] = {"paramd",
                                 "--listen",
                                 "127.0.0.1:0",
                                 "--unix",
                                 daemon->unix_path,
                                 "--address-file",
                                 daemon->address_file,
                                 "--log-level",
                                 "warn",
                                 "--payload-sum",
                                 task->payload_sum ? "on" : "off",
                                 "--shards",
                                 shards};
    size_t count = 13;
    pd_program_beside("paramd", path, sizeof path);
    (void)snprintf(shards, sizeof shards, "%u", task->shards);
    if (task->connections_max > 0) {
        (void)snprintf(connections, sizeof connections, "%u", task->connections_max);
        arguments[count++] = "--connections-max";
        arguments[count++] = connections;
    }
    if (task->busy_poll_us != 0) {
        (void)snprintf(us, sizeof us, "%d", task->busy_poll_us > 0 ? task->busy_poll_us : 0);
        arguments[count++] = "--busy-poll-us";
        arguments[count++] = us;
    }
    (void)execv(path, (char *const *)(uintptr_t)arguments);
    warn("%s", path);
    _exit(1);
}

/* Sleeps until something in the folder changes; looks for the process's end in between. */
static void wait_for_file(const struct pd_daemon *daemon, int watch)
{
    char events[1024];
    struct pollfd wanted = {.fd = watch, .events = POLLIN};
    while (access(daemon->address_file, R_OK) != 0) {
        if (waitpid(daemon->pid, NULL, WNOHANG) != 0) {
            errx(1, "paramd does not start");
        }
        if (poll(&wanted, 1, LOOK_AGAIN_MS) > 0 && read(watch, events, sizeof events) < 0) {
            err(1, "inotify");
        }
    }
}

static void read_address(struct pd_daemon *daemon)
{
    FILE *file = fopen(daemon->address_file, "re");
    if (file == NULL || fscanf(file, "tcp %127s", daemon->tcp) != 1) {
        errx(1, "%s names no TCP address", daemon->address_file);
    }
    (void)fclose(file);
}

struct pd_daemon *pd_daemon_start(const struct pd_daemon_task *task)
{
    struct pd_daemon *daemon = calloc(1, sizeof *daemon);
    if (daemon == NULL) {
        err(1, "daemon");
    }
    const char *parent = getenv("TMPDIR");
    parent = parent != NULL && parent[0] != '\0' ? parent : "/tmp";
    if (snprintf(daemon->folder, FOLDER_BYTES, "%s/paramd-bench-XXXXXX", parent) >= FOLDER_BYTES) {
        errx(1, "the path of TMPDIR is too long for a Unix socket in it");
    }
    if (mkdtemp(daemon->folder) == NULL) {
        err(1, "%s", daemon->folder);
    }
    (void)snprintf(daemon->address_file, PATH_BYTES, "%s/address", daemon->folder);
    (void)snprintf(daemon->unix_path, PATH_BYTES, "%s/socket", daemon->folder);
    (void)snprintf(daemon->unix_address, PATH_BYTES, "unix:%s/socket", daemon->folder);
    int watch = inotify_init1(IN_CLOEXEC);
    if (watch < 0 || inotify_add_watch(watch, daemon->folder, IN_CREATE | IN_MOVED_TO) < 0) {
        err(1, "inotify");
    }
    daemon->pid = pd_peer_fork();
    if (daemon->pid == 0) {
        run(daemon, task);
    }
    replace_running(NULL, daemon);
    catch_signals();
    wait_for_file(daemon, watch);
    (void)close(watch);
    read_address(daemon);
    return daemon;
}

const char *pd_daemon_address(const struct pd_daemon *daemon, enum pd_transport transport)
{
    return transport == PD_TRANSPORT_TCP ? daemon->tcp : daemon->unix_address;
}

pid_t pd_daemon_pid(const struct pd_daemon *daemon)
{
    return daemon->pid;
}

void pd_daemon_stop(struct pd_daemon *daemon)
{
    int status = 0;
    (void)kill(daemon->pid, SIGTERM);
    (void)waitpid(daemon->pid, &status, 0);
    if (status != 0) {
        warnx("paramd ended with status %#x", (unsigned)status);
    }
    replace_running(daemon, NULL);
    remove_folder(daemon);
    free(daemon);
}
