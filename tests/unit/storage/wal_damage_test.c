/* Whatever happens to the bytes of a log at rest is seen: what had been durable is never cut, and
 * only the end of a log that was not closed may be. */
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "server/storage/little_endian.h"
#include "server/storage/wal_format.h"
#include "tests/support/check_main.h"
#include "tests/unit/storage/wal_rig.h"

enum { FILES = 4, RECORD_BYTES = 900 };

static struct pd_wal_rig *rig;
static uint64_t batch_lsn;   /* first of the last batch */
static uint64_t batch_first; /* and where that is in the last file */
static uint64_t batch_end;
static uint32_t last_file;

/* Does all jobs and remembers where the last batch went. */
static void write_all(void)
{
    struct pd_wal_job job;
    while (pd_wal_take_job(rig->wal, &job)) {
        if (job.kind == PD_WAL_WRITE) {
            batch_lsn = pd_wal_durable_lsn(rig->wal) + 1;
            batch_first = job.offset;
            batch_end = job.offset + job.count;
            last_file = job.file;
        }
        ck_assert_int_eq(pd_wal_files_run(&rig->files, &job).status, PARAMD_OK);
        pd_wal_job_done(rig->wal, PARAMD_OK);
    }
}

/* A log of so many segments in batches of one to three records. With `recycled` the last of them
 * lies over the bytes of an older one. */
static void start(unsigned segments_wanted, bool recycled)
{
    rig = pd_wal_rig_create(1);
    write_all();
    uint64_t segments = segments_wanted + (recycled ? 2U : 0);
    for (unsigned i = 0; pd_wal_used_bytes(rig->wal) < segments * PD_RIG_SEGMENT_BYTES; i++) {
        ck_assert_int_eq(pd_rig_push(rig, i % 9, RECORD_BYTES + i), PARAMD_OK);
        if (i % 3 == 0) {
            write_all();
        }
        if (recycled && pd_wal_used_bytes(rig->wal) == (uint64_t)3 * PD_RIG_SEGMENT_BYTES) {
            pd_wal_release(rig->wal, pd_wal_durable_lsn(rig->wal) / 2);
            segments = segments_wanted;
        }
    }
    write_all();
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(pd_rig_append(rig, 0, 500), PARAMD_OK);
        ck_assert_int_eq(pd_rig_append(rig, 5, 300), PARAMD_OK);
        ck_assert_int_eq(pd_rig_append(rig, 5, 1700), PARAMD_OK);
        write_all();
    }
}

static void finish(void)
{
    pd_wal_rig_destroy(rig);
}

static uint8_t *bytes_of(uint32_t file, uint64_t *ret_bytes)
{
    char name[PD_DISK_NAME_BYTES];
    pd_wal_file_name(PD_RIG_LOG, file, name);
    return pd_sim_disk_bytes(rig->sim, name, ret_bytes);
}

/* LSN of the first record of the oldest segment that is still needed. */
static uint64_t from_lsn(void)
{
    return pd_wal_last_lsn(rig->wal) - 12;
}

static struct pd_wal_reading read_log(uint64_t until_lsn)
{
    return pd_rig_read(rig, from_lsn(), until_lsn, false);
}

/* Where record `last` of the last batch ends. */
static uint64_t records_end(uint64_t last)
{
    uint64_t end = batch_first;
    for (uint64_t lsn = batch_lsn; lsn <= last; lsn++) {
        end += pd_wal_record_bytes(rig->header_bytes[lsn], rig->payload_bytes[lsn]);
    }
    return end;
}

START_TEST(a_last_batch_torn_at_any_byte_is_cut_there)
{
    start(3, _i == 1);
    uint64_t last = pd_wal_last_lsn(rig->wal);
    uint64_t count;
    uint8_t *file = bytes_of(last_file, &count);
    static uint8_t whole[PD_RIG_SEGMENT_BYTES];
    memcpy(whole, file, count);
    for (uint64_t end = batch_first; end <= batch_end; end++) {
        /* What was there before: zeros, or, where a segment is used again, anything. */
        memset(file + batch_first, _i == 1 ? 0xa7 : 0, batch_end - batch_first);
        memcpy(file + batch_first, whole + batch_first, end - batch_first);
        struct pd_wal_reading reading = read_log(batch_lsn - 1);
        ck_assert_msg(reading.status == PARAMD_OK, "torn at %llu: %s", (unsigned long long)end,
                      reading.reader.error_text);
        ck_assert_uint_ge(reading.reader.last_lsn, batch_lsn - 1);
        if (end == batch_end) {
            ck_assert_uint_eq(reading.reader.last_lsn, last);
            ck_assert_uint_eq(reading.reader.cut_bytes, 0);
        } else if (end >= batch_first + 24 && reading.reader.last_lsn < last &&
                   end > records_end(reading.reader.last_lsn)) {
            /* Something of the next record is there. */
            ck_assert_uint_gt(reading.reader.cut_bytes, 0);
            ck_assert_uint_le(reading.reader.cut_offset, end);
            ck_assert_uint_ge(reading.reader.cut_offset, batch_first);
            ck_assert_uint_ge(reading.reader.cut_offset + reading.reader.cut_bytes, end);
        }
    }
    finish();
}
END_TEST

