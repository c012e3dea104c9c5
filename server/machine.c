/* Reads affinity, physical memory and cgroup v2 limits. A limit may be set on any of the groups
 * around this process, so all of them up to the root are read. */
#include "server/machine.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a path, as the kernel takes it. */
enum { PATH_BYTES = 4096 };

/* One line of a file, without its end; false if there is none. */
static bool read_line(const char *path, char *line, size_t line_bytes)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool found = fgets(line, (int)line_bytes, file) != NULL;
    (void)fclose(file);
    if (found) {
        line[strcspn(line, "\n")] = '\0';
    }
    return found;
}

/* The path of this process's group below the root of cgroup v2: the line that begins with "0::". */
static bool read_group(const char *proc, char *group, size_t group_bytes)
{
    char path[PATH_BYTES];
    char line[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/cgroup", proc);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    bool found = false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        found = strncmp(line, "0::/", 4) == 0;
    }
    (void)fclose(file);
    if (found) {
        line[strcspn(line, "\n")] = '\0';
        (void)snprintf(group, group_bytes, "%s", line + 3);
    }
    return found;
}

/* Takes the last part of a path off; false at the root. */
static bool go_up(char *group)
{
    char *slash = strrchr(group, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

/* The number that text begins with, and what follows it; false for "max", the absence of a limit.
 */
static bool parse_number(const char *text, uint64_t *ret_number, const char **ret_rest)
{
    char *rest = NULL;
    errno = 0;
    unsigned long long number = strtoull(text, &rest, 10);
    if (rest == text || errno != 0) {
        return false;
    }
    *ret_number = number;
    *ret_rest = rest;
    return true;
}

/* Cores of one group's quota, rounded up; UINT32_MAX if there is none. */
static uint32_t quota_cores(const char *line)
{
    uint64_t quota = 0;
    uint64_t period = 0;
    const char *rest = NULL;
    if (!parse_number(line, &quota, &rest) || *rest != ' ' ||
        !parse_number(rest + 1, &period, &rest) || period == 0) {
        return UINT32_MAX;
    }
    uint64_t cores = (quota + period - 1) / period;
    return cores < UINT32_MAX ? (uint32_t)cores : UINT32_MAX;
}

uint32_t pd_machine_cores(const char *proc, const char *cgroups)
{
    uint32_t cores = 1;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        cores = (uint32_t)CPU_COUNT(&set);
    }
    char group[PATH_BYTES];
    bool more = read_group(proc, group, sizeof group);
    while (more) {
        char path[2 * PATH_BYTES];
        char line[64];
        (void)snprintf(path, sizeof path, "%s%s/cpu.max", cgroups, group);
        if (read_line(path, line, sizeof line) && quota_cores(line) < cores) {
            cores = quota_cores(line);
        }
        more = go_up(group);
    }
    return cores > 0 ? cores : 1;
}

uint64_t pd_machine_memory(const char *proc, const char *cgroups)
{
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    char group[PATH_BYTES];
    bool more = read_group(proc, group, sizeof group);
    while (more) {
        char path[2 * PATH_BYTES];
        char line[64];
        const char *rest = NULL;
        uint64_t limit = 0;
        (void)snprintf(path, sizeof path, "%s%s/memory.max", cgroups, group);
        if (read_line(path, line, sizeof line) && parse_number(line, &limit, &rest) &&
            limit < memory) {
            memory = limit;
        }
        more = go_up(group);
    }
    return memory;
}
