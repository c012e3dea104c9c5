/* What the files of a data directory are is known by their names and MANIFEST: what is needed
 * stays, what is left over goes, and an old MANIFEST or none beside data is noticed. */
#include "server/storage/data_dir.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"

static struct pd_sim_disk *sim;
static const struct pd_disk *disk;
static struct pd_manifest *manifest;
static struct pd_storage_error error;

/* Epochs 3 (of 2 shards, without control's log) and 5 (of 3), snapshots 7 and 8 of 9. */
static void setup(void)
{
    sim = pd_sim_disk_create(1);
    disk = pd_sim_disk_of(sim);
    manifest = calloc(1, sizeof *manifest);
    ck_assert_ptr_nonnull(manifest);
    manifest->last_snapshot = 9;
    manifest->epoch_count = 2;
    manifest->epochs[0] = (struct pd_manifest_epoch){.number = 3, .shards = 2};
    manifest->epochs[1] =
        (struct pd_manifest_epoch){.number = 5, .shards = 3, .control = {.id = 1}};
    manifest->snapshot_count = 2;
    manifest->snapshots[0] = (struct pd_manifest_snapshot){.number = 7, .epoch = 3, .shards = 2};
    manifest->snapshots[1] = (struct pd_manifest_snapshot){.number = 8, .epoch = 5, .shards = 3};
}

static void teardown(void)
{
    free(manifest);
    pd_sim_disk_destroy(sim);
}

static const struct {
    const char *name;
    enum pd_file_use use;
} files[] = {
    {"paramd.lock", PD_FILE_FOREIGN},
    {"MANIFEST", PD_FILE_FOREIGN},
    {"MANIFEST.new", PD_FILE_LEFT_OVER},
    {"notes.txt", PD_FILE_FOREIGN},
    {"control.5.00000", PD_FILE_FOREIGN},
    {"control.00000005.0000", PD_FILE_FOREIGN},
    {"control.00000005.00000.bak", PD_FILE_FOREIGN},
    {"shard-0000.00000005.00000", PD_FILE_FOREIGN},
    {"snapshot-00000008", PD_FILE_FOREIGN},
    {"control.00000005.00000", PD_FILE_NEEDED},
    {"control.00000005.00001.new", PD_FILE_NEEDED},
    {"control.00000003.00000", PD_FILE_LEFT_OVER},
    {"control.00000006.00000", PD_FILE_NEWER},
    {"shard-002.00000005.00012", PD_FILE_NEEDED},
    {"shard-002.00000005.00013.new", PD_FILE_NEEDED},
    {"shard-003.00000005.00000", PD_FILE_LEFT_OVER},
    {"shard-001.00000003.00000", PD_FILE_NEEDED},
    {"shard-001.00000003.00001.new", PD_FILE_LEFT_OVER},
    {"shard-002.00000003.00000", PD_FILE_LEFT_OVER},
    {"shard-000.00000004.00000", PD_FILE_LEFT_OVER},
    {"shard-000.00000002.00000", PD_FILE_LEFT_OVER},
    {"shard-000.00000006.00000.new", PD_FILE_NEWER},
    {"snapshot-00000007.001", PD_FILE_NEEDED},
    {"snapshot-00000007.002", PD_FILE_LEFT_OVER},
    {"snapshot-00000008.002", PD_FILE_NEEDED},
    {"snapshot-00000008.002.new", PD_FILE_LEFT_OVER},
    {"snapshot-00000006.000", PD_FILE_LEFT_OVER},
    {"snapshot-00000009.000", PD_FILE_LEFT_OVER},
    {"snapshot-00000010.000", PD_FILE_LEFT_OVER}, /* its MANIFEST had not been written */
    {"snapshot-00000010.001.new", PD_FILE_LEFT_OVER},
    {"snapshot-00000011.000", PD_FILE_NEWER},
};

enum { FILES = sizeof files / sizeof *files };

static void make(const char *name)
{
    int file;
    ck_assert_int_eq(disk->open(disk->context, name, PD_DISK_CREATE, &file).status, PARAMD_OK);
    disk->close(disk->context, file);
}

static bool there(const char *name)
{
    int file;
    bool opened = disk->open(disk->context, name, PD_DISK_READ, &file).status == PARAMD_OK;
    if (opened) {
        disk->close(disk->context, file);
    }
    return opened;
}

