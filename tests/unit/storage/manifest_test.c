/* MANIFEST comes back as it was written, the old or the new one whatever happens while it is
 * replaced, and nothing else is ever taken for one. */
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "server/storage/little_endian.h"
#include "server/storage/manifest.h"
#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"

enum { SHARDS = 3 };

static struct pd_sim_disk *sim;
static const struct pd_disk *disk;
static struct pd_manifest *manifest;
static struct pd_manifest *found;
static struct pd_storage_error error;

static void setup(void)
{
    sim = pd_sim_disk_create(1);
    disk = pd_sim_disk_of(sim);
    manifest = calloc(1, sizeof *manifest);
    found = calloc(1, sizeof *found);
    ck_assert(manifest != NULL && found != NULL);
    manifest->directory_id = 0xd1d1;
}

static void teardown(void)
{
    free(found);
    free(manifest);
    pd_sim_disk_destroy(sim);
}

/* An epoch whose numbers can be told from those of all others. */
static void add_epoch(uint32_t shards)
{
    struct pd_manifest_epoch *epoch = pd_manifest_add_epoch(manifest, shards);
    ck_assert_ptr_nonnull(epoch);
    epoch->clean = epoch->number % 2 == 0;
    epoch->control =
        (struct pd_manifest_log){epoch->number * 1000 + 999, epoch->number, epoch->number % 3 == 0};
    for (uint32_t i = 0; i < shards; i++) {
        epoch->logs[i] =
            (struct pd_manifest_log){epoch->number * 1000 + i, UINT64_MAX - i, i % 2 == 0};
    }
}

static struct pd_manifest_snapshot next_snapshot(void)
{
    const struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count - 1];
    struct pd_manifest_snapshot snapshot = {.number = manifest->last_snapshot + 1,
                                            .epoch = epoch->number,
                                            .shards = epoch->shards,
                                            .clean = epoch->number == 3};
    for (uint32_t i = 0; i < epoch->shards; i++) {
        snapshot.files[i] = (struct pd_manifest_file){snapshot.number * 4096, i + 7, i * 5};
    }
    return snapshot;
}

static void add_snapshot(void)
{
    struct pd_manifest_snapshot snapshot = next_snapshot();
    pd_manifest_add_snapshot(manifest, &snapshot);
}

static void fill(void)
{
    add_epoch(1);
    add_epoch(SHARDS);
    add_snapshot();
    add_epoch(SHARDS + 1);
    add_snapshot();
}

static void write_manifest(void)
{
    ck_assert_int_eq(pd_manifest_write(disk, manifest, &error), PARAMD_OK);
}

static enum paramd_status read_manifest(void)
{
    memset(found, 0x5a, sizeof *found);
    return pd_manifest_read(disk, found, &error);
}

static bool same_log(const struct pd_manifest_log *a, const struct pd_manifest_log *b)
{
    return a->id == b->id && a->durable_lsn == b->durable_lsn && a->begun == b->begun;
}

static void expect_equal(void)
{
    ck_assert_uint_eq(found->serial, manifest->serial);
    ck_assert_uint_eq(found->directory_id, manifest->directory_id);
    ck_assert_uint_eq(found->last_snapshot, manifest->last_snapshot);
    ck_assert_uint_eq(found->epoch_count, manifest->epoch_count);
    ck_assert_uint_eq(found->snapshot_count, manifest->snapshot_count);
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        const struct pd_manifest_epoch *a = &manifest->epochs[i];
        const struct pd_manifest_epoch *b = &found->epochs[i];
        ck_assert(a->number == b->number && a->shards == b->shards && a->clean == b->clean);
        ck_assert(same_log(&a->control, &b->control));
        for (uint32_t j = 0; j < a->shards; j++) {
            ck_assert(same_log(&a->logs[j], &b->logs[j]));
        }
    }
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        const struct pd_manifest_snapshot *a = &manifest->snapshots[i];
        const struct pd_manifest_snapshot *b = &found->snapshots[i];
        ck_assert(a->number == b->number && a->epoch == b->epoch && a->shards == b->shards);
        ck_assert(a->clean == b->clean);
        ck_assert(memcmp(a->files, b->files, a->shards * sizeof *a->files) == 0);
    }
}

