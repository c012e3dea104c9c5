/* Whatever happens to the bytes of a snapshot at rest is seen: nothing in it can be changed, lost,
 * doubled, moved or exchanged. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/storage/snapshot_rig.h"

enum { PIECES = 40, PIECE_BYTES = 696 /* all of one size, so that they can change places */ };

static struct pd_snapshot_rig *rig;
static const struct pd_manifest_snapshot *snapshot;
static uint8_t *bytes; /* of shard 0's file */
static uint64_t count;

static void write_file(uint32_t shard)
{
    pd_rig_begin(rig, shard);
    for (int i = 0; i < PIECES; i++) {
        ck_assert_int_eq(pd_rig_append(rig, 33, PIECE_BYTES - 33 - 3 - PD_SNAPSHOT_PREFIX_BYTES),
                         PARAMD_OK);
    }
    ck_assert_int_eq(pd_rig_end(rig), PARAMD_OK);
}

static const char *name_of(uint32_t number, uint32_t shard)
{
    static char name[PD_DISK_NAME_BYTES];
    (void)snprintf(name, sizeof name, "snapshot-%08u.%03u", (unsigned)number, (unsigned)shard);
    return name;
}

static uint8_t *file_bytes(uint32_t number, uint32_t shard)
{
    uint64_t length;
    uint8_t *found = pd_sim_disk_bytes(rig->sim, name_of(number, shard), &length);
    ck_assert_uint_eq(length, count);
    return found;
}

static void setup(void)
{
    rig = pd_snapshot_rig_create(1);
    for (int i = 0; i < 2; i++) {
        for (uint32_t shard = 0; shard < PD_RIG_SHARDS; shard++) {
            write_file(shard);
        }
        pd_rig_add(rig);
    }
    snapshot = &rig->manifest->snapshots[1];
    bytes = pd_sim_disk_bytes(rig->sim, name_of(2, 0), &count);
    ck_assert_uint_eq(count, snapshot->files[0].bytes);
    ck_assert_uint_gt(count, PIECES * PIECE_BYTES);
}

static void teardown(void)
{
    pd_snapshot_rig_destroy(rig);
}

static struct pd_snapshot_reading expect_refusal(const char *text)
{
    struct pd_snapshot_reading reading = pd_rig_read(rig, snapshot, 0);
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_str_eq(reading.error.file, name_of(2, 0));
    ck_assert_msg(strstr(reading.error.text, text) != NULL, "%s", reading.error.text);
    return reading;
}

static void expect_good(void)
{
    ck_assert_int_eq(pd_rig_read(rig, snapshot, 0).status, PARAMD_OK);
}

START_TEST(a_bit_flip_anywhere_is_refused_before_the_piece_is_handed_out)
{
    for (uint64_t at = 0; at < count; at++) {
        uint8_t bit = (uint8_t)(1U << at % 8);
        bytes[at] ^= bit;
        struct pd_snapshot_reading reading = pd_rig_read(rig, snapshot, 0);
        bytes[at] ^= bit;
        uint64_t before =
            at < PD_SNAPSHOT_PAGE_BYTES ? 0 : (at - PD_SNAPSHOT_PAGE_BYTES) / PIECE_BYTES;
        bool refused = reading.status == PARAMD_CORRUPT ||
                       (reading.status == PARAMD_VERSION && at < PD_SNAPSHOT_PAGE_BYTES);
        ck_assert_msg(refused && reading.pieces == (before < PIECES ? before : PIECES) &&
                          strcmp(reading.error.file, name_of(2, 0)) == 0 &&
                          reading.error.offset <= at,
                      "byte %llu", (unsigned long long)at);
    }
    expect_good();
}
END_TEST

