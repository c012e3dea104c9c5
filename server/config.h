/* The daemon's settings: one table of options that makes the command line, the environment and
 * --help. Each --some-option is also PARAMD_SOME_OPTION; the command line wins. */
#ifndef PARAMD_SERVER_CONFIG_H
#define PARAMD_SERVER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "server/base/log.h"
#include "server/host.h"
#include "server/net/address.h"

struct pd_config {
    char listen_host[PD_HOST_BYTES]; /* "": all addresses */
    uint16_t listen_port;            /* 0: a free one */
    const char *unix_path;           /* NULL: none */
    uint32_t shards;
    uint64_t memory_max;        /* bytes */
    uint64_t model_memory_max;  /* bytes, of one model; 0: no limit of its own */
    uint64_t shared_memory_max; /* bytes, of connections that share memory with their workers */
    uint64_t lease_us;
    uint64_t retention_us;
    enum pd_payload_sum_mode payload_sum;
    uint32_t connections_max;
    uint64_t busy_poll_us;
    bool pin;
    enum pd_log_level log_level;
    enum pd_log_format log_format;
    const char *address_file;   /* NULL: none */
    const char *data_dir;       /* NULL: nothing is kept */
    uint64_t log_max;           /* bytes of all shards' logs */
    uint64_t snapshot_every_us; /* 0: only where the logs fill, and at the end */
    uint64_t snapshot_updates;  /* entries of pushes between two snapshots; 0: any number */
};

enum pd_config_outcome { PD_CONFIG_RUN = 0, PD_CONFIG_HELP, PD_CONFIG_VERSION, PD_CONFIG_BAD };

/* Reads defaults, environment and command line, in this order. PD_CONFIG_BAD: error is one sentence
 * that names the option, the value and what is allowed. Texts in ret_config live as long as argv
 * and the environment. */
enum pd_config_outcome pd_config_read(int argc, char **argv, struct pd_config *ret_config,
                                      char *error, size_t error_bytes)
    __attribute__((warn_unused_result));

void pd_config_help(FILE *out);

#endif