START_TEST(what_is_written_is_read_back)
{
    ck_assert_int_eq(read_manifest(), PARAMD_NOT_FOUND);
    fill();
    write_manifest();
    ck_assert_uint_eq(manifest->serial, 1);
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    expect_equal();
    /* A shorter one after a longer one that was not finished. */
    int file;
    static const uint8_t junk[9000] = {1};
    ck_assert_int_eq(disk->open(disk->context, "MANIFEST.new", PD_DISK_CREATE, &file).status,
                     PARAMD_OK);
    ck_assert_int_eq(disk->write(disk->context, file, 0, junk, sizeof junk).status, PARAMD_OK);
    disk->close(disk->context, file);
    manifest->directory_id++;
    write_manifest();
    pd_sim_disk_crash(sim, true);
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    ck_assert_uint_eq(found->serial, 2);
    expect_equal();
}
END_TEST

START_TEST(the_largest_one_is_read_back_and_takes_no_further_epoch)
{
    for (uint32_t i = 0; i < PD_EPOCHS_MAX; i++) {
        add_epoch(PD_SHARDS_MAX);
    }
    add_snapshot();
    ck_assert_ptr_null(pd_manifest_add_epoch(manifest, 1));
    write_manifest();
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    expect_equal();
}
END_TEST

START_TEST(a_newest_snapshot_that_is_damaged_goes_before_the_older_one)
{
    add_epoch(1);
    add_snapshot();
    add_epoch(1);
    add_snapshot();
    pd_manifest_note_damage(manifest, 2);
    add_snapshot();
    ck_assert_uint_eq(manifest->snapshot_count, 2);
    ck_assert_uint_eq(manifest->snapshots[0].number, 1);
    ck_assert_uint_eq(manifest->snapshots[1].number, 3);
    ck_assert_uint_eq(manifest->epoch_count, 2);
    /* An older one goes first anyway. */
    pd_manifest_note_damage(manifest, 1);
    add_snapshot();
    ck_assert_uint_eq(manifest->snapshots[0].number, 3);
    ck_assert_uint_eq(manifest->epoch_count, 1);
}
END_TEST

START_TEST(two_snapshots_are_kept_and_the_epochs_that_they_need)
{
    add_epoch(1);
    add_epoch(2);
    add_snapshot();
    ck_assert_uint_eq(manifest->epoch_count, 2); /* one snapshot may be damaged */
    add_snapshot();
    ck_assert_uint_eq(manifest->epochs[0].number, 2);
    add_epoch(4);
    add_snapshot();
    ck_assert_uint_eq(manifest->snapshot_count, 2);
    ck_assert_ptr_null(pd_manifest_find_snapshot(manifest, 1));
    ck_assert_uint_eq(pd_manifest_find_snapshot(manifest, 2)->epoch, 2);
    ck_assert_uint_eq(pd_manifest_find_snapshot(manifest, 3)->shards, 4);
    ck_assert_ptr_null(pd_manifest_find_epoch(manifest, 1));
    ck_assert_uint_eq(pd_manifest_find_epoch(manifest, 2)->shards, 2);
    add_snapshot();
    ck_assert_ptr_null(pd_manifest_find_epoch(manifest, 2));
    ck_assert_uint_eq(manifest->epoch_count, 1);
    ck_assert_uint_eq(manifest->last_snapshot, 4);
}
END_TEST

START_TEST(a_bit_flip_anywhere_is_refused)
{
    fill();
    write_manifest();
    uint64_t count;
    uint8_t *bytes = pd_sim_disk_bytes(sim, "MANIFEST", &count);
    ck_assert_uint_gt(count, 200);
    for (uint64_t bit = 0; bit < count * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        enum paramd_status status = read_manifest();
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        ck_assert_msg(status == PARAMD_CORRUPT || (status == PARAMD_VERSION && bit / 8 < 12),
                      "bit %llu", (unsigned long long)bit);
        ck_assert_str_eq(error.file, "MANIFEST");
    }
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
}
END_TEST

/* Puts these bytes in the place of MANIFEST. */
static void put(const uint8_t *bytes, size_t count)
{
    int file;
    ck_assert_int_eq(disk->open(disk->context, "put", PD_DISK_CREATE, &file).status, PARAMD_OK);
    ck_assert_int_eq(disk->write(disk->context, file, 0, bytes, count).status, PARAMD_OK);
    disk->close(disk->context, file);
    ck_assert_int_eq(disk->rename(disk->context, "put", "MANIFEST").status, PARAMD_OK);
}

