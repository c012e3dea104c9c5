/* iperf3 as a second opinion on what loopback carries. */
#include <err.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/bench/raw.h"
#include "tests/bench/tool.h"

struct pd_iperf {
    bool missing;
    struct pd_samples samples;
};

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
    pid_t pid = pd_tool_start(arguments, ret_output);
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
    pid_t pid = pd_tool_start(arguments, &output);
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
    pd_tool_find_port(port, sizeof port);
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
