/* What happens in the lives of the directory, so that every kind of record is in its logs, batches
 * of one and of several records, and several segments of each log. */
#include "tests/unit/recovery/story.h"

#include <check.h>
#include <math.h>
#include <string.h>

#include "proto/slot.h"
#include "server/host_state.h"
#include "tests/support/worker.h"

enum { BLOCKS = 6, LIFE_PUSHES = 60, SHARDS_MAX = 3 };

/* One worker in one model, connected to all shards. */
struct member {
    const struct pd_plan *plan;
    struct pd_worker worker;
    struct pd_wire *wires[SHARDS_MAX];
};

static struct pd_life life;
static struct pd_story *telling;

static struct pd_plan plan_named(const char *name, bool logged)
{
    struct pd_plan plan = pd_plan_ledger(name, (uint64_t)(BLOCKS - 1) * 1024 - 100);
    plan.logged = logged;
    plan.groups = 2;
    plan.group[1].optimizer = "adam";
    plan.tensors = 2;
    plan.tensor[1] = (struct pd_plan_tensor){
        .elements = 1000, .group = 1, .init = PARAMD__INITIALISER__NORMAL, .b = 1, .seed = 3};
    return plan;
}

static struct member join(const struct pd_plan *plan, unsigned number)
{
    struct member member = {.plan = plan, .worker = pd_worker_named(number)};
    for (uint32_t i = 0; i < life.rig->options.shards; i++) {
        member.wires[i] = pd_wire_open(life.rig, i);
        if (i == 0) {
            (void)pd_create(member.wires[0], &member.worker, plan);
        }
        (void)pd_attach(member.wires[i], &member.worker, plan->name, PARAMD__ATTACH_MODE__NEW);
    }
    pd_rig_pass(life.rig, 1);
    return member;
}

static struct pd_wire *wire_of(const struct member *member, uint32_t slot)
{
    return member->wires[pd_slot_shard(slot, life.rig->options.shards)];
}

/* One push to the n-th block; one in nineteen is not finite. */
static struct pd_wire *push(struct member *member, unsigned n)
{
    uint32_t tensor = n % BLOCKS == BLOCKS - 1 ? 1 : 0;
    uint64_t block = tensor == 1 ? 0 : n % BLOCKS;
    struct pd_wire *wire = wire_of(member, pd_plan_slot(member->plan, tensor, block));
    pd_push_one(wire, &member->worker, member->plan, tensor, block,
                n % 19 == 18 ? NAN : 1.0F / (float)(n + 1));
    return wire;
}

static void skip(struct member *member)
{
    uint32_t slot = pd_plan_slot(member->plan, 0, 0);
    uint64_t *id = &member->worker.ids[slot];
    struct pd_wire *wire = wire_of(member, slot);
    pd_send_skip(wire, &member->worker, slot, *id + 1, *id + 5);
    (void)pd_wire_expect(wire, PD_KIND_SKIPPED);
    *id += 5;
}

static void set(struct member *member, double lr, uint64_t clock)
{
    pd_send_set(member->wires[0], member->plan->name, "g0", "lr", lr, clock);
    (void)pd_wire_expect(member->wires[0], PD_KIND_DONE);
}

/* Batches of one record, then of three. */
static void work(struct member *member, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        (void)pd_wire_expect(push(member, i), PD_KIND_ACK);
    }
    for (unsigned i = 0; i < count; i += BLOCKS) {
        life.rig->slow_disk = true;
        for (unsigned j = 0; j < BLOCKS; j++) {
            (void)push(member, i + j);
        }
        life.rig->slow_disk = false;
        pd_rig_settle(life.rig);
        for (unsigned j = 0; j < BLOCKS; j++) {
            uint32_t tensor = j == BLOCKS - 1 ? 1 : 0;
            uint64_t block = tensor == 1 ? 0 : j;
            (void)pd_wire_expect(wire_of(member, pd_plan_slot(member->plan, tensor, block)),
                                 PD_KIND_ACK);
        }
    }
    skip(member);
}

/* A life of which nothing is known to be special but its shards. */
static void live(struct pd_sim_disk *sim, uint32_t shards, unsigned number,
                 const struct pd_plan *logged, const struct pd_plan *applied)
{
    pd_life_begin(&life, sim, shards);
    struct member one = join(logged, number);
    struct member other = join(applied, number + 1);
    work(&one, LIFE_PUSHES);
    set(&one, 1.0 / number, number);
    work(&other, LIFE_PUSHES / 2);
}

static void make_and_delete(const struct pd_plan *plan, unsigned number)
{
    struct member member = join(plan, number);
    (void)pd_wire_expect(push(&member, 0), PD_KIND_ACK);
    pd_send_delete(member.wires[0], plan->name, member.worker.model);
    (void)pd_wire_expect(member.wires[0], PD_KIND_DONE);
    pd_rig_pass(life.rig, 1000000);
}

