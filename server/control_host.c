/* Control's records into its log, and what they decide out of it. A step begins only when all
 * records of the one before are in the log, so that messages and records stay in one order. */
#include "server/control_host.h"

#include <stdlib.h>

#include "server/host_log.h"

/* Of one step, for the room that their prefixes take: none has less than 16 bytes, and all but one
 * that makes a model fit into 4 KiB. */
enum { RECORDS_MAX = 256 };

struct pd_control_host {
    struct pd_control *control;
    struct pd_control_effects effects; /* of the last step: what is not in the log yet */
    struct pd_host_log log;
    struct pd_link queued; /* messages of shards: the first waits for room */
};

enum paramd_status pd_control_host_create(const struct pd_control_host_options *options,
                                          struct pd_control_host **ret_host)
{
    struct pd_control_host *host = calloc(1, sizeof *host);
    if (host == NULL) {
        pd_control_destroy(options->control);
        return PARAMD_NO_MEMORY;
    }
    host->control = options->control;
    pd_link_init(&host->effects.records);
    pd_link_init(&host->effects.messages);
    pd_link_init(&host->effects.notes);
    pd_link_init(&host->queued);
    enum paramd_status status = pd_host_log_init(&host->log, options->log);
    if (status != PARAMD_OK) {
        pd_control_host_destroy(host);
        return status;
    }
    *ret_host = host;
    return PARAMD_OK;
}

static void drop_messages(struct pd_link *list)
{
    struct pd_link *link;
    while ((link = pd_list_pop(list)) != NULL) {
        pd_message_destroy(PD_CONTAINER(link, struct pd_message, link));
    }
}

void pd_control_host_destroy(struct pd_control_host *host)
{
    if (host == NULL) {
        return;
    }
    struct pd_link *link = host->effects.records.next;
    while (link != &host->effects.records) {
        struct pd_control_record *record = PD_CONTAINER(link, struct pd_control_record, link);
        link = link->next;
        free(record);
    }
    link = host->effects.notes.next;
    while (link != &host->effects.notes) {
        struct pd_note *note = PD_CONTAINER(link, struct pd_note, link);
        link = link->next;
        free(note);
    }
    drop_messages(&host->effects.messages);
    drop_messages(&host->queued);
    pd_host_log_deinit(&host->log);
    pd_control_destroy(host->control);
    free(host);
}

/* ---- records ---- */

static void append(struct pd_control_host *host, const struct pd_control_record *record)
{
    /* The log only reads from it. */
    uint8_t *bytes = (uint8_t *)(uintptr_t)record->bytes;
    struct pd_span payload = {bytes + record->header_count, record->payload_count};
    (void)pd_wal_append(host->log.wal, (uint16_t)record->kind, bytes, record->header_count,
                        &payload, record->payload_count > 0 ? 1 : 0, pd_payload_sum(&payload, 1));
}

/* The last step's records into the log; behind the last of them its messages. False: not all yet.
 */
static bool settle(struct pd_control_host *host)
{
    while (!pd_link_alone(&host->effects.records)) {
        struct pd_control_record *record =
            PD_CONTAINER(host->effects.records.next, struct pd_control_record, link);
        if (pd_host_log_reserve(&host->log, 1, record->header_count + record->payload_count) !=
            PARAMD_OK) {
            return false;
        }
        append(host, record);
        pd_link_remove(&record->link);
        free(record);
    }
    pd_host_log_send(&host->log, &host->effects.messages, host->log.wal != NULL);
    return true;
}

/* ---- steps ---- */

/* False: the log has room for it only after its next job. */
static bool make_room(struct pd_control_host *host, const struct pd_message *message)
{
    if (host->log.wal == NULL) {
        return true;
    }
    if (!settle(host)) {
        return false;
    }
    size_t bytes = pd_control_record_bytes(host->control, message);
    enum paramd_status status = pd_host_log_reserve(&host->log, RECORDS_MAX, bytes);
    host->effects.log_room = status == PARAMD_OK ? bytes : 0;
    return status != PARAMD_BUSY && status != PARAMD_DISK;
}

