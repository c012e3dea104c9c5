/* Lists keep order and links, pools keep to their budget and hand out warm buffers first, a broken
 * assertion ends the program. */
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/base/assert.h"
#include "server/base/list.h"
#include "server/base/pool.h"
#include "tests/support/check_main.h"

struct item {
    int number;
    struct pd_link link;
};

static int number_of(struct pd_link *link)
{
    return link != NULL ? PD_CONTAINER(link, struct item, link)->number : -1;
}

START_TEST(what_is_pushed_first_is_popped_first)
{
    struct pd_link list;
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    pd_link_init(&list);
    ck_assert(pd_link_alone(&list));
    ck_assert_ptr_null(pd_list_pop(&list));
    for (unsigned i = 0; i < 3; i++) {
        pd_link_init(&items[i].link);
        pd_list_push(&list, &items[i].link);
        ck_assert(!pd_link_alone(&items[i].link));
    }
    pd_link_remove(&items[1].link);
    ck_assert(pd_link_alone(&items[1].link));
    pd_link_remove(&items[1].link); /* fine if it was */
    ck_assert_int_eq(number_of(pd_list_pop(&list)), 0);
    ck_assert(pd_link_alone(&items[0].link));
    ck_assert_int_eq(number_of(pd_list_pop(&list)), 2);
    ck_assert(pd_link_alone(&list));
}
END_TEST

START_TEST(a_list_moves_whole_behind_another)
{
    struct pd_link list;
    struct pd_link from;
    struct item items[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
    pd_link_init(&list);
    pd_link_init(&from);
    pd_list_move(&list, &from);
    ck_assert(pd_link_alone(&list));
    for (unsigned i = 0; i < 4; i++) {
        pd_list_push(i < 2 ? &list : &from, &items[i].link);
    }
    pd_list_move(&list, &from);
    ck_assert(pd_link_alone(&from));
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(number_of(pd_list_pop(&list)), i);
    }
}
END_TEST

START_TEST(a_pool_gives_aligned_buffers_up_to_its_budget)
{
    struct pd_pool pool;
    void *buffers[4];
    pd_pool_init(&pool, 4 * 8192);
    for (unsigned i = 0; i < 4; i++) {
        buffers[i] = pd_pool_take(&pool, 5000); /* rounded to 8 KiB */
        ck_assert_ptr_nonnull(buffers[i]);
        ck_assert_uint_eq((uintptr_t)buffers[i] % 64, 0);
        memset(buffers[i], 0xab, 8192);
    }
    ck_assert_uint_eq(pool.in_use, 32768);
    ck_assert_ptr_null(pd_pool_take(&pool, 1));
    pd_pool_give(&pool, buffers[2], 5000);
    ck_assert_ptr_null(pd_pool_take(&pool, 8193));
    ck_assert_ptr_eq(pd_pool_take(&pool, 8192), buffers[2]);
    for (unsigned i = 0; i < 4; i++) {
        pd_pool_give(&pool, buffers[i], 8192);
    }
    pd_pool_give(&pool, NULL, 1);
    ck_assert_uint_eq(pool.in_use, 0);
    pd_pool_deinit(&pool);
}
END_TEST

START_TEST(the_buffer_given_back_last_is_handed_out_first)
{
    struct pd_pool pool;
    pd_pool_init(&pool, 1 << 20);
    void *first = pd_pool_take(&pool, 4096);
    void *second = pd_pool_take(&pool, 4096);
    pd_pool_give(&pool, first, 4096);
    pd_pool_give(&pool, second, 4096);
    ck_assert_ptr_eq(pd_pool_take(&pool, 1), second);
    ck_assert_ptr_eq(pd_pool_take(&pool, 1), first);
    pd_pool_give(&pool, first, 1);
    pd_pool_give(&pool, second, 1);
    pd_pool_deinit(&pool);
}
END_TEST

START_TEST(kept_buffers_of_one_size_make_way_for_another)
{
    struct pd_pool pool;
    void *small[16];
    pd_pool_init(&pool, 65536);
    for (unsigned i = 0; i < 16; i++) {
        small[i] = pd_pool_take(&pool, 4096);
    }
    for (unsigned i = 0; i < 16; i++) {
        pd_pool_give(&pool, small[i], 4096);
    }
    void *large = pd_pool_take(&pool, 65536);
    ck_assert_ptr_nonnull(large);
    ck_assert_ptr_null(pd_pool_take(&pool, 4096));
    pd_pool_give(&pool, large, 65536);
    pd_pool_trim(&pool);
    ck_assert_ptr_nonnull(large = pd_pool_take(&pool, 4096));
    pd_pool_give(&pool, large, 4096);
    pd_pool_deinit(&pool);
}
END_TEST

START_TEST(a_broken_assertion_aborts)
{
    PD_ASSERT(_i == 1);
}
END_TEST

START_TEST(an_assertion_that_holds_is_silent)
{
    PD_ASSERT(_i == 0);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("base");
    TCase *list = tcase_create("list");
    tcase_add_test(list, what_is_pushed_first_is_popped_first);
    tcase_add_test(list, a_list_moves_whole_behind_another);
    suite_add_tcase(suite, list);
    TCase *pool = tcase_create("pool");
    tcase_add_test(pool, a_pool_gives_aligned_buffers_up_to_its_budget);
    tcase_add_test(pool, the_buffer_given_back_last_is_handed_out_first);
    tcase_add_test(pool, kept_buffers_of_one_size_make_way_for_another);
    suite_add_tcase(suite, pool);
    TCase *assertions = tcase_create("assert");
    tcase_add_test_raise_signal(assertions, a_broken_assertion_aborts, SIGABRT);
    tcase_add_test(assertions, an_assertion_that_holds_is_silent);
    suite_add_tcase(suite, assertions);
    return suite;
}
