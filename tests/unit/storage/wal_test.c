/* A log gathers, writes, goes on in the next segment and uses old ones again, says when it has no
 * room, and gives back what went in. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/storage/wal_rig.h"

static struct pd_wal_rig *rig;

static void start(void)
{
    rig = pd_wal_rig_create(1);
    pd_rig_settle(rig);
}

static void finish(void)
{
    pd_wal_rig_destroy(rig);
}

static void push(uint32_t payload_bytes)
{
    ck_assert_int_eq(pd_rig_push(rig, 16, payload_bytes), PARAMD_OK);
}

static void expect_whole(uint64_t records)
{
    struct pd_wal_reading reading = pd_rig_read(rig, 1, records, false);
    ck_assert_int_eq(reading.status, PARAMD_OK);
    ck_assert_uint_eq(reading.reader.last_lsn, records);
    ck_assert_uint_eq(reading.reader.cut_bytes, 0);
}

START_TEST(records_of_every_size_come_back)
{
    /* Every length of header and payload around the alignments, each with a next record. */
    for (uint32_t bytes = 0; bytes < 2 * PD_WAL_PAGE_BYTES; bytes += bytes % 64 == 17 ? 40 : 1) {
        if (pd_rig_push(rig, bytes % 19, bytes) == PARAMD_RESOURCE_EXHAUSTED) {
            struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
            ck_assert_int_eq(reading.status, PARAMD_OK);
            ck_assert_uint_eq(reading.reader.last_lsn, pd_wal_last_lsn(rig->wal));
            finish();
            start();
        } else if (bytes % 3 == 0) {
            pd_rig_settle(rig);
        }
    }
}
END_TEST

START_TEST(an_empty_log_reads_as_empty)
{
    expect_whole(0);
    pd_rig_end(rig);
    struct pd_wal_reading reading = pd_rig_read(rig, 1, 1, false);
    ck_assert_int_eq(reading.status, PARAMD_OK);
    ck_assert(reading.reader.sealed);
    ck_assert_uint_eq(reading.first_lsn, 0);
}
END_TEST

/* Its first segment is there before there are records, so that it can be missed. */
START_TEST(a_log_can_be_begun_before_it_is_written)
{
    struct pd_wal_files files;
    struct pd_wal_job job;
    struct pd_wal_config config = {.log_id = 9,
                                   .segment_bytes = PD_RIG_SEGMENT_BYTES,
                                   .buffer_bytes = PD_RIG_BUFFER_BYTES,
                                   .segments_max = 2,
                                   .begun = true};
    ck_assert_int_eq(pd_wal_begin(rig->disk, "begun", 9, PD_RIG_SEGMENT_BYTES).status, PARAMD_OK);
    pd_wal_files_init(&files, rig->disk, "begun");
    struct pd_wal *wal = pd_wal_create(&config);
    ck_assert_ptr_nonnull(wal);
    ck_assert(!pd_wal_take_job(wal, &job)); /* as long as it is not used it needs nothing more */
    for (uint64_t records = 0; records < 2; records++) {
        struct pd_wal_reader reader;
        struct pd_wal_record record;
        ck_assert_int_eq(pd_wal_reader_init(&reader, rig->disk, "begun", 9, 1, records), PARAMD_OK);
        ck_assert(reader.begun);
        for (uint64_t lsn = 1; lsn <= records; lsn++) {
            ck_assert_int_eq(pd_wal_reader_next(&reader, &record), PARAMD_OK);
            ck_assert_uint_eq(record.lsn, lsn);
        }
        ck_assert_int_eq(pd_wal_reader_next(&reader, &record), PARAMD_NOT_FOUND);
        ck_assert_uint_eq(reader.cut_bytes, 0);
        pd_wal_reader_deinit(&reader);
        ck_assert_int_eq(pd_wal_reserve(wal, 1, 0), PARAMD_OK);
        (void)pd_wal_append(wal, PD_RIG_KIND, NULL, 0, NULL, 0, pd_payload_sum(NULL, 0));
        while (pd_wal_take_job(wal, &job)) {
            ck_assert_int_eq(pd_wal_files_run(&files, &job).status, PARAMD_OK);
            pd_wal_job_done(wal, PARAMD_OK);
        }
    }
    pd_wal_destroy(wal);
    pd_wal_files_deinit(&files);
}
END_TEST

