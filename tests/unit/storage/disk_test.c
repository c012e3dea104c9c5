/* What storage relies on from a disk, shown for POSIX files and for the simulated disk; and that
 * the simulated one loses, fails and garbles as it says. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/storage/posix_disk.h"
#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"

enum { POSIX, SIMULATED, DISKS };

static char directory[64];
static struct pd_disk posix;
static struct pd_sim_disk *sim;
static const struct pd_disk *disk;

static void open_disk(int which)
{
    (void)strcpy(directory, "/tmp/paramd-disk-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(pd_posix_disk_open(directory, &posix).status, PARAMD_OK);
    sim = pd_sim_disk_create(1);
    disk = which == POSIX ? &posix : pd_sim_disk_of(sim);
}

static void remove_file(void *argument, const char *name)
{
    (void)argument;
    ck_assert_int_eq(posix.unlink(posix.context, name).status, PARAMD_OK);
}

static void close_disk(void)
{
    ck_assert_int_eq(posix.list(posix.context, remove_file, NULL).status, PARAMD_OK);
    pd_posix_disk_close(&posix);
    ck_assert_int_eq(rmdir(directory), 0);
    pd_sim_disk_destroy(sim);
}

static int make(const char *name)
{
    int file;
    ck_assert_int_eq(disk->open(disk->context, name, PD_DISK_CREATE, &file).status, PARAMD_OK);
    return file;
}

static void put(int file, uint64_t offset, const char *text)
{
    ck_assert_int_eq(disk->write(disk->context, file, offset, text, strlen(text)).status,
                     PARAMD_OK);
}

static bool reads(int file, uint64_t offset, const char *text, size_t count)
{
    char bytes[256];
    size_t got;
    ck_assert_int_eq(disk->read(disk->context, file, offset, bytes, sizeof bytes, &got).status,
                     PARAMD_OK);
    return got == count && memcmp(bytes, text, count) == 0;
}

START_TEST(a_file_is_made_only_where_that_was_asked)
{
    open_disk(_i);
    int file;
    struct pd_disk_result result = disk->open(disk->context, "a", PD_DISK_READ, &file);
    ck_assert_int_eq(result.status, PARAMD_NOT_FOUND);
    ck_assert_str_eq(result.text, "there is no such file");
    ck_assert_int_eq(disk->open(disk->context, "a", PD_DISK_WRITE, &file).status, PARAMD_NOT_FOUND);
    file = make("a");
    put(file, 0, "kept");
    disk->close(disk->context, file);
    file = make("a");
    ck_assert(reads(file, 0, "kept", 4));
    disk->close(disk->context, file);
    close_disk();
}
END_TEST

START_TEST(bytes_are_read_where_they_were_written_and_not_behind_the_end)
{
    open_disk(_i);
    int file = make("a");
    put(file, 5, "hello");
    put(file, 7, "LL");
    ck_assert(reads(file, 0, "\0\0\0\0\0heLLo", 10));
    ck_assert(reads(file, 8, "Lo", 2));
    ck_assert(reads(file, 10, "", 0));
    ck_assert(reads(file, 99, "", 0));
    uint64_t bytes;
    ck_assert_int_eq(disk->size(disk->context, file, &bytes).status, PARAMD_OK);
    ck_assert_uint_eq(bytes, 10);
    ck_assert_int_eq(disk->sync(disk->context, file).status, PARAMD_OK);
    disk->close(disk->context, file);
    close_disk();
}
END_TEST

START_TEST(allocated_space_reads_as_zeros_and_keeps_what_was_there)
{
    open_disk(_i);
    int file = make("a");
    put(file, 0, "ab");
    ck_assert_int_eq(disk->allocate(disk->context, file, 6).status, PARAMD_OK);
    ck_assert(reads(file, 0, "ab\0\0\0\0", 6));
    ck_assert_int_eq(disk->allocate(disk->context, file, 3).status, PARAMD_OK);
    ck_assert(reads(file, 0, "ab\0\0\0\0", 6));
    disk->close(disk->context, file);
    close_disk();
}
END_TEST

START_TEST(a_rename_takes_the_place_of_the_other_file)
{
    open_disk(_i);
    int file = make("new");
    put(file, 0, "new");
    disk->close(disk->context, file);
    disk->close(disk->context, make("old"));
    ck_assert_int_eq(disk->rename(disk->context, "new", "old").status, PARAMD_OK);
    ck_assert_int_eq(disk->open(disk->context, "new", PD_DISK_READ, &file).status,
                     PARAMD_NOT_FOUND);
    ck_assert_int_eq(disk->open(disk->context, "old", PD_DISK_READ, &file).status, PARAMD_OK);
    ck_assert(reads(file, 0, "new", 3));
    disk->close(disk->context, file);
    ck_assert_int_eq(disk->rename(disk->context, "new", "x").status, PARAMD_NOT_FOUND);
    ck_assert_int_eq(disk->sync_names(disk->context).status, PARAMD_OK);
    close_disk();
}
END_TEST

static void join(void *argument, const char *name)
{
    char *names = argument;
    /* Sorted, since the order is not promised: names are one letter. */
    names[name[0] - 'a'] = name[0];
}