START_TEST(a_file_that_is_too_short_or_too_long_is_refused)
{
    const struct pd_disk *disk = rig->disk;
    uint8_t *copy = calloc(1, count + 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, count);
    for (uint64_t i = 0; i <= 200; i++) {
        uint64_t length = i == 200 ? count + 1 : i == 199 ? count - 1 : count * i / 199;
        int file;
        ck_assert_int_eq(disk->open(disk->context, "copy", PD_DISK_CREATE, &file).status,
                         PARAMD_OK);
        ck_assert_int_eq(disk->write(disk->context, file, 0, copy, length).status, PARAMD_OK);
        disk->close(disk->context, file);
        ck_assert_int_eq(disk->rename(disk->context, "copy", name_of(2, 0)).status, PARAMD_OK);
        struct pd_snapshot_reading reading = expect_refusal("size");
        ck_assert_uint_eq(reading.error.offset, length < count ? length : count);
        ck_assert_uint_eq(reading.pieces, 0);
        /* Also where MANIFEST has the same idea of its length. */
        uint64_t right = rig->manifest->snapshots[1].files[0].bytes;
        rig->manifest->snapshots[1].files[0].bytes = length;
        ck_assert_int_eq(pd_rig_read(rig, snapshot, 0).status, PARAMD_CORRUPT);
        rig->manifest->snapshots[1].files[0].bytes = right;
    }
    free(copy);
}
END_TEST

/* Where a piece stands. */
static uint8_t *piece_at(int piece)
{
    return bytes + PD_SNAPSHOT_PAGE_BYTES + piece * PIECE_BYTES;
}

START_TEST(pieces_that_changed_places_are_refused)
{
    static uint8_t kept[PIECE_BYTES];
    for (int i = 0; i < PIECES; i++) {
        int other = (i * 7 + 3) % PIECES;
        if (other == i) {
            continue;
        }
        memcpy(kept, piece_at(i), PIECE_BYTES);
        memcpy(piece_at(i), piece_at(other), PIECE_BYTES);
        expect_refusal("out of its place"); /* there twice */
        memcpy(piece_at(other), kept, PIECE_BYTES);
        struct pd_snapshot_reading reading = expect_refusal("out of its place");
        ck_assert_uint_eq(reading.pieces, (unsigned)(i < other ? i : other));
        memcpy(kept, piece_at(i), PIECE_BYTES);
        memcpy(piece_at(i), piece_at(other), PIECE_BYTES);
        memcpy(piece_at(other), kept, PIECE_BYTES);
        expect_good();
    }
}
END_TEST

START_TEST(a_piece_that_was_cut_out_is_missed)
{
    uint8_t *whole = malloc(count);
    ck_assert_ptr_nonnull(whole);
    memcpy(whole, bytes, count);
    for (int i = 0; i < PIECES; i++) {
        uint64_t at = (uint64_t)(piece_at(i) - bytes);
        memmove(bytes + at, bytes + at + PIECE_BYTES, count - at - PIECE_BYTES);
        expect_refusal("missing");
        memcpy(bytes, whole, count);
    }
    free(whole);
    expect_good();
}
END_TEST

/* Puts the bytes of another file in the place of shard 0's. */
static void expect_exchange_refused(const uint8_t *other, const char *text)
{
    uint8_t *kept = malloc(count);
    ck_assert_ptr_nonnull(kept);
    memcpy(kept, bytes, count);
    memcpy(bytes, other, count);
    expect_refusal(text);
    memcpy(bytes, kept, count);
    free(kept);
}

START_TEST(files_that_were_exchanged_are_refused)
{
    expect_exchange_refused(file_bytes(2, 1), "another snapshot, shard or directory");
    expect_exchange_refused(file_bytes(1, 0), "another snapshot, shard or directory");
    rig->manifest->directory_id++;
    expect_refusal("another snapshot, shard or directory");
    rig->manifest->directory_id--;
    expect_good();
}
END_TEST

