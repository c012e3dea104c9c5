/* Bytes of record n are a function of n, so that any record that is read can be checked. */
#include "tests/unit/storage/wal_rig.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { PERIOD = 512 };

static uint8_t pattern[PERIOD + 2 * PD_RIG_BUFFER_BYTES];

/* Header and payload of a record. */
static uint8_t *bytes_of_record(uint64_t lsn)
{
    return pattern + lsn * 121 % PERIOD;
}

struct pd_wal_rig *pd_wal_rig_create(uint64_t seed)
{
    struct pd_wal_rig *rig = calloc(1, sizeof *rig);
    ck_assert_ptr_nonnull(rig);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(i * 31 >> 1);
    }
    rig->sim = pd_sim_disk_create(seed);
    rig->disk = pd_sim_disk_of(rig->sim);
    struct pd_wal_config config = {
        .log_id = PD_RIG_LOG_ID,
        .segment_bytes = PD_RIG_SEGMENT_BYTES,
        .buffer_bytes = PD_RIG_BUFFER_BYTES,
        .segments_max = PD_RIG_SEGMENTS_MAX,
    };
    rig->wal = pd_wal_create(&config);
    ck_assert_ptr_nonnull(rig->wal);
    pd_wal_files_init(&rig->files, rig->disk, PD_RIG_LOG);
    return rig;
}

void pd_wal_rig_destroy(struct pd_wal_rig *rig)
{
    pd_wal_files_deinit(&rig->files);
    pd_wal_destroy(rig->wal);
    pd_sim_disk_destroy(rig->sim);
    free(rig);
}

enum paramd_status pd_rig_append(struct pd_wal_rig *rig, uint32_t header_bytes,
                                 uint32_t payload_bytes)
{
    enum paramd_status status = pd_wal_reserve(rig->wal, 1, (size_t)header_bytes + payload_bytes);
    if (status != PARAMD_OK) {
        return status;
    }
    uint64_t lsn = pd_wal_last_lsn(rig->wal) + 1;
    ck_assert_uint_lt(lsn, PD_RIG_RECORDS_MAX);
    uint8_t *bytes = bytes_of_record(lsn);
    /* In two pieces, as it may come in. */
    size_t half = payload_bytes / 2;
    struct pd_span spans[] = {{bytes + header_bytes, half},
                              {bytes + header_bytes + half, payload_bytes - half}};
    uint64_t appended = pd_wal_append(rig->wal, PD_RIG_KIND, bytes, header_bytes, spans, 2,
                                      pd_payload_sum(spans, 2));
    ck_assert_uint_eq(appended, lsn);
    rig->header_bytes[lsn] = header_bytes;
    rig->payload_bytes[lsn] = payload_bytes;
    return PARAMD_OK;
}

enum paramd_status pd_rig_run(struct pd_wal_rig *rig)
{
    struct pd_wal_job job;
    if (!pd_wal_take_job(rig->wal, &job)) {
        return PARAMD_NOT_FOUND;
    }
    enum paramd_status status = pd_wal_files_run(&rig->files, &job).status;
    pd_wal_job_done(rig->wal, status);
    return status;
}

enum paramd_status pd_rig_push(struct pd_wal_rig *rig, uint32_t header_bytes,
                               uint32_t payload_bytes)
{
    enum paramd_status status = pd_rig_append(rig, header_bytes, payload_bytes);
    while (status == PARAMD_BUSY) {
        status = pd_rig_run(rig);
        if (status == PARAMD_OK || status == PARAMD_RESOURCE_EXHAUSTED) {
            status = pd_rig_append(rig, header_bytes, payload_bytes);
        }
    }
    return status;
}

void pd_rig_settle(struct pd_wal_rig *rig)
{
    enum paramd_status status;
    do {
        status = pd_rig_run(rig);
    } while (status == PARAMD_OK);
    ck_assert_int_eq(status, PARAMD_NOT_FOUND);
}

void pd_rig_end(struct pd_wal_rig *rig)
{
    pd_rig_settle(rig);
    ck_assert_int_eq(pd_wal_end(rig->wal), PARAMD_OK);
    pd_rig_settle(rig);
    ck_assert_uint_eq(pd_wal_durable_lsn(rig->wal), pd_wal_last_lsn(rig->wal));
}

static void check_record(const struct pd_wal_rig *rig, const struct pd_wal_record *record)
{
    ck_assert_uint_le(record->lsn, pd_wal_last_lsn(rig->wal));
    ck_assert_uint_eq(record->kind, PD_RIG_KIND);
    ck_assert_uint_eq(record->header_bytes, rig->header_bytes[record->lsn]);
    ck_assert_uint_eq(record->payload_bytes, rig->payload_bytes[record->lsn]);
    const uint8_t *bytes = bytes_of_record(record->lsn);
    ck_assert(memcmp(record->header, bytes, record->header_bytes) == 0);
    ck_assert(memcmp(record->payload, bytes + record->header_bytes, record->payload_bytes) == 0);
}

struct pd_wal_reading pd_rig_read(struct pd_wal_rig *rig, uint64_t from_lsn, uint64_t until_lsn,
                                  bool seal)
{
    struct pd_wal_reading reading = {.first_lsn = 0};
    struct pd_wal_reader *reader = &reading.reader;
    reading.status =
        pd_wal_reader_init(reader, rig->disk, PD_RIG_LOG, PD_RIG_LOG_ID, from_lsn, until_lsn);
    uint64_t expected = reader->last_lsn + 1;
    while (reading.status == PARAMD_OK) {
        struct pd_wal_record record;
        reading.status = pd_wal_reader_next(reader, &record);
        if (reading.status == PARAMD_OK) {
            ck_assert_uint_eq(record.lsn, expected);
            check_record(rig, &record);
            reading.first_lsn = reading.first_lsn == 0 ? record.lsn : reading.first_lsn;
            expected++;
        }
    }
    if (reading.status == PARAMD_NOT_FOUND) {
        reading.status = seal ? pd_wal_reader_seal(reader) : PARAMD_OK;
    }
    pd_wal_reader_deinit(reader);
    return reading;
}
