/* What a window shows is what the file has there, wherever it was before. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/storage/posix_disk.h"
#include "server/storage/window.h"
#include "tests/support/check_main.h"
#include "tests/support/sim_disk.h"

enum { POSIX, SIMULATED, DISKS, PAGE_BYTES = 4096, FILE_BYTES = 3000 * PAGE_BYTES };

static char directory[64];
static struct pd_disk posix;
static struct pd_sim_disk *sim;
static const struct pd_disk *disk;
static uint8_t *content;

/* A file of numbers that tell where they stand, opened for reading. */
static int open_file(int which)
{
    int file;
    (void)strcpy(directory, "/tmp/paramd-window-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    ck_assert_int_eq(pd_posix_disk_open(directory, &posix).status, PARAMD_OK);
    sim = pd_sim_disk_create(1);
    disk = which == POSIX ? &posix : pd_sim_disk_of(sim);
    content = aligned_alloc(PAGE_BYTES, FILE_BYTES);
    ck_assert_ptr_nonnull(content);
    for (uint32_t i = 0; i < FILE_BYTES; i += sizeof i) {
        memcpy(content + i, &i, sizeof i);
    }
    ck_assert_int_eq(disk->open(disk->context, "a", PD_DISK_CREATE_PAGES, &file).status, PARAMD_OK);
    ck_assert_int_eq(disk->write(disk->context, file, 0, content, FILE_BYTES).status, PARAMD_OK);
    disk->close(disk->context, file);
    ck_assert_int_eq(disk->open(disk->context, "a", PD_DISK_READ_PAGES, &file).status, PARAMD_OK);
    return file;
}

static void close_file(int file)
{
    disk->close(disk->context, file);
    ck_assert_int_eq(disk->unlink(disk->context, "a").status, PARAMD_OK);
    pd_posix_disk_close(&posix);
    ck_assert_int_eq(rmdir(directory), 0);
    pd_sim_disk_destroy(sim);
    free(content);
}

static bool shows(struct pd_window *window, uint64_t offset, size_t bytes)
{
    uint8_t *shown = NULL;
    return pd_window_show(window, offset, bytes, &shown).status == PARAMD_OK &&
           memcmp(shown, content + offset, bytes) == 0;
}

START_TEST(it_shows_the_bytes_of_the_file_forwards_and_backwards)
{
    int file = open_file(_i);
    struct pd_window window = {0};
    pd_window_open(&window, disk, file, FILE_BYTES);
    uint64_t random = 1;
    uint64_t at = 0;
    while (at < FILE_BYTES) {
        random = random * 6364136223846793005U + 1442695040888963407U;
        size_t bytes = (size_t)(random >> 33) % (random >> 63 ? 5000000 : 50000) + 1;
        bytes = bytes < FILE_BYTES - at ? bytes : (size_t)(FILE_BYTES - at);
        ck_assert(shows(&window, at, bytes));
        at += bytes;
    }
    ck_assert(shows(&window, 5001, 9000));
    ck_assert(shows(&window, 0, FILE_BYTES));
    ck_assert(shows(&window, FILE_BYTES - 1, 1));
    pd_window_deinit(&window);
    close_file(file);
}
END_TEST

START_TEST(another_file_is_not_taken_for_the_one_before)
{
    int file = open_file(_i);
    int other;
    struct pd_window window = {0};
    pd_window_open(&window, disk, file, FILE_BYTES);
    ck_assert(shows(&window, 0, 100));
    ck_assert_int_eq(disk->open(disk->context, "a", PD_DISK_WRITE, &other).status, PARAMD_OK);
    content[1] ^= 0xff;
    ck_assert_int_eq(disk->write(disk->context, other, 1, content + 1, 1).status, PARAMD_OK);
    pd_window_open(&window, disk, other, FILE_BYTES);
    ck_assert(shows(&window, 0, 100));
    disk->close(disk->context, other);
    pd_window_deinit(&window);
    close_file(file);
}
END_TEST

START_TEST(a_file_that_ends_early_is_told)
{
    int file = open_file(_i);
    uint8_t *shown;
    struct pd_window window = {0};
    pd_window_open(&window, disk, file, FILE_BYTES + PAGE_BYTES);
    ck_assert(shows(&window, FILE_BYTES - 10, 10));
    ck_assert_int_eq(pd_window_show(&window, FILE_BYTES - 10, 11, &shown).status, PARAMD_CORRUPT);
    pd_window_deinit(&window);
    close_file(file);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("window");
    TCase *both = tcase_create("both disks");
    tcase_add_loop_test(both, it_shows_the_bytes_of_the_file_forwards_and_backwards, 0, DISKS);
    tcase_add_loop_test(both, another_file_is_not_taken_for_the_one_before, 0, DISKS);
    tcase_add_loop_test(both, a_file_that_ends_early_is_told, 0, DISKS);
    suite_add_tcase(suite, both);
    return suite;
}
