/* A snapshot gathers, writes whole pages, is published only when all of it is there, and gives back
 * what went in; whatever fails costs this one and leaves nothing behind. */
#include <stdlib.h>
#include <string.h>

#include "server/storage/data_dir.h"
#include "tests/support/check_main.h"
#include "tests/unit/storage/snapshot_rig.h"

static struct pd_snapshot_rig *rig;

static void setup(void)
{
    rig = pd_snapshot_rig_create(1);
    pd_rig_begin(rig, 1);
}

static void teardown(void)
{
    pd_snapshot_rig_destroy(rig);
}

static void append(uint32_t header_bytes, uint32_t payload_bytes)
{
    ck_assert_int_eq(pd_rig_append(rig, header_bytes, payload_bytes), PARAMD_OK);
}

static void publish(void)
{
    ck_assert_int_eq(pd_rig_end(rig), PARAMD_OK);
    pd_rig_add(rig);
}

static void expect_whole_file(const struct pd_manifest_snapshot *snapshot, uint32_t shard)
{
    struct pd_snapshot_reading reading = pd_rig_read(rig, snapshot, shard);
    ck_assert_msg(reading.status == PARAMD_OK, "%s at %llu: %s", reading.error.file,
                  (unsigned long long)reading.error.offset, reading.error.text);
}

/* The file that was published last. */
static void expect_whole(void)
{
    expect_whole_file(&rig->manifest->snapshots[rig->manifest->snapshot_count - 1], rig->shard);
}

static bool there(const char *name)
{
    uint64_t count;
    return pd_sim_disk_bytes(rig->sim, name, &count) != NULL;
}

START_TEST(pieces_of_every_size_come_back)
{
    /* Every length around the alignments and pages. */
    for (uint32_t bytes = 0; bytes < 3 * PD_SNAPSHOT_PAGE_BYTES;
         bytes += bytes % 256 == 9 ? 237 : 1) {
        append(bytes % 19, bytes);
    }
    append(PD_SNAPSHOT_HEADER_BYTES_MAX, 0);
    append(0, 0);
    publish();
    expect_whole();
}
END_TEST

START_TEST(an_empty_snapshot_is_read_back)
{
    publish();
    expect_whole();
}
END_TEST

START_TEST(an_end_anywhere_in_a_page_is_read_back)
{
    for (uint32_t bytes = 0; bytes < PD_SNAPSHOT_PAGE_BYTES + 100; bytes += 8) {
        teardown();
        setup();
        append(0, bytes);
        publish();
        expect_whole();
    }
}
END_TEST

START_TEST(a_piece_larger_than_the_buffer_makes_it_grow)
{
    append(10, 100);
    append(20, 10 * PD_RIG_BUFFER_BYTES + 3);
    append(20, 200);
    append(20, 3 * 1024 * 1024 + 7);
    append(0, 5);
    publish();
    expect_whole();
}
END_TEST

START_TEST(a_piece_that_no_memory_is_left_for_is_refused)
{
    append(10, 100);
    ck_assert_int_eq(pd_snapshot_reserve(rig->snapshot, SIZE_MAX - 100), PARAMD_BUSY);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_PENDING);
    ck_assert_int_eq(pd_snapshot_reserve(rig->snapshot, SIZE_MAX - 100), PARAMD_NO_MEMORY);
    append(10, 100);
    publish();
    expect_whole();
}
END_TEST

START_TEST(each_page_is_written_once_and_in_large_writes)
{
    uint64_t next = 0;
    unsigned writes = 0;
    bool ended = false;
    struct pd_snapshot_job job = {.kind = PD_SNAPSHOT_WRITE};
    for (unsigned i = 0; job.kind == PD_SNAPSHOT_WRITE; i++) {
        if (i < 500) {
            if (pd_snapshot_reserve(rig->snapshot, 700) == PARAMD_OK) {
                uint8_t bytes[600] = {1};
                struct pd_span span = {bytes, sizeof bytes};
                pd_snapshot_append(rig->snapshot, 1, bytes, 10, &span, 1);
            }
        } else if (!ended) {
            pd_snapshot_end(rig->snapshot);
            ended = true;
        }
        if (!pd_snapshot_take_job(rig->snapshot, &job)) {
            continue;
        }
        if (job.kind == PD_SNAPSHOT_WRITE) {
            ck_assert_uint_eq(job.offset, next);
            ck_assert_uint_eq(job.count % PD_SNAPSHOT_PAGE_BYTES, 0);
            ck_assert(job.count >= PD_RIG_BUFFER_BYTES - PD_SNAPSHOT_PAGE_BYTES || ended);
            next += job.count;
            writes++;
        }
        pd_snapshot_job_done(rig->snapshot, PARAMD_OK);
    }
    ck_assert_uint_gt(writes, 15);
    ck_assert_int_eq(job.kind, PD_SNAPSHOT_PUBLISH);
    ck_assert_int_eq(pd_snapshot_status(rig->snapshot), PARAMD_OK);
    ck_assert_uint_eq(pd_snapshot_file(rig->snapshot).bytes, next);
    ck_assert_uint_eq(pd_snapshot_file(rig->snapshot).start_lsn, 1001);
}
END_TEST

