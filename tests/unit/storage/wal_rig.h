/* A log on a simulated disk, with records that tell by their LSN what must be in them. */
#ifndef PARAMD_TESTS_UNIT_STORAGE_WAL_RIG_H
#define PARAMD_TESTS_UNIT_STORAGE_WAL_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "server/storage/wal.h"
#include "server/storage/wal_files.h"
#include "server/storage/wal_reader.h"
#include "tests/support/sim_disk.h"

enum {
    PD_RIG_LOG_ID = 0x10d1d,
    PD_RIG_SEGMENT_BYTES = 32 * 1024,
    PD_RIG_BUFFER_BYTES = 16 * 1024,
    PD_RIG_SEGMENTS_MAX = 8,
    PD_RIG_RECORDS_MAX = 8192,
    PD_RIG_KIND = 7
};

/* The name of the log. */
#define PD_RIG_LOG "log"

struct pd_wal_rig {
    struct pd_sim_disk *sim;
    const struct pd_disk *disk;
    struct pd_wal *wal;
    struct pd_wal_files files;
    uint32_t header_bytes[PD_RIG_RECORDS_MAX]; /* by LSN */
    uint32_t payload_bytes[PD_RIG_RECORDS_MAX];
};

/* How reading ended. */
struct pd_wal_reading {
    enum paramd_status status;
    uint64_t first_lsn;          /* 0: no record was read */
    struct pd_wal_reader reader; /* deinitialised: for its public fields */
};

struct pd_wal_rig *pd_wal_rig_create(uint64_t seed);
void pd_wal_rig_destroy(struct pd_wal_rig *rig);

/* Reserves and appends a record; what reserve says. */
enum paramd_status pd_rig_append(struct pd_wal_rig *rig, uint32_t header_bytes,
                                 uint32_t payload_bytes);
/* The same, with jobs done while it says BUSY. */
enum paramd_status pd_rig_push(struct pd_wal_rig *rig, uint32_t header_bytes,
                               uint32_t payload_bytes);

/* Does one job; NOT_FOUND: there is none. */
enum paramd_status pd_rig_run(struct pd_wal_rig *rig);
/* Does all jobs, which succeed. */
void pd_rig_settle(struct pd_wal_rig *rig);
/* Ends the log, and does all jobs. */
void pd_rig_end(struct pd_wal_rig *rig);

/* Reads all records from the segment with from_lsn on; each must be what was appended. With `seal`
 * the log is sealed behind it, and the status is that of sealing if reading went well. */
struct pd_wal_reading pd_rig_read(struct pd_wal_rig *rig, uint64_t from_lsn, uint64_t until_lsn,
                                  bool seal);

#endif