START_TEST(the_list_has_the_files_that_are_there)
{
    open_disk(_i);
    disk->close(disk->context, make("a"));
    disk->close(disk->context, make("b"));
    disk->close(disk->context, make("c"));
    ck_assert_int_eq(disk->unlink(disk->context, "b").status, PARAMD_OK);
    ck_assert_int_eq(disk->unlink(disk->context, "b").status, PARAMD_NOT_FOUND);
    char names[] = "----";
    ck_assert_int_eq(disk->list(disk->context, join, names).status, PARAMD_OK);
    ck_assert_str_eq(names, "a-c-");
    close_disk();
}
END_TEST

START_TEST(a_second_lock_is_refused_until_the_first_is_closed)
{
    open_disk(_i);
    int first;
    int second;
    ck_assert_int_eq(disk->lock(disk->context, "LOCK", &first).status, PARAMD_OK);
    struct pd_disk_result result = disk->lock(disk->context, "LOCK", &second);
    ck_assert_int_eq(result.status, PARAMD_BUSY);
    ck_assert_str_eq(result.text, "another process uses this data directory");
    disk->close(disk->context, first);
    ck_assert_int_eq(disk->lock(disk->context, "LOCK", &second).status, PARAMD_OK);
    disk->close(disk->context, second);
    close_disk();
}
END_TEST

