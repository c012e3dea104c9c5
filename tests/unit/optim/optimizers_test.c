/* What holds for every optimizer, run for each of them with several settings: the numbers of the
 * reference, the same bits in every vector form and dtype, and all of a push or nothing. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"
#include "tests/support/check_main.h"
#include "tests/unit/optim/reference.h"
#include "tests/unit/optim/support.h"

/* Runs body for every setting of the i-th optimizer. */
static void for_each_setting(int i, void (*body)(const struct setting *))
{
    const char *name = pd_optimizer_name(pd_optimizer_at((size_t)i));
    int ran = 0;
    for (const struct setting *setting = settings; setting->optimizer != NULL; setting++) {
        if (strcmp(setting->optimizer, name) == 0) {
            body(setting);
            ran++;
        }
    }
    ck_assert_int_ge(ran, 2);
}

/* Lion looks at a sign only, so its gradient must keep beta1 m + (1 - beta1) g away from 0: every
 * element gets a multiple of one course that is checked to do so. The others get noise of different
 * sizes. */
static float gradient_at(const struct setting *setting, uint32_t i, int t, uint64_t *seed)
{
    double noise = random_normal(seed);
    double size = exp2((double)(i % 11) - 5.0);
    if (strcmp(setting->optimizer, "lion") == 0) {
        double course = (t / 17) % 2 == 0 ? 1.0 + 0.01 * t : -1.3;
        return (float)(i % 2 ? course * size : -course * size);
    }
    return (float)(size * (noise + 0.3));
}

static void compare_with_reference(const struct setting *setting, uint32_t n, int steps)
{
    struct group group = group_of(setting->optimizer, setting->text);
    struct reference reference = reference_of(setting);
    struct pd_optim_block block = block_create(n);
    struct element *elements = calloc(n, sizeof *elements);
    float *g = malloc(n * sizeof *g);
    uint64_t seed = n;
    ck_assert(elements != NULL && g != NULL);
    pd_optim_start(group.optimizer, &group.hyper, &block);
    for (uint32_t i = 0; i < n; i++) {
        block.p[i] = (float)random_normal(&seed);
        elements[i].p = (double)block.p[i];
    }
    for (int t = 1; t <= steps; t++) {
        for (uint32_t i = 0; i < n; i++) {
            g[i] = gradient_at(setting, i, t, &seed);
            reference_update(&reference, &elements[i], (double)g[i], t);
        }
        ck_assert_int_eq(push_f32(&group, &block, g, 1.0f), PARAMD_OK);
    }
    ck_assert_uint_eq(block.step, (uint64_t)steps);
    for (uint32_t i = 0; i < n; i++) {
        double bound = 3e-6 * fmax(1.0, elements[i].reach);
        ck_assert_msg(fabs((double)block.p[i] - elements[i].p) <= bound,
                      "%s %s: element %u of %u is %.9g, not %.9g", setting->optimizer,
                      setting->text, i, n, (double)block.p[i], elements[i].p);
    }
    block_destroy(&block);
    free(elements);
    free(g);
}

static void agree_at_every_size(const struct setting *setting)
{
    static const uint32_t sizes[] = {1,  2,  3,  5,  8,  15,  16,   17,
                                     31, 33, 63, 64, 65, 127, 1023, 1025};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        compare_with_reference(setting, sizes[s], 30);
    }
    compare_with_reference(setting, 70000, 3);
}

START_TEST(each_agrees_with_the_reference_at_every_size)
{
    for_each_setting(_i, agree_at_every_size);
}
END_TEST

/* Fills a block and a gradient with hard numbers; what an optimizer takes roots of is not negative.
 */
static void fill_extreme(const struct group *group, struct pd_optim_block *block, float *g,
                         bool huge, uint64_t *seed)
{
    unsigned moments = pd_optimizer_moments(group->optimizer, &group->hyper);
    for (uint32_t i = 0; i < block->elements; i++) {
        block->p[i] = random_extreme(seed);
        g[i] = random_extreme(seed);
        g[i] = !huge && fabsf(g[i]) > 1e18f ? 1.0f : g[i];
        for (unsigned m = 0; m < moments; m++) {
            block->moments[m][i] = fabsf(random_extreme(seed));
        }
    }
}

