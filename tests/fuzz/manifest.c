/* Fuzzes the reading of MANIFEST: the input is its body, with the right head and sum unless its
 * first byte says otherwise. What is accepted keeps its promises, and written again it is the same.
 */
#include <string.h>

#include "server/storage/little_endian.h"
#include "server/storage/manifest.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/one_file.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

enum { HEAD_BYTES = 16, WRONG_SUM = 1, CUT = 2, NEWER = 4 };

static void check(const struct pd_manifest *manifest)
{
    PD_FUZZ_CHECK(manifest->epoch_count >= 1 && manifest->epoch_count <= PD_EPOCHS_MAX);
    PD_FUZZ_CHECK(manifest->snapshot_count <= PD_SNAPSHOTS_KEPT);
    for (uint32_t i = 0; i < manifest->epoch_count; i++) {
        const struct pd_manifest_epoch *epoch = &manifest->epochs[i];
        PD_FUZZ_CHECK(epoch->shards >= 1 && epoch->shards <= PD_SHARDS_MAX);
        PD_FUZZ_CHECK(epoch->number >= 1 && epoch->number <= PD_FILE_NUMBER_MAX);
        PD_FUZZ_CHECK(i == 0 || epoch->number > epoch[-1].number);
    }
    for (uint32_t i = 0; i < manifest->snapshot_count; i++) {
        const struct pd_manifest_snapshot *snapshot = &manifest->snapshots[i];
        const struct pd_manifest_epoch *epoch = pd_manifest_find_epoch(manifest, snapshot->epoch);
        PD_FUZZ_CHECK(epoch != NULL && epoch->shards == snapshot->shards);
        PD_FUZZ_CHECK(snapshot->number >= 1 && snapshot->number <= manifest->last_snapshot);
        PD_FUZZ_CHECK(i == 0 || snapshot->number > snapshot[-1].number);
    }
}

static void expect_equal(const struct pd_manifest *a, const struct pd_manifest *b)
{
    PD_FUZZ_CHECK(a->serial == b->serial && a->directory_id == b->directory_id);
    PD_FUZZ_CHECK(a->last_snapshot == b->last_snapshot && a->epoch_count == b->epoch_count);
    PD_FUZZ_CHECK(a->snapshot_count == b->snapshot_count);
    for (uint32_t i = 0; i < a->epoch_count; i++) {
        PD_FUZZ_CHECK(a->epochs[i].number == b->epochs[i].number);
        for (uint32_t j = 0; j < a->epochs[i].shards; j++) {
            const struct pd_manifest_log *one = &a->epochs[i].logs[j];
            const struct pd_manifest_log *other = &b->epochs[i].logs[j];
            PD_FUZZ_CHECK(one->id == other->id && one->begun == other->begun);
            PD_FUZZ_CHECK(one->durable_lsn == other->durable_lsn);
        }
    }
    for (uint32_t i = 0; i < a->snapshot_count; i++) {
        size_t bytes = a->snapshots[i].shards * sizeof *a->snapshots[i].files;
        PD_FUZZ_CHECK(a->snapshots[i].number == b->snapshots[i].number);
        PD_FUZZ_CHECK(memcmp(a->snapshots[i].files, b->snapshots[i].files, bytes) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pd_one_file file;
    static struct pd_manifest manifest;
    static struct pd_manifest again;
    struct pd_input input = {data, data + size};
    uint8_t flags = pd_input_byte(&input);
    size_t body;
    const uint8_t *bytes = pd_input_bytes(&input, sizeof file.bytes / 2, &body);
    memcpy(file.bytes, "PMDMANIF", 8);
    pd_store(file.bytes + 8, (flags & NEWER) != 0 ? PD_MANIFEST_FORMAT + 1 : PD_MANIFEST_FORMAT, 4);
    pd_store(file.bytes + 12, body, 4);
    memcpy(file.bytes + HEAD_BYTES, bytes, body);
    uint64_t sum = XXH3_64bits(file.bytes, HEAD_BYTES + body) + ((flags & WRONG_SUM) != 0);
    pd_store(file.bytes + HEAD_BYTES + body, sum, 8);
    file.count = HEAD_BYTES + body + 8 - ((flags & CUT) != 0);
    struct pd_disk disk = pd_one_file_disk(&file);
    struct pd_storage_error error = {.text = NULL};
    enum paramd_status status = pd_manifest_read(&disk, &manifest, &error);
    PD_FUZZ_CHECK(status == PARAMD_OK || error.text != NULL);
    PD_FUZZ_CHECK(status == PARAMD_OK || status == PARAMD_CORRUPT || status == PARAMD_VERSION);
    if (status == PARAMD_OK) {
        PD_FUZZ_CHECK((flags & (WRONG_SUM | CUT | NEWER)) == 0);
        check(&manifest);
        PD_FUZZ_CHECK(pd_manifest_write(&disk, &manifest, &error) == PARAMD_OK);
        PD_FUZZ_CHECK(pd_manifest_read(&disk, &again, &error) == PARAMD_OK);
        expect_equal(&manifest, &again);
    }
    return 0;
}
