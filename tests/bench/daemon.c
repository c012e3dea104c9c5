/* Starting and stopping paramd for daemon.h. */
#include <err.h>
#include <linux/limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/base.h"
#include "tests/bench/daemon.h"
#include "tests/bench/scratch.h"

enum { ADDRESS_BYTES = 128, PATH_BYTES = PD_SCRATCH_PATH_BYTES + 16 };

struct pd_daemon {
    struct pd_scratch *scratch;
    char address_file[PATH_BYTES];
    char tcp[ADDRESS_BYTES];
    char unix_address[PATH_BYTES]; /* unix:PATH */
};

static const char *unix_path(const struct pd_daemon *daemon)
{
    return daemon->unix_address + sizeof "unix:" - 1;
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
                                 unix_path(daemon),
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
    if (task->data_dir != NULL) {
        arguments[count++] = "--data-dir";
        arguments[count++] = task->data_dir;
        /* Only when it is asked for. */
        arguments[count++] = "--snapshot-every";
        arguments[count++] = "0";
    }
    (void)execv(path, (char *const *)(uintptr_t)arguments);
    warn("%s", path);
    _exit(1);
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
    daemon->scratch = pd_scratch_create(NULL);
    const char *folder = daemon->scratch->path;
    (void)snprintf(daemon->address_file, PATH_BYTES, "%s/address", folder);
    int bytes = snprintf(daemon->unix_address, PATH_BYTES, "unix:%s/socket", folder);
    if (bytes >= (int)(sizeof "unix:" + sizeof((struct sockaddr_un *)NULL)->sun_path)) {
        errx(1, "the path of TMPDIR is too long for a Unix socket in it");
    }
    daemon->scratch->user = pd_peer_fork();
    if (daemon->scratch->user == 0) {
        run(daemon, task);
    }
    pd_scratch_wait(daemon->scratch, daemon->address_file);
    read_address(daemon);
    return daemon;
}

const char *pd_daemon_address(const struct pd_daemon *daemon, enum pd_transport transport)
{
    return transport == PD_TRANSPORT_TCP ? daemon->tcp : daemon->unix_address;
}

pid_t pd_daemon_pid(const struct pd_daemon *daemon)
{
    return daemon->scratch->user;
}

static int end(struct pd_daemon *daemon, int signal)
{
    int status = 0;
    (void)kill(daemon->scratch->user, signal);
    (void)waitpid(daemon->scratch->user, &status, 0);
    pd_scratch_destroy(daemon->scratch);
    free(daemon);
    return status;
}

void pd_daemon_stop(struct pd_daemon *daemon)
{
    int status = end(daemon, SIGTERM);
    if (status != 0) {
        warnx("paramd ended with status %#x", (unsigned)status);
    }
}

void pd_daemon_kill(struct pd_daemon *daemon)
{
    (void)end(daemon, SIGKILL);
}