static void compare_forms(const struct group *group, const struct pd_optim_block *start,
                          const float *g, int steps, const char *what)
{
    struct pd_optim_block first = block_create(start->elements);
    struct pd_optim_block other = block_create(start->elements);
    enum paramd_status expected = PARAMD_OK;
    const char *form;
    unsigned forms = 0;
    for (unsigned i = 0; next_form(&i, &form);) {
        struct pd_optim_block *block = forms++ == 0 ? &first : &other;
        enum paramd_status status = PARAMD_OK;
        block_copy(block, start);
        for (int t = 0; t < steps; t++) {
            status = push_f32(group, block, g + t, 0.7f);
        }
        expected = forms == 1 ? status : expected;
        ck_assert_int_eq(status, expected);
        ck_assert_msg(block_equal(group, block, &first), "%s, %s numbers, %u elements: %s differs",
                      pd_optimizer_name(group->optimizer), what, start->elements, form);
    }
    ck_assert_uint_gt(forms, 0);
    block_destroy(&first);
    block_destroy(&other);
}

static void same_bits(const struct setting *setting)
{
    enum { STEPS = 5, MOST = 4099 };
    static const uint32_t sizes[] = {1, 3, 7, 16, 17, 40, 63, 129, 1000, MOST};
    struct group group = group_of(setting->optimizer, setting->text);
    static float g[MOST + STEPS];
    uint64_t seed = 7;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct pd_optim_block start = block_create(sizes[s]);
        pd_optim_start(group.optimizer, &group.hyper, &start);
        for (uint32_t i = 0; i < MOST + STEPS; i++) {
            g[i] = (float)random_normal(&seed);
        }
        compare_forms(&group, &start, g, STEPS, "random");
        fill_extreme(&group, &start, g, false, &seed);
        start.step = 3;
        compare_forms(&group, &start, g, STEPS, "extreme");
        fill_extreme(&group, &start, g, true, &seed);
        compare_forms(&group, &start, g, STEPS, "huge");
        block_destroy(&start);
    }
}

START_TEST(each_gives_the_same_bits_in_every_vector_form)
{
    for_each_setting(_i, same_bits);
}
END_TEST

static void take_16_bits(const struct setting *setting)
{
    enum { N = 2500 };
    static const char *const clipping[] = {"", " clip_value=0.5", " clip_norm=3"};
    static float wide[N];
    static uint16_t narrow[N];
    uint64_t seed = 11;
    /* Only numbers that bf16 and f16 both hold, so that narrowing is exact. */
    for (size_t i = 0; i < N; i++) {
        wide[i] = (float)((int)(random_word(&seed) % 255) - 127) * 0x1p-5f;
    }
    for (size_t c = 0; c < 3; c++) {
        char text[200];
        snprintf(text, sizeof text, "%s%s", setting->text, clipping[c]);
        struct group group = group_of(setting->optimizer, text);
        for (enum pd_dtype dtype = PD_BF16; dtype <= PD_F16; dtype++) {
            struct pd_optim_block a = block_create(N), b = block_create(N);
            struct pd_optim_push push = {narrow, dtype, 0.3f, 0};
            pd_dtype_narrow(dtype, wide, narrow, N);
            pd_optim_start(group.optimizer, &group.hyper, &a);
            block_copy(&b, &a);
            for (int t = 0; t < 3; t++) {
                ck_assert_int_eq(push_f32(&group, &a, wide, 0.3f), PARAMD_OK);
                ck_assert_int_eq(pd_optim_apply(group.optimizer, &group.hyper, &b, &push),
                                 PARAMD_OK);
            }
            ck_assert(a.p[1] != 0.0f);
            ck_assert(block_equal(&group, &a, &b));
            block_destroy(&a);
            block_destroy(&b);
        }
    }
}

START_TEST(each_takes_16_bit_gradients_as_if_widened_before)
{
    for_each_setting(_i, take_16_bits);
}
END_TEST

static void refuse_whole(const struct setting *setting)
{
    enum { N = 1500 };
    static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
    static const uint32_t where[] = {0, 1, 1023, 1024, N - 1};
    struct group group = group_of(setting->optimizer, setting->text);
    struct pd_optim_block block = block_create(N), before = block_create(N);
    static float g[N];
    pd_optim_start(group.optimizer, &group.hyper, &block);
    ck_assert_int_eq(push_f32(&group, &block, g, 1.0f), PARAMD_OK);
    block_copy(&before, &block);
    for (size_t b = 0; b < sizeof bad / sizeof bad[0]; b++) {
        for (size_t w = 0; w < sizeof where / sizeof where[0]; w++) {
            g[where[w]] = bad[b];
            /* FLT_MAX itself is finite; twice it is not. */
            ck_assert_int_eq(push_f32(&group, &block, g, 2.0f), PARAMD_NOT_FINITE);
            ck_assert(block_equal(&group, &block, &before));
            g[where[w]] = 0.0f;
        }
    }
    ck_assert_int_eq(push_f32(&group, &block, g, NAN), PARAMD_NOT_FINITE);
    ck_assert(block_equal(&group, &block, &before));
    block_destroy(&block);
    block_destroy(&before);
}