START_TEST(a_cut_takes_in_a_record_whose_prefix_lies_on_two_pages)
{
    rig = pd_wal_rig_create(1);
    ck_assert_int_eq(pd_rig_push(rig, 5, 300), PARAMD_OK);
    write_all();
    ck_assert_int_eq(pd_rig_append(rig, 0, PD_WAL_PAGE_BYTES - PD_WAL_PREFIX_BYTES - 24),
                     PARAMD_OK);
    ck_assert_int_eq(pd_rig_append(rig, 5, 300), PARAMD_OK);
    write_all();
    uint64_t count;
    bytes_of(last_file, &count)[batch_first + 100] ^= 1;
    struct pd_wal_reading reading = pd_rig_read(rig, 1, batch_lsn - 1, false);
    ck_assert_int_eq(reading.status, PARAMD_OK);
    ck_assert_uint_eq(reading.reader.cut_offset, batch_first);
    ck_assert_uint_eq(reading.reader.cut_bytes, records_end(batch_lsn + 1) - batch_first);
    finish();
}
END_TEST

/* Flips one bit at every used place of the needed segments. With `until` that is known to be
 * durable there must be a refusal; without, that or a cut of the last batch. */
static void flip_everywhere(uint64_t until)
{
    uint64_t flips = 0;
    for (uint32_t number = 0; number < FILES; number++) {
        uint64_t count;
        uint8_t *file = bytes_of(number, &count);
        struct pd_wal_segment segment;
        if (file == NULL || pd_wal_segment_read(file, &segment) != PARAMD_OK) {
            continue;
        }
        /* Of the last file to its last batch; of the others to where their records end. */
        uint64_t end = number == last_file ? batch_end : 0;
        for (uint64_t at = PD_WAL_PAGE_BYTES;
             number != last_file && at + PD_WAL_PREFIX_BYTES <= count; at += 8) {
            struct pd_wal_prefix prefix;
            pd_wal_prefix_read(file + at, &prefix);
            if (pd_wal_magic_there(file + at) && prefix.generation == segment.generation) {
                end = pd_wal_round_up(
                    at + pd_wal_record_bytes(prefix.header_bytes, prefix.payload_bytes),
                    PD_WAL_PAGE_BYTES);
            }
        }
        for (uint64_t at = 0; at < end; at++) {
            uint8_t bit = (uint8_t)(1U << (at % 8));
            file[at] ^= bit;
            struct pd_wal_reading reading = pd_rig_read(rig, 1, until, false);
            file[at] ^= bit;
            bool refused = reading.status == PARAMD_CORRUPT || reading.status == PARAMD_VERSION;
            bool cut = reading.status == PARAMD_OK && reading.reader.cut_bytes > 0 &&
                       reading.reader.last_lsn + 1 >= batch_lsn && number == last_file;
            ck_assert_msg(refused || (cut && until == 0), "file %u, byte %llu: %s, cut %llu",
                          (unsigned)number, (unsigned long long)at,
                          paramd_status_name((int)reading.status),
                          (unsigned long long)reading.reader.cut_bytes);
            flips++;
        }
    }
    ck_assert_uint_gt(flips, PD_RIG_SEGMENT_BYTES);
}

START_TEST(a_bit_flip_anywhere_in_a_crashed_log_is_seen)
{
    start(2, false);
    flip_everywhere(0);
    finish();
}
END_TEST

START_TEST(a_bit_flip_anywhere_in_a_closed_log_is_refused)
{
    start(2, false);
    ck_assert_int_eq(pd_wal_end(rig->wal), PARAMD_OK);
    write_all();
    flip_everywhere(pd_wal_last_lsn(rig->wal));
    finish();
}
END_TEST