START_TEST(a_full_disk_is_told_from_a_failing_one)
{
    struct pd_disk devices;
    ck_assert_int_eq(pd_posix_disk_open("/dev", &devices).status, PARAMD_OK);
    int file;
    ck_assert_int_eq(devices.open(devices.context, "full", PD_DISK_WRITE, &file).status, PARAMD_OK);
    struct pd_disk_result result = devices.write(devices.context, file, 0, "x", 1);
    ck_assert_int_eq(result.status, PARAMD_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(result.text, "no space left on the disk");
    devices.close(devices.context, file);
    pd_posix_disk_close(&devices);

    ck_assert_int_eq(pd_posix_disk_open("/dev/full", &devices).status, PARAMD_DISK);
    ck_assert_int_eq(pd_posix_disk_open("/nowhere", &devices).status, PARAMD_NOT_FOUND);

    open_disk(SIMULATED);
    pd_sim_disk_limit(sim, 4);
    file = make("a");
    put(file, 0, "abcd");
    ck_assert_int_eq(disk->write(disk->context, file, 4, "e", 1).status, PARAMD_RESOURCE_EXHAUSTED);
    pd_sim_disk_limit(sim, 5);
    put(file, 4, "e");
    close_disk();
}
END_TEST

/* --- the simulated disk's own --- */

enum { SECTORS = 64, FILE_BYTES = SECTORS * PD_SIM_SECTOR_BYTES };

/* A file of 1s, synced with its name, and 2s written over it, not synced. */
static int make_two_layers(void)
{
    static uint8_t bytes[FILE_BYTES];
    int file = make("a");
    memset(bytes, 1, sizeof bytes);
    ck_assert_int_eq(disk->write(disk->context, file, 0, bytes, sizeof bytes).status, PARAMD_OK);
    ck_assert_int_eq(disk->sync(disk->context, file).status, PARAMD_OK);
    ck_assert_int_eq(disk->sync_names(disk->context).status, PARAMD_OK);
    memset(bytes, 2, sizeof bytes);
    ck_assert_int_eq(disk->write(disk->context, file, 0, bytes, sizeof bytes).status, PARAMD_OK);
    return file;
}

/* How many sectors are 2s; all others are 1s, or, where sectors tear, both. */
static unsigned count_new(bool torn)
{
    uint64_t count;
    const uint8_t *bytes = pd_sim_disk_bytes(sim, "a", &count);
    ck_assert_uint_eq(count, FILE_BYTES);
    unsigned sectors = 0;
    for (size_t at = 0; at < FILE_BYTES; at += PD_SIM_SECTOR_BYTES) {
        size_t twos = 0;
        while (twos < PD_SIM_SECTOR_BYTES && bytes[at + twos] == 2) {
            twos++;
        }
        for (size_t i = twos; i < PD_SIM_SECTOR_BYTES; i++) {
            ck_assert_uint_eq(bytes[at + i], 1);
        }
        ck_assert(torn || twos == 0 || twos == PD_SIM_SECTOR_BYTES);
        sectors += twos == PD_SIM_SECTOR_BYTES;
    }
    return sectors;
}

START_TEST(a_crash_keeps_some_of_the_sectors_that_were_not_synced)
{
    open_disk(SIMULATED);
    (void)make_two_layers();
    pd_sim_disk_crash(sim, _i == 1);
    unsigned sectors = count_new(_i == 1);
    ck_assert_uint_gt(sectors, SECTORS / 8);
    ck_assert_uint_lt(sectors, SECTORS - SECTORS / 8);
    close_disk();
}
END_TEST

START_TEST(a_kill_keeps_all_that_was_written)
{
    open_disk(SIMULATED);
    (void)make_two_layers();
    pd_sim_disk_kill(sim);
    ck_assert_uint_eq(count_new(false), SECTORS);
    close_disk();
}
END_TEST

START_TEST(a_sync_that_failed_looks_well_until_the_crash)
{
    open_disk(SIMULATED);
    int file = make_two_layers();
    pd_sim_disk_plan(sim, PD_SIM_SYNC_FAILS, 1);
    ck_assert_int_eq(disk->sync(disk->context, file).status, PARAMD_DISK);
    ck_assert_int_eq(disk->sync(disk->context, file).status, PARAMD_OK);
    ck_assert_uint_eq(count_new(false), SECTORS);
    pd_sim_disk_crash(sim, false);
    ck_assert_uint_eq(count_new(false), 0);
    close_disk();
}
END_TEST

START_TEST(names_that_were_not_synced_may_be_lost)
{
    unsigned found = 0;
    for (uint64_t seed = 0; seed < 64; seed++) {
        open_disk(SIMULATED);
        pd_sim_disk_destroy(sim);
        sim = pd_sim_disk_create(seed);
        disk = pd_sim_disk_of(sim);
        disk->close(disk->context, make("a"));
        ck_assert_int_eq(disk->sync_names(disk->context).status, PARAMD_OK);
        disk->close(disk->context, make("b"));
        pd_sim_disk_crash(sim, false);
        uint64_t bytes;
        int file;
        ck_assert_int_eq(disk->open(disk->context, "a", PD_DISK_READ, &file).status, PARAMD_OK);
        (void)pd_sim_disk_bytes(sim, "b", &bytes);
        found += disk->open(disk->context, "b", PD_DISK_READ, &file).status == PARAMD_OK;
        close_disk();
    }
    ck_assert_uint_gt(found, 8);
    ck_assert_uint_lt(found, 56);
}
END_TEST

/* The text after "old old old" was overwritten by "new" under a fault. */
static struct pd_disk_result write_under(enum pd_sim_fault fault, int *ret_file)
{
    open_disk(SIMULATED);
    *ret_file = make("a");
    put(*ret_file, 0, "0123456789");
    ck_assert_int_eq(disk->allocate(disk->context, *ret_file, 4096).status, PARAMD_OK);
    pd_sim_disk_plan(sim, fault, pd_sim_disk_calls(sim) + 1);
    struct pd_disk_result result = disk->write(disk->context, *ret_file, 0, "abcdefghij", 10);
    ck_assert(pd_sim_disk_happened(sim));
    return result;
}

START_TEST(each_fault_of_a_write_is_what_it_says)
{
    int file;
    ck_assert_int_eq(write_under(PD_SIM_FAIL, &file).status, PARAMD_DISK);
    uint64_t count;
    ck_assert_mem_eq(pd_sim_disk_bytes(sim, "a", &count), "0123456789", 10);
    put(file, 0, "once"); /* and not again */
    close_disk();

    ck_assert_int_eq(write_under(PD_SIM_NO_SPACE, &file).status, PARAMD_RESOURCE_EXHAUSTED);
    close_disk();

    ck_assert_int_eq(write_under(PD_SIM_SHORT_WRITE, &file).status, PARAMD_DISK);
    ck_assert_uint_eq(pd_sim_disk_bytes(sim, "a", &count)[9], '9');
    close_disk();

    ck_assert_int_eq(write_under(PD_SIM_LOST_WRITE, &file).status, PARAMD_OK);
    ck_assert_mem_eq(pd_sim_disk_bytes(sim, "a", &count), "0123456789", 10);
    close_disk();

    ck_assert_int_eq(write_under(PD_SIM_BIT_FLIP, &file).status, PARAMD_OK);
    const uint8_t *bytes = pd_sim_disk_bytes(sim, "a", &count);
    unsigned bits = 0;
    for (unsigned i = 0; i < 10; i++) {
        bits += (unsigned)__builtin_popcount((unsigned)(bytes[i] ^ "abcdefghij"[i]));
    }
    ck_assert_uint_eq(bits, 1);
    close_disk();

    ck_assert_int_eq(write_under(PD_SIM_MISDIRECTED, &file).status, PARAMD_OK);
    bytes = pd_sim_disk_bytes(sim, "a", &count);
    unsigned found = 0;
    for (size_t at = 0; at < count; at += PD_SIM_SECTOR_BYTES) {
        found += memcmp(bytes + at, "abcdefghij", 10) == 0;
    }
    ck_assert_uint_eq(found, 1);
    close_disk();
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("disk");
    TCase *both = tcase_create("both disks");
    tcase_add_loop_test(both, a_file_is_made_only_where_that_was_asked, 0, DISKS);
    tcase_add_loop_test(both, bytes_are_read_where_they_were_written_and_not_behind_the_end, 0,
                        DISKS);
    tcase_add_loop_test(both, allocated_space_reads_as_zeros_and_keeps_what_was_there, 0, DISKS);
    tcase_add_loop_test(both, a_rename_takes_the_place_of_the_other_file, 0, DISKS);
    tcase_add_loop_test(both, the_list_has_the_files_that_are_there, 0, DISKS);
    tcase_add_loop_test(both, a_second_lock_is_refused_until_the_first_is_closed, 0, DISKS);
    tcase_add_test(both, a_full_disk_is_told_from_a_failing_one);
    suite_add_tcase(suite, both);
    TCase *simulated = tcase_create("simulated");
    tcase_add_loop_test(simulated, a_crash_keeps_some_of_the_sectors_that_were_not_synced, 0, 2);
    tcase_add_test(simulated, a_kill_keeps_all_that_was_written);
    tcase_add_test(simulated, a_sync_that_failed_looks_well_until_the_crash);
    tcase_add_test(simulated, names_that_were_not_synced_may_be_lost);
    tcase_add_test(simulated, each_fault_of_a_write_is_what_it_says);
    suite_add_tcase(suite, simulated);
    return suite;
}
