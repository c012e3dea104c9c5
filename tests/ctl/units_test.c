/* Numbers are shown as people read them, at the edges of each unit too. */
#include "client/ctl/units.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/check_main.h"

START_TEST(thousands_are_set_apart)
{
    ck_assert_str_eq(pd_ctl_thousands(0).text, "0");
    ck_assert_str_eq(pd_ctl_thousands(999).text, "999");
    ck_assert_str_eq(pd_ctl_thousands(1000).text, "1,000");
    ck_assert_str_eq(pd_ctl_thousands(123456).text, "123,456");
    ck_assert_str_eq(pd_ctl_thousands(UINT64_MAX).text, "18,446,744,073,709,551,615");
}
END_TEST

START_TEST(bytes_never_show_1024_of_a_unit)
{
    ck_assert_str_eq(pd_ctl_bytes(0).text, "0 B");
    ck_assert_str_eq(pd_ctl_bytes(1023).text, "1023 B");
    ck_assert_str_eq(pd_ctl_bytes(1024).text, "1.0 KiB");
    ck_assert_str_eq(pd_ctl_bytes(1048575).text, "1.0 MiB");
    ck_assert_str_eq(pd_ctl_bytes(1.5 * 1073741824).text, "1.5 GiB");
    ck_assert_str_eq(pd_ctl_bytes(1e18).text, "888.2 PiB");
}
END_TEST

START_TEST(durations_have_their_two_largest_units)
{
    ck_assert_str_eq(pd_ctl_duration(0.9).text, "0 s");
    ck_assert_str_eq(pd_ctl_duration(59.9).text, "59 s");
    ck_assert_str_eq(pd_ctl_duration(60).text, "1 min 0 s");
    ck_assert_str_eq(pd_ctl_duration(3600 + 125).text, "1 h 2 min");
    ck_assert_str_eq(pd_ctl_duration(86400 * 3.5).text, "3 d 12 h");
}
END_TEST

START_TEST(numbers_have_the_fewest_digits_that_read_back)
{
    ck_assert_str_eq(pd_ctl_number(0.001).text, "0.001");
    ck_assert_str_eq(pd_ctl_number(0.999999999).text, "0.999999999");
    ck_assert_str_eq(pd_ctl_number(20000).text, "20000");
    ck_assert_str_eq(pd_ctl_number(1e-8).text, "1e-08");
    ck_assert_double_eq(strtod(pd_ctl_number(1.0 / 3).text, NULL), 1.0 / 3);
}
END_TEST

START_TEST(a_shape_of_the_highest_rank_fits)
{
    uint64_t shape[8];
    for (unsigned i = 0; i < 8; i++) {
        shape[i] = UINT64_C(1) << 40;
    }
    ck_assert_str_eq(pd_ctl_shape(2, (uint64_t[]){784, 128}).text, "784x128");
    ck_assert_uint_eq(strlen(pd_ctl_shape(8, shape).text), 8 * 13 + 7);
}
END_TEST

Suite *pd_test_suite(void)
{
    Suite *suite = suite_create("ctl_units");
    TCase *units = tcase_create("units");
    tcase_add_test(units, thousands_are_set_apart);
    tcase_add_test(units, bytes_never_show_1024_of_a_unit);
    tcase_add_test(units, durations_have_their_two_largest_units);
    tcase_add_test(units, numbers_have_the_fewest_digits_that_read_back);
    tcase_add_test(units, a_shape_of_the_highest_rank_fits);
    suite_add_tcase(suite, units);
    return suite;
}
