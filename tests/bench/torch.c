/* Starts the script of torch.h beside this program and speaks with it in lines. */
#include <err.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/base.h"
#include "tests/bench/peer.h"
#include "tests/bench/torch.h"

struct pd_torch {
    pid_t pid;
    FILE *lines;
};

static void run(size_t parameters, int fd)
{
    char path[PATH_MAX];
    char number[24];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pd_program_beside("paramd-bench-torch", path, sizeof path);
    (void)snprintf(number, sizeof number, "%zu", parameters);
    (void)dup2(fd, STDIN_FILENO);
    (void)dup2(fd, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    /* Else its threads spin on, after a step, into what is measured next. */
    (void)setenv("OMP_WAIT_POLICY", "passive", 1);
    (void)execl(path, path, number, (char *)NULL);
    _exit(127);
}

struct pd_torch *pd_torch_create(size_t parameters)
{
    int ends[2];
    char line[32] = "";
    struct pd_torch *torch = calloc(1, sizeof *torch);
    if (torch == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        err(1, "torch");
    }
    torch->pid = pd_peer_fork();
    if (torch->pid == 0) {
        run(parameters, ends[1]);
    }
    (void)close(ends[1]);
    torch->lines = fdopen(ends[0], "r+");
    if (torch->lines == NULL) {
        err(1, "torch");
    }
    if (fgets(line, sizeof line, torch->lines) == NULL || strcmp(line, "ready\n") != 0) {
        warnx("python3-torch is not installed: torch.optim.Adam is left out");
        pd_torch_destroy(torch);
        return NULL;
    }
    return torch;
}

void pd_torch_destroy(struct pd_torch *torch)
{
    if (torch != NULL) {
        (void)fclose(torch->lines);
        (void)waitpid(torch->pid, NULL, 0);
        free(torch);
    }
}

double pd_torch_measure(struct pd_torch *torch, unsigned threads)
{
    char line[64];
    (void)fprintf(torch->lines, "%u\n", threads);
    (void)fflush(torch->lines);
    if (fgets(line, sizeof line, torch->lines) == NULL) {
        errx(1, "torch.optim.Adam ended");
    }
    return strtod(line, NULL);
}
