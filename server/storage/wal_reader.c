/* Reading a log. One batch is in flight at a time, so damage is a torn end only if nothing on disk
 * belongs to a batch that was begun after it: every good record says with which LSN its batch
 * began, and all before that had been durable. */
#include "server/storage/wal_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/plant.h"
#include "server/base/assert.h"

struct pd_wal_found {
    uint32_t file;
    enum paramd_status header; /* as pd_wal_segment_read said */
    struct pd_wal_segment segment;
};

static enum paramd_status fail(struct pd_wal_reader *reader, enum paramd_status status,
                               uint32_t file, uint64_t offset, const char *text)
{
    pd_wal_file_name(reader->_log, file, reader->error_file);
    reader->error_offset = offset;
    reader->error_text = text;
    reader->_status = status;
    return status;
}

static enum paramd_status corrupt_here(struct pd_wal_reader *reader, const char *text)
{
    return fail(reader, PARAMD_CORRUPT, reader->_found[reader->_segment].file, reader->_offset,
                text);
}

static void close_file(struct pd_wal_reader *reader)
{
    if (reader->_open) {
        reader->_disk->close(reader->_disk->context, reader->_file);
        reader->_open = false;
    }
}

static enum paramd_status open_file(struct pd_wal_reader *reader, size_t at, enum pd_disk_mode mode)
{
    close_file(reader);
    char name[PD_DISK_NAME_BYTES];
    pd_wal_file_name(reader->_log, reader->_found[at].file, name);
    const struct pd_disk *disk = reader->_disk;
    struct pd_disk_result result = disk->open(disk->context, name, mode, &reader->_file);
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, reader->_found[at].file, 0, result.text);
    }
    reader->_open = true;
    reader->_file_at = at;
    pd_window_open(&reader->_window, disk, reader->_file, reader->_segment_bytes);
    return PARAMD_OK;
}

/* Bytes of a file, which stay until the next call; they are within the segment. NULL: failed. */
static uint8_t *view(struct pd_wal_reader *reader, size_t at, uint64_t offset, size_t bytes)
{
    uint8_t *shown;
    if ((!reader->_open || reader->_file_at != at) &&
        open_file(reader, at, PD_DISK_READ_PAGES) != PARAMD_OK) {
        return NULL;
    }
    struct pd_disk_result result = pd_window_show(&reader->_window, offset, bytes, &shown);
    if (result.status != PARAMD_OK) {
        (void)fail(reader, result.status, reader->_found[at].file, offset, result.text);
        return NULL;
    }
    return shown;
}

static bool all_zeros(const uint8_t *bytes, size_t count)
{
    return count == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0);
}

/* --- finding the segments --- */

struct listing {
    struct pd_wal_reader *reader;
    bool no_memory;
};

static void note(void *argument, const char *name)
{
    struct listing *listing = argument;
    struct pd_wal_reader *reader = listing->reader;
    uint32_t file;
    if (!pd_wal_file_number(reader->_log, name, &file)) {
        return;
    }
    struct pd_wal_found *found =
        realloc(reader->_found, (reader->_found_count + 1) * sizeof *reader->_found);
    if (found == NULL) {
        listing->no_memory = true;
        return;
    }
    reader->_found = found;
    reader->_found[reader->_found_count++] = (struct pd_wal_found){.file = file};
}

static int by_file(const void *left, const void *right)
{
    uint32_t a = ((const struct pd_wal_found *)left)->file;
    uint32_t b = ((const struct pd_wal_found *)right)->file;
    return (a > b) - (a < b);
}

/* Files without a good header last. */
static int by_generation(const void *left, const void *right)
{
    const struct pd_wal_found *a = left;
    const struct pd_wal_found *b = right;
    uint64_t x = a->header == PARAMD_OK ? a->segment.generation : UINT64_MAX;
    uint64_t y = b->header == PARAMD_OK ? b->segment.generation : UINT64_MAX;
    return x != y ? (x > y) - (x < y) : by_file(left, right);
}

