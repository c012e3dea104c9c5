/* The main function that test programs share. What Check prints and whether it forks is decided by
 * its own CK_ environment variables. */
#include "tests/support/check_main.h"

#include <stdlib.h>

int main(void)
{
    SRunner *runner = srunner_create(pd_test_suite());
    srunner_run_all(runner, CK_ENV);
    int run = srunner_ntests_run(runner);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    /* A suite that ran nothing proves nothing: a mistyped CK_RUN_CASE must not pass. */
    return run > 0 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
