/* Fuzzes the daemon's settings: each line of the input is an argument, or, if it begins with
 * PARAMD_, a variable of the environment. What the machine has is always the same here. */
#include "server/config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/machine.h"
#include "tests/fuzz/fuzz.h"

enum { LINES_MAX = 64 };

/* NOLINTBEGIN(bugprone-reserved-identifier): --wrap makes these names */
uint32_t __wrap_pd_machine_cores(const char *proc_self, const char *cgroup_root);
uint64_t __wrap_pd_machine_memory(const char *proc_self, const char *cgroup_root);

uint32_t __wrap_pd_machine_cores(const char *proc_self, const char *cgroup_root)
{
    (void)proc_self;
    (void)cgroup_root;
    return 4;
}

uint64_t __wrap_pd_machine_memory(const char *proc_self, const char *cgroup_root)
{
    (void)proc_self;
    (void)cgroup_root;
    return UINT64_C(16) << 30;
}

/* NOLINTEND(bugprone-reserved-identifier) */

static void check(enum pd_config_outcome outcome, const struct pd_config *config, const char *error,
                  size_t error_bytes)
{
    if (outcome == PD_CONFIG_BAD) {
        PD_FUZZ_CHECK(error[0] != '\0' && memchr(error, 0, error_bytes) != NULL);
    }
    if (outcome == PD_CONFIG_RUN) {
        PD_FUZZ_CHECK(memchr(config->listen_host, 0, sizeof config->listen_host) != NULL);
        PD_FUZZ_CHECK(config->shards >= 1 && config->shards <= PD_SHARDS_MAX);
        PD_FUZZ_CHECK(config->memory_max >= 1024 * 1024);
        PD_FUZZ_CHECK(config->lease_us > 0 && config->lease_us < UINT64_MAX / 1000);
        PD_FUZZ_CHECK(config->retention_us > 0 && config->retention_us < UINT64_MAX / 1000);
        PD_FUZZ_CHECK(config->connections_max >= 1);
        PD_FUZZ_CHECK(config->unix_path == NULL || config->unix_path[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char program[] = "paramd";
    char *arguments[LINES_MAX + 2] = {program};
    char *variables[LINES_MAX + 1] = {NULL};
    int argument_count = 1;
    size_t variable_count = 0;
    char *text = malloc(size + 1);
    PD_FUZZ_CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    char *rest = size > 0 ? text : NULL;
    for (unsigned lines = 0; rest != NULL && lines < LINES_MAX; lines++) {
        char *line = strsep(&rest, "\n");
        if (strncmp(line, "PARAMD_", 7) == 0) {
            variables[variable_count++] = line;
        } else {
            arguments[argument_count++] = line;
        }
    }
    struct pd_config config;
    char error[512] = "";
    char **kept = environ;
    environ = variables;
    enum pd_config_outcome outcome =
        pd_config_read(argument_count, arguments, &config, error, sizeof error);
    environ = kept;
    check(outcome, &config, error, sizeof error);
    free(text);
    return 0;
}
