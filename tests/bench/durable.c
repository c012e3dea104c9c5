/* paramd-bench durable: pushes that are acknowledged when they are on the disk, beside what the
 * disk does by itself, and redis-server. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/commands.h"
#include "tests/bench/crowd.h"
#include "tests/bench/daemon.h"
#include "tests/bench/fleet.h"
#include "tests/bench/redis.h"
#include "tests/bench/report.h"
#include "tests/bench/restart.h"
#include "tests/bench/scratch.h"

enum { MODES = 2, CROWDS = 2, LEVELS = 2, POLL_US = 1000, REPEATS = 2, CASE_BYTES = 96 };

#define STRETCH_BYTES (4 * PD_MIB) /* of the disk's streams */

static const struct {
    const char *name;
    const char *model;
    unsigned clients;
    unsigned pushes; /* in one sample */
} crowds[CROWDS] = {{"1 client", "one", 1, 2000}, {"64 clients", "many", 64, 20000}};

/* How daemon and client wait. */
static const struct {
    const char *name;
    int busy_poll_us;
} modes[MODES] = {{"", -1}, {"/polling", POLL_US}};

static const struct {
    const char *name;
    enum paramd_ack_level ack_level;
} levels[LEVELS] = {{"applied", PARAMD_ACK_APPLIED}, {"logged", PARAMD_ACK_LOGGED}};

/* One mode's daemon and the clients that push small tensors. */
struct small {
    struct pd_scratch *data;
    struct pd_daemon *daemon;
    struct pd_crowd *crowds[CROWDS];
    struct pd_pace paces[CROWDS];
};

/* One large tensor for each ack level. */
struct large {
    struct pd_scratch *data;
    struct pd_daemon *daemon;
    struct pd_fleet *fleets[LEVELS];
    struct pd_peer saver; /* has snapshots taken of both */
    struct pd_samples samples[LEVELS];
    struct pd_samples saved;          /* GB/s of a snapshot alone */
    struct pd_samples beside[LEVELS]; /* pushes while a snapshot is taken */
};

struct durable {
    enum pd_transport transport;
    size_t size_bytes; /* of the large tensor */
    struct pd_scratch *files;
    struct pd_disk_limits *disk;
    struct pd_redis *redis;
    struct pd_pace redis_paces[CROWDS];
    struct pd_restart *restart;
    struct large large;
    struct small smalls[MODES];
};

/* Takes a snapshot whenever a byte comes and answers how fast it was, in GB/s. */
static void save(int fd, unsigned index, const void *arg)
{
    struct paramd_client *client = pd_member_open(arg);
    struct paramd_snapshot snapshot;
    char begin;
    (void)index;
    while (pd_peer_read(fd, &begin, 1)) {
        pd_member_check(paramd_snapshot(client, false, PD_MEMBER_TIMEOUT_MS, NULL, NULL, &snapshot),
                        "snapshot");
        double gb_s = (double)snapshot.bytes / 1e3 / (double)snapshot.us;
        if (!pd_peer_write(fd, &gb_s, sizeof gb_s)) {
            break;
        }
    }
    paramd_close(client);
}

static void begin_saving(const struct large *large)
{
    const char begin = 1;
    if (!pd_peer_write(large->saver.fds[0], &begin, 1)) {
        errx(1, "who has snapshots taken ended");
    }
}

static double end_saving(const struct large *large)
{
    double gb_s;
    if (!pd_peer_read(large->saver.fds[0], &gb_s, sizeof gb_s)) {
        errx(1, "who has snapshots taken ended");
    }
    return gb_s;
}

static void start_large(struct durable *durable, const char *parent)
{
    struct large *large = &durable->large;
    large->data = pd_scratch_create(parent);
    const struct pd_daemon_task daemon = {.shards = 1, .data_dir = large->data->path};
    large->daemon = pd_daemon_start(&daemon);
    for (int level = 0; level < LEVELS; level++) {
        const struct pd_fleet_task task = {
            .way = {.address = pd_daemon_address(large->daemon, durable->transport),
                    .transport = durable->transport},
            .model = levels[level].name,
            .workers = 1,
            .tensor_count = 1,
            .tensor_bytes = durable->size_bytes,
            .ack_level = levels[level].ack_level};
        large->fleets[level] = pd_fleet_create(&task);
        (void)pd_fleet_measure(large->fleets[level], PD_PUSH, 1);
    }
    const struct pd_member_way way = {.address =
                                          pd_daemon_address(large->daemon, PD_TRANSPORT_UNIX),
                                      .transport = PD_TRANSPORT_UNIX};
    large->saver = pd_peer_start(PD_TRANSPORT_UNIX, 1, 0, save, &way);
}

