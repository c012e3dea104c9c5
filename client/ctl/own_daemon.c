/* Starts paramd with its socket, address file and log in a private folder, and leaves none of them
 * behind, however paramctl ends. */
#include "client/ctl/own_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "server/storage/manifest.h"
#include "server/storage/posix_disk.h"

enum { FOLDER_BYTES = 96, FILE_BYTES = FOLDER_BYTES + 16, PROGRAM_BYTES = 4096, LINE_BYTES = 1024 };
enum { LOOK_EVERY_NS = 5000000 };

static const char unix_prefix[] = "unix:";

static struct {
    pid_t pid;
    char folder[FOLDER_BYTES];
    char address[sizeof unix_prefix + FILE_BYTES];
    char ready[FILE_BYTES]; /* appears when it is */
    char log[FILE_BYTES];
} own;

static const char *socket_path(void)
{
    return own.address + sizeof unix_prefix - 1;
}

/* Only what a signal handler may call. Returns how it ended, as waitpid does. */
static int end_daemon(void)
{
    int status = 0;
    (void)kill(own.pid, SIGTERM);
    while (waitpid(own.pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/* The same; what the daemon has removed itself is gone already. */
static void remove_folder(void)
{
    (void)unlink(socket_path());
    (void)unlink(own.ready);
    (void)unlink(own.log);
    (void)rmdir(own.folder);
}

static void on_signal(int number)
{
    if (own.pid > 0) {
        (void)end_daemon();
        remove_folder();
    }
    (void)signal(number, SIG_DFL);
    (void)raise(number); /* takes effect on return */
}

static sigset_t ending_signals(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    return set;
}

/* Those that are ignored, as by nohup, stay so. */
static void catch_signals(void)
{
    static const int numbers[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action = {.sa_handler = on_signal, .sa_mask = ending_signals()};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction before;
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            (void)sigaction(numbers[i], &action, NULL);
        }
    }
}

/* A directory is given to a daemon only where there is data: it would make itself one. Damage is
 * the daemon's to tell. *ret_shards is then 0, else as many as the directory was written with. */
static enum pd_ctl_exit look_into(const char *data_dir, unsigned *ret_shards)
{
    struct pd_disk disk;
    struct pd_disk_result opened = pd_posix_disk_open(data_dir, &disk);
    if (opened.status != PARAMD_OK) {
        return pd_ctl_refuse("%s cannot be opened: %s", data_dir,
                             opened.status == PARAMD_NOT_FOUND ? "there is no such directory"
                                                               : opened.text);
    }
    struct pd_storage_error error;
    struct pd_manifest *manifest = calloc(1, sizeof *manifest);
    enum paramd_status status =
        manifest != NULL ? pd_manifest_read(&disk, manifest, &error) : PARAMD_NO_MEMORY;
    *ret_shards = status == PARAMD_OK ? manifest->epochs[manifest->epoch_count - 1].shards : 0;
    free(manifest);
    pd_posix_disk_close(&disk);
    return status != PARAMD_NOT_FOUND
               ? PD_CTL_OK
               : pd_ctl_refuse("%s is no data directory: it has no MANIFEST", data_dir);
}

static bool make_folder(void)
{
    const char *parent = getenv("TMPDIR");
    parent = parent != NULL && parent[0] != '\0' ? parent : "/tmp";
    int length = snprintf(own.folder, sizeof own.folder, "%s/paramctl-XXXXXX", parent);
    errno = ENAMETOOLONG;
    if ((size_t)length >= sizeof own.folder || mkdtemp(own.folder) == NULL) {
        (void)pd_ctl_refuse("no folder could be made in %s: %s; set TMPDIR to another place",
                            parent, strerror(errno));
        return false;
    }
    (void)snprintf(own.address, sizeof own.address, "%s%s/socket", unix_prefix, own.folder);
    (void)snprintf(own.ready, sizeof own.ready, "%s/address", own.folder);
    (void)snprintf(own.log, sizeof own.log, "%s/log", own.folder);
    return true;
}

/* The paramd beside this program, or its bare name, which PATH is searched for. */
static void find_program(char program[PROGRAM_BYTES])
{
    static const char name[] = "paramd";
    ssize_t length = readlink("/proc/self/exe", program, PROGRAM_BYTES - sizeof name);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    memcpy(slash != NULL ? slash + 1 : program, name, sizeof name);
    if (access(program, X_OK) != 0) {
        memcpy(program, name, sizeof name);
    }
}

/* The child. What goes wrong here is written where the daemon's own sentences go. */
static _Noreturn void become_daemon(const char *data_dir, unsigned shards, pid_t parent,
                                    const sigset_t *mask)
{
    char program[PROGRAM_BYTES];
    char count[16];
    find_program(program);
    (void)snprintf(count, sizeof count, "%u", shards);
    const char *words[] = {program,       "--data-dir",  data_dir,      "--listen",
                           "127.0.0.1:0", "--unix",      socket_path(), "--address-file",
                           own.ready,     "--log-level", "error",       "--snapshot-every",
                           "0",           "--shards",    count,         NULL};
    if (shards == 0) {
        words[sizeof words / sizeof words[0] - 3] = NULL;
    }
    int log = open(own.log, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    /* Ctrl-C is for paramctl alone, which then ends the daemon; if paramctl is killed, the kernel
     * does. */
    (void)setpgid(0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent) {
        (void)sigprocmask(SIG_SETMASK, mask, NULL);
        (void)execvp(program, (char *const *)(uintptr_t)words);
        (void)fprintf(stderr, "%s cannot be run: %s\n", program, strerror(errno));
    }
    _exit(EXIT_FAILURE);
}

/* The last line of the daemon's log, which says why it ended. */
static void read_reason(char reason[LINE_BYTES])
{
    static const char name[] = "paramd: ";
    char line[LINE_BYTES];
    FILE *file = fopen(own.log, "re");
    (void)snprintf(reason, LINE_BYTES, "it does not say why");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        bool named = strncmp(line, name, sizeof name - 1) == 0;
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(reason, LINE_BYTES, "%s", line + (named ? sizeof name - 1 : 0));
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

/* It is not waited for here: until then nobody else gets its number, and a signal may end it. */
static bool has_ended(void)
{
    siginfo_t info = {.si_pid = 0};
    return waitid(P_PID, (id_t)own.pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid != 0;
}

static bool start(const char *data_dir, unsigned shards)
{
    sigset_t ending = ending_signals();
    sigset_t mask;
    pid_t parent = getpid();
    (void)sigprocmask(SIG_BLOCK, &ending, &mask);
    bool made = make_folder();
    own.pid = made ? fork() : -1;
    if (own.pid == 0) {
        become_daemon(data_dir, shards, parent, &mask);
    }
    if (made && own.pid < 0) {
        (void)pd_ctl_refuse("paramd could not be started: %s", strerror(errno));
        remove_folder();
    }
    if (own.pid > 0) {
        catch_signals();
    }
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    return own.pid > 0;
}

/* Once it is ready an end in order is nothing to tell. */
static void stop(bool ready)
{
    sigset_t ending = ending_signals();
    sigset_t mask;
    char reason[LINE_BYTES];
    (void)sigprocmask(SIG_BLOCK, &ending, &mask);
    if (end_daemon() != 0 || !ready) {
        read_reason(reason);
        (void)pd_ctl_refuse("paramd failed: %s", reason);
    }
    remove_folder();
    own.pid = 0;
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
}

enum pd_ctl_exit pd_ctl_own_daemon_start(const char *data_dir, const char **ret_address)
{
    unsigned shards = 0;
    if (look_into(data_dir, &shards) != PD_CTL_OK || !start(data_dir, shards)) {
        return PD_CTL_FAILED;
    }
    /* As long as its recovery takes. */
    while (access(own.ready, F_OK) != 0) {
        if (has_ended()) {
            stop(false);
            return PD_CTL_FAILED;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
    }
    *ret_address = own.address;
    return PD_CTL_OK;
}

void pd_ctl_own_daemon_stop(void)
{
    stop(true);
}
