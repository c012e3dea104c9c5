/* Hyper-parameters, schedules, staleness and clipping: what is allowed, and what becomes of the
 * learning rate and of the gradient. With sgd at lr=1 and a gradient of 1 the change of a weight
 * shows the factor itself. */
#include <math.h>
#include <string.h>

#include "tests/support/check_main.h"
#include "tests/unit/optim/support.h"

static enum paramd_status set(struct group *group, const char *name, double number,
                              const char *text, char error[200])
{
    error[0] = '\0';
    return pd_hyper_set(group->optimizer, &group->hyper, name, number, text, error, 200);
}

START_TEST(what_is_not_allowed_is_refused_with_name_value_and_range)
{
    static const struct {
        const char *optimizer, *name;
        double number;
        const char *text, *error;
    } cases[] = {
        {"adam", "lr", -1, "", "lr=-1 is not allowed: it is a number from 0 to 1000000"},
        {"adam", "lr", NAN, "", "lr=nan is not allowed"},
        {"adam", "lr", INFINITY, NULL, "lr=inf is not allowed"},
        {"adam", "lr", 0, "fast", "lr=fast is not allowed: it is a number from"},
        {"adam", "beta1", 1, "", "beta1=1 is not allowed: it is a number from 0 to 0.999999999"},
        {"adam", "beta2", 1.5, "", "beta2=1.5 is not allowed"},
        {"adam", "eps", 0, "", "eps=0 is not allowed: it is a number from 1e-30 to 1000000"},
        {"adam", "eps", -1e-8, "", "eps=-1e-08 is not allowed"},
        {"adam", "maximize", 0.5, "", "maximize=0.5 is not allowed: it is 0 or 1"},
        {"adam", "warmup", 1.5, "", "warmup=1.5 is not allowed: it is a whole number from 0"},
        {"adam", "schedule", 2, "", "schedule=2 is not allowed: it is one of constant, step"},
        {"adam", "schedule", 0, "x", "schedule=x is not allowed: it is one of constant, step"},
        {"adam", "decay_every", 0, "", "decay_every=0 is not allowed: it is a whole number from 1"},
        {"adam", "staleness_power", 1.5, "", "staleness_power=1.5 is not allowed: it is 0.5, 1"},
        {"adam", "momentum", 0.9, "", "adam has no hyper-parameter \"momentum\": it has lr, beta1"},
        {"adamw", "decoupled_weight_decay", 0, "", "adamw has no hyper-parameter"},
        {"sgd", "eps", 1, "", "sgd has no hyper-parameter \"eps\": it has lr, weight_decay"},
        {"momentum", "momentum", 1, "", "momentum=1 is not allowed"},
        {"ftrl", "beta", 0, "", "beta=0 is not allowed"},
        {"sgd", "", 1, "", "sgd has no hyper-parameter \"\""},
    };
    char error[200];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct group group = group_of(cases[i].optimizer, "");
        struct pd_hyper before = group.hyper;
        ck_assert_int_eq(set(&group, cases[i].name, cases[i].number, cases[i].text, error),
                         PARAMD_INVALID);
        ck_assert_msg(strncmp(error, cases[i].error, strlen(cases[i].error)) == 0,
                      "case %zu says \"%s\"", i, error);
        ck_assert(memcmp(&before, &group.hyper, sizeof before) == 0);
    }
}
END_TEST

START_TEST(an_error_never_outgrows_its_buffer)
{
    struct group group = group_of("adam", "");
    char error[10] = "123456789";
    char name[300];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    ck_assert_int_eq(pd_hyper_set(group.optimizer, &group.hyper, name, 0, name, error, 5),
                     PARAMD_INVALID);
    ck_assert_str_eq(error, "adam");
    ck_assert_str_eq(error + 5, "6789");
}
END_TEST

START_TEST(every_item_can_be_set_to_what_it_shows)
{
    const struct pd_optimizer *optimizer = pd_optimizer_at((size_t)_i);
    struct group group = group_of(pd_optimizer_name(optimizer), "");
    struct pd_hyper_item item;
    char error[200];
    size_t count = 0;
    for (; pd_hyper_item(optimizer, &group.hyper, count, &item); count++) {
        struct pd_hyper before = group.hyper;
        ck_assert_int_eq(set(&group, item.name, item.number, item.text, error), PARAMD_OK);
        ck_assert(memcmp(&before, &group.hyper, sizeof before) == 0);
    }
    ck_assert_uint_ge(count, 17);
    ck_assert(!pd_hyper_item(optimizer, &group.hyper, count + 1, &item));
    ck_assert_int_eq(pd_hyper_check(optimizer, &group.hyper, error, sizeof error), PARAMD_OK);
}
END_TEST

