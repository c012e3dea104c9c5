/* Recovery in order: MANIFEST, control's log, the newest snapshot that is whole, each shard's log
 * from there, epoch by epoch; then the new epoch is published. Nothing of it has been seen by
 * anybody before the last step, so a crash anywhere in here only means to do it again. */
#include "server/recovery.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/core/shard_snapshot.h"
#include "server/storage/data_dir.h"
#include "server/storage/snapshot_reader.h"
#include "server/storage/wal_files.h"
#include "server/storage/wal_reader.h"

/* One shard of the epoch in hand, and what its work came to. */
struct task {
    struct pd_shard *shard;
    const char *text; /* why the core refused */
    uint64_t from_lsn;
    char log[PD_WAL_LOG_NAME_BYTES];
    struct pd_wal_reader reader; /* of the log */
    struct pd_arena arena;
    uint8_t *payload; /* of a record, at an address where numbers may stand */
    enum paramd_status status;
    char error[PD_RECOVERY_TEXT_BYTES];
};

struct recovery {
    const struct pd_recovery_options *options;
    struct pd_recovery *result;
    struct pd_definitions definitions;
    uint32_t live;        /* epochs that counts for something: the last has control's state */
    uint32_t place;       /* of the epoch in hand */
    uint32_t shard_count; /* of result->shards */
    const struct pd_manifest_snapshot *snapshot; /* that is being loaded */
    char error[PD_RECOVERY_TEXT_BYTES];
    struct task control;
    struct task tasks[PD_SHARDS_MAX];
};

__attribute__((format(printf, 3, 4))) static enum paramd_status
fail(char *error, enum paramd_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    /* The analyzer has seen too many calls to remember va_start.
     * NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized) */
    (void)vsnprintf(error, PD_RECOVERY_TEXT_BYTES, format, arguments);
    va_end(arguments);
    return status;
}

/* What came of a record or piece: a lack of memory is no damage, and the core has no text for it.
 */
static enum paramd_status judge(struct task *task, enum paramd_status status)
{
    if (status == PARAMD_RESOURCE_EXHAUSTED || status == PARAMD_NO_MEMORY) {
        task->text = "there is no memory for it: the daemon needs as much as before";
        return PARAMD_NO_MEMORY;
    }
    return status;
}

/* ---- a log ---- */

/* What is done with each record. */
typedef enum paramd_status (*take_record)(struct recovery *recovery, struct task *task,
                                          const struct pd_logged *record);

static void tell_cut(const struct recovery *recovery, const struct pd_wal_reader *reader)
{
    char text[PD_RECOVERY_TEXT_BYTES];
    if (reader->cut_bytes > 0) {
        (void)snprintf(text, sizeof text,
                       "%s ends at offset %" PRIu64 ": %" PRIu64
                       " bytes of a batch that was never acknowledged are left out",
                       reader->cut_file, reader->cut_offset, reader->cut_bytes);
        recovery->options->tell(recovery->options->context, text);
    }
}

static enum paramd_status reader_failed(struct task *task, enum paramd_status status)
{
    return fail(task->error, status, "%s at offset %" PRIu64 ": %s", task->reader.error_file,
                task->reader.error_offset, task->reader.error_text);
}

static enum paramd_status read_records(struct recovery *recovery, struct task *task,
                                       take_record take)
{
    const struct pd_recovery_options *options = recovery->options;
    struct pd_wal_reader *reader = &task->reader;
    struct pd_wal_record record;
    enum paramd_status status;
    while ((status = pd_wal_reader_next(reader, &record)) == PARAMD_OK) {
        struct pd_logged logged = {
            .kind = record.kind,
            .header = record.header,
            .header_count = record.header_bytes,
            .payload = record.payload,
            .payload_count = record.payload_bytes,
            .lsn = record.lsn,
        };
        options->progress(options->context, record.header_bytes + record.payload_bytes);
        if (record.lsn >= task->from_lsn) {
            status = judge(task, take(recovery, task, &logged));
        }
        if (status != PARAMD_OK) {
            enum paramd_status refused = pd_wal_reader_refuse(reader, task->text);
            return fail(task->error, status == PARAMD_NO_MEMORY ? status : refused,
                        "%s at offset %" PRIu64 ": record %" PRIu64 " (%s): %s", reader->error_file,
                        reader->error_offset, record.lsn, pd_record_name(record.kind),
                        reader->error_text);
        }
    }
    return status == PARAMD_NOT_FOUND ? PARAMD_OK : reader_failed(task, status);
}