START_TEST(each_refuses_a_gradient_whole_and_leaves_the_block_untouched)
{
    for_each_setting(_i, refuse_whole);
}
END_TEST

START_TEST(only_those_that_square_refuse_what_is_beyond_1e18)
{
    static const char *const linear[] = {"sgd", "momentum", "nag", "lion"};
    const struct pd_optimizer *optimizer = pd_optimizer_at((size_t)_i);
    struct group group = group_of(pd_optimizer_name(optimizer), "");
    struct pd_optim_block block = block_create(3);
    float above[] = {0.0f, -1.001e18f, 0.0f}, below[] = {0.0f, -0.999e18f, 0.0f};
    bool squares = true;
    for (size_t i = 0; i < 4; i++) {
        squares = squares && strcmp(linear[i], pd_optimizer_name(optimizer)) != 0;
    }
    pd_optim_start(optimizer, &group.hyper, &block);
    ck_assert_int_eq(push_f32(&group, &block, above, 1.0f),
                     squares ? PARAMD_NOT_FINITE : PARAMD_OK);
    ck_assert_int_eq(push_f32(&group, &block, above, 0.5f), PARAMD_OK);
    ck_assert_int_eq(push_f32(&group, &block, below, 1.0f), PARAMD_OK);
    ck_assert(isfinite(block.p[1]) && block.p[1] != 0.0f);
    block_destroy(&block);
}
END_TEST

static void scale_first(const struct setting *setting)
{
    enum { N = 100 };
    struct group group = group_of(setting->optimizer, setting->text);
    struct pd_optim_block a = block_create(N), b = block_create(N);
    float g[N], scaled[N];
    uint64_t seed = 5;
    for (size_t i = 0; i < N; i++) {
        g[i] = (float)random_normal(&seed);
        scaled[i] = g[i] * 0.37f;
    }
    pd_optim_start(group.optimizer, &group.hyper, &a);
    block_copy(&b, &a);
    for (int t = 0; t < 3; t++) {
        ck_assert_int_eq(push_f32(&group, &a, g, 0.37f), PARAMD_OK);
        ck_assert_int_eq(push_f32(&group, &b, scaled, 1.0f), PARAMD_OK);
    }
    ck_assert(block_equal(&group, &a, &b));
    block_destroy(&a);
    block_destroy(&b);
}

START_TEST(each_multiplies_by_scale_before_anything_else)
{
    for_each_setting(_i, scale_first);
}
END_TEST

static void miss_moments(const struct setting *setting)
{
    enum { N = 2100 };
    struct group group = group_of(setting->optimizer, setting->text);
    struct pd_optim_block all = block_create(N), some = block_create(N);
    struct pd_optim_block view = some;
    static float g[N];
    for (size_t i = 0; i < N; i++) {
        g[i] = (float)(i % 13) - 6.5f;
    }
    for (unsigned m = pd_optimizer_moments(group.optimizer, &group.hyper); m < 3; m++) {
        view.moments[m] = NULL;
    }
    pd_optim_start(group.optimizer, &group.hyper, &all);
    pd_optim_start(group.optimizer, &group.hyper, &view);
    ck_assert_int_eq(push_f32(&group, &all, g, 1.0f), PARAMD_OK);
    ck_assert_int_eq(push_f32(&group, &view, g, 1.0f), PARAMD_OK);
    ck_assert(memcmp(all.p, view.p, N * sizeof(float)) == 0);
    block_destroy(&all);
    block_destroy(&some);
}

START_TEST(moments_may_be_missing_where_none_are_used)
{
    for_each_setting(_i, miss_moments);
}
END_TEST

