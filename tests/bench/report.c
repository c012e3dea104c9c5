/* The table and the JSON lines of report.h. */
#include <err.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "tests/bench/report.h"

static struct {
    bool json;
    bool is_void;
    const char *bench;
} report;

/* The first line of a file that begins with key, from behind the colon; all of it without a key. */
static void first_line(const char *path, const char *key, char *ret_text, size_t bytes)
{
    char line[256];
    FILE *file = fopen(path, "re");
    (void)snprintf(ret_text, bytes, "unknown");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *value = key == NULL ? line : strchr(line, ':');
        if (value != NULL && (key == NULL || strncmp(line, key, strlen(key)) == 0)) {
            value += strspn(value, ": \t");
            (void)snprintf(ret_text, bytes, "%.*s", (int)strcspn(value, "\n"), value);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static void print_machine(void)
{
    char cpu[128];
    char control[64];
    char load[64];
    struct utsname system = {0};
    long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    first_line("/proc/cpuinfo", "model name", cpu, sizeof cpu);
    first_line("/proc/sys/net/ipv4/tcp_congestion_control", NULL, control, sizeof control);
    first_line("/proc/loadavg", NULL, load, sizeof load);
    (void)uname(&system);
    printf("CPU:                 %s, %ld cores, L2 %s each\n", cpu, sysconf(_SC_NPROCESSORS_ONLN),
           l2 > 0 ? pd_size_print((size_t)l2).text : "unknown");
    printf("kernel:              %s %s\n", system.sysname, system.release);
    printf("congestion control:  %s; limits use cubic where it is there\n", control);
    printf("load at the start:   %s\n", load);
}

void pd_report_begin(bool json, const char *bench, unsigned rounds)
{
    report.json = json;
    report.bench = bench;
    if (!json) {
        print_machine();
        printf("rounds:              %u in turns; medians; GB = 10^9 bytes\n\n", rounds);
        printf("%-44s %10s %10s %10s %-11s %10s %6s  %s\n", "case", "median", "least", "most",
               "unit", "limit", "ratio", "of");
    }
    (void)fflush(stdout);
}

static void print_json(const char *name, const char *unit, double value, const char *limit_name,
                       double limit)
{
    json_t *bound = limit_name != NULL ? json_real(limit) : json_null();
    json_t *ratio = limit_name != NULL && limit > 0 ? json_real(value / limit) : json_null();
    json_t *line = json_pack("{s:s, s:s, s:f, s:s, s:o, s:s?, s:o}", "bench", report.bench, "case",
                             name, "value", value, "unit", unit, "limit", bound, "limit_name",
                             limit_name, "ratio", ratio);
    if (line == NULL || json_dumpf(line, stdout, JSON_REAL_PRECISION(6)) != 0) {
        err(1, "cannot print");
    }
    json_decref(line);
    (void)putchar('\n');
}

void pd_report_row(const char *name, const char *unit, const struct pd_samples *value,
                   const char *limit_name, const struct pd_samples *limit)
{
    double median = pd_samples_median(value);
    double bound = limit != NULL ? pd_samples_median(limit) : 0;
    if (report.json) {
        print_json(name, unit, median, limit_name, bound);
    } else {
        printf("%-44s %10.4g %10.4g %10.4g %-11s", name, median, pd_samples_min(value),
               pd_samples_max(value), unit);
        if (limit_name != NULL && bound > 0) {
            printf(" %10.4g %6.3f  %s", bound, median / bound, limit_name);
        }
        (void)putchar('\n');
    }
    (void)fflush(stdout);
}

void pd_report_void(const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    warnx("VOID: %s", text);
    report.is_void = true;
}

int pd_report_end(void)
{
    return report.is_void ? 3 : 0;
}