/* Every start seals the logs of those before it that have records, a drain all of its own. */
static enum paramd_status check_whole(const struct recovery *recovery, uint32_t place,
                                      struct task *task, const struct pd_manifest_log *log)
{
    const struct pd_manifest *manifest = &recovery->result->manifest;
    struct pd_wal_reader *reader = &task->reader;
    if (log->begun && !reader->begun) {
        return reader_failed(task, pd_wal_reader_refuse(reader, "the log is missing or emptied"));
    }
    bool whole = manifest->epochs[place].clean ||
                 (place + 1 < manifest->epoch_count && reader->last_lsn > 0);
    return whole && !reader->sealed
               ? reader_failed(task, pd_wal_reader_refuse(reader, "the log is cut short, though it "
                                                                  "had been closed whole"))
               : PARAMD_OK;
}

/* Reads the task's log from its first record. It stays open, to be sealed. */
static enum paramd_status read_log(struct recovery *recovery, uint32_t place, struct task *task,
                                   const struct pd_manifest_log *log, take_record take)
{
    pd_wal_reader_deinit(&task->reader); /* of the epoch before */
    enum paramd_status status =
        pd_wal_reader_init(&task->reader, recovery->options->disk, task->log, log->id,
                           task->from_lsn, log->durable_lsn);
    status = status == PARAMD_OK ? read_records(recovery, task, take) : reader_failed(task, status);
    if (status == PARAMD_OK) {
        status = check_whole(recovery, place, task, log);
    }
    return status;
}

/* Not before all logs have been read: until then a refusal leaves everything as it was. */
static enum paramd_status seal_log(struct recovery *recovery, struct task *task,
                                   struct pd_manifest_log *log)
{
    tell_cut(recovery, &task->reader);
    enum paramd_status status = pd_wal_reader_seal(&task->reader);
    log->durable_lsn = task->reader.last_lsn;
    if (status != PARAMD_OK) {
        status = reader_failed(task, status);
        (void)snprintf(recovery->error, sizeof recovery->error, "%s", task->error);
    }
    return status;
}

/* ---- control ---- */

static enum paramd_status take_control(struct recovery *recovery, struct task *task,
                                       const struct pd_logged *record)
{
    static _Thread_local char text[PD_ERROR_TEXT_BYTES];
    enum paramd_status status = pd_control_replay(recovery->result->control, record, text);
    task->text = text;
    return status;
}

static const struct pd_definition *find_definition(void *context, uint64_t model)
{
    struct recovery *recovery = context;
    return pd_control_definition(recovery->result->control, model);
}

/* A control that is what the log of the epoch at this place says. */
static enum paramd_status replay_control(struct recovery *recovery, uint32_t place)
{
    const struct pd_manifest_epoch *epoch = &recovery->result->manifest.epochs[place];
    struct task *task = &recovery->control;
    pd_control_log_name(epoch->number, task->log);
    enum paramd_status status = read_log(recovery, place, task, &epoch->control, take_control);
    if (status != PARAMD_OK) {
        (void)snprintf(recovery->error, sizeof recovery->error, "%s", task->error);
    }
    return status;
}