static void expect_refusal(const char *text)
{
    struct pd_wal_reading reading = read_log(pd_wal_durable_lsn(rig->wal));
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_msg(strstr(reading.reader.error_text, text) != NULL, "%s", reading.reader.error_text);
}

static void expect_good(void)
{
    struct pd_wal_reading reading = read_log(pd_wal_durable_lsn(rig->wal));
    ck_assert_int_eq(reading.status, PARAMD_OK);
    ck_assert_uint_eq(reading.reader.cut_bytes, 0);
}

START_TEST(files_that_were_swapped_copied_or_lost_are_refused)
{
    start(3, _i == 1);
    expect_good();
    uint64_t count;
    uint8_t *one = bytes_of(0, &count);
    uint8_t *two = bytes_of(1, &count);
    static uint8_t kept[2][PD_RIG_SEGMENT_BYTES];
    memcpy(kept[0], one, count);
    memcpy(kept[1], two, count);

    memcpy(one, kept[1], count);
    memcpy(two, kept[0], count);
    expect_refusal("had another name");
    memcpy(one, kept[1], count);
    memcpy(two, kept[1], count);
    expect_refusal("had another name");

    /* A copy whose header was made to fit its file. */
    struct pd_wal_segment segment;
    ck_assert_int_eq(pd_wal_segment_read(kept[1], &segment), PARAMD_OK);
    segment.file = 0;
    pd_wal_segment_write(&segment, one);
    expect_refusal("is there twice");
    segment.log_id++;
    pd_wal_segment_write(&segment, one);
    expect_refusal("belongs to another log");

    memcpy(one, kept[0], count);
    expect_good();
    const struct pd_disk *disk = rig->disk;
    ck_assert_int_eq(disk->unlink(disk->context, "log.00001").status, PARAMD_OK);
    expect_refusal("missing");
    finish();
}
END_TEST

START_TEST(a_segment_in_the_middle_that_is_empty_or_older_is_refused)
{
    start(3, false);
    uint64_t count;
    uint8_t *file = bytes_of(1, &count);
    memset(file, 0, count);
    struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_ptr_nonnull(strstr(reading.reader.error_text, "missing"));
    finish();
}
END_TEST

/* Of which nothing is known from elsewhere: the segment before it says that it was there. */
START_TEST(a_newest_segment_that_is_lost_or_emptied_is_refused)
{
    start(3, _i % 2 == 1);
    uint64_t count;
    uint8_t *file = bytes_of(last_file, &count);
    memset(file, 0, count);
    char name[PD_DISK_NAME_BYTES];
    pd_wal_file_name(PD_RIG_LOG, last_file, name);
    if (_i >= 2) {
        ck_assert_int_eq(rig->disk->unlink(rig->disk->context, name).status, PARAMD_OK);
    }
    struct pd_wal_reading reading = pd_rig_read(rig, from_lsn(), 0, false);
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_msg(strstr(reading.reader.error_text, "missing") != NULL, "%s",
                  reading.reader.error_text);
    finish();
}
END_TEST

/* Killed when the first batch of a segment was durable, and the segment before did not say so yet;
 * or when nothing of that batch was. */
START_TEST(a_turn_that_was_not_finished_is_no_damage)
{
    struct pd_wal_job job = {.left = NULL};
    rig = pd_wal_rig_create(1);
    while (job.left == NULL) {
        enum paramd_status status = pd_rig_append(rig, 3, RECORD_BYTES);
        ck_assert(status == PARAMD_OK || status == PARAMD_BUSY);
        if (pd_wal_take_job(rig->wal, &job)) {
            if (job.left == NULL || _i == 0) {
                const uint8_t *left = job.left;
                job.left = NULL;
                ck_assert_int_eq(pd_wal_files_run(&rig->files, &job).status, PARAMD_OK);
                job.left = left;
            }
            if (job.left == NULL) {
                pd_wal_job_done(rig->wal, PARAMD_OK);
            }
        }
    }
    uint64_t last = _i == 0 ? pd_wal_last_lsn(rig->wal) : pd_wal_durable_lsn(rig->wal);
    for (unsigned i = 0; i < 2; i++) { /* and the same once it is sealed */
        struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, true);
        ck_assert_int_eq(reading.status, PARAMD_OK);
        ck_assert_uint_eq(reading.reader.last_lsn, last + 1);
        ck_assert_uint_eq(reading.reader.cut_bytes, 0);
    }
    finish();
}
END_TEST

