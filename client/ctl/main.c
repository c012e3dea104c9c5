/* paramctl: looks at a running paramd, and steers it. A client of the public library like any
 * other. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl/ctl.h"
#include "client/ctl/own_daemon.h"

static enum pd_ctl_exit run_command(struct pd_ctl *ctl)
{
    /* One small call after the other needs no thread and no shared memory. */
    struct paramd_options options = {.address = ctl->address,
                                     .name = "paramctl",
                                     .shared_memory = PARAMD_SHARED_OFF,
                                     .no_thread = true};
    int status = paramd_open(&options, &ctl->client);
    if (status == PARAMD_INVALID) {
        return pd_ctl_bad_usage("%s", paramd_error());
    }
    if (status != PARAMD_OK) {
        return pd_ctl_failed(ctl, status);
    }
    enum pd_ctl_exit outcome = ctl->command->run(ctl);
    paramd_close(ctl->client);
    return outcome;
}

static enum pd_ctl_exit run(struct pd_ctl *ctl)
{
    if (ctl->version) {
        (void)printf("paramctl %s\n", paramd_version());
        return PD_CTL_OK;
    }
    if (ctl->help) {
        if (ctl->command != NULL) {
            pd_ctl_print_command_help(ctl->command);
        } else {
            pd_ctl_print_help();
        }
        return PD_CTL_OK;
    }
    if (ctl->data_dir == NULL) {
        return run_command(ctl);
    }
    enum pd_ctl_exit outcome = pd_ctl_own_daemon_start(ctl->data_dir, &ctl->address);
    if (outcome == PD_CTL_OK) {
        outcome = run_command(ctl);
        pd_ctl_own_daemon_stop();
    }
    return outcome;
}

int main(int argc, char **argv)
{
    struct pd_ctl ctl;
    enum pd_ctl_exit outcome = pd_ctl_read_options(argc, argv, &ctl);
    if (outcome == PD_CTL_OK) {
        outcome = run(&ctl);
    }
    /* A full disk or a closed pipe shows at the latest here. */
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        (void)fprintf(stderr, "paramctl: the result could not be written: %s\n", strerror(errno));
        return PD_CTL_FAILED;
    }
    return (int)outcome;
}