static void start_small(struct durable *durable, int mode, const char *parent)
{
    struct small *small = &durable->smalls[mode];
    small->data = pd_scratch_create(parent);
    const struct pd_daemon_task daemon = {
        .shards = 1, .data_dir = small->data->path, .busy_poll_us = modes[mode].busy_poll_us};
    small->daemon = pd_daemon_start(&daemon);
    for (int i = 0; i < CROWDS; i++) {
        const struct pd_member_way way = {.address =
                                              pd_daemon_address(small->daemon, durable->transport),
                                          .transport = durable->transport,
                                          .busy_poll_us = modes[mode].busy_poll_us};
        small->crowds[i] =
            pd_crowd_create(&way, crowds[i].model, crowds[i].clients, PARAMD_ACK_LOGGED);
    }
}

static void stop_all(struct durable *durable)
{
    for (int mode = 0; mode < MODES; mode++) {
        struct small *small = &durable->smalls[mode];
        for (int i = 0; i < CROWDS; i++) {
            pd_crowd_destroy(small->crowds[i]);
        }
        pd_daemon_stop(small->daemon);
        pd_scratch_destroy(small->data);
    }
    pd_restart_destroy(durable->restart);
    pd_peer_stop(&durable->large.saver);
    for (int level = 0; level < LEVELS; level++) {
        pd_fleet_destroy(durable->large.fleets[level]);
    }
    pd_daemon_stop(durable->large.daemon);
    pd_scratch_destroy(durable->large.data);
    pd_redis_destroy(durable->redis);
    pd_disk_limits_destroy(durable->disk);
    pd_scratch_destroy(durable->files);
}

static void measure_small(struct durable *durable)
{
    pd_disk_measure_appends(durable->disk);
    for (int i = 0; i < CROWDS; i++) {
        if (durable->redis != NULL) {
            pd_redis_measure(durable->redis, crowds[i].clients, crowds[i].pushes,
                             &durable->redis_paces[i]);
        }
        for (int mode = 0; mode < MODES; mode++) {
            struct small *small = &durable->smalls[mode];
            pd_crowd_measure(small->crowds[i], crowds[i].pushes, &small->paces[i]);
        }
    }
}

static void measure_pushes(struct large *large, int level, bool beside)
{
    struct pd_samples *samples = beside ? &large->beside[level] : &large->samples[level];
    if (beside) {
        begin_saving(large);
    }
    pd_samples_add(samples, pd_fleet_measure(large->fleets[level], PD_PUSH, REPEATS));
    if (beside) {
        (void)end_saving(large);
    }
}

/* Who comes second finds memory and the disk as the first left them: they take turns at that. */
static void measure_large(struct durable *durable, bool beside_first)
{
    struct large *large = &durable->large;
    pd_disk_measure_writes(durable->disk);
    begin_saving(large);
    pd_samples_add(&large->saved, end_saving(large));
    for (int level = 0; level < LEVELS; level++) {
        measure_pushes(large, level, beside_first);
        measure_pushes(large, level, !beside_first);
    }
}

static void report_disk(const struct durable *durable)
{
    const struct pd_disk_limits *disk = durable->disk;
    const char *file_system = pd_disk_file_system(durable->files->path);
    char name[CASE_BYTES];
    const struct {
        const char *name;
        const struct pd_pace *pace;
    } appends[] = {{"append", pd_disk_appends(disk)},
                   {"append, written before", pd_disk_appends_ahead(disk)}};
    const struct {
        const char *name;
        const struct pd_samples *samples;
    } streams[] = {{"write", pd_disk_writes(disk)},
                   {"read, cold", pd_disk_reads_cold(disk)},
                   {"read, warm", pd_disk_reads_warm(disk)}};
    for (size_t i = 0; i < sizeof appends / sizeof appends[0]; i++) {
        const struct pd_pace *pace = appends[i].pace;
        (void)snprintf(name, sizeof name, "disk/%s/%s", file_system, appends[i].name);
        pd_report_row(name, "1/s", &pace->per_s, NULL, NULL);
        (void)snprintf(name, sizeof name, "disk/%s/%s/p50", file_system, appends[i].name);
        pd_report_row(name, "us", &pace->p50_us, NULL, NULL);
        (void)snprintf(name, sizeof name, "disk/%s/%s/p99", file_system, appends[i].name);
        pd_report_row(name, "us", &pace->p99_us, NULL, NULL);
    }
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        (void)snprintf(name, sizeof name, "disk/%s/%s", file_system, streams[i].name);
        pd_report_row(name, "GB/s", streams[i].samples, NULL, NULL);
    }
}

