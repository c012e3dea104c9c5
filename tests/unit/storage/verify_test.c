/* A whole directory is gone through, in one step or many: everything that is right is said to be,
 * and whatever was damaged, exchanged or lost is found and named. */
#include "server/storage/verify.h"

#include <stdlib.h>
#include <string.h>

#include "server/storage/data_dir.h"
#include "server/storage/snapshot_files.h"
#include "server/storage/wal_files.h"
#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"

enum {
    SHARDS = 2,
    EPOCHS = 2,
    SEGMENT_BYTES = 32 * 1024,
    BUFFER_BYTES = 16 * 1024,
    ITEMS = 2 * SHARDS + EPOCHS * (SHARDS + 1),
    FLIPS = 2400 /* in all */
};

/* Which bytes of a file count. */
struct used {
    char name[PD_DISK_NAME_BYTES];
    uint64_t bytes;
};

static struct pd_sim_disk *sim;
static const struct pd_disk *disk;
static struct pd_manifest *manifest;
static struct pd_storage_error error;
static struct used used[64];
static size_t used_count;

static void note_used(const char *name, uint64_t bytes)
{
    for (size_t i = 0; i < used_count; i++) {
        if (strcmp(used[i].name, name) == 0) {
            used[i].bytes = bytes > used[i].bytes ? bytes : used[i].bytes;
            return;
        }
    }
    (void)snprintf(used[used_count].name, PD_DISK_NAME_BYTES, "%s", name);
    used[used_count++].bytes = bytes;
}

static void run_wal(struct pd_wal *wal, struct pd_wal_files *files, const char *log)
{
    struct pd_wal_job job;
    while (pd_wal_take_job(wal, &job)) {
        ck_assert_int_eq(pd_wal_files_run(files, &job).status, PARAMD_OK);
        pd_wal_job_done(wal, PARAMD_OK);
        if (job.kind == PD_WAL_WRITE) {
            char name[PD_DISK_NAME_BYTES];
            pd_wal_file_name(log, job.file, name);
            note_used(name, job.offset + job.count);
        }
    }
}

/* Writes a log of some segments; of those before `released` none is kept. */
static void write_log(const char *name, struct pd_manifest_log *log, uint64_t id, uint64_t released,
                      bool end)
{
    struct pd_wal_config config = {.log_id = id,
                                   .segment_bytes = SEGMENT_BYTES,
                                   .buffer_bytes = BUFFER_BYTES,
                                   .segments_max = 8};
    struct pd_wal *wal = pd_wal_create(&config);
    struct pd_wal_files files;
    pd_wal_files_init(&files, disk, name);
    uint8_t bytes[900];
    memset(bytes, (int)id, sizeof bytes);
    for (int i = 0; i < 60; i++) {
        struct pd_span payload = {bytes, 700 + (size_t)i};
        if (i % 4 == 0) {
            run_wal(wal, &files, name);
        }
        ck_assert_int_eq(pd_wal_reserve(wal, 1, payload.bytes + 20), PARAMD_OK);
        (void)pd_wal_append(wal, 3, bytes, 20, &payload, 1, pd_payload_sum(&payload, 1));
        uint64_t durable = pd_wal_durable_lsn(wal);
        pd_wal_release(wal, durable < released ? durable : released);
    }
    run_wal(wal, &files, name);
    if (end) {
        ck_assert_int_eq(pd_wal_end(wal), PARAMD_OK);
        run_wal(wal, &files, name);
    }
    *log = (struct pd_manifest_log){.id = id, .durable_lsn = pd_wal_durable_lsn(wal)};
    pd_wal_files_deinit(&files);
    pd_wal_destroy(wal);
}