/* Reads the header of a file, and holds it against the file. */
static enum paramd_status inspect(struct pd_wal_reader *reader, size_t at)
{
    struct pd_wal_found *found = &reader->_found[at];
    if (found->file != at) {
        return fail(reader, PARAMD_CORRUPT, (uint32_t)at, 0, "a file of the log is missing");
    }
    if (open_file(reader, at, PD_DISK_READ) != PARAMD_OK) {
        return reader->_status;
    }
    uint64_t bytes;
    struct pd_disk_result result =
        reader->_disk->size(reader->_disk->context, reader->_file, &bytes);
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, found->file, 0, result.text);
    }
    if (bytes < (uint64_t)PD_WAL_PAGE_BYTES * 2 || (at > 0 && bytes != reader->_segment_bytes)) {
        return fail(reader, PARAMD_CORRUPT, found->file, bytes, "the file has not its size");
    }
    reader->_segment_bytes = bytes;
    uint8_t page[PD_WAL_PAGE_BYTES] = {0};
    size_t got; /* all of it: the size is known */
    result = reader->_disk->read(reader->_disk->context, reader->_file, 0, page, sizeof page, &got);
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, found->file, 0, result.text);
    }
    found->header = pd_wal_segment_read(page, &found->segment);
    if (found->header == PARAMD_VERSION) {
        return fail(reader, PARAMD_VERSION, found->file, 0,
                    "the log has a newer format than this paramd knows: use the newer paramd");
    }
    if (found->header != PARAMD_OK) {
        return PARAMD_OK;
    }
    if (found->segment.log_id != reader->_log_id) {
        return fail(reader, PARAMD_CORRUPT, found->file, 0, "the file belongs to another log");
    }
    if (found->segment.file != found->file) {
        return fail(reader, PARAMD_CORRUPT, found->file, 0, "the file had another name");
    }
    if (found->segment.segment_bytes != bytes) {
        return fail(reader, PARAMD_CORRUPT, found->file, bytes, "the file has not its size");
    }
    return PARAMD_OK;
}

static enum paramd_status missing(struct pd_wal_reader *reader, uint32_t file)
{
    for (size_t i = 0; i < reader->_found_count; i++) {
        if (reader->_found[i].header == PARAMD_CORRUPT) {
            return fail(reader, PARAMD_CORRUPT, reader->_found[i].file, 0,
                        "the header of a segment is damaged");
        }
    }
    return fail(reader, PARAMD_CORRUPT, file, 0,
                "the segment before or after this file is missing, or an old one took its place");
}

/* Leaves in front the segments from the one with from_lsn on, without a gap. */
static enum paramd_status choose_segments(struct pd_wal_reader *reader, uint64_t from_lsn)
{
    struct pd_wal_found *found = reader->_found;
    size_t count = 0;
    size_t first = SIZE_MAX;
    for (; count < reader->_found_count && found[count].header == PARAMD_OK; count++) {
        first = found[count].segment.first_lsn <= from_lsn ? count : first;
    }
    if (first == SIZE_MAX) {
        bool empty = count == 0 && from_lsn == 1;
        return empty ? PARAMD_OK : missing(reader, count > 0 ? found[0].file : 0);
    }
    for (size_t i = 1; i < count; i++) {
        uint64_t step = found[i].segment.generation - found[i - 1].segment.generation;
        if (step == 0) {
            return fail(reader, PARAMD_CORRUPT, found[i].file, 0, "the segment is there twice");
        }
        if (i > first && step != 1) {
            return missing(reader, found[i].file);
        }
    }
    /* Those before the first are not needed; their place is behind the others. */
    for (size_t i = 0; i < first; i++) {
        struct pd_wal_found old = found[0];
        memmove(found, found + 1, (reader->_found_count - 1) * sizeof *found);
        found[reader->_found_count - 1] = old;
    }
    reader->_oldest = reader->_found_count - first;
    reader->_segment_count = count - first;
    return PARAMD_OK;
}

enum paramd_status pd_wal_reader_init(struct pd_wal_reader *reader, const struct pd_disk *disk,
                                      const char *log, uint64_t log_id, uint64_t from_lsn,
                                      uint64_t until_lsn)
{
    *reader = (struct pd_wal_reader){._disk = disk,
                                     ._log = log,
                                     ._log_id = log_id,
                                     ._until_lsn = until_lsn,
                                     ._offset = PD_WAL_PAGE_BYTES,
                                     ._records_end = PD_WAL_PAGE_BYTES,
                                     .error_text = ""};
    struct listing listing = {.reader = reader};
    struct pd_disk_result result = disk->list(disk->context, note, &listing);
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, 0, 0, result.text);
    }
    if (listing.no_memory) {
        return fail(reader, PARAMD_NO_MEMORY, 0, 0, "no memory for a list of files");
    }
    if (reader->_found_count > 0) {
        qsort(reader->_found, reader->_found_count, sizeof *reader->_found, by_file);
    }
    for (size_t i = 0; i < reader->_found_count; i++) {
        if (inspect(reader, i) != PARAMD_OK) {
            return reader->_status;
        }
    }
    close_file(reader);
    if (reader->_found_count > 0) {
        qsort(reader->_found, reader->_found_count, sizeof *reader->_found, by_generation);
    }
    enum paramd_status status = choose_segments(reader, from_lsn);
    if (status == PARAMD_OK && reader->_segment_count > 0) {
        reader->begun = true;
        reader->last_lsn = reader->_found[0].segment.first_lsn - 1;
    }
    return status;
}

