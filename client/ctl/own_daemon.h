/* A daemon of paramctl's own, for a data directory that no other one uses. One at a time. */
#ifndef PARAMD_CLIENT_CTL_OWN_DAEMON_H
#define PARAMD_CLIENT_CTL_OWN_DAEMON_H

#include "client/ctl/ctl.h"

/* Starts the paramd beside paramctl, else that of PATH, and waits until it is ready. After
 * PD_CTL_OK *ret_address is where it listens, until stop; else the error was printed and there is
 * none. From here on a signal that ends paramctl ends the daemon, too. */
enum pd_ctl_exit pd_ctl_own_daemon_start(const char *data_dir, const char **ret_address);
/* Waits for its end; what keeps it from an orderly one is printed. */
void pd_ctl_own_daemon_stop(void);

#endif
