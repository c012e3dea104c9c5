/* Reads a log back, record by record, and tells a torn end, which may be cut, from damage, which
 * may not. The rules: server/storage/README.md. One thread; blocks. */
#ifndef PARAMD_SERVER_STORAGE_WAL_READER_H
#define PARAMD_SERVER_STORAGE_WAL_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/storage/disk.h"
#include "server/storage/wal_format.h"
#include "server/storage/window.h"

/* Header and payload stay until the next call. */
struct pd_wal_record {
    uint16_t kind;
    uint64_t lsn;
    const uint8_t *header;
    size_t header_bytes;
    const uint8_t *payload;
    size_t payload_bytes;
    uint64_t payload_sum;
};

/* What a file of the log was found to be. */
struct pd_wal_found;

/* Fields with _ are the reader's own. */
struct pd_wal_reader {
    uint64_t last_lsn; /* of the last good record */
    bool begun;        /* there is a segment */
    bool sealed;       /* the log was closed whole: every byte of it has been checked */

    /* At the end of a log that is not sealed: what was left out there, if cut_bytes > 0. Nothing in
     * it had been reported durable. */
    char cut_file[PD_DISK_NAME_BYTES];
    uint64_t cut_offset;
    uint64_t cut_bytes;

    /* Why a call failed, and where. */
    char error_file[PD_DISK_NAME_BYTES];
    uint64_t error_offset;
    const char *error_text;

    const struct pd_disk *_disk;
    const char *_log;
    uint64_t _log_id;
    uint64_t _until_lsn;
    enum paramd_status _status;  /* NOT_FOUND: at the end */
    struct pd_wal_found *_found; /* all files; the log's segments first, in their order */
    size_t _found_count;
    size_t _segment_count;
    size_t _oldest;  /* the file used longest ago, if that is none of the segments */
    size_t _segment; /* the one being read */
    uint64_t _segment_bytes;
    uint64_t _offset;        /* in it, of the next record */
    uint64_t _records_end;   /* of the last good one */
    uint64_t _record_offset; /* where that one begins */
    bool _left;              /* it says itself that there is a next one */
    bool _unsaid;            /* the one before did not: at most one batch can be in this one */
    uint64_t _batch_lsn;
    uint64_t _batch_offset; /* where the last good batch begins; 0: none in this segment */

    int _file; /* of _found[_file_at], if _open */
    size_t _file_at;
    bool _open;
    size_t _cut_at; /* where cut_file is in _found */
    struct pd_window _window;
};

/* Finds the segments that hold from_lsn (1: all) and what comes after it. until_lsn: known to have
 * been durable (0: nothing is), so that a log that ends before it is damaged. disk and log stay
 * until deinit, which is called whatever init returned. OK; VERSION: a newer format; CORRUPT, DISK,
 * NO_MEMORY. */
enum paramd_status pd_wal_reader_init(struct pd_wal_reader *reader, const struct pd_disk *disk,
                                      const char *log, uint64_t log_id, uint64_t from_lsn,
                                      uint64_t until_lsn) __attribute__((warn_unused_result));
void pd_wal_reader_deinit(struct pd_wal_reader *reader);

/* The next record; the first may be before from_lsn. NOT_FOUND: there are no more, and sealed and
 * cut_ tell how the log ended. CORRUPT, DISK, NO_MEMORY. */
enum paramd_status pd_wal_reader_next(struct pd_wal_reader *reader,
                                      struct pd_wal_record *ret_record)
    __attribute__((warn_unused_result));

/* What was read is good here, but not to the caller, who says why: the error stands at the last
 * record. CORRUPT. */
enum paramd_status pd_wal_reader_refuse(struct pd_wal_reader *reader, const char *text);

/* How far it has come, and of how much: bytes of the log's files, whatever is in them. */
uint64_t pd_wal_reader_done_bytes(const struct pd_wal_reader *reader);
uint64_t pd_wal_reader_total_bytes(const struct pd_wal_reader *reader);

/* At the end: makes sure that the same records are found from now on whatever happens. The last
 * batch may be in the page cache only, and look written where its sync had failed: it is written
 * once more, and the end record behind it. Whoever acts on what was read seals before. */
enum paramd_status pd_wal_reader_seal(struct pd_wal_reader *reader)
    __attribute__((warn_unused_result));

#endif