static void report_small(const struct durable *durable, int crowd, int mode)
{
    const struct pd_pace *pace = &durable->smalls[mode].paces[crowd];
    const struct {
        const char *name;
        const struct pd_pace *pace;
    } limits[] = {{"append", pd_disk_appends(durable->disk)},
                  {"append, written before", pd_disk_appends_ahead(durable->disk)},
                  {"redis-server", &durable->redis_paces[crowd]}};
    char name[CASE_BYTES];
    char part[CASE_BYTES + 8];
    (void)snprintf(name, sizeof name, "push/%s/64B/%s%s", pd_transport_name(durable->transport),
                   crowds[crowd].name, modes[mode].name);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        if (limits[i].pace->per_s.count == 0) {
            continue;
        }
        pd_report_row(name, "1/s", &pace->per_s, limits[i].name, &limits[i].pace->per_s);
        (void)snprintf(part, sizeof part, "%s/p50", name);
        pd_report_row(part, "us", &pace->p50_us, limits[i].name, &limits[i].pace->p50_us);
        (void)snprintf(part, sizeof part, "%s/p99", name);
        pd_report_row(part, "us", &pace->p99_us, limits[i].name, &limits[i].pace->p99_us);
    }
}

static void report_large(const struct durable *durable)
{
    const struct pd_samples *samples = durable->large.samples;
    char name[CASE_BYTES];
    (void)snprintf(name, sizeof name, "push/%s/%s/logged", pd_transport_name(durable->transport),
                   pd_size_print(durable->size_bytes).text);
    pd_report_row(name, "GB/s", &samples[1], "disk write", pd_disk_writes(durable->disk));
    pd_report_row(name, "GB/s", &samples[1], "applied", &samples[0]);
    for (int level = 0; level < LEVELS; level++) {
        (void)snprintf(name, sizeof name, "push/%s/%s/%s/snapshot",
                       pd_transport_name(durable->transport),
                       pd_size_print(durable->size_bytes).text, levels[level].name);
        pd_report_row(name, "GB/s", &durable->large.beside[level], "no snapshot", &samples[level]);
    }
    pd_report_row("snapshot", "GB/s", &durable->large.saved, "disk write",
                  pd_disk_writes(durable->disk));
    pd_report_row("recovery", "GB/s", pd_restart_samples(durable->restart), "disk read",
                  pd_disk_reads_cold(durable->disk));
}

int pd_bench_durable(const struct pd_options *options)
{
    struct durable *durable = calloc(1, sizeof *durable);
    if (durable == NULL) {
        err(1, "durable");
    }
    char beside[PD_SCRATCH_PATH_BYTES];
    const char *parent = options->folder;
    if (parent == NULL) {
        pd_program_beside("", beside, sizeof beside);
        parent = beside;
    }
    durable->transport = pd_options_transport(options);
    durable->size_bytes = options->size_bytes > 0 ? options->size_bytes : 256 * PD_MIB;
    if (durable->size_bytes % STRETCH_BYTES != 0) {
        errx(2, "--size is not allowed: give a multiple of 4MiB");
    }
    pd_report_begin(options->json, "durable", options->rounds);
    durable->files = pd_scratch_create(parent);
    (void)pd_disk_file_system(durable->files->path);
    durable->disk = pd_disk_limits_create(durable->files->path, 2 * durable->size_bytes);
    durable->redis = pd_redis_create(parent, durable->transport);
    durable->restart = pd_restart_create(parent, durable->size_bytes);
    start_large(durable, parent);
    for (int mode = 0; mode < MODES; mode++) {
        start_small(durable, mode, parent);
    }
    for (unsigned round = 0; round < options->rounds; round++) {
        measure_small(durable);
        measure_large(durable, round % 2 == 1);
        pd_disk_measure_reads(durable->disk);
        pd_restart_measure(durable->restart);
    }
    report_disk(durable);
    for (int i = 0; i < CROWDS * MODES; i++) {
        report_small(durable, i / MODES, i % MODES);
    }
    report_large(durable);
    stop_all(durable);
    free(durable);
    return pd_report_end();
}