static struct pd_manifest_file write_snapshot(uint32_t number, uint32_t epoch, uint32_t shard,
                                              uint64_t start_lsn)
{
    struct pd_snapshot_config config = {
        .head = {.directory_id = manifest->directory_id,
                 .number = number,
                 .epoch = epoch,
                 .shard = shard,
                 .shards = SHARDS,
                 .start_lsn = start_lsn},
        .buffer_bytes = BUFFER_BYTES,
    };
    struct pd_snapshot *snapshot = pd_snapshot_create(&config);
    struct pd_snapshot_files files;
    pd_snapshot_files_init(&files, disk, number, shard);
    uint8_t bytes[3000];
    memset(bytes, (int)(number + shard), sizeof bytes);
    for (int i = 0; i < 3; i++) {
        struct pd_span payload = {bytes, sizeof bytes};
        ck_assert_int_eq(pd_snapshot_reserve(snapshot, sizeof bytes + 100), PARAMD_OK);
        pd_snapshot_append(snapshot, 2, bytes, 20, &payload, 1);
    }
    pd_snapshot_end(snapshot);
    struct pd_snapshot_job job;
    while (pd_snapshot_take_job(snapshot, &job)) {
        pd_snapshot_job_done(snapshot, pd_snapshot_files_run(&files, &job).status);
    }
    struct pd_manifest_file file = pd_snapshot_file(snapshot);
    pd_snapshot_files_deinit(&files);
    pd_snapshot_destroy(snapshot);
    char name[PD_DISK_NAME_BYTES];
    pd_snapshot_name(number, shard, name);
    note_used(name, file.bytes);
    return file;
}

/* Two epochs, the first closed; two snapshots of the last epoch if `released`, so that some of its
 * segments were used again, else one of each. */
static void make_directory(bool released)
{
    sim = pd_sim_disk_create(1);
    disk = pd_sim_disk_of(sim);
    used_count = 0;
    manifest = calloc(1, sizeof *manifest);
    ck_assert_ptr_nonnull(manifest);
    manifest->directory_id = 77;
    for (uint32_t number = 1; number <= EPOCHS; number++) {
        struct pd_manifest_epoch *epoch = pd_manifest_add_epoch(manifest, SHARDS);
        char name[PD_WAL_LOG_NAME_BYTES];
        pd_control_log_name(number, name);
        write_log(name, &epoch->control, number * 10 + 9, 0, number < EPOCHS);
        for (uint32_t shard = 0; shard < SHARDS; shard++) {
            pd_shard_log_name(shard, number, name);
            write_log(name, &epoch->logs[shard], number * 10 + shard,
                      released && number == EPOCHS ? 40 : 0, number < EPOCHS);
        }
    }
    for (uint32_t number = 1; number <= 2; number++) {
        struct pd_manifest_snapshot snapshot = {
            .number = number, .epoch = released ? EPOCHS : number, .shards = SHARDS};
        for (uint32_t shard = 0; shard < SHARDS; shard++) {
            snapshot.files[shard] =
                write_snapshot(number, snapshot.epoch, shard, released ? 40 + number : number);
        }
        manifest->snapshots[manifest->snapshot_count++] = snapshot;
        manifest->last_snapshot = number;
    }
    ck_assert_int_eq(pd_data_dir_check(disk, manifest, &error), PARAMD_OK);
}

static void setup(void)
{
    make_directory(false);
}

static void teardown(void)
{
    free(manifest);
    pd_sim_disk_destroy(sim);
}

/* What a whole run found. */
struct outcome {
    unsigned good;
    unsigned bad;
    unsigned steps;
    unsigned cut;
    struct pd_verified last_bad;
};