/* What a newer writer says in addition must not be missed where an older one did not say it. */
START_TEST(the_first_format_which_did_not_tell_of_the_next_segment_is_read)
{
    start(3, false);
    for (uint32_t i = 0; i <= last_file; i++) {
        uint64_t count;
        uint8_t *file = bytes_of(i, &count);
        const struct pd_wal_segment segment = {.log_id = PD_RIG_LOG_ID,
                                               .generation = pd_load(file + 24, 8),
                                               .first_lsn = pd_load(file + 32, 8),
                                               .segment_bytes = PD_RIG_SEGMENT_BYTES,
                                               .file = i};
        pd_wal_segment_write(&segment, file);
        pd_store(file + 8, _i == 0 ? 1 : PD_WAL_FORMAT, 4);
        pd_store(file + PD_WAL_PAGE_BYTES - 8, XXH3_64bits(file, PD_WAL_PAGE_BYTES - 8), 8);
        memset(file + PD_RIG_SEGMENT_BYTES - PD_WAL_PAGE_BYTES, 0, PD_WAL_PAGE_BYTES);
    }
    struct pd_wal_reading reading = pd_rig_read(rig, 1, pd_wal_last_lsn(rig->wal), false);
    ck_assert_int_eq(reading.status, _i == 0 ? PARAMD_OK : PARAMD_CORRUPT);
    if (_i == 0) {
        ck_assert_uint_eq(reading.reader.last_lsn, pd_wal_last_lsn(rig->wal));
    }
    finish();
}
END_TEST

START_TEST(a_segment_whose_numbers_do_not_count_from_1_is_refused)
{
    struct pd_wal_segment segment = {.log_id = PD_RIG_LOG_ID,
                                     .generation = 1,
                                     .first_lsn = 1,
                                     .segment_bytes = PD_RIG_SEGMENT_BYTES};
    uint8_t page[PD_WAL_PAGE_BYTES];
    struct pd_wal_segment read;
    pd_wal_segment_write(&segment, page);
    ck_assert_int_eq(pd_wal_segment_read(page, &read), PARAMD_OK);
    segment.first_lsn = 0;
    pd_wal_segment_write(&segment, page);
    ck_assert_int_eq(pd_wal_segment_read(page, &read), PARAMD_CORRUPT);
    segment.first_lsn = 1;
    segment.generation = 0;
    pd_wal_segment_write(&segment, page);
    ck_assert_int_eq(pd_wal_segment_read(page, &read), PARAMD_CORRUPT);
}
END_TEST

START_TEST(a_record_of_another_use_of_its_segment_is_refused)
{
    start(3, false);
    uint64_t count;
    uint8_t *record = bytes_of(1, &count) + PD_WAL_PAGE_BYTES;
    struct pd_wal_prefix prefix;
    pd_wal_prefix_read(record, &prefix);
    prefix.generation--;
    pd_wal_prefix_write(&prefix, PD_RIG_LOG_ID, record + PD_WAL_PREFIX_BYTES, record);
    struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
    ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
    ck_assert_str_eq(reading.reader.error_file, "log.00001");
    ck_assert_uint_eq(reading.reader.error_offset, PD_WAL_PAGE_BYTES);
    finish();
}
END_TEST

START_TEST(a_file_that_was_truncated_is_refused)
{
    start(3, false);
    char name[PD_DISK_NAME_BYTES]; /* the last segment's, and that of the file after it */
    pd_wal_file_name(PD_RIG_LOG, (uint32_t)_i, name);
    const struct pd_disk *disk = rig->disk;
    for (uint64_t bytes = 0; bytes < PD_RIG_SEGMENT_BYTES; bytes += PD_RIG_SEGMENT_BYTES / 16) {
        uint64_t count;
        uint8_t *whole = bytes_of((uint32_t)_i, &count);
        int file;
        ck_assert_int_eq(disk->open(disk->context, "short", PD_DISK_CREATE, &file).status,
                         PARAMD_OK);
        ck_assert_int_eq(disk->write(disk->context, file, 0, whole, bytes).status, PARAMD_OK);
        disk->close(disk->context, file);
        ck_assert_int_eq(disk->rename(disk->context, name, "whole").status, PARAMD_OK);
        ck_assert_int_eq(disk->rename(disk->context, "short", name).status, PARAMD_OK);
        struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
        ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
        ck_assert_str_eq(reading.reader.error_file, name);
        ck_assert_uint_eq(reading.reader.error_offset, bytes);
        ck_assert_int_eq(disk->rename(disk->context, "whole", name).status, PARAMD_OK);
    }
    expect_good();
    finish();
}
END_TEST