START_TEST(what_arrives_during_a_write_is_the_next_batch)
{
    push(100);
    struct pd_wal_job job;
    ck_assert(pd_wal_take_job(rig->wal, &job));
    ck_assert_int_eq(job.kind, PD_WAL_WRITE);
    push(100);
    push(100);
    struct pd_wal_job next;
    ck_assert(!pd_wal_take_job(rig->wal, &next));
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), 0);
    pd_wal_job_done(rig->wal, pd_wal_files_run(&rig->files, &job).status);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), 1);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_OK);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), 3);
    pd_rig_settle(rig);
    expect_whole(3);
}
END_TEST

START_TEST(a_full_buffer_says_busy_until_it_is_taken)
{
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq(pd_rig_append(rig, 16, 2048), PARAMD_OK);
    }
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 1, 2048), PARAMD_BUSY);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 2, 200), PARAMD_OK);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_OK);
    ck_assert_int_eq(pd_rig_append(rig, 16, 2048), PARAMD_OK);
}
END_TEST

/* Reserved together: the first alone would still fit into the segment, the second would not. */
START_TEST(records_reserved_together_go_to_one_segment)
{
    enum { ROOM = PD_RIG_SEGMENT_BYTES - PD_WAL_PAGE_BYTES };
    for (size_t used = PD_WAL_PAGE_BYTES; used < ROOM - PD_WAL_PAGE_BYTES;
         used += PD_WAL_PAGE_BYTES) {
        push(3000);
        pd_rig_settle(rig);
    }
    uint64_t before = pd_wal_last_lsn(rig->wal);
    ck_assert_uint_eq(pd_wal_used_bytes(rig->wal), PD_RIG_SEGMENT_BYTES);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 2, 6000), PARAMD_OK);
    static const uint8_t zeros[3000];
    uint64_t sum = pd_payload_sum(NULL, 0);
    (void)pd_wal_append(rig->wal, PD_RIG_KIND, zeros, sizeof zeros, NULL, 0, sum);
    ck_assert_uint_eq(pd_wal_used_bytes(rig->wal), (uint64_t)2 * PD_RIG_SEGMENT_BYTES);
    (void)pd_wal_append(rig->wal, PD_RIG_KIND, zeros, sizeof zeros, NULL, 0, sum);
    pd_rig_settle(rig);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), before + 2);
}
END_TEST

START_TEST(a_record_that_never_fits_is_too_large)
{
    size_t bytes_max = PD_RIG_BUFFER_BYTES - PD_WAL_PAGE_BYTES - PD_WAL_PREFIX_BYTES - 7;
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 1, bytes_max), PARAMD_OK);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 1, bytes_max + 1), PARAMD_TOO_LARGE);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 1, SIZE_MAX), PARAMD_TOO_LARGE);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, SIZE_MAX, 1), PARAMD_TOO_LARGE);
}
END_TEST

START_TEST(released_segments_are_used_again_and_their_old_bytes_are_never_read)
{
    for (unsigned round = 0; round < 60; round++) {
        for (unsigned i = 0; i < 20; i++) {
            push(700 + round * 7);
        }
        pd_rig_settle(rig);
        uint64_t last = pd_wal_last_lsn(rig->wal);
        struct pd_wal_reading reading = pd_rig_read(rig, last > 9 ? last - 9 : 1, last, false);
        ck_assert_int_eq(reading.status, PARAMD_OK);
        ck_assert_uint_eq(reading.reader.last_lsn, last);
        ck_assert_uint_eq(reading.reader.cut_bytes, 0);
        pd_wal_release(rig->wal, last - 10);
    }
    uint64_t bytes;
    ck_assert_ptr_nonnull(pd_sim_disk_bytes(rig->sim, PD_RIG_LOG ".00001", &bytes));
    ck_assert_ptr_null(pd_sim_disk_bytes(rig->sim, PD_RIG_LOG ".00005", &bytes));
}
END_TEST