void pd_wal_reader_deinit(struct pd_wal_reader *reader)
{
    close_file(reader);
    pd_window_deinit(&reader->_window);
    free(reader->_found);
}

/* --- reading records --- */

/* The prefix of a record whose header is good, wherever its place in the log. */
static bool good_header(struct pd_wal_reader *reader, size_t at, uint64_t offset,
                        struct pd_wal_prefix *ret_prefix)
{
    uint64_t rest = reader->_segment_bytes - offset;
    const uint8_t *bytes =
        rest < PD_WAL_PREFIX_BYTES ? NULL : view(reader, at, offset, PD_WAL_PREFIX_BYTES);
    if (bytes == NULL || !pd_wal_magic_there(bytes)) {
        return false;
    }
    pd_wal_prefix_read(bytes, ret_prefix);
    if (pd_wal_record_bytes(ret_prefix->header_bytes, ret_prefix->payload_bytes) > rest) {
        return false;
    }
    bytes = view(reader, at, offset, (size_t)PD_WAL_PREFIX_BYTES + ret_prefix->header_bytes);
    return bytes != NULL && pd_wal_header_good(bytes, ret_prefix->header_bytes, reader->_log_id);
}

/* The next record, if it stands at this offset, whole and good. */
static bool good_record(struct pd_wal_reader *reader, uint64_t offset,
                        struct pd_wal_record *ret_record)
{
    struct pd_wal_prefix prefix;
    if (!good_header(reader, reader->_segment, offset, &prefix)) {
        return false;
    }
    uint64_t generation = reader->_found[reader->_segment].segment.generation;
    bool follows = prefix.lsn == reader->last_lsn + 1 && prefix.generation == generation;
    bool opens = prefix.batch_lsn == prefix.lsn && offset % PD_WAL_PAGE_BYTES == 0;
    follows = follows || (pd_plant(old_generation_accepted) && prefix.generation < generation);
    if (!follows || (!opens && prefix.batch_lsn != reader->_batch_lsn)) {
        return false;
    }
    size_t bytes = pd_wal_record_bytes(prefix.header_bytes, prefix.payload_bytes);
    const uint8_t *record = view(reader, reader->_segment, offset, bytes);
    if (record == NULL) {
        return false;
    }
    const uint8_t *header = record + PD_WAL_PREFIX_BYTES;
    const uint8_t *payload = header + prefix.header_bytes;
    const uint8_t *end = payload + prefix.payload_bytes;
    struct pd_span span = {(uint8_t *)(uintptr_t)payload, prefix.payload_bytes};
    if ((pd_payload_sum(&span, 1) != prefix.payload_sum && !pd_plant(no_record_sum)) ||
        !all_zeros(end, (size_t)(record + bytes - end))) {
        return false;
    }
    *ret_record = (struct pd_wal_record){
        .kind = prefix.kind,
        .lsn = prefix.lsn,
        .header = header,
        .header_bytes = prefix.header_bytes,
        .payload = payload,
        .payload_bytes = prefix.payload_bytes,
        .payload_sum = prefix.payload_sum,
    };
    if (opens) {
        reader->_batch_lsn = prefix.lsn;
        reader->_batch_offset = offset;
    }
    reader->_record_offset = offset;
    reader->_offset = offset + bytes;
    reader->_records_end = reader->_offset;
    return true;
}

/* --- where records end --- */

static void note_cut(struct pd_wal_reader *reader, size_t at, uint64_t offset, uint64_t end)
{
    if (reader->cut_bytes == 0) {
        pd_wal_file_name(reader->_log, reader->_found[at].file, reader->cut_file);
        reader->cut_offset = offset;
        reader->_cut_at = at;
    }
    if (reader->_cut_at == at && end - reader->cut_offset > reader->cut_bytes) {
        reader->cut_bytes = end - reader->cut_offset;
    }
}

