/* paramctl verify: every sum of a data directory that no daemon uses. The one command that asks no
 * daemon, and that prints its result when it fails. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/ctl/ctl.h"
#include "client/ctl/progress.h"
#include "client/ctl/table.h"
#include "client/ctl/units.h"
#include "server/storage/data_dir.h"
#include "server/storage/posix_disk.h"
#include "server/storage/verify.h"

enum { STEP_BYTES = 16 * 1024 * 1024 };

struct verification {
    const struct pd_ctl *ctl;
    const char *path;
    struct pd_disk disk;
    struct pd_manifest *manifest;
    struct pd_verify *verify;
    struct pd_verified *files; /* what was found */
    size_t count;
    size_t bad;
    uint64_t bytes; /* of those that are good */
};

static enum pd_ctl_exit refuse(const struct verification *run, enum paramd_status status,
                               const struct pd_storage_error *error)
{
    const char *slash = error->file[0] != '\0' ? "/" : "";
    if (status == PARAMD_CORRUPT) {
        return pd_ctl_refuse("%s%s%s is damaged at byte %" PRIu64 ": %s", run->path, slash,
                             error->file, error->offset, error->text);
    }
    return pd_ctl_refuse("%s%s%s: %s", run->path, slash, error->file, error->text);
}

static const char *state_of(const struct pd_verified *file)
{
    switch (file->status) {
    case PARAMD_OK:
        return "good";
    case PARAMD_CORRUPT:
        return "damaged";
    default:
        return "unreadable";
    }
}

static void write_cell(const void *rows, size_t row, size_t column, char text[PD_CTL_CELL_BYTES])
{
    const struct pd_verified *file = &((const struct pd_verified *)rows)[row];
    switch (column) {
    case 0:
        pd_ctl_put_cell(text, file->name);
        break;
    case 1:
        pd_ctl_put_cell(text, state_of(file));
        break;
    default:
        pd_ctl_put_cell(text,
                        file->status == PARAMD_OK ? pd_ctl_bytes((double)file->bytes).text : "-");
        break;
    }
}

static json_t *place(const char *name, uint64_t offset, const char *key, json_t *value)
{
    return json_pack("{s:s, s:I, s:o}", "file", name, "offset", (json_int_t)offset, key, value);
}

static json_t *describe_file(const struct pd_verified *file)
{
    json_t *cut = file->cut_bytes == 0 ? json_null()
                                       : place(file->cut_file, file->cut_offset, "bytes",
                                               json_integer((json_int_t)file->cut_bytes));
    json_t *error = file->status == PARAMD_OK ? json_null()
                                              : place(file->error.file, file->error.offset, "text",
                                                      json_string(file->error.text));
    return json_pack("{s:s, s:s, s:I, s:o, s:o}", "name", file->name, "state", state_of(file),
                     "bytes", (json_int_t)file->bytes, "error", error, "cut", cut);
}

