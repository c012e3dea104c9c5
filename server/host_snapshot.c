/* A snapshot of the host's shard: slot after slot goes from the core into the buffers of a file,
 * between two requests, whenever whoever drives the host finds time. */
#include "server/base/assert.h"
#include "server/core/shard_snapshot.h"
#include "server/host_state.h"

static void append(void *context, const struct pd_piece *piece)
{
    struct pd_host *host = context;
    uint8_t *header = host->log.header; /* free between two events */
    size_t bytes = protobuf_c_message_get_packed_size(piece->header);
    PD_ASSERT(bytes <= PD_RECORD_HEADER_BYTES_MAX);
    (void)protobuf_c_message_pack(piece->header, header);
    pd_snapshot_append(host->snapshot, (uint16_t)piece->kind, header, bytes, piece->payload,
                       piece->span_count);
    host->count.snapshot_bytes = pd_snapshot_bytes(host->snapshot);
}

enum paramd_status pd_host_begin_snapshot(struct pd_host *host, const struct pd_snapshot_head *head)
{
    size_t bytes = pd_shard_snapshot_begin_bytes(host->shard);
    size_t pages = (bytes + 2 * PD_SNAPSHOT_PAGE_BYTES) / PD_SNAPSHOT_PAGE_BYTES + 1;
    struct pd_snapshot_config config = {.head = *head, .buffer_bytes = PD_SNAPSHOT_BUFFER_BYTES};
    if (pages * PD_SNAPSHOT_PAGE_BYTES > config.buffer_bytes) {
        config.buffer_bytes = pages * PD_SNAPSHOT_PAGE_BYTES;
    }
    PD_ASSERT(host->snapshot == NULL && host->log.wal != NULL);
    host->count.snapshot_bytes = 0;
    config.head.shard = host->options.shard;
    config.head.shards = host->options.shards;
    config.head.start_lsn = pd_wal_last_lsn(host->log.wal);
    host->snapshot = pd_snapshot_create(&config);
    enum paramd_status status =
        host->snapshot != NULL ? pd_snapshot_reserve(host->snapshot, bytes) : PARAMD_NO_MEMORY;
    if (status == PARAMD_OK) {
        status = pd_shard_snapshot_begin(host->shard, append, host);
    }
    if (status != PARAMD_OK) {
        pd_snapshot_destroy(host->snapshot);
        host->snapshot = NULL;
    }
    host->copying = status == PARAMD_OK;
    return status;
}

/* Nothing more is copied. */
static void end_copying(struct pd_host *host)
{
    pd_shard_snapshot_end(host->shard);
    host->copying = false;
    host->copied_lsn = pd_wal_last_lsn(host->log.wal);
}

bool pd_host_copy_slot(struct pd_host *host)
{
    if (!host->copying) {
        return false;
    }
    if (pd_shard_snapshot_spoilt(host->shard)) {
        pd_host_give_up_snapshot(host);
        return false;
    }
    size_t bytes = pd_shard_snapshot_next_bytes(host->shard);
    if (bytes == 0) {
        end_copying(host);
        pd_snapshot_end(host->snapshot);
        return false;
    }
    enum paramd_status status = pd_snapshot_reserve(host->snapshot, bytes);
    if (status == PARAMD_OK) {
        pd_shard_snapshot_next(host->shard, pd_wal_last_lsn(host->log.wal), append, host);
    } else if (status != PARAMD_BUSY) {
        pd_host_give_up_snapshot(host);
    }
    return status == PARAMD_OK;
}

bool pd_host_copies(const struct pd_host *host)
{
    return host->copying;
}

uint64_t pd_host_snapshot_bytes(const struct pd_host *host)
{
    return host->count.snapshot_bytes;
}

uint64_t pd_host_memory_bytes(const struct pd_host *host)
{
    return pd_shard_memory_bytes(host->shard);
}

void pd_host_give_up_snapshot(struct pd_host *host)
{
    if (host->snapshot == NULL) {
        return;
    }
    if (host->copying) {
        end_copying(host);
    }
    pd_snapshot_give_up(host->snapshot);
}

bool pd_host_take_snapshot_job(struct pd_host *host, struct pd_snapshot_job *ret_job)
{
    return host->snapshot != NULL && pd_snapshot_take_job(host->snapshot, ret_job);
}

void pd_host_snapshot_job_done(struct pd_host *host, enum paramd_status status)
{
    pd_snapshot_job_done(host->snapshot, status);
}

enum paramd_status pd_host_end_snapshot(struct pd_host *host, struct pd_manifest_file *ret_file)
{
    enum paramd_status status = pd_snapshot_status(host->snapshot);
    if (status == PARAMD_PENDING) {
        return status;
    }
    if (status == PARAMD_OK && pd_host_durable_lsn(host) < host->copied_lsn) {
        return PARAMD_PENDING; /* the slots know of records that the log might still lose */
    }
    *ret_file =
        status == PARAMD_OK ? pd_snapshot_file(host->snapshot) : (struct pd_manifest_file){0};
    pd_host_drop_snapshot(host);
    return status;
}

void pd_host_drop_snapshot(struct pd_host *host)
{
    if (host->copying) {
        end_copying(host);
    }
    pd_snapshot_destroy(host->snapshot);
    host->snapshot = NULL;
}