/* The first place from this one on where a record may begin, or the segment's end. A page is viewed
 * at a time: most have nothing in them, and nearly no place is one. */
static uint64_t find_magic(struct pd_wal_reader *reader, size_t at, uint64_t place)
{
    uint64_t stop = reader->_segment_bytes - PD_WAL_PREFIX_BYTES + 1; /* too late to begin */
    while (place < stop) {
        uint64_t page_end = pd_wal_round_up(place + 1, PD_WAL_PAGE_BYTES);
        uint64_t end = page_end < reader->_segment_bytes ? page_end : reader->_segment_bytes;
        const uint8_t *bytes = view(reader, at, place, (size_t)(end - place));
        if (bytes == NULL) {
            break;
        }
        if (all_zeros(bytes, (size_t)(end - place))) {
            place = end;
        }
        for (; place < end && place < stop; place += PD_WAL_ALIGNMENT) {
            if (pd_wal_magic_there(bytes)) {
                return place;
            }
            bytes += PD_WAL_ALIGNMENT;
        }
    }
    return reader->_segment_bytes;
}

/* Looks from offset on for records that should have been read. Those of the batch that was in
 * flight are cut; one of a later batch says that something durable is damaged. */
static enum paramd_status search(struct pd_wal_reader *reader, size_t at, uint64_t offset)
{
    uint64_t next = reader->last_lsn + 1;
    uint64_t place = pd_wal_round_up(offset, PD_WAL_ALIGNMENT);
    while ((place = find_magic(reader, at, place)) < reader->_segment_bytes) {
        struct pd_wal_prefix prefix;
        if (good_header(reader, at, place, &prefix) && prefix.kind != PD_WAL_LEFT &&
            prefix.lsn >= next) {
            if (prefix.batch_lsn > next) {
                return fail(reader, PARAMD_CORRUPT, reader->_found[at].file, offset,
                            "a damaged record has good ones behind it");
            }
            size_t bytes = pd_wal_record_bytes(prefix.header_bytes, prefix.payload_bytes);
            note_cut(reader, at, offset, place + bytes);
        }
        place += PD_WAL_ALIGNMENT;
    }
    return reader->_status;
}

/* Whether something of the next record can be seen where it should be, though it is not good: one
 * number of its prefix is enough, since no older bytes have it. */
static enum paramd_status look_for_traces(struct pd_wal_reader *reader)
{
    size_t at = reader->_segment;
    uint64_t offset = reader->_offset;
    uint64_t page_end = pd_wal_round_up(offset, PD_WAL_PAGE_BYTES);
    if (page_end > offset) { /* within a batch: all of the page was written with it */
        note_cut(reader, at, offset, page_end);
    }
    if (reader->_segment_bytes - offset < PD_WAL_PREFIX_BYTES) {
        return PARAMD_OK;
    }
    const uint8_t *bytes = view(reader, at, offset, PD_WAL_PREFIX_BYTES);
    if (bytes == NULL) {
        return reader->_status;
    }
    struct pd_wal_prefix prefix;
    pd_wal_prefix_read(bytes, &prefix);
    uint64_t next = reader->last_lsn + 1;
    if (prefix.lsn == next || prefix.batch_lsn == next ||
        prefix.generation == reader->_found[at].segment.generation) {
        uint64_t end = offset + pd_wal_record_bytes(prefix.header_bytes, prefix.payload_bytes);
        bool possible = end <= reader->_segment_bytes;
        note_cut(reader, at, offset, possible ? end : offset + PD_WAL_PREFIX_BYTES);
    }
    return PARAMD_OK;
}

/* Where the log had left this segment its last page says so, and how far the log had come by then.
 */
static enum paramd_status heed_left(struct pd_wal_reader *reader)
{
    uint64_t lsn;
    const uint8_t *page = view(reader, reader->_segment, reader->_segment_bytes - PD_WAL_PAGE_BYTES,
                               PD_WAL_PAGE_BYTES);
    if (page == NULL) {
        return reader->_status;
    }
    reader->_left = pd_wal_left_read(page, reader->_found[reader->_segment].segment.generation,
                                     reader->_log_id, &lsn);
    if (reader->_left && lsn - 1 > reader->_until_lsn) {
        reader->_until_lsn = lsn - 1;
    }
    return PARAMD_OK;
}

