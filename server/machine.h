/* What of this machine the daemon may use: cores and memory, with the limits of the cgroup it runs
 * in, which libc and libuv do not look at. */
#ifndef PARAMD_SERVER_MACHINE_H
#define PARAMD_SERVER_MACHINE_H

#include <stdint.h>

/* Cores this process may run on, at least 1. The directories are /proc/self and /sys/fs/cgroup. */
uint32_t pd_machine_cores(const char *proc, const char *cgroups);

/* Bytes of memory this process may use. */
uint64_t pd_machine_memory(const char *proc, const char *cgroups);

#endif