START_TEST(one_buffer_is_filled_while_the_other_is_being_written)
{
    struct pd_snapshot_job job;
    uint8_t bytes[4000] = {1};
    struct pd_span span = {bytes, sizeof bytes};
    unsigned appended = 0;
    ck_assert(!pd_snapshot_take_job(rig->snapshot, &job)); /* nobody waits for room */
    while (pd_snapshot_reserve(rig->snapshot, 4064) == PARAMD_OK) {
        pd_snapshot_append(rig->snapshot, 1, NULL, 0, &span, 1);
        appended++;
    }
    ck_assert(pd_snapshot_take_job(rig->snapshot, &job));
    unsigned first = appended;
    while (pd_snapshot_reserve(rig->snapshot, 4064) == PARAMD_OK) {
        pd_snapshot_append(rig->snapshot, 1, NULL, 0, &span, 1);
        appended++;
    }
    ck_assert_uint_ge(appended, 2 * first);
    struct pd_snapshot_job second;
    ck_assert(!pd_snapshot_take_job(rig->snapshot, &second));
    pd_snapshot_job_done(rig->snapshot, PARAMD_OK);
    ck_assert(pd_snapshot_take_job(rig->snapshot, &second));
    ck_assert_uint_eq(second.offset, job.count);
    pd_snapshot_job_done(rig->snapshot, PARAMD_OK);
}
END_TEST

START_TEST(a_shorter_file_takes_the_place_of_a_left_over)
{
    for (int i = 0; i < 20; i++) {
        append(10, 5000);
    }
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_PENDING);
    ck_assert(there("snapshot-00000001.001.new"));
    pd_rig_begin(rig, 1);
    append(3, 5);
    publish();
    expect_whole();
}
END_TEST

START_TEST(one_that_is_given_up_leaves_nothing_behind)
{
    for (int i = 0; i < 20; i++) {
        append(10, 5000);
    }
    struct pd_snapshot_job job;
    if (_i == 1) { /* the last thing to do is under way */
        pd_snapshot_end(rig->snapshot);
        while (pd_snapshot_take_job(rig->snapshot, &job) && job.kind == PD_SNAPSHOT_WRITE) {
            pd_snapshot_job_done(rig->snapshot, pd_snapshot_files_run(&rig->files, &job).status);
        }
        pd_snapshot_give_up(rig->snapshot);
        pd_snapshot_job_done(rig->snapshot, pd_snapshot_files_run(&rig->files, &job).status);
        ck_assert(there("snapshot-00000001.001"));
    } else {
        pd_snapshot_give_up(rig->snapshot);
        ck_assert(there("snapshot-00000001.001.new"));
        ck_assert_int_eq(pd_rig_append(rig, 1, 1), PARAMD_CANCELLED);
        pd_snapshot_end(rig->snapshot);
    }
    ck_assert_int_eq(pd_snapshot_status(rig->snapshot), PARAMD_PENDING);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_CANCELLED);
    ck_assert(!there("snapshot-00000001.001.new") && !there("snapshot-00000001.001"));
}
END_TEST

enum { PIECES = 20 };

/* Writes a file of some buffers; what became of it. */
static enum paramd_status write_file(void)
{
    for (int i = 0; i < PIECES; i++) {
        enum paramd_status status = pd_rig_append(rig, 10, 5000);
        if (status != PARAMD_OK) {
            (void)pd_rig_run(rig);
            return status;
        }
    }
    enum paramd_status status = pd_rig_end(rig);
    if (status == PARAMD_OK) {
        pd_rig_add(rig);
    }
    return status;
}