START_TEST(one_that_is_too_short_or_too_long_is_refused)
{
    fill();
    write_manifest();
    uint64_t count;
    const uint8_t *bytes = pd_sim_disk_bytes(sim, "MANIFEST", &count);
    uint8_t *copy = calloc(1, count + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, count);
    /* The simulated disk has room for some 250 files. */
    for (uint64_t i = 0; i <= count + 1; i += i < 30 || i + 30 > count ? 1 : 7) {
        put(copy, i);
        ck_assert_int_eq(read_manifest(), i == count ? PARAMD_OK : PARAMD_CORRUPT);
    }
    free(copy);
}
END_TEST

/* Its logs were not noted as begun: they may be missing while nothing durable is known of them. */
START_TEST(one_of_the_first_format_is_read)
{
    fill();
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        struct pd_manifest_epoch *epoch = &manifest->epochs[i];
        epoch->control.begun = false;
        for (uint32_t shard = 0; shard < epoch->shards; shard++) {
            epoch->logs[shard].begun = false;
        }
    }
    write_manifest();
    uint64_t count;
    uint8_t *bytes = pd_sim_disk_bytes(sim, "MANIFEST", &count);
    pd_store(bytes + 8, 1, 4);
    pd_store(bytes + count - 8, XXH3_64bits(bytes, count - 8), 8);
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    expect_equal();
}
END_TEST

START_TEST(one_of_a_newer_format_is_refused_with_a_sentence)
{
    fill();
    write_manifest();
    uint64_t count;
    pd_sim_disk_bytes(sim, "MANIFEST", &count)[8] = PD_MANIFEST_FORMAT + 1;
    ck_assert_int_eq(read_manifest(), PARAMD_VERSION);
    ck_assert_ptr_nonnull(strstr(error.text, "newer paramd"));
}
END_TEST

/* Each makes a MANIFEST senseless that is right but for that. */
static void spoil(int how)
{
    switch (how) {
    case 0:
        manifest->epochs[1].number = manifest->epochs[0].number;
        break;
    case 1:
        manifest->epochs[0].number = 0;
        break;
    case 2:
        manifest->epochs[2].number = PD_FILE_NUMBER_MAX + 1;
        break;
    case 3:
        manifest->epochs[1].logs[0].id = 0;
        break;
    case 4:
        manifest->epochs[2].control.id = 0;
        break;
    case 5:
        manifest->snapshots[1].number = manifest->snapshots[0].number;
        break;
    case 6:
        manifest->snapshots[1].epoch = 9;
        break;
    case 7:
        manifest->snapshots[0].shards++;
        break;
    case 8:
        manifest->last_snapshot = 1;
        break;
    case 9:
        manifest->snapshots[0].number = 0;
        break;
    case 10:
        manifest->epoch_count = 0;
        manifest->snapshot_count = 0;
        break;
    case 11:
        manifest->snapshots[0].epoch = 3;
        manifest->snapshots[0].shards = SHARDS + 1;
        manifest->snapshots[1].epoch = 2;
        manifest->snapshots[1].shards = SHARDS;
        break;
    default:
        manifest->epochs[0].shards = 0;
        break;
    }
}

START_TEST(one_that_makes_no_sense_is_refused)
{
    add_epoch(1);
    add_epoch(SHARDS);
    add_epoch(SHARDS + 1);
    manifest->last_snapshot = 2;
    manifest->snapshot_count = 2;
    manifest->snapshots[0] =
        (struct pd_manifest_snapshot){.number = 1, .epoch = 2, .shards = SHARDS};
    manifest->snapshots[1] =
        (struct pd_manifest_snapshot){.number = 2, .epoch = 3, .shards = SHARDS + 1};
    write_manifest();
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    spoil(_i);
    write_manifest();
    ck_assert_int_eq(read_manifest(), PARAMD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(error.text, "sense"));
}
END_TEST

/* Calls of the disk that one writing takes. */
static uint64_t calls_of_a_writing(void)
{
    uint64_t before = pd_sim_disk_calls(sim);
    write_manifest();
    return pd_sim_disk_calls(sim) - before;
}