static enum paramd_status begin_control(struct recovery *recovery)
{
    struct pd_recovery *result = recovery->result;
    pd_control_destroy(result->control);
    result->control = NULL;
    enum paramd_status status = pd_control_create(&recovery->options->control, &result->control);
    return status == PARAMD_OK ? status
                               : fail(recovery->error, status, "there is no memory to begin");
}

/* The newest epoch in whose log control has written down all it knew: of those behind it nobody has
 * seen anything. */
static enum paramd_status find_control(struct recovery *recovery)
{
    struct pd_recovery *result = recovery->result;
    recovery->live = result->manifest.epoch_count;
    enum paramd_status status = begin_control(recovery);
    for (; status == PARAMD_OK && recovery->live > 0; recovery->live--) {
        if (result->manifest.epochs[recovery->live - 1].control.id != 0) {
            status = replay_control(recovery, recovery->live - 1);
            if (status != PARAMD_OK || pd_control_state_complete(result->control)) {
                return status;
            }
            tell_cut(recovery, &recovery->control.reader);
            status = begin_control(recovery);
        }
    }
    return status;
}

/* ---- shards ---- */

static void destroy_shards(struct pd_shard **shards, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        pd_shard_destroy(shards[i]);
        shards[i] = NULL;
    }
}

static enum paramd_status make_shards(struct recovery *recovery, uint32_t count,
                                      struct pd_shard **ret_shards)
{
    for (uint32_t i = 0; i < count; i++) {
        struct pd_shard_options options = recovery->options->shard;
        options.shard = i;
        options.shards = count;
        enum paramd_status status = pd_shard_create(&options, &ret_shards[i]);
        if (status != PARAMD_OK) {
            destroy_shards(ret_shards, i);
            return fail(recovery->error, status, "there is no memory for %" PRIu32 " shards",
                        count);
        }
    }
    return PARAMD_OK;
}

/* Everything to so many shards. */
static enum paramd_status deal(struct recovery *recovery, uint32_t count)
{
    struct pd_recovery *result = recovery->result;
    struct pd_shard *shards[PD_SHARDS_MAX];
    enum paramd_status status = make_shards(recovery, count, shards);
    if (status != PARAMD_OK) {
        return status;
    }
    if (recovery->shard_count > 0) {
        status = pd_shard_reshard(result->shards, recovery->shard_count, shards, count);
    }
    destroy_shards(result->shards, recovery->shard_count);
    memcpy(result->shards, shards, count * sizeof shards[0]);
    recovery->shard_count = count;
    return status == PARAMD_OK ? PARAMD_OK
                               : fail(recovery->error, status,
                                      "there is no memory to go over to %" PRIu32 " shards", count);
}

/* Has each shard's part done; the first failure by place is the whole's. */
static enum paramd_status do_tasks(struct recovery *recovery, void (*work)(void *, uint32_t))
{
    const struct pd_recovery_options *options = recovery->options;
    enum paramd_status status = PARAMD_OK;
    for (uint32_t i = 0; i < recovery->shard_count; i++) {
        struct task *task = &recovery->tasks[i];
        task->shard = recovery->result->shards[i];
        task->status = PARAMD_OK;
        pd_arena_init(&task->arena, PD_REPLAY_ARENA_BYTES);
        task->payload = malloc(PD_PAYLOAD_BYTES_MAX);
        if (task->payload == NULL) {
            status = fail(recovery->error, PARAMD_NO_MEMORY, "there is no memory to read the logs");
        }
    }
    if (status == PARAMD_OK) {
        options->each(options->context, recovery->shard_count, work, recovery);
    }
    for (uint32_t i = 0; i < recovery->shard_count; i++) {
        struct task *task = &recovery->tasks[i];
        pd_arena_deinit(&task->arena);
        free(task->payload);
        if (status == PARAMD_OK && task->status != PARAMD_OK) {
            status = task->status;
            (void)snprintf(recovery->error, sizeof recovery->error, "%s", task->error);
        }
    }
    return status;
}