START_TEST(an_old_file_of_the_same_name_is_refused)
{
    /* Number 3 is written, not published in MANIFEST, and written again with other values. */
    write_file(0);
    uint8_t *old = malloc(count);
    ck_assert_ptr_nonnull(old);
    memcpy(old, file_bytes(3, 0), count);
    ck_assert_int_eq(rig->disk->unlink(rig->disk->context, name_of(3, 0)).status, PARAMD_OK);
    pd_rig_begin(rig, 0);
    for (int i = 0; i < PIECES; i++) {
        ck_assert_int_eq(pd_rig_append(rig, 34, PIECE_BYTES - 34 - 3 - PD_SNAPSHOT_PREFIX_BYTES),
                         PARAMD_OK);
    }
    ck_assert_int_eq(pd_rig_end(rig), PARAMD_OK);
    pd_rig_add(rig);
    expect_good();
    uint8_t *now = file_bytes(3, 0);
    memcpy(now, old, count);
    for (int i = 0; i < PIECES; i++) { /* so that each piece is what the rig expects */
        rig->header_bytes[i] = 33;
        rig->payload_bytes[i] = PIECE_BYTES - 33 - 3 - PD_SNAPSHOT_PREFIX_BYTES;
    }
    struct pd_snapshot_reading reading = pd_rig_read(rig, snapshot, 0);
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(reading.error.text, "exchanged"));
    ck_assert_uint_eq(reading.pieces, PIECES);
    free(old);
}
END_TEST

START_TEST(a_missing_file_is_corruption)
{
    ck_assert_int_eq(rig->disk->unlink(rig->disk->context, name_of(2, 0)).status, PARAMD_OK);
    expect_refusal("missing");
}
END_TEST

START_TEST(one_of_a_newer_format_is_refused_with_a_sentence)
{
    bytes[8] = PD_SNAPSHOT_FORMAT + 1;
    struct pd_snapshot_reading reading = pd_rig_read(rig, snapshot, 0);
    ck_assert_int_eq(reading.status, PARAMD_VERSION);
    ck_assert_ptr_nonnull(strstr(reading.error.text, "newer paramd"));
}
END_TEST

START_TEST(a_disk_that_fails_is_told_and_no_damage)
{
    uint64_t calls = pd_sim_disk_calls(rig->sim);
    expect_good();
    calls = pd_sim_disk_calls(rig->sim) - calls;
    ck_assert_uint_ge(calls, 3);
    for (uint64_t call = 1; call <= calls; call++) {
        pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, pd_sim_disk_calls(rig->sim) + call);
        ck_assert_int_eq(pd_rig_read(rig, snapshot, 0).status, PARAMD_DISK);
    }
    expect_good();
}
END_TEST

START_TEST(a_write_that_was_lost_or_went_elsewhere_is_seen)
{
    static const enum pd_sim_fault faults[] = {PD_SIM_LOST_WRITE, PD_SIM_MISDIRECTED,
                                               PD_SIM_BIT_FLIP};
    unsigned refused = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        pd_snapshot_rig_destroy(rig);
        rig = pd_snapshot_rig_create(seed);
        pd_sim_disk_plan(rig->sim, faults[_i], 1 + seed % 4);
        write_file(0);
        ck_assert(pd_sim_disk_happened(rig->sim));
        pd_rig_add(rig);
        struct pd_snapshot_reading reading = pd_rig_read(rig, &rig->manifest->snapshots[0], 0);
        /* A write may go astray and end up in its place. */
        ck_assert(reading.status == PARAMD_CORRUPT ||
                  (reading.status == PARAMD_OK && faults[_i] == PD_SIM_MISDIRECTED) ||
                  (reading.status == PARAMD_VERSION && faults[_i] == PD_SIM_BIT_FLIP));
        refused += reading.status != PARAMD_OK;
    }
    ck_assert_uint_gt(refused, 15);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("snapshot_damage");
    TCase *cases = tcase_create("damage");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_bit_flip_anywhere_is_refused_before_the_piece_is_handed_out);
    tcase_add_test(cases, a_file_that_is_too_short_or_too_long_is_refused);
    tcase_add_test(cases, pieces_that_changed_places_are_refused);
    tcase_add_test(cases, a_piece_that_was_cut_out_is_missed);
    tcase_add_test(cases, files_that_were_exchanged_are_refused);
    tcase_add_test(cases, an_old_file_of_the_same_name_is_refused);
    tcase_add_test(cases, a_missing_file_is_corruption);
    tcase_add_test(cases, one_of_a_newer_format_is_refused_with_a_sentence);
    tcase_add_test(cases, a_disk_that_fails_is_told_and_no_damage);
    tcase_add_loop_test(cases, a_write_that_was_lost_or_went_elsewhere_is_seen, 0, 3);
    suite_add_tcase(suite, cases);
    return suite;
}