START_TEST(the_names_that_are_made_are_those_that_are_known)
{
    char log[PD_WAL_LOG_NAME_BYTES];
    char name[PD_DISK_NAME_BYTES];
    pd_control_log_name(5, log);
    pd_wal_file_name(log, 0, name);
    ck_assert_str_eq(name, "control.00000005.00000");
    pd_shard_log_name(2, 5, log);
    pd_wal_file_name(log, 12, name);
    ck_assert_str_eq(name, "shard-002.00000005.00012");
    pd_snapshot_name(8, 2, name);
    ck_assert_str_eq(name, "snapshot-00000008.002");
    pd_shard_log_name(PD_SHARDS_MAX - 1, PD_FILE_NUMBER_MAX, log);
    ck_assert_str_eq(log, "shard-255.99999999");
}
END_TEST

START_TEST(every_file_is_known_by_its_name)
{
    ck_assert_msg(pd_file_use(manifest, files[_i].name) == files[_i].use, "%s", files[_i].name);
    bool ours = files[_i].use != PD_FILE_FOREIGN && strcmp(files[_i].name, "MANIFEST.new") != 0;
    ck_assert(!ours || pd_file_use(NULL, files[_i].name) == PD_FILE_NEWER);
}
END_TEST

START_TEST(a_sweep_removes_what_is_left_over_and_nothing_else)
{
    for (int i = 0; i < FILES; i++) {
        make(files[i].name);
    }
    ck_assert_int_eq(pd_data_dir_sweep(disk, manifest, &error), PARAMD_OK);
    pd_sim_disk_kill(sim);
    for (int i = 0; i < FILES; i++) {
        ck_assert_msg(there(files[i].name) == (files[i].use != PD_FILE_LEFT_OVER), "%s",
                      files[i].name);
    }
}
END_TEST

START_TEST(a_manifest_that_is_older_than_a_file_is_refused)
{
    for (int i = 0; i < FILES; i++) {
        if (files[i].use != PD_FILE_NEWER) {
            make(files[i].name);
        }
    }
    ck_assert_int_eq(pd_data_dir_check(disk, manifest, &error), PARAMD_OK);
    if (files[_i].use == PD_FILE_NEWER) {
        make(files[_i].name);
        ck_assert_int_eq(pd_data_dir_check(disk, manifest, &error), PARAMD_CORRUPT);
        ck_assert_str_eq(error.file, files[_i].name);
        ck_assert_ptr_nonnull(strstr(error.text, "old copy"));
    }
}
END_TEST

START_TEST(data_without_a_manifest_is_refused)
{
    make("paramd.lock");
    make("MANIFEST.new");
    ck_assert_int_eq(pd_data_dir_check(disk, NULL, &error), PARAMD_OK);
    make("snapshot-00000001.000.new");
    ck_assert_int_eq(pd_data_dir_check(disk, NULL, &error), PARAMD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, "missing"));
}
END_TEST

START_TEST(what_was_being_made_is_cleared_and_nothing_else)
{
    static const char *const kept[] = {"MANIFEST", "control.00000009.00000", "notes.new", "x.new"};
    static const char *const gone[] = {"MANIFEST.new", "control.00000009.00000.new",
                                       "shard-000.00000001.00003.new", "snapshot-00000001.000.new"};
    for (unsigned i = 0; i < 4; i++) {
        make(kept[i]);
        make(gone[i]);
    }
    ck_assert_int_eq(pd_data_dir_clear(disk, &error), PARAMD_OK);
    for (unsigned i = 0; i < 4; i++) {
        ck_assert(there(kept[i]));
        ck_assert(!there(gone[i]));
    }
}
END_TEST

START_TEST(a_disk_that_fails_is_told)
{
    make("snapshot-00000001.000");
    for (uint64_t call = 1; call <= 3; call++) {
        pd_sim_disk_plan(sim, PD_SIM_FAIL, pd_sim_disk_calls(sim) + call);
        enum paramd_status status = call == 1 ? pd_data_dir_check(disk, manifest, &error)
                                              : pd_data_dir_sweep(disk, manifest, &error);
        ck_assert_int_eq(status, PARAMD_DISK);
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("data_dir");
    TCase *cases = tcase_create("data_dir");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, the_names_that_are_made_are_those_that_are_known);
    tcase_add_loop_test(cases, every_file_is_known_by_its_name, 0, FILES);
    tcase_add_test(cases, a_sweep_removes_what_is_left_over_and_nothing_else);
    tcase_add_loop_test(cases, a_manifest_that_is_older_than_a_file_is_refused, 0, FILES);
    tcase_add_test(cases, data_without_a_manifest_is_refused);
    tcase_add_test(cases, what_was_being_made_is_cleared_and_nothing_else);
    tcase_add_test(cases, a_disk_that_fails_is_told);
    suite_add_tcase(suite, cases);
    return suite;
}
