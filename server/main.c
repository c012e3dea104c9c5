/* paramd: reads its settings, chooses the optimizers' vector form, and runs the node. */
#include <stdio.h>
#include <stdlib.h>

#include "server/base/log.h"
#include "server/config.h"
#include "server/node.h"
#include "server/optim/optim.h"

enum { EXIT_BAD_OPTION = 2 };

static bool choose_isa(void)
{
    const char *isa = getenv("PARAMD_ISA");
    enum paramd_status status = pd_optim_choose_isa(isa);
    if (status != PARAMD_OK) {
        (void)fprintf(stderr, "paramd: PARAMD_ISA=\"%s\" %s\n", isa != NULL ? isa : "",
                      status == PARAMD_UNSUPPORTED
                          ? "is not what this CPU has: give baseline, or leave it unset"
                          : "is not allowed: give baseline, v3 or v4");
    }
    return status == PARAMD_OK;
}

int main(int argc, char **argv)
{
    struct pd_config config;
    char error[512];
    switch (pd_config_read(argc, argv, &config, error, sizeof error)) {
    case PD_CONFIG_HELP:
        pd_config_help(stdout);
        return EXIT_SUCCESS;
    case PD_CONFIG_VERSION:
        (void)printf("paramd %s\n", PD_RELEASE);
        return EXIT_SUCCESS;
    case PD_CONFIG_BAD:
        (void)fprintf(stderr, "paramd: %s\n", error);
        return EXIT_BAD_OPTION;
    default:
        break;
    }
    if (!choose_isa()) {
        return EXIT_BAD_OPTION;
    }
    /* Every thread inherits it from the one that creates it (POSIX, pthread_create). */
    pd_optim_enter_thread();
    pd_log_setup(config.log_level, config.log_format);
    return pd_node_run(&config);
}
