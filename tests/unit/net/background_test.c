/* A thread beside a loop: what is asked is done once and heard of on the loop's thread; a stop
 * waits for what runs. Meant to run under TSan. */
#include "server/net/background.h"

#include "server/net/loop.h"
#include "tests/support/check_main.h"

enum { ROUNDS = 2000 };

struct owner {
    struct pd_loop loop;
    struct pd_background background;
    uv_sem_t go_on;
    uv_sem_t running;
    int ran; /* by the thread, read by the loop when it was told */
    int done;
    uv_thread_t loop_thread;
};

static void settle(void *context)
{
    (void)context;
}

static void count_run(void *context)
{
    struct owner *owner = context;
    uv_thread_t self = uv_thread_self();
    ck_assert(!uv_thread_equal(&self, &owner->loop_thread));
    owner->ran++;
}

static void go_again(void *context)
{
    struct owner *owner = context;
    uv_thread_t self = uv_thread_self();
    ck_assert(uv_thread_equal(&self, &owner->loop_thread));
    owner->done++;
    ck_assert_int_eq(owner->ran, owner->done);
    if (owner->done < ROUNDS) {
        pd_background_go(&owner->background);
    } else {
        pd_background_stop(&owner->background);
        pd_loop_end(&owner->loop);
    }
}

static void open_owner(struct owner *owner, void (*run)(void *context), void (*done)(void *context))
{
    *owner = (struct owner){.loop_thread = uv_thread_self()};
    ck_assert_int_eq(pd_loop_init(&owner->loop, settle, owner), PARAMD_OK);
    ck_assert_int_eq(
        pd_background_start(&owner->background, &owner->loop.uv, "test", run, done, owner),
        PARAMD_OK);
}

START_TEST(each_round_is_run_once_and_heard_of)
{
    struct owner owner;
    open_owner(&owner, count_run, go_again);
    pd_background_go(&owner.background);
    pd_loop_run(&owner.loop);
    ck_assert_int_eq(owner.ran, ROUNDS);
    ck_assert_int_eq(owner.done, ROUNDS);
    pd_loop_deinit(&owner.loop);
}
END_TEST

static void wait_then_count(void *context)
{
    struct owner *owner = context;
    uv_sem_post(&owner->running);
    uv_sem_wait(&owner->go_on);
    owner->ran++;
}

static void count_done(void *context)
{
    struct owner *owner = context;
    owner->done++;
}

START_TEST(stop_waits_for_what_runs_and_nothing_is_heard_of_it)
{
    struct owner owner;
    open_owner(&owner, wait_then_count, count_done);
    ck_assert_int_eq(uv_sem_init(&owner.go_on, 0), 0);
    ck_assert_int_eq(uv_sem_init(&owner.running, 0), 0);
    pd_background_go(&owner.background);
    uv_sem_wait(&owner.running);
    uv_sem_post(&owner.go_on);
    pd_background_stop(&owner.background);
    ck_assert_int_eq(owner.ran, 1);
    pd_loop_end(&owner.loop);
    pd_loop_run(&owner.loop);
    ck_assert_int_eq(owner.done, 0);
    pd_loop_deinit(&owner.loop);
    uv_sem_destroy(&owner.go_on);
    uv_sem_destroy(&owner.running);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("background");
    TCase *all = tcase_create("all");
    tcase_add_test(all, each_round_is_run_once_and_heard_of);
    tcase_add_test(all, stop_waits_for_what_runs_and_nothing_is_heard_of_it);
    suite_add_tcase(suite, all);
    return suite;
}
