/* Starting redis-server and reading what redis-benchmark prints for redis.h. */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/redis.h"
#include "tests/bench/scratch.h"
#include "tests/bench/tool.h"

enum { VALUE_BYTES = 64, PORT_BYTES = 8, NUMBER_BYTES = 16 };

struct pd_redis {
    struct pd_scratch *scratch;
    FILE *output; /* of the server, which says nothing */
    enum pd_transport transport;
    char port[PORT_BYTES];
    char socket[PD_SCRATCH_PATH_BYTES + 16];
};

static bool is_installed(void)
{
    const char *const arguments[] = {"redis-benchmark", "--version", NULL};
    FILE *output = NULL;
    int status = 0;
    pid_t pid = pd_tool_start(arguments, &output);
    (void)waitpid(pid, &status, 0);
    (void)fclose(output);
    return status == 0;
}

struct pd_redis *pd_redis_create(const char *parent, enum pd_transport transport)
{
    if (!is_installed()) {
        warnx("redis-server is not installed: nothing is held against it");
        return NULL;
    }
    struct pd_redis *redis = calloc(1, sizeof *redis);
    if (redis == NULL) {
        err(1, "redis");
    }
    redis->transport = pd_transport_socket(transport);
    redis->scratch = pd_scratch_create(parent);
    pd_tool_find_port(redis->port, sizeof redis->port);
    (void)snprintf(redis->socket, sizeof redis->socket, "%s/socket", redis->scratch->path);
    const char *const arguments[] = {"redis-server",
                                     "--bind",
                                     "127.0.0.1",
                                     "--port",
                                     redis->port,
                                     "--unixsocket",
                                     redis->socket,
                                     "--dir",
                                     redis->scratch->path,
                                     "--appendonly",
                                     "yes",
                                     "--appendfsync",
                                     "always",
                                     "--save",
                                     "",
                                     "--loglevel",
                                     "warning",
                                     "--daemonize",
                                     "no",
                                     "--auto-aof-rewrite-percentage",
                                     "0",
                                     NULL};
    redis->scratch->user = pd_tool_start(arguments, &redis->output);
    pd_scratch_wait(redis->scratch, redis->socket);
    return redis;
}

void pd_redis_destroy(struct pd_redis *redis)
{
    if (redis != NULL) {
        (void)kill(redis->scratch->user, SIGKILL);
        (void)waitpid(redis->scratch->user, NULL, 0);
        (void)fclose(redis->output);
        pd_scratch_destroy(redis->scratch);
        free(redis);
    }
}

/* A number of a line of fields, all of which are in quotes. */
static double field(const char *line, unsigned index)
{
    for (unsigned i = 0; i < index && line != NULL; i++) {
        line = strchr(line + 1, ',');
    }
    return line != NULL && strlen(line) > 2 ? strtod(line + 2, NULL) : 0;
}

void pd_redis_measure(struct pd_redis *redis, unsigned connections, unsigned requests,
                      struct pd_pace *pace)
{
    char clients[NUMBER_BYTES];
    char count[NUMBER_BYTES];
    char bytes[NUMBER_BYTES];
    bool is_tcp = redis->transport == PD_TRANSPORT_TCP;
    const char *const arguments[] = {"redis-benchmark",
                                     is_tcp ? "-p" : "-s",
                                     is_tcp ? redis->port : redis->socket,
                                     "-t",
                                     "set",
                                     "-c",
                                     clients,
                                     "-n",
                                     count,
                                     "-d",
                                     bytes,
                                     "--precision",
                                     "3",
                                     "--csv",
                                     NULL};
    FILE *output = NULL;
    char line[256];
    bool known = false;
    (void)snprintf(clients, sizeof clients, "%u", connections);
    (void)snprintf(count, sizeof count, "%u", requests);
    (void)snprintf(bytes, sizeof bytes, "%d", VALUE_BYTES);
    pid_t pid = pd_tool_start(arguments, &output);
    /* Requests a second; milliseconds: mean, least, p50, p95, p99, most. */
    while (fgets(line, sizeof line, output) != NULL) {
        if (strncmp(line, "\"SET\",", 6) == 0) {
            pd_samples_add(&pace->per_s, field(line, 1));
            pd_samples_add(&pace->p50_us, field(line, 4) * 1e3);
            pd_samples_add(&pace->p99_us, field(line, 6) * 1e3);
            known = true;
        }
    }
    (void)fclose(output);
    (void)waitpid(pid, NULL, 0);
    if (!known) {
        errx(1, "redis-benchmark prints what cannot be read");
    }
}