START_TEST(reading_begins_in_the_segment_that_has_the_record)
{
    uint64_t second = 0; /* the first record of the second segment */
    while (pd_wal_used_bytes(rig->wal) < (uint64_t)4 * PD_RIG_SEGMENT_BYTES) {
        push(2000);
        if (second == 0 && pd_wal_used_bytes(rig->wal) > PD_RIG_SEGMENT_BYTES) {
            second = pd_wal_last_lsn(rig->wal);
        }
    }
    pd_rig_settle(rig);
    uint64_t last = pd_wal_last_lsn(rig->wal);
    for (uint64_t from = 1; from <= last + 1; from++) {
        struct pd_wal_reading reading = pd_rig_read(rig, from, last, false);
        ck_assert_int_eq(reading.status, PARAMD_OK);
        ck_assert_uint_le(reading.first_lsn, from);
        ck_assert_uint_eq(reading.first_lsn == 1, from < second);
        ck_assert_uint_eq(reading.reader.last_lsn, last);
    }
}
END_TEST

START_TEST(a_log_at_its_largest_refuses_until_something_is_released)
{
    enum paramd_status status;
    while ((status = pd_rig_push(rig, 0, 3000)) == PARAMD_OK) {
    }
    ck_assert_int_eq(status, PARAMD_RESOURCE_EXHAUSTED);
    ck_assert_uint_eq(pd_wal_used_bytes(rig->wal), PD_RIG_SEGMENTS_MAX * PD_RIG_SEGMENT_BYTES);
    pd_rig_settle(rig);
    uint64_t last = pd_wal_last_lsn(rig->wal);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), last);
    ck_assert_int_eq(pd_rig_push(rig, 0, 3000), PARAMD_RESOURCE_EXHAUSTED);
    pd_wal_release(rig->wal, last / 2);
    push(3000);
    pd_rig_end(rig);
    struct pd_wal_reading reading = pd_rig_read(rig, last, last + 2, false);
    ck_assert_int_eq(reading.status, PARAMD_OK);
    ck_assert(reading.reader.sealed);
}
END_TEST

START_TEST(a_full_disk_refuses_records_and_goes_on_when_there_is_space)
{
    pd_sim_disk_limit(rig->sim, (uint64_t)2 * PD_RIG_SEGMENT_BYTES + 4096);
    enum paramd_status status;
    while ((status = pd_rig_push(rig, 0, 3000)) == PARAMD_OK) {
    }
    ck_assert_int_eq(status, PARAMD_RESOURCE_EXHAUSTED);
    uint64_t last = pd_wal_last_lsn(rig->wal);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_int_eq(pd_rig_push(rig, 0, 3000), PARAMD_RESOURCE_EXHAUSTED);
        ck_assert_int_eq(pd_rig_run(rig), PARAMD_RESOURCE_EXHAUSTED);
    }
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_NOT_FOUND);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), last);
    pd_sim_disk_limit(rig->sim, (uint64_t)4 * PD_RIG_SEGMENT_BYTES);
    ck_assert_int_eq(pd_rig_append(rig, 0, 3000), PARAMD_RESOURCE_EXHAUSTED);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_OK);
    push(3000);
    pd_rig_settle(rig);
    expect_whole(last + 1);
}
END_TEST

START_TEST(a_failed_sync_is_final)
{
    push(10);
    pd_rig_settle(rig);
    push(10);
    pd_sim_disk_plan(rig->sim, PD_SIM_SYNC_FAILS, 1);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_DISK);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), 1);
    ck_assert_int_eq(pd_wal_reserve(rig->wal, 1, 10), PARAMD_DISK);
    ck_assert_int_eq(pd_wal_end(rig->wal), PARAMD_DISK);
    ck_assert_int_eq(pd_rig_run(rig), PARAMD_NOT_FOUND);
}
END_TEST

START_TEST(the_end_record_has_room_wherever_the_log_stands)
{
    for (uint32_t bytes = 0; bytes < 5000; bytes += 61) {
        finish();
        start();
        while (pd_wal_used_bytes(rig->wal) < 2 * PD_RIG_SEGMENT_BYTES) {
            push(bytes);
        }
        for (unsigned i = 0; i < bytes % 7; i++) {
            push(bytes);
        }
        uint64_t last = pd_wal_last_lsn(rig->wal);
        pd_rig_end(rig);
        struct pd_wal_reading reading = pd_rig_read(rig, 1, last + 1, false);
        ck_assert_int_eq(reading.status, PARAMD_OK);
        ck_assert(reading.reader.sealed);
        ck_assert_uint_eq(reading.reader.last_lsn, last + 1);
    }
}
END_TEST