static struct outcome verify(bool logs, uint64_t budget)
{
    struct pd_verify *run;
    struct outcome outcome = {0};
    ck_assert_int_eq(pd_verify_create(disk, manifest, logs, &run, &error), PARAMD_OK);
    struct pd_verified verified;
    uint64_t done = 0;
    enum paramd_status status;
    while ((status = pd_verify_step(run, budget, &verified)) != PARAMD_NOT_FOUND) {
        outcome.steps++;
        ck_assert_uint_ge(pd_verify_done_bytes(run), done);
        done = pd_verify_done_bytes(run);
        if (status == PARAMD_PENDING) {
            continue;
        }
        ck_assert_int_eq(status, PARAMD_OK);
        if (verified.status == PARAMD_OK) {
            ck_assert_uint_gt(verified.bytes, 0);
            outcome.good++;
            outcome.cut += verified.cut_bytes > 0;
        } else {
            outcome.last_bad = verified;
            outcome.bad++;
        }
    }
    ck_assert(outcome.bad > 0 || done == pd_verify_total_bytes(run));
    pd_verify_destroy(run);
    return outcome;
}

static void expect_good(unsigned items)
{
    struct outcome outcome = verify(true, UINT64_MAX);
    ck_assert_msg(outcome.bad == 0, "%s: %s at %llu: %s", outcome.last_bad.name,
                  outcome.last_bad.error.file, (unsigned long long)outcome.last_bad.error.offset,
                  outcome.last_bad.error.text);
    ck_assert_uint_eq(outcome.good, items);
    ck_assert_uint_eq(outcome.steps, items);
    ck_assert_uint_eq(outcome.cut, 0);
}

/* Exactly one is damaged: this one. */
static void expect_bad(bool logs, const char *name, const char *text)
{
    struct outcome outcome = verify(logs, UINT64_MAX);
    ck_assert_uint_eq(outcome.bad, 1);
    ck_assert_int_eq(outcome.last_bad.status, PARAMD_CORRUPT);
    ck_assert_str_eq(outcome.last_bad.name, name);
    ck_assert_msg(strstr(outcome.last_bad.error.text, text) != NULL, "%s",
                  outcome.last_bad.error.text);
}

START_TEST(a_good_directory_is_said_to_be_good)
{
    expect_good(ITEMS);
    manifest->epochs[0].control.id = 0; /* not needed any more */
    expect_good(ITEMS - 1);
}
END_TEST

START_TEST(small_steps_find_the_same)
{
    struct outcome whole = verify(true, UINT64_MAX);
    struct outcome steps = verify(true, 1);
    ck_assert_uint_eq(steps.good, whole.good);
    ck_assert_uint_gt(steps.steps, 200);
    /* One that is left in the middle of something leaks nothing and changes nothing. */
    struct pd_verify *run;
    struct pd_verified verified;
    for (int i = 0; i < 40; i++) {
        ck_assert_int_eq(pd_verify_create(disk, manifest, true, &run, &error), PARAMD_OK);
        for (int step = 0; step < i * 10; step++) {
            ck_assert_int_ne(pd_verify_step(run, 1, &verified), PARAMD_DISK);
        }
        pd_verify_destroy(run);
    }
    expect_good(ITEMS);
}
END_TEST

START_TEST(damage_anywhere_is_found_and_named)
{
    uint64_t total = 0;
    for (size_t i = 0; i < used_count; i++) {
        total += used[i].bytes;
    }
    unsigned found = 0;
    for (size_t i = 0; i < used_count; i++) {
        uint64_t count;
        uint8_t *bytes = pd_sim_disk_bytes(sim, used[i].name, &count);
        uint64_t step = total / FLIPS;
        for (uint64_t at = i % step; at < used[i].bytes; at += step) {
            uint8_t bit = (uint8_t)(1U << at % 8);
            bytes[at] ^= bit;
            struct outcome outcome = verify(true, UINT64_MAX);
            bytes[at] ^= bit;
            /* Behind the last record of a log that was not closed there is nothing to lose. */
            bool cut = outcome.cut == 1 && strstr(used[i].name, ".00000002.00002") != NULL;
            ck_assert_msg(outcome.bad == (cut ? 0 : 1), "%s at %llu", used[i].name,
                          (unsigned long long)at);
            size_t length = strlen(outcome.last_bad.name);
            ck_assert_msg(strncmp(used[i].name, outcome.last_bad.name, length) == 0,
                          "%s at %llu: %s", used[i].name, (unsigned long long)at,
                          outcome.last_bad.name);
            found++;
        }
    }
    ck_assert_uint_ge(found, FLIPS);
    expect_good(ITEMS);
}
END_TEST

