/* Fuzzes the reading of a write-ahead log: the input lays out up to four segments with records and
 * other bytes, in any order and with any numbers, on a disk in memory. What is read is one run of
 * records whatever is there, and once the log is sealed it reads the same again, to its end. */
#include <string.h>

#include "proto/frame.h"
#include "server/storage/wal_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/log_disk.h"

enum { SEGMENT_BYTES = PD_LOG_DISK_FILE_BYTES, LOG_ID = 77 };

enum action { RECORD, NEW_BATCH, BYTES, ZEROS, NEXT_SEGMENT, ACTIONS };

/* Where the next record goes, and what a good one would say. */
struct writer {
    uint8_t bytes[SEGMENT_BYTES];
    size_t at;
    uint32_t file;
    uint64_t generation;
    uint64_t lsn;
    uint64_t batch_lsn;
};

/* Mostly 0, so that most numbers are right. */
static uint64_t slip(struct pd_input *input)
{
    uint8_t byte = pd_input_byte(input);
    return byte < 128 ? 0 : (uint64_t)byte - 192;
}

static void begin_segment(struct writer *writer, struct pd_input *input)
{
    struct pd_wal_segment segment = {
        .log_id = LOG_ID + slip(input),
        .generation = writer->generation + slip(input),
        .first_lsn = writer->lsn + slip(input),
        .segment_bytes = SEGMENT_BYTES + slip(input),
        .file = writer->file,
    };
    memset(writer->bytes, 0, SEGMENT_BYTES);
    pd_wal_segment_write(&segment, writer->bytes);
    writer->at = PD_WAL_PAGE_BYTES;
    writer->batch_lsn = writer->lsn;
}

static void put_record(struct writer *writer, struct pd_input *input)
{
    struct pd_wal_prefix prefix = {
        .kind = pd_input_byte(input),
        .header_bytes = pd_input_byte(input),
        .payload_bytes = pd_input_number(input) % PD_WAL_PAGE_BYTES,
        .lsn = writer->lsn + slip(input),
        .batch_lsn = writer->batch_lsn + slip(input),
        .generation = writer->generation + slip(input),
    };
    size_t bytes = pd_wal_record_bytes(prefix.header_bytes, prefix.payload_bytes);
    if (bytes > SEGMENT_BYTES - writer->at) {
        return;
    }
    uint8_t *out = writer->bytes + writer->at;
    uint8_t *header = out + PD_WAL_PREFIX_BYTES;
    struct pd_span payload = {header + prefix.header_bytes, prefix.payload_bytes};
    uint8_t fill = pd_input_byte(input);
    memset(header, fill, prefix.header_bytes + payload.bytes);
    prefix.payload_sum = pd_payload_sum(&payload, 1) + slip(input);
    pd_wal_prefix_write(&prefix, LOG_ID, header, out);
    writer->at += bytes;
    writer->lsn++;
}

/* What a longer file had behind stays, as on a disk. */
static void store(struct pd_log_disk *disk, const struct writer *writer, size_t bytes)
{
    size_t before = disk->files[writer->file].count;
    memcpy(disk->files[writer->file].bytes, writer->bytes, bytes);
    disk->files[writer->file].count = bytes > before ? bytes : before;
    disk->files[writer->file].there = true;
}

/* Ends a segment, now and then a short one or one that does not tell of the next, and begins that.
 */
static void next_segment(struct pd_log_disk *disk, struct writer *writer, struct pd_input *input)
{
    enum { SHORT = UINT8_MAX, SILENT = UINT8_MAX - 1 };
    uint8_t how = pd_input_byte(input);
    if (how != SILENT && writer->at <= SEGMENT_BYTES - PD_WAL_PAGE_BYTES) {
        pd_wal_left_write(writer->lsn + 1, writer->generation, LOG_ID,
                          writer->bytes + SEGMENT_BYTES - PD_WAL_PAGE_BYTES);
    }
    store(disk, writer, how == SHORT ? writer->at : SEGMENT_BYTES);
    writer->file = pd_input_byte(input) % PD_LOG_DISK_FILES;
    writer->generation++;
    begin_segment(writer, input);
}