START_TEST(minus_zero_is_kept_as_zero)
{
    struct group group = group_of("sgd", "");
    struct pd_hyper_item item;
    char error[200];
    ck_assert_int_eq(set(&group, "lr", -0.0, "", error), PARAMD_OK);
    ck_assert(pd_hyper_item(group.optimizer, &group.hyper, 0, &item));
    ck_assert_str_eq(item.name, "lr");
    ck_assert(item.number == 0 && !signbit(item.number));
}
END_TEST
START_TEST(a_choice_is_shown_by_its_name)
{
    struct group group = group_of("adam", "schedule=cosine");
    struct pd_hyper_item item;
    size_t i = 0;
    while (pd_hyper_item(group.optimizer, &group.hyper, i, &item) &&
           strcmp(item.name, "schedule") != 0) {
        i++;
    }
    ck_assert_str_eq(item.text, "cosine");
}
END_TEST

START_TEST(a_decay_that_ends_before_it_begins_is_found)
{
    char error[200];
    struct group group = group_of("adam", "schedule=linear warmup=200 hold=100 total=200");
    ck_assert_int_eq(pd_hyper_check(group.optimizer, &group.hyper, error, sizeof error),
                     PARAMD_INVALID);
    ck_assert_str_eq(error, "schedule=linear needs total above hold and warmup: total=200, 200 "
                            "updates come before the decay");
    group = group_of("adam", "schedule=linear warmup=200 hold=100 total=201");
    ck_assert_int_eq(pd_hyper_check(group.optimizer, &group.hyper, error, sizeof error), PARAMD_OK);
}
END_TEST