START_TEST(any_call_that_fails_costs_the_snapshot_and_nothing_else)
{
    static const enum pd_sim_fault faults[] = {PD_SIM_FAIL, PD_SIM_NO_SPACE, PD_SIM_SYNC_FAILS,
                                               PD_SIM_SHORT_WRITE};
    bool happened = true;
    for (uint64_t call = 1; happened; call++) {
        teardown();
        setup();
        ck_assert_int_eq(write_file(), PARAMD_OK);
        pd_rig_begin(rig, 1);
        pd_sim_disk_plan(rig->sim, faults[_i], pd_sim_disk_calls(rig->sim) + call);
        enum paramd_status status = write_file();
        happened = pd_sim_disk_happened(rig->sim);
        ck_assert_int_eq(status, !happened                       ? PARAMD_OK
                                 : faults[_i] == PD_SIM_NO_SPACE ? PARAMD_RESOURCE_EXHAUSTED
                                                                 : PARAMD_DISK);
        ck_assert(!there("snapshot-00000002.001.new"));
        ck_assert(there("snapshot-00000002.001") == !happened);
        ck_assert_uint_eq(rig->manifest->snapshot_count, happened ? 1 : 2);
        pd_sim_disk_plan(rig->sim, faults[_i], UINT64_MAX);
        rig->piece_count = PIECES;
        expect_whole(); /* this one, or the one before it */
        /* And the next one goes well. */
        pd_rig_begin(rig, 1);
        ck_assert_int_eq(write_file(), PARAMD_OK);
        pd_sim_disk_crash(rig->sim, true);
        expect_whole();
    }
}
END_TEST

/* Writes a whole snapshot and the MANIFEST that names it, until the disk fails: then the power is
 * gone and nothing else happens. Whether it came to its end. */
static bool take_snapshot(void)
{
    for (uint32_t shard = 0; shard < PD_RIG_SHARDS; shard++) {
        pd_rig_begin(rig, shard);
        for (int i = 0; i < PIECES; i++) {
            if (pd_rig_append(rig, 10, 1500) != PARAMD_OK) {
                return false;
            }
        }
        pd_snapshot_end(rig->snapshot);
        while (!pd_sim_disk_happened(rig->sim) && pd_rig_run_one(rig)) {
        }
        if (pd_snapshot_status(rig->snapshot) != PARAMD_OK) {
            return false;
        }
        pd_rig_note_published(rig);
    }
    struct pd_storage_error error;
    pd_rig_add(rig);
    return pd_manifest_write(rig->disk, rig->manifest, &error) == PARAMD_OK;
}

START_TEST(after_a_crash_at_any_call_the_directory_holds_whole_snapshots_only)
{
    unsigned seen[3] = {0}; /* by how many there are afterwards: always one more than before */
    bool cut = true;
    for (uint64_t call = 1; cut; call++) {
        for (uint64_t seed = 0; seed < 4; seed++) {
            teardown();
            rig = pd_snapshot_rig_create(seed);
            rig->manifest->epochs[0].control.id = 1;
            for (uint32_t i = 0; i < PD_RIG_SHARDS; i++) {
                rig->manifest->epochs[0].logs[i].id = 1;
            }
            pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, UINT64_MAX);
            ck_assert(take_snapshot());
            pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, pd_sim_disk_calls(rig->sim) + call);
            cut = !take_snapshot();
            pd_sim_disk_crash(rig->sim, true);
            pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, UINT64_MAX);

            struct pd_storage_error error;
            struct pd_manifest *manifest = rig->manifest;
            ck_assert_int_eq(pd_manifest_read(rig->disk, manifest, &error), PARAMD_OK);
            ck_assert_int_eq(pd_data_dir_check(rig->disk, manifest, &error), PARAMD_OK);
            ck_assert_int_eq(pd_data_dir_sweep(rig->disk, manifest, &error), PARAMD_OK);
            ck_assert(cut || manifest->snapshot_count == 2);
            seen[manifest->snapshot_count]++;
            rig->piece_count = PIECES;
            for (uint32_t i = 0; i < manifest->snapshot_count * PD_RIG_SHARDS; i++) {
                expect_whole_file(&manifest->snapshots[i / PD_RIG_SHARDS], i % PD_RIG_SHARDS);
            }
            ck_assert(take_snapshot());
            expect_whole();
        }
    }
    ck_assert(seen[0] == 0 && seen[1] > 40 && seen[2] > 4);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *cases = tcase_create("snapshot");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, pieces_of_every_size_come_back);
    tcase_add_test(cases, an_empty_snapshot_is_read_back);
    tcase_add_test(cases, an_end_anywhere_in_a_page_is_read_back);
    tcase_add_test(cases, a_piece_larger_than_the_buffer_makes_it_grow);
    tcase_add_test(cases, a_piece_that_no_memory_is_left_for_is_refused);
    tcase_add_test(cases, each_page_is_written_once_and_in_large_writes);
    tcase_add_test(cases, one_buffer_is_filled_while_the_other_is_being_written);
    tcase_add_test(cases, a_shorter_file_takes_the_place_of_a_left_over);
    tcase_add_loop_test(cases, one_that_is_given_up_leaves_nothing_behind, 0, 2);
    tcase_add_loop_test(cases, any_call_that_fails_costs_the_snapshot_and_nothing_else, 0, 4);
    tcase_add_test(cases, after_a_crash_at_any_call_the_directory_holds_whole_snapshots_only);
    suite_add_tcase(suite, cases);
    return suite;
}