static enum paramd_status take_shard(struct recovery *recovery, struct task *task,
                                     const struct pd_logged *record)
{
    struct pd_logged aligned = *record;
    if (record->payload_count <= PD_PAYLOAD_BYTES_MAX) { /* more is no numbers */
        aligned.payload = memcpy(task->payload, record->payload, record->payload_count);
    }
    return pd_shard_replay(task->shard, &aligned, &recovery->definitions, &task->arena,
                           &task->text);
}

static enum paramd_status refuse_shard(struct recovery *recovery, struct task *task,
                                       const struct pd_logged *record)
{
    (void)recovery;
    (void)record;
    task->text = "nobody can have written it, since control had not begun yet";
    return PARAMD_CORRUPT;
}

static void replay_shard(void *argument, uint32_t index)
{
    struct recovery *recovery = argument;
    struct task *task = &recovery->tasks[index];
    const struct pd_manifest_epoch *epoch = &recovery->result->manifest.epochs[recovery->place];
    pd_shard_log_name(index, epoch->number, task->log);
    task->status = read_log(recovery, recovery->place, task, &epoch->logs[index],
                            recovery->place < recovery->live ? take_shard : refuse_shard);
    if (task->status == PARAMD_OK &&
        pd_shard_replay_end(task->shard, task->reader.last_lsn, &task->text) != PARAMD_OK) {
        task->status = reader_failed(task, pd_wal_reader_refuse(&task->reader, task->text));
    }
}

/* From the epoch in hand to the last. */
static enum paramd_status replay_epochs(struct recovery *recovery)
{
    struct pd_manifest *manifest = &recovery->result->manifest;
    bool loaded = recovery->shard_count > 0; /* a snapshot of this epoch, which goes on */
    for (; recovery->place < manifest->epoch_count; recovery->place++) {
        const struct pd_manifest_epoch *epoch = &manifest->epochs[recovery->place];
        enum paramd_status status = loaded ? PARAMD_OK : deal(recovery, epoch->shards);
        if (status == PARAMD_OK) {
            status = do_tasks(recovery, replay_shard);
        }
        loaded = false;
        if (status != PARAMD_OK) {
            return status;
        }
        for (uint32_t i = 0; i < recovery->shard_count; i++) {
            recovery->tasks[i].from_lsn = 1;
        }
    }
    return PARAMD_OK;
}

/* Those of the last epoch, and the one that has control's state. */
static enum paramd_status seal_logs(struct recovery *recovery)
{
    struct pd_manifest *manifest = &recovery->result->manifest;
    enum paramd_status status = PARAMD_OK;
    if (recovery->live > 0) {
        status =
            seal_log(recovery, &recovery->control, &manifest->epochs[recovery->live - 1].control);
    }
    for (uint32_t i = 0; status == PARAMD_OK && i < recovery->shard_count; i++) {
        status = seal_log(recovery, &recovery->tasks[i],
                          &manifest->epochs[manifest->epoch_count - 1].logs[i]);
    }
    return status;
}

/* ---- snapshots ---- */

static enum paramd_status read_pieces(struct recovery *recovery, struct task *task,
                                      struct pd_snapshot_reader *reader)
{
    const struct pd_recovery_options *options = recovery->options;
    struct pd_snapshot_piece piece;
    enum paramd_status status;
    while ((status = pd_snapshot_reader_next(reader, &piece)) == PARAMD_OK) {
        const struct pd_logged logged = {
            .kind = piece.kind,
            .header = piece.header,
            .header_count = piece.header_bytes,
            .payload = piece.payload,
            .payload_count = piece.payload_bytes,
        };
        options->progress(options->context, piece.header_bytes + piece.payload_bytes);
        status = judge(task, pd_shard_snapshot_load(task->shard, &logged, &recovery->definitions,
                                                    &task->arena, &task->text));
        if (status != PARAMD_OK) {
            reader->error.offset = reader->offset;
            reader->error.text = task->text;
            return status;
        }
    }
    return status == PARAMD_NOT_FOUND ? PARAMD_OK : status;
}

