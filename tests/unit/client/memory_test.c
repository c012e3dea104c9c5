/* Every allocation of the core fails once: a call then says so, or the work is done all the same;
 * nothing leaks, and nothing is applied twice. The linker puts the functions below in the place of
 * the real ones. */
#include <check.h>
#include <stdlib.h>

#include "tests/support/check_main.h"
#include "tests/unit/client/world.h"

enum { ELEMENTS = 3000, ALLOCATIONS_MAX = 3000 };

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker gives these names */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);

static unsigned until_failure; /* 0: none fails any more */

static bool fails(void)
{
    return world_in_core && until_failure > 0 && --until_failure == 0;
}

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *memory, size_t bytes)
{
    return fails() ? NULL : __real_realloc(memory, bytes);
}

/* NOLINTEND(bugprone-reserved-identifier) */

static bool join_over(const void *arg)
{
    return pd_join_status(arg) != PARAMD_PENDING;
}

/* Joins as the initialiser. False: NO_MEMORY was the answer. */
static bool join(struct world *world, float *values)
{
    world->initial = __real_calloc(1, sizeof *world->initial);
    world->initial[0].weights = values;
    world_join_start(world, world_definition("model", 1, ELEMENTS, 1024, false), 1);
    ck_assert_msg(world_until(world, join_over, world->join, 60000000), "%s",
                  pd_join_text(world->join));
    int status = pd_join_status(world->join);
    ck_assert_msg(status == PARAMD_OK || status == PARAMD_NO_MEMORY, "%s",
                  pd_join_text(world->join));
    if (status == PARAMD_OK) {
        world->session = pd_join_take_session(world->join);
    }
    return status == PARAMD_OK;
}

static bool push_pull(struct world *world, float *gradient, float *values)
{
    struct paramd_io entry = {.gradient = gradient, .values = values};
    struct paramd_call call = {0};
    struct pd_op *op = NULL;
    char text[PD_CALL_TEXT_BYTES];
    world_in_core = true;
    int status = pd_op_start(world->session, PD_OP_PUSH_PULL, &entry, 1, &call, &op, text);
    world_in_core = false;
    if (status != PARAMD_OK) {
        ck_assert_int_eq(status, PARAMD_NO_MEMORY);
        return false;
    }
    ck_assert_int_eq(world_finish(world, op).status, PARAMD_OK);
    pd_op_release(op);
    return true;
}

/* One whole life with the k-th allocation failing. False: there is no k-th. */
static bool life(unsigned k)
{
    static float values[ELEMENTS];
    static float gradient[ELEMENTS];
    struct world world;
    for (unsigned i = 0; i < ELEMENTS; i++) {
        values[i] = 2;
        gradient[i] = 1;
    }
    world_init(&world, 2, k);
    world.server.send_payload_sums = true;
    until_failure = k;
    if (join(&world, values)) {
        unsigned pushed = 0;
        for (unsigned i = 0; i < 3; i++) {
            pushed += push_pull(&world, gradient, values);
        }
        ck_assert_msg(world_value(&world, 0, 0) == 2 + (float)pushed, "allocation %u", k);
        ck_assert_uint_ge(pushed, 2);
    }
    bool met = until_failure == 0;
    until_failure = 0;
    world_deinit(&world);
    return met;
}

START_TEST(any_allocation_may_fail)
{
    unsigned k = 1;
    while (life(k)) {
        k++;
        ck_assert_uint_lt(k, ALLOCATIONS_MAX);
    }
    ck_assert_uint_gt(k, 20);
}
END_TEST

START_TEST(a_client_that_cannot_be_made_leaves_nothing_behind)
{
    struct pd_client_options options = {.name = "test"};
    struct pd_client *client = NULL;
    for (unsigned k = 1; client == NULL; k++) {
        ck_assert_uint_lt(k, 20);
        world_in_core = true;
        until_failure = k;
        client = pd_client_create(&options);
        until_failure = 0;
        world_in_core = false;
        ck_assert(client != NULL || k < 19);
    }
    pd_client_destroy(client);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("client/memory");
    TCase *tests = tcase_create("memory");
    tcase_add_test(tests, any_allocation_may_fail);
    tcase_add_test(tests, a_client_that_cannot_be_made_leaves_nothing_behind);
    suite_add_tcase(suite, tests);
    return suite;
}