static void resume_carry(const struct setting *setting)
{
    struct group group = group_of(setting->optimizer, setting->text);
    struct pd_optim_block block = block_create(1);
    pd_optim_start(group.optimizer, &group.hyper, &block);
    for (int t = 0; t < 90; t++) {
        struct pd_optim_block resumed = block;
        float g = 1.0f;
        pd_optim_resume(group.optimizer, &group.hyper, &resumed);
        ck_assert(resumed.carry == block.carry);
        ck_assert_int_eq(push_f32(&group, &block, &g, 1.0f), PARAMD_OK);
    }
    block_destroy(&block);
}

START_TEST(carry_resumed_from_the_step_is_the_carry_of_the_run)
{
    for_each_setting(_i, resume_carry);
}
END_TEST

/* With l1 = l2 = 0 FTRL is p <- p - lr_t / (beta + sqrt(n)) g whatever lr_t does. */
START_TEST(ftrl_stays_gradient_descent_while_the_schedule_moves)
{
    struct group group =
        group_of("ftrl", "lr=0.5 schedule=linear warmup=10 total=60 final_ratio=0");
    struct pd_optim_block block = block_create(1);
    double p = 1.5, n = 0;
    block.p[0] = 1.5f;
    pd_optim_start(group.optimizer, &group.hyper, &block);
    for (int t = 0; t < 80; t++) {
        float g = (float)(cos(t) + 0.2);
        double factor = t < 10 ? (t + 1) / 10.0 : fmax(1.0 - (t - 10) / 50.0, 1e-6);
        n += (double)g * (double)g;
        p -= 0.5 * factor / (1 + sqrt(n)) * (double)g;
        ck_assert_int_eq(push_f32(&group, &block, &g, 1.0f), PARAMD_OK);
        ck_assert_double_eq_tol((double)block.p[0], p, 2e-5);
    }
    block_destroy(&block);
}
END_TEST

START_TEST(a_thread_that_entered_has_no_denormals)
{
    volatile float small = 1e-39f;
    ck_assert(small * 1.0f == 0.0f);
    volatile float least = FLT_MIN;
    ck_assert(least * 0.5f == 0.0f);
}
END_TEST

START_TEST(a_form_that_does_not_exist_is_refused)
{
    const char *before = pd_optim_isa();
    ck_assert_int_eq(pd_optim_choose_isa("v5"), PARAMD_INVALID);
    ck_assert_int_eq(pd_optim_choose_isa(""), PARAMD_INVALID);
    ck_assert_ptr_eq(pd_optim_isa(), before);
    ck_assert_int_eq(pd_optim_choose_isa("baseline"), PARAMD_OK);
    ck_assert_str_eq(pd_optim_isa(), "baseline");
    ck_assert_int_eq(pd_optim_choose_isa(NULL), PARAMD_OK);
}
END_TEST

static void enter(void)
{
    pd_optim_enter_thread();
    ck_assert_int_eq(pd_optim_choose_isa(NULL), PARAMD_OK);
}

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("optimizers");
    TCase *each = tcase_create("each optimizer");
    TCase *rest = tcase_create("rest");
    int optimizers = 0;
    while (pd_optimizer_at((size_t)optimizers) != NULL) {
        optimizers++;
    }
    tcase_add_checked_fixture(each, enter, NULL);
    tcase_add_loop_test(each, each_agrees_with_the_reference_at_every_size, 0, optimizers);
    tcase_add_loop_test(each, each_gives_the_same_bits_in_every_vector_form, 0, optimizers);
    tcase_add_loop_test(each, each_takes_16_bit_gradients_as_if_widened_before, 0, optimizers);
    tcase_add_loop_test(each, each_refuses_a_gradient_whole_and_leaves_the_block_untouched, 0,
                        optimizers);
    tcase_add_loop_test(each, each_multiplies_by_scale_before_anything_else, 0, optimizers);
    tcase_add_loop_test(each, moments_may_be_missing_where_none_are_used, 0, optimizers);
    tcase_add_loop_test(each, carry_resumed_from_the_step_is_the_carry_of_the_run, 0, optimizers);
    tcase_add_checked_fixture(rest, enter, NULL);
    tcase_add_loop_test(rest, only_those_that_square_refuse_what_is_beyond_1e18, 0, optimizers);
    tcase_add_test(rest, ftrl_stays_gradient_descent_while_the_schedule_moves);
    tcase_add_test(rest, a_thread_that_entered_has_no_denormals);
    tcase_add_test(rest, a_form_that_does_not_exist_is_refused);
    suite_add_tcase(suite, each);
    suite_add_tcase(suite, rest);
    return suite;
}