static json_t *describe(const struct verification *run)
{
    json_t *list = json_array();
    for (size_t i = 0; i < run->count; i++) {
        if (json_array_append_new(list, describe_file(&run->files[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:s, s:I, s:I, s:o}", "directory", run->path, "bytes",
                     (json_int_t)run->bytes, "damaged", (json_int_t)run->bad, "files", list);
}

static void print_text(const struct verification *run)
{
    struct pd_ctl_table table = {
        .titles = {"FILE", "STATE", "CHECKED"},
        .right = {false, false, true},
        .rows = run->count,
        .cell = write_cell,
    };
    pd_ctl_print_table(&table, run->files);
    for (size_t i = 0; i < run->count; i++) {
        const struct pd_verified *file = &run->files[i];
        if (file->cut_bytes > 0) {
            (void)printf("a crash left %" PRIu64 " bytes in %s\n"
                         "at byte %" PRIu64 " that nobody had been told of\n",
                         file->cut_bytes, file->cut_file, file->cut_offset);
        }
    }
}

static enum pd_ctl_exit print_result(const struct verification *run)
{
    enum pd_ctl_exit outcome = PD_CTL_OK;
    if (run->ctl->json) {
        outcome = pd_ctl_print_json(describe(run));
    } else {
        print_text(run);
    }
    for (size_t i = 0; i < run->count; i++) {
        if (run->files[i].status != PARAMD_OK) {
            outcome = refuse(run, run->files[i].status, &run->files[i].error);
        }
    }
    return outcome;
}

static bool keep(struct verification *run, const struct pd_verified *file)
{
    struct pd_verified *grown = realloc(run->files, (run->count + 1) * sizeof *run->files);
    if (grown == NULL) {
        return false;
    }
    run->files = grown;
    run->files[run->count++] = *file;
    run->bad += file->status != PARAMD_OK;
    run->bytes += file->bytes;
    return true;
}

static enum pd_ctl_exit go_through(struct verification *run)
{
    struct pd_storage_error error;
    enum paramd_status status =
        pd_verify_create(&run->disk, run->manifest, true, &run->verify, &error);
    if (status != PARAMD_OK) {
        return refuse(run, status, &error);
    }
    pd_ctl_progress_begin("verify", pd_verify_total_bytes(run->verify), run->ctl->progress);
    struct pd_verified file;
    uint64_t shown = 0;
    while ((status = pd_verify_step(run->verify, STEP_BYTES, &file)) != PARAMD_NOT_FOUND) {
        uint64_t done = pd_verify_done_bytes(run->verify);
        pd_ctl_progress_add(done - shown);
        shown = done;
        if (status == PARAMD_OK && !keep(run, &file)) {
            return pd_ctl_refuse("there is no memory for a list of files");
        }
    }
    pd_ctl_progress_end();
    return print_result(run);
}

static enum pd_ctl_exit run_locked(struct verification *run)
{
    struct pd_storage_error error;
    enum paramd_status status = pd_manifest_read(&run->disk, run->manifest, &error);
    if (status == PARAMD_OK) {
        status = pd_data_dir_check(&run->disk, run->manifest, &error);
    }
    return status == PARAMD_OK ? go_through(run) : refuse(run, status, &error);
}

static enum pd_ctl_exit run_opened(struct verification *run)
{
    /* Nothing is made, a lock neither, where there is no data. */
    struct pd_storage_error error;
    enum paramd_status status = pd_manifest_read(&run->disk, run->manifest, &error);
    if (status == PARAMD_NOT_FOUND) {
        status = pd_data_dir_check(&run->disk, NULL, &error);
        return status != PARAMD_OK
                   ? refuse(run, status, &error)
                   : pd_ctl_refuse("%s is no data directory: it has no MANIFEST", run->path);
    }
    int lock;
    struct pd_disk_result locked = run->disk.lock(run->disk.context, PD_LOCK_NAME, &lock);
    if (locked.status == PARAMD_BUSY) {
        return pd_ctl_refuse("a daemon uses %s, and checks its snapshots by itself: stop it first",
                             run->path);
    }
    if (locked.status != PARAMD_OK) {
        return pd_ctl_refuse("%s cannot be locked: %s", run->path, locked.text);
    }
    enum pd_ctl_exit outcome = run_locked(run);
    run->disk.close(run->disk.context, lock);
    return outcome;
}

enum pd_ctl_exit pd_ctl_verify(const struct pd_ctl *ctl)
{
    struct verification run = {.ctl = ctl, .path = ctl->arguments[0]};
    struct pd_disk_result opened = pd_posix_disk_open(run.path, &run.disk);
    if (opened.status != PARAMD_OK) {
        return pd_ctl_refuse("%s cannot be opened: %s", run.path,
                             opened.status == PARAMD_NOT_FOUND ? "there is no such directory"
                                                               : opened.text);
    }
    run.manifest = calloc(1, sizeof *run.manifest);
    enum pd_ctl_exit outcome = run.manifest != NULL
                                   ? run_opened(&run)
                                   : pd_ctl_refuse("there is no memory to read MANIFEST");
    pd_verify_destroy(run.verify);
    free(run.files);
    free(run.manifest);
    pd_posix_disk_close(&run.disk);
    return outcome;
}
