/* A start whose newest snapshot is damaged goes on from the one before: models at `logged` are as
 * they were, and what those at `applied` lost is not hidden. */
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/support/worker.h"
#include "tests/unit/recovery/image.h"
#include "tests/unit/recovery/life.h"

enum { PUSHES = 4 };

static struct pd_life life;
static struct pd_plan plan;
static struct pd_worker worker;

/* A model at this level, with two snapshots: one in the middle of its pushes, one behind them. */
static struct pd_sim_disk *two_snapshots(bool logged)
{
    struct pd_sim_disk *sim = pd_sim_disk_create(1);
    plan = pd_plan_ledger("model", 1024);
    plan.logged = logged;
    worker = pd_worker_named(1);
    pd_life_begin(&life, sim, 1);
    struct pd_wire *wire = pd_wire_open(life.rig, 0);
    (void)pd_create(wire, &worker, &plan);
    (void)pd_attach(wire, &worker, plan.name, PARAMD__ATTACH_MODE__NEW);
    pd_rig_pass(life.rig, 1);
    for (unsigned i = 0; i < PUSHES; i++) {
        if (i == PUSHES / 2) {
            pd_life_save(&life);
        }
        pd_push_one(wire, &worker, &plan, 0, 0, 1);
        (void)pd_wire_expect(wire, PD_KIND_ACK);
    }
    return sim;
}

/* What a start finds in the directory as it is, or with the newest snapshot damaged. */
static void start(struct pd_found *found, struct pd_sim_disk *sim, bool damaged)
{
    static const char newest[] = "snapshot-00000002.000";
    static uint8_t bytes[1024 * 1024];
    struct pd_image image;
    pd_image_take(&image, sim);
    struct pd_image changed = image;
    struct pd_image_file *file = pd_image_find(&changed, newest);
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_le(file->count, sizeof bytes);
    memcpy(bytes, file->bytes, file->count);
    bytes[file->count / 2] ^= damaged;
    file->bytes = bytes;
    struct pd_sim_disk *disk = pd_image_disk(&changed);
    pd_found_init(found, pd_sim_disk_of(disk), 1);
    ck_assert_msg(found->status == PARAMD_OK, "%s", found->error);
    ck_assert_uint_eq(found->told_count, damaged);
    ck_assert(!damaged || strncmp(found->told[0], newest, strlen(newest)) == 0);
    ck_assert(!damaged || strstr(found->told[0], "; going on with snapshot 1 and a longer log"));
    pd_sim_disk_destroy(disk);
    pd_image_free(&image);
}

static uint64_t hash(const struct pd_found *found)
{
    return pd_shard_hash(found->recovery->shards[0], worker.model);
}

START_TEST(a_damaged_snapshot_of_a_clean_stop_makes_it_a_crash)
{
    bool logged = _i == 1;
    struct pd_sim_disk *sim = two_snapshots(logged);
    struct pd_found whole;
    struct pd_found found;
    pd_life_stop(&life);
    start(&whole, sim, false);
    start(&found, sim, true);
    ck_assert(whole.recovery->clean);
    ck_assert(!found.recovery->clean);
    ck_assert_int_eq(hash(&found) == hash(&whole), logged);
    pd_found_deinit(&whole);
    pd_found_deinit(&found);
    pd_sim_disk_destroy(sim);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("fallback");
    TCase *cases = tcase_create("fallback");
    tcase_add_loop_test(cases, a_damaged_snapshot_of_a_clean_stop_makes_it_a_crash, 0, 2);
    suite_add_tcase(suite, cases);
    return suite;
}