static void step(struct pd_control_host *host, struct pd_message *message, uint64_t now_us)
{
    pd_control_step(host->control, message, now_us, &host->effects);
    (void)settle(host);
}

static void take_queued(struct pd_control_host *host, uint64_t now_us)
{
    while (!pd_link_alone(&host->queued)) {
        struct pd_message *message = PD_CONTAINER(host->queued.next, struct pd_message, link);
        if (!make_room(host, message)) {
            return;
        }
        pd_link_remove(&message->link);
        step(host, message, now_us);
    }
}

void pd_control_host_step(struct pd_control_host *host, struct pd_message *message, uint64_t now_us)
{
    if (host->log.ended) {
        pd_message_destroy(message);
        return;
    }
    take_queued(host, now_us);
    if (pd_link_alone(&host->queued) && make_room(host, message)) {
        step(host, message, now_us);
    } else if (message != NULL) {
        pd_list_push(&host->queued, &message->link);
    }
}

enum paramd_status pd_control_host_recovered(struct pd_control_host *host, bool clean,
                                             uint64_t now_us)
{
    host->effects.log_room = UINT64_MAX; /* they wait in memory until the log has taken them all */
    enum paramd_status status = pd_control_recovered(host->control, clean, now_us, &host->effects);
    if (status == PARAMD_OK) {
        (void)settle(host);
    }
    return status;
}

struct pd_message *pd_control_host_next_message(struct pd_control_host *host)
{
    return pd_host_log_next(&host->log);
}

struct pd_note *pd_control_host_next_note(struct pd_control_host *host)
{
    struct pd_link *link = pd_list_pop(&host->effects.notes);
    return link != NULL ? PD_CONTAINER(link, struct pd_note, link) : NULL;
}

/* ---- jobs ---- */

bool pd_control_host_take_job(struct pd_control_host *host, struct pd_wal_job *ret_job)
{
    return pd_host_log_take_job(&host->log, ret_job);
}

void pd_control_host_job_done(struct pd_control_host *host, enum paramd_status status,
                              uint64_t now_us)
{
    pd_host_log_job_done(&host->log, status);
    /* A full disk is not tried again at once for what cannot be refused, but as time passes. */
    if (status == PARAMD_OK || pd_link_alone(&host->effects.records)) {
        (void)settle(host);
        take_queued(host, now_us);
    }
}

uint64_t pd_control_host_durable_lsn(const struct pd_control_host *host)
{
    return pd_wal_durable_lsn(host->log.wal);
}

enum paramd_status pd_control_host_end_log(struct pd_control_host *host)
{
    return pd_host_log_end(&host->log);
}

/* ---- snapshots ---- */

bool pd_control_host_wants_snapshot(const struct pd_control_host *host, bool *ret_pause)
{
    return pd_control_snapshot_wanted(host->control, ret_pause);
}

void pd_control_host_snapshot_begun(struct pd_control_host *host, bool pause)
{
    pd_control_snapshot_begun(host->control, pause);
}

void pd_control_host_snapshot_done(struct pd_control_host *host,
                                   const struct pd_snapshot_result *result, uint64_t now_us)
{
    pd_control_snapshot_done(host->control, result, now_us, &host->effects);
    (void)settle(host);
}

void pd_control_host_end_snapshots(struct pd_control_host *host)
{
    pd_control_snapshots_end(host->control, &host->effects);
    (void)settle(host);
}

bool pd_control_host_idle(const struct pd_control_host *host)
{
    return pd_link_alone(&host->effects.records) && pd_link_alone(&host->queued) &&
           !pd_host_log_holds(&host->log);
}

struct pd_control *pd_control_host_control(struct pd_control_host *host)
{
    return host->control;
}