/* Every file as it was after each batch, put back into the log as it became. */
START_TEST(an_old_copy_of_a_file_is_refused)
{
    static uint8_t old[FILES][PD_RIG_SEGMENT_BYTES];
    rig = pd_wal_rig_create(1);
    write_all();
    unsigned refused = 0;
    for (unsigned round = 0; round < 120; round++) {
        uint64_t count;
        for (uint32_t i = 0; i < FILES; i++) {
            const uint8_t *file = bytes_of(i, &count);
            if (file != NULL) {
                memcpy(old[i], file, count);
            }
        }
        ck_assert_int_eq(pd_rig_push(rig, 3, RECORD_BYTES + round), PARAMD_OK);
        write_all();
        uint64_t last = pd_wal_durable_lsn(rig->wal);
        pd_wal_release(rig->wal, last > 13 ? last - 13 : 0);
        uint8_t *file = bytes_of(last_file, &count);
        static uint8_t now[PD_RIG_SEGMENT_BYTES];
        memcpy(now, file, count);
        memcpy(file, old[last_file], count);
        struct pd_wal_reading reading = pd_rig_read(rig, last > 12 ? last - 12 : 1, last, false);
        ck_assert_int_eq(reading.status, PARAMD_CORRUPT);
        memcpy(file, now, count);
        refused++;
    }
    ck_assert_uint_eq(refused, 120);
    finish();
}
END_TEST

START_TEST(a_write_that_was_lost_or_went_elsewhere_is_seen)
{
    static const enum pd_sim_fault faults[] = {PD_SIM_LOST_WRITE, PD_SIM_MISDIRECTED,
                                               PD_SIM_BIT_FLIP};
    for (uint64_t seed = 0; seed < 100; seed++) {
        rig = pd_wal_rig_create(seed);
        pd_sim_disk_plan(rig->sim, faults[_i], 10 + seed % 80);
        uint64_t written = 0; /* when the fault happened */
        for (unsigned i = 0; i < 200; i++) {
            ck_assert_int_eq(pd_rig_push(rig, 3, (uint32_t)(seed + i * 37) % 1500), PARAMD_OK);
            if (i % 4 == 0) {
                write_all();
            }
            if (!pd_sim_disk_happened(rig->sim)) {
                written = pd_wal_last_lsn(rig->wal);
            }
            uint64_t last = pd_wal_durable_lsn(rig->wal);
            if (written > 0 && last > written + 20) {
                break;
            }
        }
        ck_assert(pd_sim_disk_happened(rig->sim));
        write_all();
        struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
        /* Zeros ahead of a batch may be hit, too, and are not missed. */
        bool harmless =
            reading.status == PARAMD_OK && reading.reader.last_lsn == pd_wal_durable_lsn(rig->wal);
        ck_assert_msg(reading.status == PARAMD_CORRUPT || harmless, "seed %llu",
                      (unsigned long long)seed);
        finish();
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("wal_damage");
    TCase *cases = tcase_create("damage");
    tcase_add_loop_test(cases, a_last_batch_torn_at_any_byte_is_cut_there, 0, 2);
    tcase_add_test(cases, a_cut_takes_in_a_record_whose_prefix_lies_on_two_pages);
    tcase_add_test(cases, a_bit_flip_anywhere_in_a_crashed_log_is_seen);
    tcase_add_test(cases, a_bit_flip_anywhere_in_a_closed_log_is_refused);
    tcase_add_loop_test(cases, files_that_were_swapped_copied_or_lost_are_refused, 0, 2);
    tcase_add_test(cases, a_segment_in_the_middle_that_is_empty_or_older_is_refused);
    tcase_add_loop_test(cases, a_newest_segment_that_is_lost_or_emptied_is_refused, 0, 4);
    tcase_add_loop_test(cases, a_turn_that_was_not_finished_is_no_damage, 0, 2);
    tcase_add_loop_test(cases, the_first_format_which_did_not_tell_of_the_next_segment_is_read, 0,
                        2);
    tcase_add_test(cases, a_segment_whose_numbers_do_not_count_from_1_is_refused);
    tcase_add_test(cases, a_record_of_another_use_of_its_segment_is_refused);
    tcase_add_loop_test(cases, a_file_that_was_truncated_is_refused, 2, 4);
    tcase_add_test(cases, an_old_copy_of_a_file_is_refused);
    tcase_add_loop_test(cases, a_write_that_was_lost_or_went_elsewhere_is_seen, 0, 3);
    suite_add_tcase(suite, cases);
    return suite;
}