static void load_shard(void *argument, uint32_t index)
{
    struct recovery *recovery = argument;
    struct task *task = &recovery->tasks[index];
    struct pd_snapshot_reader reader;
    task->status = pd_snapshot_reader_init(&reader, recovery->options->disk,
                                           &recovery->result->manifest, recovery->snapshot, index);
    if (task->status == PARAMD_OK) {
        task->status = read_pieces(recovery, task, &reader);
    }
    if (task->status != PARAMD_OK) {
        (void)fail(task->error, task->status, "%s at offset %" PRIu64 ": %s", reader.error.file,
                   reader.error.offset, reader.error.text);
    }
    task->from_lsn = recovery->snapshot->files[index].start_lsn + 1;
    pd_snapshot_reader_deinit(&reader);
}

/* Shards as this snapshot has them; recovery goes on in the epoch that wrote it. */
static enum paramd_status load_snapshot(struct recovery *recovery,
                                        const struct pd_manifest_snapshot *snapshot)
{
    const struct pd_manifest *manifest = &recovery->result->manifest;
    recovery->snapshot = snapshot;
    while (manifest->epochs[recovery->place].number != snapshot->epoch) {
        recovery->place++; /* the manifest was checked: it is there */
    }
    enum paramd_status status = deal(recovery, snapshot->shards);
    return status == PARAMD_OK ? do_tasks(recovery, load_shard) : status;
}

/* That a snapshot is damaged, and what is taken for it. */
static void tell_damage(const struct recovery *recovery)
{
    const struct pd_manifest *manifest = &recovery->result->manifest;
    char text[PD_RECOVERY_TEXT_BYTES + 64];
    if (manifest->snapshot_count > 0) {
        (void)snprintf(text, sizeof text, "%s; going on with snapshot %" PRIu32 " and a longer log",
                       recovery->error, manifest->snapshots[manifest->snapshot_count - 1].number);
    } else {
        (void)snprintf(text, sizeof text, "%s; %s", recovery->error,
                       manifest->last_snapshot < PD_SNAPSHOTS_KEPT
                           ? "going on with the logs, which have everything"
                           : "it was the last one");
    }
    recovery->options->tell(recovery->options->context, text);
}

/* The newest snapshot that is whole; newer ones are forgotten: they could read well next time, and
 * what goes on from here is not what went on from them. Without one everything is in the logs, as
 * long as no second snapshot has let them begin later. */
static enum paramd_status load_newest(struct recovery *recovery)
{
    struct pd_manifest *manifest = &recovery->result->manifest;
    enum paramd_status status = PARAMD_OK;
    while (manifest->snapshot_count > 0) {
        status = load_snapshot(recovery, &manifest->snapshots[manifest->snapshot_count - 1]);
        if (status != PARAMD_CORRUPT && status != PARAMD_INVALID && status != PARAMD_DISK) {
            return status;
        }
        manifest->snapshot_count--;
        tell_damage(recovery);
        destroy_shards(recovery->result->shards, recovery->shard_count);
        recovery->shard_count = 0;
        recovery->place = 0;
        for (uint32_t shard = 0; shard < PD_SHARDS_MAX; shard++) {
            recovery->tasks[shard].from_lsn = 1;
        }
    }
    return manifest->last_snapshot < PD_SNAPSHOTS_KEPT ? PARAMD_OK : status;
}

/* ---- the directory ---- */

static enum paramd_status storage_failed(struct recovery *recovery, enum paramd_status status,
                                         const struct pd_storage_error *error)
{
    if (error->file[0] == '\0') {
        return fail(recovery->error, status, "the data directory's names: %s", error->text);
    }
    return fail(recovery->error, status, "%s at offset %" PRIu64 ": %s", error->file, error->offset,
                error->text);
}

