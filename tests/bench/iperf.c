/* iperf3 as a second opinion on what loopback carries. */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/raw.h"

struct pd_iperf {
    bool missing;
    struct pd_samples samples;
};

/* iperf3 has no way to take any free port and tell it. */
static void find_port(char *ret_text, size_t bytes)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, address_bytes) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &address_bytes) != 0) {
        err(1, "no free port");
    }
    (void)close(fd);
    (void)snprintf(ret_text, bytes, "%u", (unsigned)ntohs(address.sin_port));
}

/* Runs iperf3 with its output in a pipe. */
static pid_t run(const char *const *arguments, FILE **ret_output)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        err(1, "pipe");
    }
    pid_t pid = pd_peer_fork();
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execvp("iperf3", (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    (void)close(ends[1]);
    *ret_output = fdopen(ends[0], "r");
    if (*ret_output == NULL) {
        err(1, "pipe");
    }
    return pid;
}

struct pd_iperf *pd_iperf_create(void)
{
    struct pd_iperf *iperf = calloc(1, sizeof *iperf);
    if (iperf == NULL) {
        err(1, "iperf3");
    }
    return iperf;
}

void pd_iperf_destroy(struct pd_iperf *iperf)
{
    free(iperf);
}

/* Serves one test and ends. Answers its pid once it listens, or -1. */
static pid_t start_server(const char *port, FILE **ret_output)
{
    const char *const arguments[] = {"iperf3", "--server", "--one-off",    "--bind", "127.0.0.1",
                                     "--port", port,       "--forceflush", NULL};
    char line[256];
    pid_t pid = run(arguments, ret_output);
    while (fgets(line, sizeof line, *ret_output) != NULL) {
        if (strstr(line, "listening") != NULL) {
            return pid;
        }
    }
    (void)fclose(*ret_output);
    (void)waitpid(pid, NULL, 0);
    return -1;
}

static bool run_client(const char *port, double *ret_gb_s)
{
    const char *const arguments[] = {"iperf3", "--client", "127.0.0.1", "--port",
                                     port,     "--bytes",  "1G",        "--congestion",
                                     "cubic",  "--json",   NULL};
    FILE *output = NULL;
    double bits_per_s = 0;
    pid_t pid = run(arguments, &output);
    json_t *result = json_loadf(output, 0, NULL);
    (void)fclose(output);
    (void)waitpid(pid, NULL, 0);
    bool known = result != NULL && json_unpack(result, "{s:{s:{s:F}}}", "end", "sum_received",
                                               "bits_per_second", &bits_per_s) == 0;
    json_decref(result);
    *ret_gb_s = bits_per_s / 8e9;
    return known;
}

void pd_iperf_measure(struct pd_iperf *iperf)
{
    char port[8];
    FILE *output = NULL;
    double gb_s = 0;
    if (iperf->missing) {
        return;
    }
    find_port(port, sizeof port);
    pid_t server = start_server(port, &output);
    if (server < 0 || !run_client(port, &gb_s)) {
        warnx("iperf3 does not run: the raw limit is not held against it");
        iperf->missing = true;
    } else {
        pd_samples_add(&iperf->samples, gb_s);
    }
    if (server >= 0) {
        (void)kill(server, SIGTERM);
        (void)fclose(output);
        (void)waitpid(server, NULL, 0);
    }
}

const struct pd_samples *pd_iperf_samples(const struct pd_iperf *iperf)
{
    return iperf->samples.count > 0 ? &iperf->samples : NULL;
}