static void act(struct pd_log_disk *disk, struct writer *writer, struct pd_input *input)
{
    size_t left = SEGMENT_BYTES - writer->at;
    size_t count;
    size_t wanted;
    const uint8_t *bytes;
    switch ((enum action)(pd_input_byte(input) % ACTIONS)) {
    case RECORD:
        put_record(writer, input);
        break;
    case NEW_BATCH:
        writer->at = pd_wal_round_up(writer->at, PD_WAL_PAGE_BYTES);
        writer->batch_lsn = writer->lsn;
        break;
    case BYTES:
        wanted = pd_input_byte(input);
        bytes = pd_input_bytes(input, wanted < left ? wanted : left, &count);
        memcpy(writer->bytes + writer->at, bytes, count);
        writer->at += count;
        break;
    case ZEROS:
        wanted = pd_input_number(input) % PD_WAL_PAGE_BYTES;
        writer->at += wanted < left ? wanted : left;
        break;
    case NEXT_SEGMENT:
    default:
        next_segment(disk, writer, input);
        break;
    }
}

/* What a whole reading gave. */
struct reading {
    enum paramd_status status;
    bool sealed;
    uint64_t records;
    uint64_t last_lsn;
};

static struct reading read_log(struct pd_log_disk *files, uint64_t from_lsn, uint64_t until_lsn)
{
    const struct pd_disk disk = pd_log_disk_of(files);
    struct pd_wal_reader reader;
    struct pd_wal_record record;
    struct reading reading = {0};
    reading.status =
        pd_wal_reader_init(&reader, &disk, PD_LOG_DISK_LOG, LOG_ID, from_lsn, until_lsn);
    while (reading.status == PARAMD_OK &&
           (reading.status = pd_wal_reader_next(&reader, &record)) == PARAMD_OK) {
        struct pd_span payload = {(uint8_t *)(uintptr_t)record.payload, record.payload_bytes};
        PD_FUZZ_CHECK(reading.records == 0 || record.lsn == reading.last_lsn + 1);
        PD_FUZZ_CHECK(pd_payload_sum(&payload, 1) == record.payload_sum);
        reading.last_lsn = record.lsn;
        reading.records++;
    }
    if (reading.status == PARAMD_NOT_FOUND) {
        reading.sealed = reader.sealed;
        PD_FUZZ_CHECK(!reader.sealed || reader.cut_bytes == 0);
        reading.status = pd_wal_reader_seal(&reader);
    } else {
        PD_FUZZ_CHECK(reader.error_text != NULL);
    }
    pd_wal_reader_deinit(&reader);
    for (size_t i = 0; i < PD_LOG_DISK_FILES; i++) {
        PD_FUZZ_CHECK(files->files[i].openers == 0);
    }
    return reading;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct writer writer;
    static struct pd_log_disk disk;
    struct pd_input input = {data, data + size};
    uint64_t from_lsn = 1 + pd_input_byte(&input) % 4;
    uint64_t until_lsn = pd_input_byte(&input) % 8;
    for (size_t i = 0; i < PD_LOG_DISK_FILES; i++) {
        disk.files[i].there = false;
        disk.files[i].count = 0;
    }
    writer.file = 0;
    writer.generation = 1;
    writer.lsn = 1;
    begin_segment(&writer, &input);
    while (input.at < input.end) {
        act(&disk, &writer, &input);
    }
    store(&disk, &writer, SEGMENT_BYTES);
    struct reading first = read_log(&disk, from_lsn, until_lsn);
    if (first.status == PARAMD_OK) {
        struct reading again = read_log(&disk, from_lsn, until_lsn);
        PD_FUZZ_CHECK(again.status == PARAMD_OK && (again.sealed || again.records == 0));
        PD_FUZZ_CHECK(again.records == first.records && again.last_lsn == first.last_lsn);
    }
    return 0;
}