static enum paramd_status read_manifest(struct recovery *recovery)
{
    const struct pd_recovery_options *options = recovery->options;
    struct pd_manifest *manifest = &recovery->result->manifest;
    struct pd_storage_error error;
    enum paramd_status status = pd_manifest_read(options->disk, manifest, &error);
    bool is_new = status == PARAMD_NOT_FOUND;
    if (status == PARAMD_OK || is_new) {
        status = pd_data_dir_check(options->disk, is_new ? NULL : manifest, &error);
    }
    if (status != PARAMD_OK) {
        return storage_failed(recovery, status, &error);
    }
    if (is_new) {
        *manifest = (struct pd_manifest){.directory_id = options->random(options->context)};
    }
    return PARAMD_OK;
}

/* Whether no shard has a record of it, but the end record of a log that was begun. */
static bool is_empty(const struct pd_manifest_epoch *epoch)
{
    for (uint32_t i = 0; i < epoch->shards; i++) {
        if (epoch->logs[i].durable_lsn > epoch->logs[i].begun) {
            return false;
        }
    }
    return true;
}

static bool has_snapshot(const struct pd_manifest *manifest, uint32_t place)
{
    bool has = false;
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        has = has || manifest->snapshots[i].epoch == manifest->epochs[place].number;
    }
    return has;
}

/* Forgets what no recovery needs, so that a daemon which often crashes at its start does not run
 * out of epochs. The newest stays: the next number comes from it. */
static void forget_epochs(struct pd_manifest *manifest, uint32_t live)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        struct pd_manifest_epoch *epoch = &manifest->epochs[i];
        bool needed = i + 1 == manifest->epoch_count || i + 1 == live || has_snapshot(manifest, i);
        if (i + 1 != live) {
            epoch->control = (struct pd_manifest_log){0};
        }
        if (needed || !is_empty(epoch)) {
            manifest->epochs[kept++] = *epoch;
        }
    }
    manifest->epoch_count = kept;
}

static enum paramd_status begin_log(struct recovery *recovery, const char *name,
                                    struct pd_manifest_log *log, size_t segment_bytes)
{
    struct pd_disk_result result =
        pd_wal_begin(recovery->options->disk, name, log->id, segment_bytes);
    log->begun = result.status == PARAMD_OK;
    /* Without space the daemon works all the same, as far as it can. */
    return log->begun || result.status == PARAMD_RESOURCE_EXHAUSTED
               ? PARAMD_OK
               : fail(recovery->error, result.status, "%s: %s", name, result.text);
}

/* Each log's first segment, before anything can be in it; where there is little space, control's.
 */
static enum paramd_status begin_logs(struct recovery *recovery)
{
    const struct pd_recovery_options *options = recovery->options;
    struct pd_manifest *manifest = &recovery->result->manifest;
    struct pd_manifest_epoch *epoch = &manifest->epochs[manifest->epoch_count - 1];
    char name[PD_WAL_LOG_NAME_BYTES];
    pd_control_log_name(epoch->number, name);
    enum paramd_status status =
        begin_log(recovery, name, &epoch->control, options->control_segment_bytes);
    for (uint32_t i = 0; status == PARAMD_OK && i < options->shards; i++) {
        pd_shard_log_name(i, epoch->number, name);
        status = begin_log(recovery, name, &epoch->logs[i], options->shard_segment_bytes);
    }
    return status;
}

/* The manifest with a new epoch replaces the old one, before the first file of its logs is made,
 * and is replaced with one that knows that they are there: from then on they cannot get lost
 * unnoticed.
 */