START_TEST(files_that_were_lost_or_exchanged_are_found_and_named)
{
    /* Each file away, and each in the place of each other one of its size. */
    for (size_t i = 0; i < used_count; i++) {
        ck_assert_int_eq(disk->rename(disk->context, used[i].name, "away").status, PARAMD_OK);
        ck_assert_uint_eq(verify(true, UINT64_MAX).bad, 1);
        ck_assert_int_eq(disk->rename(disk->context, "away", used[i].name).status, PARAMD_OK);
    }
    static uint8_t kept[SEGMENT_BYTES];
    unsigned exchanged = 0;
    for (size_t i = 0; i < used_count; i++) {
        for (size_t j = 0; j < used_count; j++) {
            uint64_t count;
            uint64_t other_count;
            uint8_t *bytes = pd_sim_disk_bytes(sim, used[i].name, &count);
            const uint8_t *other = pd_sim_disk_bytes(sim, used[j].name, &other_count);
            if (i != j && count == other_count) {
                memcpy(kept, bytes, count);
                memcpy(bytes, other, count);
                ck_assert_uint_eq(verify(true, UINT64_MAX).bad, 1);
                memcpy(bytes, kept, count);
                exchanged++;
            }
        }
    }
    ck_assert_uint_gt(exchanged, 100);
    expect_good(ITEMS);
}
END_TEST

START_TEST(a_closed_log_without_its_end_is_an_old_one)
{
    /* As if the segment had been copied before the log was closed, and put back. */
    uint64_t count;
    uint8_t *bytes = pd_sim_disk_bytes(sim, "shard-001.00000001.00002", &count);
    uint64_t end = 0;
    for (size_t i = 0; i < used_count; i++) {
        end = strcmp(used[i].name, "shard-001.00000001.00002") == 0 ? used[i].bytes : end;
    }
    memset(bytes + end - PD_WAL_PAGE_BYTES, 0, PD_WAL_PAGE_BYTES);
    expect_bad(true, "shard-001.00000001", "missing");
    manifest->epochs[0].logs[1].durable_lsn = 0;
    expect_bad(true, "shard-001.00000001", "its end is missing");
    /* The newest epoch's logs need no end, unless a drain closed them. */
    manifest->epochs[1].logs[0].durable_lsn = 0;
    manifest->epochs[1].clean = true;
    ck_assert_uint_eq(verify(true, UINT64_MAX).bad, 1 + SHARDS + 1);
}
END_TEST

/* As if nothing of the log had reached the disk. */
static void empty_log(const char *log)
{
    for (size_t i = 0; i < used_count; i++) {
        if (strncmp(used[i].name, log, strlen(log)) == 0) {
            uint64_t count;
            memset(pd_sim_disk_bytes(sim, used[i].name, &count), 0, used[i].bytes);
        }
    }
}

START_TEST(a_log_without_records_is_closed_by_a_drain_and_not_by_a_start)
{
    uint64_t count;
    teardown();
    make_directory(true);
    empty_log("shard-001.00000001");
    manifest->epochs[0].logs[1].durable_lsn = 0;
    expect_good(ITEMS);
    /* The header of its first segment was in flight. */
    pd_sim_disk_bytes(sim, "shard-001.00000001.00000", &count)[8] = 1;
    struct outcome outcome = verify(true, UINT64_MAX);
    ck_assert_uint_eq(outcome.bad, 0);
    ck_assert_uint_eq(outcome.cut, 1);
    manifest->epochs[0].clean = true;
    expect_bad(true, "shard-001.00000001", "its end is missing");
    empty_log("shard-001.00000001");
    expect_bad(true, "shard-001.00000001", "its end is missing");
}
END_TEST

