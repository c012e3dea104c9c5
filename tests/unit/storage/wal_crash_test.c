/* Random logs on a random disk that fails and crashes at random: what was reported durable is there
 * afterwards, what is there is what was appended, and once it was sealed it stays. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/unit/storage/wal_rig.h"

enum { RUNS = 50, SEEDS_OF_RUN = 20, STEPS = 400 };

static uint64_t random_state;
static char run_text[32]; /* for messages */

static uint32_t random_below(uint32_t limit)
{
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) % limit);
}

/* Appends, writes and releases until something fails or it has been enough; returns up to where the
 * log was released. */
static uint64_t work(struct pd_wal_rig *rig)
{
    uint64_t released = 0;
    uint32_t steps = 1 + random_below(STEPS);
    uint32_t bytes_max = random_below(4) == 0 ? 9000 : 600;
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t kind = random_below(16);
        if (kind < 10) {
            uint32_t header = random_below(60);
            uint32_t payload = random_below(bytes_max);
            enum paramd_status status = pd_rig_append(rig, header, payload);
            if (status == PARAMD_DISK) {
                return released;
            }
            ck_assert(status == PARAMD_OK || status == PARAMD_BUSY ||
                      status == PARAMD_RESOURCE_EXHAUSTED);
        } else if (kind < 15) {
            (void)pd_rig_run(rig);
        } else if (random_below(4) == 0) {
            uint64_t durable = pd_wal_durable_lsn(rig->wal);
            released += (durable - released) / 2;
            pd_wal_release(rig->wal, released);
        }
    }
    return released;
}

static void die(struct pd_wal_rig *rig)
{
    if (random_below(3) == 0) {
        pd_sim_disk_kill(rig->sim);
    } else {
        pd_sim_disk_crash(rig->sim, random_below(2) == 0);
    }
}

static struct pd_wal_reading read_well(struct pd_wal_rig *rig, uint64_t from_lsn,
                                       uint64_t until_lsn)
{
    struct pd_wal_reading reading = pd_rig_read(rig, from_lsn, until_lsn, false);
    ck_assert_msg(reading.status == PARAMD_OK, "%s: %s at %llu: %s", run_text,
                  reading.reader.error_file, (unsigned long long)reading.reader.error_offset,
                  reading.reader.error_text);
    ck_assert_msg(reading.reader.last_lsn >= until_lsn && reading.first_lsn <= from_lsn, "%s",
                  run_text);
    return reading;
}

/* Reads, seals and crashes again: what was read then stays. */
static void recover(struct pd_wal_rig *rig, uint64_t from_lsn)
{
    uint64_t durable = pd_wal_durable_lsn(rig->wal);
    (void)read_well(rig, from_lsn, durable);
    /* Sealing may be interrupted; before it is done nobody has acted on anything. */
    pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, pd_sim_disk_calls(rig->sim) + 1 + random_below(40));
    struct pd_wal_reading reading = pd_rig_read(rig, from_lsn, durable, true);
    pd_sim_disk_plan(rig->sim, PD_SIM_FAIL, UINT64_MAX);
    if (reading.status == PARAMD_DISK) {
        /* Where only the process died, what it wrote still reads well, its end record too. */
        if (random_below(2) == 0) {
            pd_sim_disk_crash(rig->sim, false);
        } else {
            pd_sim_disk_kill(rig->sim);
        }
        (void)read_well(rig, from_lsn, durable);
        reading = pd_rig_read(rig, from_lsn, durable, true);
    }
    ck_assert_msg(reading.status == PARAMD_OK, "%s", run_text);
    uint64_t last = reading.reader.last_lsn;
    pd_sim_disk_crash(rig->sim, true);
    reading = read_well(rig, from_lsn, last);
    ck_assert_msg(reading.reader.last_lsn == last && (reading.reader.sealed || last == 0), "%s",
                  run_text);
}

static void live_and_die(uint64_t seed)
{
    random_state = seed;
    struct pd_wal_rig *rig = pd_wal_rig_create(seed);
    static const enum pd_sim_fault faults[] = {PD_SIM_FAIL, PD_SIM_SYNC_FAILS, PD_SIM_SHORT_WRITE,
                                               PD_SIM_NO_SPACE};
    enum pd_sim_fault fault = faults[random_below(4)];
    uint64_t call = random_below(2) == 0 ? UINT64_MAX : 1 + random_below(300);
    pd_sim_disk_plan(rig->sim, fault, call);
    uint64_t released = work(rig);
    pd_sim_disk_plan(rig->sim, fault, UINT64_MAX);
    die(rig);
    recover(rig, released + 1);
    pd_wal_rig_destroy(rig);
}

START_TEST(what_was_durable_is_there_after_any_crash)
{
    for (unsigned i = 0; i < SEEDS_OF_RUN; i++) {
        uint64_t seed = (uint64_t)_i * SEEDS_OF_RUN + i;
        (void)snprintf(run_text, sizeof run_text, "seed %llu", (unsigned long long)seed);
        live_and_die(seed);
    }
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("wal_crash");
    TCase *cases = tcase_create("crash");
    tcase_add_loop_test(cases, what_was_durable_is_there_after_any_crash, 0, RUNS);
    suite_add_tcase(suite, cases);
    return suite;
}