/* That page was durable before a second batch went to the next segment. */
static enum paramd_status missed_left(struct pd_wal_reader *reader)
{
    return fail(reader, PARAMD_CORRUPT, reader->_found[reader->_segment - 1].file,
                reader->_segment_bytes - PD_WAL_PAGE_BYTES,
                "the last page of a segment, which tells of the next, is damaged");
}

/* The records end here and no segment follows: is that how far the log had come? */
static enum paramd_status check_end(struct pd_wal_reader *reader)
{
    if (reader->_segment_count > 0) {
        if (look_for_traces(reader) != PARAMD_OK ||
            search(reader, reader->_segment, reader->_offset) != PARAMD_OK) {
            return reader->_status;
        }
    }
    /* A next segment whose header was lost or damaged lies where the log goes on: in a file that
     * was not used yet, or in the one used longest ago. */
    for (size_t i = reader->_segment_count; i < reader->_found_count; i++) {
        enum paramd_status header = reader->_found[i].header;
        if (header == PARAMD_CORRUPT) {
            note_cut(reader, i, 0, PD_WAL_PAGE_BYTES);
        }
        if ((header != PARAMD_OK || i == reader->_oldest) &&
            search(reader, i, PD_WAL_PAGE_BYTES) != PARAMD_OK) {
            return reader->_status;
        }
    }
    if (reader->_left) {
        return corrupt_here(reader, "the segment after this one is missing or emptied");
    }
    if (reader->last_lsn < reader->_until_lsn) {
        return reader->_segment_count > 0
                   ? corrupt_here(reader, "records that had been durable are missing")
                   : fail(reader, PARAMD_CORRUPT, 0, 0, "the log is missing");
    }
    return reader->_status = PARAMD_NOT_FOUND;
}

/* No record stands at the offset: it is in the next segment, or there is none. */
static enum paramd_status leave_segment(struct pd_wal_reader *reader)
{
    if (heed_left(reader) != PARAMD_OK) {
        return reader->_status;
    }
    if (reader->_segment + 1 >= reader->_segment_count) {
        return check_end(reader);
    }
    if (pd_plant(log_cut_early)) {
        return reader->_status = PARAMD_NOT_FOUND;
    }
    bool damaged = reader->_offset % PD_WAL_PAGE_BYTES != 0; /* or padding would end here */
    if (damaged || reader->_found[reader->_segment + 1].segment.first_lsn != reader->last_lsn + 1) {
        return corrupt_here(reader, "a damaged record has good ones behind it");
    }
    if (reader->_unsaid) {
        return missed_left(reader);
    }
    /* The first format had no such page. */
    reader->_unsaid = !reader->_left && reader->_found[reader->_segment].segment.format > 1;
    reader->_segment++;
    reader->_offset = PD_WAL_PAGE_BYTES;
    reader->_records_end = PD_WAL_PAGE_BYTES;
    reader->_batch_lsn = 0;
    reader->_batch_offset = 0;
    return PARAMD_OK;
}

/* Whether the rest of the page is what a batch leaves behind its last record: zeros. */
static bool skip_padding(struct pd_wal_reader *reader)
{
    uint64_t page_end = pd_wal_round_up(reader->_offset, PD_WAL_PAGE_BYTES);
    size_t rest = (size_t)(page_end - reader->_offset);
    const uint8_t *bytes = rest == 0 ? NULL : view(reader, reader->_segment, reader->_offset, rest);
    if (bytes == NULL || !all_zeros(bytes, rest)) {
        return false;
    }
    reader->_offset = page_end;
    return true;
}

/* The log says that it ends with this record. */
static enum paramd_status check_sealed(struct pd_wal_reader *reader)
{
    reader->sealed = true;
    if (reader->_segment + 1 < reader->_segment_count) {
        return corrupt_here(reader, "the log goes on behind its end");
    }
    if (reader->last_lsn < reader->_until_lsn) {
        return corrupt_here(reader, "the log ends too early: an old file may have been put back");
    }
    return reader->_status = PARAMD_NOT_FOUND;
}

