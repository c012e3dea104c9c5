/* When a thread polls and when it sleeps, by a clock that the test sets. */
#include "proto/busy_poll.h"

#include "tests/support/check_main.h"

START_TEST(it_polls_for_the_window_after_the_last_bytes)
{
    struct pd_busy_poll poll = {.window_us = 50};
    ck_assert(!pd_busy_poll_goes_on(&poll, 1000));
    pd_busy_poll_begin(&poll, 1000);
    ck_assert(pd_busy_poll_goes_on(&poll, 1000));
    pd_busy_poll_begin(&poll, 1040);
    ck_assert(pd_busy_poll_goes_on(&poll, 1089));
    ck_assert(!pd_busy_poll_goes_on(&poll, 1090));
}
END_TEST

START_TEST(without_a_window_it_never_polls)
{
    struct pd_busy_poll poll = {.window_us = 0};
    pd_busy_poll_begin(&poll, 1000);
    ck_assert(!pd_busy_poll_goes_on(&poll, 1000));
}
END_TEST

START_TEST(it_sleeps_for_a_while_when_others_want_the_core)
{
    struct pd_busy_poll poll = {.window_us = 50};
    pd_busy_poll_begin(&poll, 1000);
    pd_busy_poll_yielded(&poll, 1001, 1000 + PD_BUSY_POLL_TAKEN_US);
    ck_assert(pd_busy_poll_goes_on(&poll, 1001)); /* back almost at once: nobody did */
    uint64_t back_us = 1002 + PD_BUSY_POLL_TAKEN_US;
    pd_busy_poll_yielded(&poll, 1002, back_us);
    uint64_t again_us = back_us + PD_BUSY_POLL_PAUSE_US;
    pd_busy_poll_begin(&poll, again_us - 1);
    ck_assert(!pd_busy_poll_goes_on(&poll, again_us - 1));
    ck_assert(pd_busy_poll_goes_on(&poll, again_us));
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("busy_poll");
    TCase *poll = tcase_create("poll");
    tcase_add_test(poll, it_polls_for_the_window_after_the_last_bytes);
    tcase_add_test(poll, without_a_window_it_never_polls);
    tcase_add_test(poll, it_sleeps_for_a_while_when_others_want_the_core);
    suite_add_tcase(suite, poll);
    return suite;
}
