/* The main function that test programs share: it runs the suite a test defines. */
#ifndef PARAMD_TESTS_SUPPORT_CHECK_MAIN_H
#define PARAMD_TESTS_SUPPORT_CHECK_MAIN_H

#include <check.h>

/* Defined by each test program; called once. The suite is destroyed by the runner. */
Suite *pd_test_suite(void);

#endif