enum paramd_status pd_wal_reader_next(struct pd_wal_reader *reader,
                                      struct pd_wal_record *ret_record)
{
    while (reader->_status == PARAMD_OK) {
        if (reader->_segment_count == 0) {
            return check_end(reader);
        }
        struct pd_wal_record record;
        if (good_record(reader, reader->_offset, &record)) {
            reader->last_lsn = record.lsn;
            if (record.kind == PD_WAL_END) {
                return check_sealed(reader); /* which a start writes where nothing else is */
            }
            if (reader->_unsaid && reader->_batch_offset > PD_WAL_PAGE_BYTES) {
                return missed_left(reader);
            }
            *ret_record = record;
            return PARAMD_OK;
        }
        if (reader->_status == PARAMD_OK && !skip_padding(reader) && reader->_status == PARAMD_OK) {
            (void)leave_segment(reader);
        }
    }
    return reader->_status;
}

enum paramd_status pd_wal_reader_refuse(struct pd_wal_reader *reader, const char *text)
{
    uint32_t file = reader->_segment_count > 0 ? reader->_found[reader->_segment].file : 0;
    return fail(reader, PARAMD_CORRUPT, file, reader->_record_offset, text);
}

uint64_t pd_wal_reader_done_bytes(const struct pd_wal_reader *reader)
{
    return reader->_status == PARAMD_NOT_FOUND
               ? pd_wal_reader_total_bytes(reader)
               : reader->_segment * reader->_segment_bytes + reader->_offset;
}

uint64_t pd_wal_reader_total_bytes(const struct pd_wal_reader *reader)
{
    return reader->_found_count * reader->_segment_bytes;
}

/* --- sealing --- */

static enum paramd_status write_synced(struct pd_wal_reader *reader, uint64_t offset,
                                       const uint8_t *bytes, size_t count)
{
    const struct pd_disk *disk = reader->_disk;
    struct pd_disk_result result = disk->write(disk->context, reader->_file, offset, bytes, count);
    if (result.status == PARAMD_OK) {
        result = disk->sync(disk->context, reader->_file);
    }
    if (result.status != PARAMD_OK) {
        return fail(reader, result.status, reader->_found[reader->_segment].file, offset,
                    result.text);
    }
    return PARAMD_OK;
}

/* Writes the pages up to the end of the last record as they were read, zeros behind it. */
static enum paramd_status rewrite(struct pd_wal_reader *reader, uint64_t from)
{
    size_t records = (size_t)(reader->_records_end - from);
    size_t count = pd_wal_round_up(records, PD_WAL_PAGE_BYTES);
    uint8_t *bytes = view(reader, reader->_segment, from, count);
    if (bytes == NULL) {
        return reader->_status;
    }
    memset(bytes + records, 0, count - records);
    return write_synced(reader, from, bytes, count);
}

static enum paramd_status write_end(struct pd_wal_reader *reader, uint64_t offset)
{
    uint64_t lsn = reader->last_lsn + 1;
    _Alignas(PD_WAL_PAGE_BYTES) uint8_t page[PD_WAL_PAGE_BYTES] = {0};
    pd_wal_end_write(lsn, lsn, reader->_found[reader->_segment].segment.generation, reader->_log_id,
                     page, sizeof page);
    return write_synced(reader, offset, page, sizeof page);
}

enum paramd_status pd_wal_reader_seal(struct pd_wal_reader *reader)
{
    PD_ASSERT(reader->_status == PARAMD_NOT_FOUND);
    bool known =
        reader->sealed && (reader->last_lsn <= reader->_until_lsn || pd_plant(end_not_synced));
    if (known || reader->_segment_count == 0) {
        return PARAMD_OK;
    }
    uint64_t end = pd_wal_round_up(reader->_records_end, PD_WAL_PAGE_BYTES);
    if (!reader->sealed && end + PD_WAL_PAGE_BYTES > reader->_segment_bytes) {
        return corrupt_here(reader, "no room is left where it is kept");
    }
    /* A segment's header is written with its first batch. The end says that all before it is
     * durable, so it comes after that is true; one that is there already may be in the page cache
     * only, as any last batch. */
    uint64_t from = reader->_batch_offset <= PD_WAL_PAGE_BYTES ? 0 : reader->_batch_offset;
    reader->_status = PARAMD_OK;
    if (open_file(reader, reader->_segment, PD_DISK_WRITE_PAGES) != PARAMD_OK ||
        rewrite(reader, from) != PARAMD_OK ||
        (!reader->sealed && write_end(reader, end) != PARAMD_OK)) {
        return reader->_status;
    }
    reader->last_lsn += !reader->sealed;
    reader->sealed = true;
    reader->_status = PARAMD_NOT_FOUND;
    return PARAMD_OK;
}