static enum paramd_status begin_epoch(struct recovery *recovery)
{
    const struct pd_recovery_options *options = recovery->options;
    struct pd_manifest *manifest = &recovery->result->manifest;
    struct pd_storage_error error;
    forget_epochs(manifest, recovery->live);
    struct pd_manifest_epoch *epoch = pd_manifest_add_epoch(manifest, options->shards);
    if (epoch == NULL) {
        return fail(recovery->error, PARAMD_RESOURCE_EXHAUSTED,
                    "MANIFEST: there have been too many starts since the last snapshot");
    }
    epoch->control.id = options->random(options->context);
    for (uint32_t i = 0; i < options->shards; i++) {
        epoch->logs[i].id = options->random(options->context);
    }
    enum paramd_status status = pd_data_dir_clear(options->disk, &error);
    if (status == PARAMD_OK) {
        status = pd_manifest_write(options->disk, manifest, &error);
    }
    if (status != PARAMD_OK) {
        return storage_failed(recovery, status, &error);
    }
    status = begin_logs(recovery);
    if (status != PARAMD_OK) {
        return status;
    }
    status = pd_manifest_write(options->disk, manifest, &error);
    bool written = status == PARAMD_OK || status == PARAMD_RESOURCE_EXHAUSTED; /* or by the next */
    return written ? PARAMD_OK : storage_failed(recovery, status, &error);
}

/* Whether everything is as a drain left it. Where its snapshot had to be passed over it is not:
 * what models at `applied` had since the one before is lost, and nobody may take them for the same.
 */
static bool is_clean(const struct recovery *recovery)
{
    const struct pd_manifest *manifest = &recovery->result->manifest;
    if (recovery->live == 0) {
        return true;
    }
    const struct pd_manifest_epoch *last = &manifest->epochs[recovery->live - 1];
    const struct pd_manifest_snapshot *loaded =
        manifest->snapshot_count > 0 ? &manifest->snapshots[manifest->snapshot_count - 1] : NULL;
    return last->clean && loaded != NULL && loaded->clean && loaded->epoch == last->number;
}

static enum paramd_status recover(struct recovery *recovery)
{
    struct pd_recovery *result = recovery->result;
    enum paramd_status status = read_manifest(recovery);
    if (status == PARAMD_OK) {
        status = find_control(recovery);
    }
    if (status == PARAMD_OK) {
        status = load_newest(recovery);
    }
    if (status == PARAMD_OK) {
        status = replay_epochs(recovery);
    }
    if (status == PARAMD_OK) {
        status = seal_logs(recovery);
    }
    if (status == PARAMD_OK) {
        status = deal(recovery, recovery->options->shards);
    }
    if (status == PARAMD_OK) {
        result->clean = is_clean(recovery);
        status = begin_epoch(recovery);
    }
    return status;
}

static void close_logs(struct recovery *recovery)
{
    pd_wal_reader_deinit(&recovery->control.reader);
    for (uint32_t i = 0; i < PD_SHARDS_MAX; i++) {
        pd_wal_reader_deinit(&recovery->tasks[i].reader);
    }
}

enum paramd_status pd_recover(const struct pd_recovery_options *options,
                              struct pd_recovery **ret_recovery, char error[PD_RECOVERY_TEXT_BYTES])
{
    struct recovery *recovery = calloc(1, sizeof *recovery);
    struct pd_recovery *result = calloc(1, sizeof *result);
    enum paramd_status status = PARAMD_NO_MEMORY;
    if (recovery == NULL || result == NULL) {
        (void)fail(error, status, "there is no memory to begin");
    } else {
        recovery->options = options;
        recovery->result = result;
        recovery->definitions = (struct pd_definitions){find_definition, recovery};
        recovery->control.from_lsn = 1;
        for (uint32_t i = 0; i < PD_SHARDS_MAX; i++) {
            recovery->tasks[i].from_lsn = 1;
        }
        status = recover(recovery);
        (void)snprintf(error, PD_RECOVERY_TEXT_BYTES, "%s", recovery->error);
        if (status != PARAMD_OK) {
            destroy_shards(result->shards, recovery->shard_count);
            pd_control_destroy(result->control);
        }
        close_logs(recovery);
    }
    free(recovery);
    if (status != PARAMD_OK) {
        free(result);
        result = NULL;
    }
    *ret_recovery = result;
    return status;
}