START_TEST(whatever_fails_and_whenever_it_crashes_the_old_or_the_new_one_is_there)
{
    fill();
    uint64_t calls = calls_of_a_writing();
    ck_assert_uint_gt(calls, 5);
    bool seen[2] = {false, false};
    for (uint64_t seed = 0; seed < 40 * calls; seed++) {
        teardown();
        setup();
        pd_sim_disk_destroy(sim);
        sim = pd_sim_disk_create(seed);
        disk = pd_sim_disk_of(sim);
        fill();
        write_manifest();
        uint64_t call = seed % calls;
        enum pd_sim_fault fault = seed / calls % 2 == 0 ? PD_SIM_FAIL : PD_SIM_SYNC_FAILS;
        pd_sim_disk_plan(sim, fault, pd_sim_disk_calls(sim) + 1 + call);
        enum paramd_status status = pd_manifest_write(disk, manifest, &error);
        ck_assert_int_eq(status, pd_sim_disk_happened(sim) ? PARAMD_DISK : PARAMD_OK);
        pd_sim_disk_crash(sim, true);
        ck_assert_int_eq(read_manifest(), PARAMD_OK);
        ck_assert(found->serial == 2 || (found->serial == 1 && status != PARAMD_OK));
        seen[found->serial - 1] = true;
        manifest->serial = found->serial;
        expect_equal();
    }
    ck_assert(seen[0] && seen[1]);
}
END_TEST

START_TEST(without_space_the_old_one_stays_and_nothing_is_left_over)
{
    fill();
    write_manifest();
    for (uint64_t call = 1; call <= 3; call++) {
        pd_sim_disk_plan(sim, PD_SIM_NO_SPACE, pd_sim_disk_calls(sim) + call);
        ck_assert_int_eq(pd_manifest_write(disk, manifest, &error), PARAMD_RESOURCE_EXHAUSTED);
        uint64_t count;
        ck_assert_ptr_null(pd_sim_disk_bytes(sim, "MANIFEST.new", &count));
        ck_assert_int_eq(read_manifest(), PARAMD_OK);
        expect_equal();
    }
    write_manifest();
    ck_assert_uint_eq(manifest->serial, 2);
}
END_TEST

START_TEST(a_snapshot_counts_only_once_that_is_durable)
{
    fill();
    write_manifest();
    struct pd_manifest_snapshot snapshot = next_snapshot();
    for (uint64_t call = 1; call <= 3; call++) {
        pd_sim_disk_plan(sim, PD_SIM_NO_SPACE, pd_sim_disk_calls(sim) + call);
        ck_assert_int_eq(pd_manifest_publish(disk, manifest, &snapshot, 4711, &error),
                         PARAMD_RESOURCE_EXHAUSTED);
        ck_assert_int_eq(read_manifest(), PARAMD_OK);
        expect_equal();
    }
    ck_assert_int_eq(pd_manifest_publish(disk, manifest, &snapshot, 4711, &error), PARAMD_OK);
    ck_assert_int_eq(read_manifest(), PARAMD_OK);
    expect_equal();
    ck_assert_uint_eq(found->last_snapshot, snapshot.number);
    const struct pd_manifest_epoch *epoch = &found->epochs[found->epoch_count - 1];
    ck_assert_uint_eq(epoch->number, snapshot.epoch);
    for (uint32_t i = 0; i < snapshot.shards; i++) {
        ck_assert_uint_eq(epoch->logs[i].durable_lsn, snapshot.files[i].start_lsn);
    }
    ck_assert_uint_eq(epoch->control.durable_lsn, 4711);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("manifest");
    TCase *cases = tcase_create("manifest");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, what_is_written_is_read_back);
    tcase_add_test(cases, the_largest_one_is_read_back_and_takes_no_further_epoch);
    tcase_add_test(cases, a_newest_snapshot_that_is_damaged_goes_before_the_older_one);
    tcase_add_test(cases, two_snapshots_are_kept_and_the_epochs_that_they_need);
    tcase_add_test(cases, a_bit_flip_anywhere_is_refused);
    tcase_add_test(cases, one_that_is_too_short_or_too_long_is_refused);
    tcase_add_test(cases, one_of_the_first_format_is_read);
    tcase_add_test(cases, one_of_a_newer_format_is_refused_with_a_sentence);
    tcase_add_loop_test(cases, one_that_makes_no_sense_is_refused, 0, 13);
    tcase_add_test(cases, whatever_fails_and_whenever_it_crashes_the_old_or_the_new_one_is_there);
    tcase_add_test(cases, without_space_the_old_one_stays_and_nothing_is_left_over);
    tcase_add_test(cases, a_snapshot_counts_only_once_that_is_durable);
    suite_add_tcase(suite, cases);
    return suite;
}