START_TEST(moments_are_counted_and_named_as_in_torch)
{
    static const struct {
        const char *optimizer, *text, *names[4];
    } cases[] = {
        {"sgd", "", {NULL}},
        {"momentum", "", {"momentum_buffer"}},
        {"adagrad", "", {"sum"}},
        {"rmsprop", "", {"square_avg"}},
        {"rmsprop", "momentum=0.9", {"square_avg", "momentum_buffer"}},
        {"rmsprop", "centered=1", {"square_avg", "grad_avg"}},
        {"rmsprop", "centered=1 momentum=0.9", {"square_avg", "momentum_buffer", "grad_avg"}},
        {"adadelta", "", {"square_avg", "acc_delta"}},
        {"adam", "", {"exp_avg", "exp_avg_sq"}},
        {"amsgrad", "", {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct group group = group_of(cases[i].optimizer, cases[i].text);
        unsigned moments = pd_optimizer_moments(group.optimizer, &group.hyper);
        for (unsigned m = 0; m < moments; m++) {
            ck_assert_str_eq(pd_optimizer_moment_name(group.optimizer, &group.hyper, m),
                             cases[i].names[m]);
        }
        ck_assert_ptr_null(cases[i].names[moments]);
        ck_assert_ptr_null(pd_optimizer_moment_name(group.optimizer, &group.hyper, moments));
    }
}
END_TEST

START_TEST(optimizers_are_found_by_name_in_a_fixed_order)
{
    static const char *const names[] = {"sgd",     "momentum", "nag",  "adagrad",
                                        "rmsprop", "adadelta", "adam", "adamw",
                                        "amsgrad", "nadam",    "lion", "ftrl"};
    for (size_t i = 0; i < 12; i++) {
        ck_assert_str_eq(pd_optimizer_name(pd_optimizer_at(i)), names[i]);
        ck_assert_ptr_eq(pd_optimizer_find(names[i]), pd_optimizer_at(i));
    }
    ck_assert_ptr_null(pd_optimizer_at(12));
    ck_assert_ptr_null(pd_optimizer_find("Adam"));
}
END_TEST

/* What lr=1 is multiplied by for update number step + 1 of a gradient that stale. */
static double factor(const char *text, uint64_t step, uint64_t staleness)
{
    struct group group = group_of("sgd", text);
    struct pd_optim_block block = block_create(1);
    float g = -1.0f;
    struct pd_optim_push push = {&g, PD_F32, 1.0f, staleness};
    char error[200];
    block.step = step;
    ck_assert_int_eq(set(&group, "lr", 1, "", error), PARAMD_OK);
    ck_assert_int_eq(pd_optim_apply(group.optimizer, &group.hyper, &block, &push), PARAMD_OK);
    double change = (double)block.p[0];
    block_destroy(&block);
    return change;
}

START_TEST(schedules_follow_the_step_of_the_block)
{
    static const struct {
        const char *text;
        uint64_t step;
        double factor;
    } cases[] = {
        {"", 12345, 1},
        {"warmup=200", 0, 1.0 / 200},
        {"warmup=200", 99, 0.5},
        {"warmup=200", 199, 1},
        {"warmup=200", 200, 1},
        {"schedule=step decay_every=10 decay_ratio=0.5", 9, 1},
        {"schedule=step decay_every=10 decay_ratio=0.5", 10, 0.5},
        {"schedule=step decay_every=10 decay_ratio=0.5", 35, 0.125},
        {"schedule=linear total=100", 0, 1},
        {"schedule=linear total=100", 25, 0.75},
        {"schedule=linear total=100", 100, 0},
        {"schedule=linear total=100", 1000, 0},
        /* DATA.md's course over 9,370 updates. */
        {"schedule=linear warmup=200 hold=4685 total=9370 final_ratio=0.03", 4, 0.025},
        {"schedule=linear warmup=200 hold=4685 total=9370 final_ratio=0.03", 200, 1},
        {"schedule=linear warmup=200 hold=4685 total=9370 final_ratio=0.03", 4685, 1},
        {"schedule=linear warmup=200 hold=4685 total=9370 final_ratio=0.03", 5622, 0.806},
        {"schedule=linear warmup=200 hold=4685 total=9370 final_ratio=0.03", 9370, 0.03},
        {"schedule=cosine hold=100 total=200 final_ratio=0.1", 100, 1},
        {"schedule=cosine hold=100 total=200 final_ratio=0.1", 150, 0.55},
        {"schedule=cosine hold=100 total=200 final_ratio=0.1", 125, 0.55 + 0.45 * 0.70710678},
        {"schedule=cosine hold=100 total=200 final_ratio=0.1", 300, 0.1},
        {"schedule=inverse_sqrt", 0, 1},
        {"schedule=inverse_sqrt", 3, 0.5},
        {"schedule=inverse_sqrt warmup=100", 49, 0.5},
        {"schedule=inverse_sqrt warmup=100", 99, 1},
        {"schedule=inverse_sqrt warmup=100", 399, 0.5},
        {"schedule=inverse_sqrt hold=25", 24, 1},
        {"schedule=inverse_sqrt hold=25", 99, 0.5},
        /* Not let through by pd_hyper_check: no decay rather than none but decay. */
        {"schedule=linear", 50, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double is = factor(cases[i].text, cases[i].step, 0);
        ck_assert_msg(fabs(is - cases[i].factor) < 1e-7, "%s at %llu: %.9g, not %.9g",
                      cases[i].text, (unsigned long long)cases[i].step, is, cases[i].factor);
    }
}
END_TEST

START_TEST(staleness_scales_the_learning_rate)
{
    static const struct {
        const char *text;
        uint64_t staleness;
        double factor;
    } cases[] = {
        {"", 1000, 1},
        {"staleness=none", 1000, 1},
        {"staleness=inverse", 0, 1},
        {"staleness=inverse", 3, 0.25},
        {"staleness=inverse staleness_power=0.5", 3, 0.5},
        {"staleness=inverse staleness_power=2", 3, 1.0 / 16},
        {"staleness=exponential staleness_rate=0.5", 0, 1},
        {"staleness=exponential staleness_rate=0.5", 4, 0.1353352832},
        {"staleness=exponential staleness_rate=0.5 staleness_cutoff=4", 4, 0.1353352832},
        {"staleness=exponential staleness_rate=0.5 staleness_cutoff=4", 5, 0},
        {"staleness=exponential", UINT64_MAX, 0},
        {"staleness=inverse staleness_power=2", UINT64_MAX, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double is = factor(cases[i].text, 7, cases[i].staleness);
        ck_assert_msg(fabs(is - cases[i].factor) < 1e-7, "%s: %.9g, not %.9g", cases[i].text, is,
                      cases[i].factor);
    }
}
END_TEST

START_TEST(a_push_above_the_bound_is_refused_and_the_block_untouched)
{
    struct group group = group_of("adam", "staleness_max=8");
    struct pd_optim_block block = block_create(5), before = block_create(5);
    float g[] = {1, 2, 3, 4, 5};
    struct pd_optim_push push = {g, PD_F32, 1.0f, 9};
    ck_assert_int_eq(pd_optim_apply(group.optimizer, &group.hyper, &block, &push),
                     PARAMD_TOO_STALE);
    ck_assert(block_equal(&group, &block, &before));
    push.staleness = 8;
    ck_assert_int_eq(pd_optim_apply(group.optimizer, &group.hyper, &block, &push), PARAMD_OK);
    ck_assert(!block_equal(&group, &block, &before));
    block_destroy(&block);
    block_destroy(&before);
}
END_TEST

/* The change of each weight under sgd with lr=1: the gradient as it reached the loop, negated. */
static void changes(const char *text, const float *g, float scale, uint32_t n, float *ret)
{
    struct group group = group_of("sgd", text);
    struct pd_optim_block block = block_create(n);
    char error[200];
    ck_assert_int_eq(set(&group, "lr", 1, "", error), PARAMD_OK);
    ck_assert_int_eq(push_f32(&group, &block, g, scale), PARAMD_OK);
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = -block.p[i];
    }
    block_destroy(&block);
}

START_TEST(values_are_clipped_after_scaling)
{
    float g[] = {1, -3, 0.5f, 100, -0.1f}, is[5];
    changes("clip_value=2", g, 2.0f, 5, is);
    float expected[] = {2, -2, 1, 2, -0.2f};
    ck_assert_mem_eq(is, expected, sizeof expected);
}
END_TEST

START_TEST(norms_are_clipped_after_values)
{
    float g[] = {300, -4}, is[2];
    changes("clip_norm=2.5", g + 1, 1.0f, 1, is);
    ck_assert_double_eq_tol((double)is[0], -2.5, 1e-6);
    changes("clip_value=3 clip_norm=2.5", g, 1.0f, 2, is);
    ck_assert_double_eq_tol((double)is[0], 2.5 * 3 / sqrt(18), 1e-6);
    ck_assert_double_eq_tol((double)is[1], -2.5 * 3 / sqrt(18), 1e-6);
}
END_TEST

START_TEST(a_norm_within_the_bound_changes_no_bit)
{
    float g[1100], is[1100];
    uint64_t seed = 3;
    for (size_t i = 0; i < 1100; i++) {
        g[i] = (float)random_normal(&seed);
    }
    changes("clip_norm=1000", g, 1.0f, 1100, is);
    ck_assert_mem_eq(is, g, sizeof g);
}
END_TEST

START_TEST(the_norm_of_a_large_block_is_right_and_the_same_in_every_form)
{
    enum { N = 70000 };
    static float g[N], is[N], first[N];
    const char *form;
    double squares = 0;
    unsigned forms = 0;
    uint64_t seed = 17;
    for (size_t i = 0; i < N; i++) {
        g[i] = (float)(random_normal(&seed) * exp2((double)(i % 60) - 20));
        squares += (double)g[i] * (double)g[i];
    }
    for (unsigned f = 0; next_form(&f, &form);) {
        changes("clip_norm=1", g, 1.0f, N, is);
        ck_assert_double_eq_tol((double)is[59] / (double)g[59] * sqrt(squares), 1.0, 1e-6);
        if (forms++ == 0) {
            memcpy(first, is, sizeof is);
        }
        ck_assert_mem_eq(is, first, sizeof is);
    }
    ck_assert_uint_gt(forms, 0);
}
END_TEST

static void enter(void)
{
    pd_optim_enter_thread();
    ck_assert_int_eq(pd_optim_choose_isa(NULL), PARAMD_OK);
}

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("hyper-parameters");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, enter, NULL);
    tcase_add_test(all, what_is_not_allowed_is_refused_with_name_value_and_range);
    tcase_add_test(all, an_error_never_outgrows_its_buffer);
    tcase_add_loop_test(all, every_item_can_be_set_to_what_it_shows, 0, 12);
    tcase_add_test(all, minus_zero_is_kept_as_zero);
    tcase_add_test(all, a_choice_is_shown_by_its_name);
    tcase_add_test(all, a_decay_that_ends_before_it_begins_is_found);
    tcase_add_test(all, moments_are_counted_and_named_as_in_torch);
    tcase_add_test(all, optimizers_are_found_by_name_in_a_fixed_order);
    tcase_add_test(all, schedules_follow_the_step_of_the_block);
    tcase_add_test(all, staleness_scales_the_learning_rate);
    tcase_add_test(all, a_push_above_the_bound_is_refused_and_the_block_untouched);
    tcase_add_test(all, values_are_clipped_after_scaling);
    tcase_add_test(all, norms_are_clipped_after_values);
    tcase_add_test(all, a_norm_within_the_bound_changes_no_bit);
    tcase_add_test(all, the_norm_of_a_large_block_is_right_and_the_same_in_every_form);
    suite_add_tcase(suite, all);
    return suite;
}
