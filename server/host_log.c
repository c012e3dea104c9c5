/* Records into the log, messages out when it has them. */
#include "server/host_log.h"

#include <stdlib.h>

#include "proto/plant.h"
#include "server/base/assert.h"

enum paramd_status pd_host_log_init(struct pd_host_log *log, const struct pd_wal_config *config)
{
    *log = (struct pd_host_log){0};
    for (unsigned i = 0; i < PD_HELD_COUNT; i++) {
        pd_link_init(&log->messages[i]);
    }
    if (config == NULL) {
        return PARAMD_OK;
    }
    log->buffer_bytes = config->buffer_bytes;
    log->header = malloc(PD_RECORD_HEADER_BYTES_MAX);
    log->wal = pd_wal_create(config);
    return log->header != NULL && log->wal != NULL ? PARAMD_OK : PARAMD_NO_MEMORY;
}

void pd_host_log_deinit(struct pd_host_log *log)
{
    for (unsigned i = 0; i < PD_HELD_COUNT; i++) {
        struct pd_link *link;
        while ((link = pd_list_pop(&log->messages[i])) != NULL) {
            pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
        }
    }
    pd_wal_destroy(log->wal);
    free(log->header);
}

enum paramd_status pd_host_log_reserve(struct pd_host_log *log, size_t records, size_t bytes)
{
    return log->ended ? PARAMD_RESOURCE_EXHAUSTED : pd_wal_reserve(log->wal, records, bytes);
}

void pd_host_log_append(struct pd_host_log *log, const struct pd_record *record)
{
    PD_ASSERT(protobuf_c_message_get_packed_size(record->header) <= PD_RECORD_HEADER_BYTES_MAX);
    size_t header_bytes = protobuf_c_message_pack(record->header, log->header);
    struct pd_span payload = {(uint8_t *)(uintptr_t)record->payload, record->payload_count};
    uint64_t sum = record->payload_summed ? record->payload_sum : pd_payload_sum(&payload, 1);
    (void)pd_wal_append(log->wal, (uint16_t)record->kind, log->header, header_bytes, &payload,
                        payload.bytes > 0 ? 1 : 0, sum);
}

enum pd_held pd_host_log_held(const struct pd_host_log *log, uint64_t lsn)
{
    if (lsn <= pd_wal_durable_lsn(log->wal) || pd_plant(ack_before_fsync)) {
        return PD_HELD_NOT;
    }
    return lsn <= log->flying_lsn ? PD_HELD_FLYING : PD_HELD_GATHERED;
}

/* ---- messages ---- */

void pd_host_log_send(struct pd_host_log *log, struct pd_link *messages, bool wait)
{
    unsigned held = PD_HELD_NOT;
    if (pd_link_alone(messages)) {
        return;
    }
    if (wait) {
        held = pd_host_log_held(log, pd_wal_last_lsn(log->wal));
    }
    /* Behind those that wait longer. */
    for (unsigned i = held + 1; i < PD_HELD_COUNT; i++) {
        held = pd_link_alone(&log->messages[i]) ? held : i;
    }
    pd_list_move(&log->messages[held], messages);
}

struct pd_message *pd_host_log_next(struct pd_host_log *log)
{
    struct pd_link *link = pd_list_pop(&log->messages[PD_HELD_NOT]);
    return link != NULL ? PD_CONTAINER(link, struct pd_message, link) : NULL;
}

bool pd_host_log_holds(const struct pd_host_log *log)
{
    return log->wal != NULL && pd_wal_durable_lsn(log->wal) < pd_wal_last_lsn(log->wal);
}

/* ---- jobs ---- */

bool pd_host_log_take_job(struct pd_host_log *log, struct pd_wal_job *ret_job)
{
    if (log->wal == NULL || !pd_wal_take_job(log->wal, ret_job)) {
        return false;
    }
    log->job_kind = ret_job->kind;
    if (ret_job->kind == PD_WAL_WRITE) {
        log->flying_lsn = pd_wal_last_lsn(log->wal);
        pd_list_move(&log->messages[PD_HELD_FLYING], &log->messages[PD_HELD_GATHERED]);
    }
    return true;
}

void pd_host_log_job_done(struct pd_host_log *log, enum paramd_status status)
{
    bool no_space = log->job_kind == PD_WAL_PREPARE && status == PARAMD_RESOURCE_EXHAUSTED;
    pd_wal_job_done(log->wal, status);
    log->failed = status != PARAMD_OK && !no_space;
    if (status == PARAMD_OK && log->job_kind == PD_WAL_WRITE) {
        pd_list_move(&log->messages[PD_HELD_NOT], &log->messages[PD_HELD_FLYING]);
    }
}

enum paramd_status pd_host_log_end(struct pd_host_log *log)
{
    if (log->wal == NULL || log->ended) {
        return PARAMD_OK;
    }
    enum paramd_status status = pd_wal_end(log->wal);
    log->ended = status == PARAMD_OK;
    return status;
}
