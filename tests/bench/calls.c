/* paramd-bench calls: system calls for each block of 256 KiB, on both sides. They are counted in
 * runs of their own by a library that is loaded before the C library: this program starts itself
 * anew with it, and the daemon and the workers inherit it. */
#include <err.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/bench/calls.h"
#include "tests/bench/commands.h"
#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/kernel.h"
#include "tests/bench/report.h"

enum { SIDES = 2, FIGURES = 1 + PD_CALLS, CASE_BYTES = 96 };

static const char *const side_names[SIDES] = {"worker", "server"};
static const char *const figure_names[FIGURES] = {"reads and writes", "reads", "writes", "polls",
                                                  "setsockopt"};
/* Reads and writes together, for each block. */
static const struct pd_samples allowed = {.values = {2}, .count = 1};

struct counting {
    const struct pd_calls_table *table;
    pid_t pids[SIDES];
    size_t blocks; /* of the model; a push_pull moves each twice */
    struct pd_samples samples[PD_OPERATIONS][SIDES][FIGURES];
};

/* Does not return: this program begins anew. */
_Noreturn static void start_with_library(const struct pd_options *options)
{
    char table[64];
    char library[PATH_MAX];
    /* Kept open over exec: others reach the table through this process's descriptor. */
    int fd = memfd_create("calls", 0);
    if (fd < 0 || ftruncate(fd, sizeof(struct pd_calls_table)) != 0) {
        err(1, "memfd");
    }
    (void)snprintf(table, sizeof table, "/proc/%ld/fd/%d", (long)getpid(), fd);
    pd_program_beside(PD_CALLS_LIBRARY, library, sizeof library);
    if (setenv(PD_CALLS_ENVIRONMENT, table, 1) != 0 || setenv("LD_PRELOAD", library, 1) != 0) {
        err(1, "environment");
    }
    (void)execv("/proc/self/exe", options->argv);
    err(1, "cannot start anew");
}

static const struct pd_calls_table *open_table(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *table = fd < 0 ? MAP_FAILED
                         : mmap(NULL, sizeof(struct pd_calls_table), PROT_READ, MAP_SHARED, fd, 0);
    if (table == MAP_FAILED) {
        err(1, "%s", path);
    }
    (void)close(fd);
    return table;
}

static const struct pd_calls_row *row_of(const struct pd_calls_table *table, pid_t pid)
{
    for (int i = 0; i < PD_CALLS_ROWS; i++) {
        if (table->rows[i].pid == pid) {
            return &table->rows[i];
        }
    }
    errx(1, "the calls of process %ld are not counted: is %s beside this program?", (long)pid,
         PD_CALLS_LIBRARY);
}

static void measure(struct counting *counting, struct pd_fleet *fleet, enum pd_operation operation)
{
    uint64_t before[SIDES][PD_CALLS];
    for (int i = 0; i < SIDES * PD_CALLS; i++) {
        const struct pd_calls_row *row = row_of(counting->table, counting->pids[i / PD_CALLS]);
        before[i / PD_CALLS][i % PD_CALLS] = row->counts[i % PD_CALLS];
    }
    (void)pd_fleet_measure(fleet, operation, 1);
    double blocks = (double)counting->blocks * (operation == PD_PUSH_PULL ? 2 : 1);
    for (int side = 0; side < SIDES; side++) {
        const struct pd_calls_row *row = row_of(counting->table, counting->pids[side]);
        struct pd_samples *samples = counting->samples[operation][side];
        double calls[PD_CALLS] = {0};
        for (int call = 0; call < PD_CALLS; call++) {
            calls[call] = (double)(row->counts[call] - before[side][call]) / blocks;
            pd_samples_add(&samples[1 + call], calls[call]);
        }
        pd_samples_add(&samples[0], calls[PD_CALL_READ] + calls[PD_CALL_WRITE]);
    }
}

static void report(const struct counting *counting, enum pd_transport transport, size_t size_bytes)
{
    char name[CASE_BYTES];
    for (int i = 0; i < PD_OPERATIONS * SIDES * FIGURES; i++) {
        int operation = i / FIGURES / SIDES;
        int side = i / FIGURES % SIDES;
        int figure = i % FIGURES;
        (void)snprintf(name, sizeof name, "%s/%s/1x1/%s/%s/%s",
                       pd_operation_name((enum pd_operation)operation),
                       pd_transport_name(transport), pd_size_print(size_bytes).text,
                       side_names[side], figure_names[figure]);
        pd_report_row(name, "a block", &counting->samples[operation][side][figure],
                      figure == 0 ? "allowed" : NULL, &allowed);
    }
}

static int run(const struct pd_options *options, const char *table)
{
    enum pd_transport transport = pd_options_transport(options);
    size_t size_bytes = options->size_bytes > 0 ? options->size_bytes : 256 * PD_MIB;
    struct counting *counting = calloc(1, sizeof *counting);
    if (counting == NULL) {
        err(1, "calls");
    }
    pd_report_begin(options->json, "calls", options->rounds);
    counting->table = open_table(table);
    counting->blocks = (size_bytes + PD_BLOCK_BYTES - 1) / PD_BLOCK_BYTES;
    struct pd_daemon *daemon = pd_daemon_start(&(struct pd_daemon_task){.shards = 1});
    const struct pd_fleet_task task = {
        .way = {.address = pd_daemon_address(daemon, transport), .transport = transport},
        .model = "calls",
        .workers = 1,
        .tensor_count = 1,
        .tensor_bytes = size_bytes};
    struct pd_fleet *fleet = pd_fleet_create(&task);
    counting->pids[0] = pd_fleet_worker(fleet, 0);
    counting->pids[1] = pd_daemon_pid(daemon);
    for (int operation = 0; operation < PD_OPERATIONS; operation++) {
        (void)pd_fleet_measure(fleet, (enum pd_operation)operation, 1);
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        for (int operation = 0; operation < PD_OPERATIONS; operation++) {
            measure(counting, fleet, (enum pd_operation)operation);
        }
    }
    report(counting, transport, size_bytes);
    pd_fleet_destroy(fleet);
    pd_daemon_stop(daemon);
    free(counting);
    return pd_report_end();
}

int pd_bench_calls(const struct pd_options *options)
{
    const char *table = getenv(PD_CALLS_ENVIRONMENT);
    if (table != NULL) {
        return run(options, table);
    }
    start_with_library(options);
}