/* The last batches: written, but not heard of. */
static void be_in_flight(struct pd_story *story, struct member *member)
{
    life.rig->slow_disk = true;
    for (uint32_t i = 0; i < PD_STORY_SHARDS; i++) {
        struct pd_host *host = life.rig->hosts[i];
        for (unsigned j = 0; j <= PD_STORY_LAST; j++) {
            story->logged[i][j] = pd_shard_hash(host->shard, member->worker.model);
            ck_assert(j == 0 || story->logged[i][j] != story->logged[i][j - 1]);
            unsigned n = 0; /* a block of this shard */
            while (pd_slot_shard(pd_plan_slot(member->plan, 0, n), PD_STORY_SHARDS) != i) {
                n++;
            }
            if (j < PD_STORY_LAST) {
                (void)push(member, n);
            }
        }
        struct pd_wal_job job;
        ck_assert(pd_host_take_job(host, &job));
        ck_assert_int_eq(job.kind, PD_WAL_WRITE);
        ck_assert_int_eq(pd_wal_files_run(&life.files[i], &job).status, PARAMD_OK);
    }
    pd_image_take(&story->killed, life.sim);
    for (uint32_t i = 0; i < PD_STORY_SHARDS; i++) {
        pd_host_job_done(life.rig->hosts[i], PARAMD_OK, life.rig->now_us);
    }
    life.rig->slow_disk = false;
    pd_rig_settle(life.rig);
}

uint64_t pd_story_sum(const uint64_t hashes[PD_STORY_MODELS])
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < PD_STORY_MODELS; i++) {
        sum = sum * 31 + hashes[i];
    }
    return sum;
}

static void note_batch(uint32_t shard)
{
    uint64_t hashes[PD_STORY_MODELS];
    for (unsigned i = 0; i < PD_STORY_MODELS; i++) {
        hashes[i] = pd_shard_hash(life.rig->hosts[shard]->shard, telling->models[i]);
    }
    ck_assert_uint_lt(telling->batch_counts[shard], PD_STORY_BATCHES_MAX);
    telling->batches[shard][telling->batch_counts[shard]++] = pd_story_sum(hashes);
}

static void keep(unsigned time)
{
    pd_image_take(&telling->older[time], life.sim);
    memcpy(telling->batches_by[time], telling->batch_counts, sizeof telling->batch_counts);
}

static void save(bool snapshots)
{
    if (snapshots) {
        pd_life_save(&life);
    }
}

void pd_story_tell(struct pd_story *story, bool snapshots)
{
    const struct pd_plan logged = plan_named("logged", true);
    const struct pd_plan applied = plan_named("applied", false);
    const struct pd_plan passing = plan_named("passing", true);
    struct pd_sim_disk *sim = pd_sim_disk_create(1);
    telling = story;
    live(sim, 2, 10, &logged, &applied);
    keep(0);
    pd_life_kill(&life);
    live(sim, 3, 20, &logged, &applied);
    save(snapshots);
    make_and_delete(&passing, 25);
    keep(1);
    pd_life_kill(&life);
    pd_life_begin(&life, sim, PD_STORY_SHARDS);
    struct member member = join(&logged, 30);
    struct member other = join(&applied, 31);
    struct member third = join(&passing, 32);
    story->models[0] = member.worker.model;
    story->models[1] = other.worker.model;
    story->models[2] = third.worker.model;
    life.writes = note_batch;
    set(&member, 0.125, 100);
    keep(2);
    work(&member, LIFE_PUSHES / 2);
    work(&third, LIFE_PUSHES / 2);
    keep(3);
    save(snapshots);
    work(&member, LIFE_PUSHES / 2);
    keep(4);
    (void)join(&logged, 33); /* control's last batch */
    be_in_flight(story, &member);
    pd_life_stop(&life);
    pd_image_take(&story->clean, sim);
    pd_sim_disk_destroy(sim);
    sim = pd_sim_disk_create(1);
    for (unsigned i = 1; i <= 3; i++) {
        live(sim, i == 2 ? 3 : 2, 10 * i, &logged, &applied);
        pd_life_kill(&life);
    }
    pd_image_take(&story->stranger, sim);
    pd_sim_disk_destroy(sim);
}

void pd_story_free(struct pd_story *story)
{
    for (unsigned i = 0; i < PD_STORY_TIMES; i++) {
        pd_image_free(&story->older[i]);
    }
    pd_image_free(&story->killed);
    pd_image_free(&story->clean);
    pd_image_free(&story->stranger);
}