START_TEST(the_bytes_are_those_of_the_readme)
{
    ck_assert_int_eq(pd_rig_append(rig, 3, 5), PARAMD_OK);
    pd_rig_settle(rig);
    uint64_t bytes;
    const uint8_t *file = pd_sim_disk_bytes(rig->sim, "log.00000", &bytes);
    static const uint8_t header[48] = {'P',
                                       'M',
                                       'D',
                                       'L',
                                       'W',
                                       'S',
                                       'E',
                                       'G',
                                       PD_WAL_FORMAT,
                                       0,
                                       0,
                                       0,
                                       /* format */ 0,
                                       0,
                                       0,
                                       0, /* file */
                                       0x1d,
                                       0x0d,
                                       1,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       /* log id */ 1,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0, /* generation */
                                       1,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       /* first LSN */ 0,
                                       0x80,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0,
                                       0};
    ck_assert_mem_eq(file, header, sizeof header);
    static const uint8_t prefix[40] = {
        'M', 'D', 'W', 'R', 7, 0, 0, 0, 3,           0, 0, 0, 5, 0, 0, 0, /* kind, lengths */
        1,   0,   0,   0,   0, 0, 0, 0, /* LSN */ 1, 0, 0, 0, 0, 0, 0, 0, /* of the batch */
        1,   0,   0,   0,   0, 0, 0, 0 /* generation */};
    ck_assert_mem_eq(file + PD_WAL_PAGE_BYTES, prefix, sizeof prefix);
    /* The sums' values, so that a change of them is a change of the format. */
    static const uint8_t sums[16] = {0x64, 0xa9, 0x8e, 0xb9, 0xf8, 0x50, 0x7c, 0x00,
                                     0x0c, 0xa7, 0xc2, 0x77, 0xe2, 0x2b, 0xd0, 0x48};
    ck_assert_mem_eq(file + PD_WAL_PAGE_BYTES + 40, sums, sizeof sums);
}
END_TEST

START_TEST(a_newer_format_is_refused_with_a_sentence)
{
    push(10);
    pd_rig_settle(rig);
    uint64_t bytes;
    pd_sim_disk_bytes(rig->sim, "log.00000", &bytes)[8] = PD_WAL_FORMAT + 1;
    struct pd_wal_reading reading = pd_rig_read(rig, 1, 0, false);
    ck_assert_int_eq(reading.status, PARAMD_VERSION);
    ck_assert_str_eq(reading.reader.error_file, "log.00000");
    ck_assert_str_eq(reading.reader.error_text,
                     "the log has a newer format than this paramd knows: use the newer paramd");
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("wal");
    TCase *cases = tcase_create("wal");
    tcase_add_checked_fixture(cases, start, finish);
    tcase_add_test(cases, records_of_every_size_come_back);
    tcase_add_test(cases, an_empty_log_reads_as_empty);
    tcase_add_test(cases, a_log_can_be_begun_before_it_is_written);
    tcase_add_test(cases, what_arrives_during_a_write_is_the_next_batch);
    tcase_add_test(cases, a_full_buffer_says_busy_until_it_is_taken);
    tcase_add_test(cases, records_reserved_together_go_to_one_segment);
    tcase_add_test(cases, a_record_that_never_fits_is_too_large);
    tcase_add_test(cases, released_segments_are_used_again_and_their_old_bytes_are_never_read);
    tcase_add_test(cases, reading_begins_in_the_segment_that_has_the_record);
    tcase_add_test(cases, a_log_at_its_largest_refuses_until_something_is_released);
    tcase_add_test(cases, a_full_disk_refuses_records_and_goes_on_when_there_is_space);
    tcase_add_test(cases, a_failed_sync_is_final);
    tcase_add_test(cases, the_end_record_has_room_wherever_the_log_stands);
    tcase_add_test(cases, the_bytes_are_those_of_the_readme);
    tcase_add_test(cases, a_newer_format_is_refused_with_a_sentence);
    suite_add_tcase(suite, cases);
    return suite;
}