START_TEST(what_a_crash_left_of_a_batch_is_told_and_is_no_damage)
{
    uint64_t end = 0;
    uint64_t count;
    for (size_t i = 0; i < used_count; i++) {
        end = strcmp(used[i].name, "control.00000002.00002") == 0 ? used[i].bytes : end;
    }
    uint8_t *bytes = pd_sim_disk_bytes(sim, "control.00000002.00002", &count);
    manifest->epochs[1].control.durable_lsn = 0;
    bytes[end - PD_WAL_PAGE_BYTES] ^= 1; /* in the last batch */
    struct outcome outcome = verify(true, UINT64_MAX);
    ck_assert_uint_eq(outcome.bad, 0);
    ck_assert_uint_eq(outcome.cut, 1);
}
END_TEST

START_TEST(segments_that_were_released_are_not_missed)
{
    teardown();
    make_directory(true);
    expect_good(ITEMS);
    /* A start passed over the newer snapshot. */
    manifest->snapshot_count = 1;
    expect_good(ITEMS - SHARDS);
    /* Had there been only one, all the records would have to be there. */
    manifest->last_snapshot = 1;
    ck_assert_uint_eq(verify(true, UINT64_MAX).bad, SHARDS);
}
END_TEST

START_TEST(a_scrub_looks_at_snapshots_alone)
{
    uint64_t count;
    pd_sim_disk_bytes(sim, "shard-001.00000001.00001", &count)[5000] ^= 1;
    ck_assert_uint_eq(verify(false, UINT64_MAX).good, 2 * SHARDS);
    pd_sim_disk_bytes(sim, "snapshot-00000001.001", &count)[5000] ^= 1;
    expect_bad(false, "snapshot-00000001.001", "damaged");
}
END_TEST

START_TEST(a_disk_that_fails_is_told_and_the_rest_is_gone_through)
{
    struct pd_verify *run;
    uint64_t calls = pd_sim_disk_calls(sim);
    expect_good(ITEMS);
    calls = pd_sim_disk_calls(sim) - calls;
    unsigned refused = 0;
    for (uint64_t call = 1; call <= calls; call++) {
        pd_sim_disk_plan(sim, PD_SIM_FAIL, pd_sim_disk_calls(sim) + call);
        enum paramd_status status = pd_verify_create(disk, manifest, true, &run, &error);
        if (status != PARAMD_OK) {
            ck_assert_int_eq(status, PARAMD_DISK);
            refused++;
            continue;
        }
        unsigned bad = 0;
        unsigned items = 0;
        struct pd_verified verified;
        while (pd_verify_step(run, UINT64_MAX, &verified) == PARAMD_OK) {
            items++;
            bad += verified.status == PARAMD_DISK;
        }
        ck_assert_uint_eq(items, ITEMS);
        ck_assert_uint_eq(bad, 1);
        pd_verify_destroy(run);
    }
    ck_assert_uint_gt(refused, 3);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("verify");
    TCase *cases = tcase_create("verify");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_good_directory_is_said_to_be_good);
    tcase_add_test(cases, small_steps_find_the_same);
    tcase_add_test(cases, damage_anywhere_is_found_and_named);
    tcase_add_test(cases, files_that_were_lost_or_exchanged_are_found_and_named);
    tcase_add_test(cases, a_closed_log_without_its_end_is_an_old_one);
    tcase_add_test(cases, a_log_without_records_is_closed_by_a_drain_and_not_by_a_start);
    tcase_add_test(cases, what_a_crash_left_of_a_batch_is_told_and_is_no_damage);
    tcase_add_test(cases, segments_that_were_released_are_not_missed);
    tcase_add_test(cases, a_scrub_looks_at_snapshots_alone);
    tcase_add_test(cases, a_disk_that_fails_is_told_and_the_rest_is_gone_through);
    suite_add_tcase(suite, cases);
    return suite;
}
