/* What the parts of paramctl share: how a command is described, what it is run with, how it ends.
 * One file holds one command. */
#ifndef PARAMD_CLIENT_CTL_CTL_H
#define PARAMD_CLIENT_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>

#include "client/include/paramd.h"

/* Exit statuses, documented in --help. */
enum { PD_CTL_HYPERS_MAX = 64 };

enum pd_ctl_exit { PD_CTL_OK = 0, PD_CTL_FAILED = 1, PD_CTL_USAGE = 2 };

/* The options and arguments of one run. Texts are argv's and the environment's. */
struct pd_ctl {
    const char *address;
    int timeout_ms;
    bool json;
    bool yes;                                      /* delete */
    unsigned count;                                /* ping; 0: not given */
    bool force;                                    /* export */
    uint64_t file_bytes;                           /* export: most of one file; 0: not given */
    const char *data_dir;                          /* export; NULL: a running daemon is asked */
    const char *optimizer;                         /* import; NULL: not given */
    struct paramd_hyper hypers[PD_CTL_HYPERS_MAX]; /* import */
    size_t hyper_count;
    bool ack_level_given; /* import */
    enum paramd_ack_level ack_level;
    bool pause;    /* snapshot */
    bool progress; /* export, import, snapshot, verify */
    bool help;
    bool version;
    const struct pd_ctl_command *command; /* NULL: none given */
    char **arguments;                     /* of the command */
    int argument_count;
    struct paramd_client *client; /* connects when a command first calls it */
};

struct pd_ctl_command {
    const char *name;
    const char *arguments; /* as shown after the name, "" for none */
    int arguments_min;
    int arguments_max; /* -1: any number */
    const char *summary;
    const char *help;     /* what it does, and its own options */
    const char *examples; /* a line each */
    enum pd_ctl_exit (*run)(const struct pd_ctl *ctl);
};

/* NULL if there is no such command. */
const struct pd_ctl_command *pd_ctl_find_command(const char *name);
/* The table, ended by a row without a name. */
extern const struct pd_ctl_command pd_ctl_commands[];

/* options.c: the command line and PARAMD_ADDRESS. PD_CTL_USAGE after the error was printed. */
enum pd_ctl_exit pd_ctl_read_options(int argc, char **argv, struct pd_ctl *ret_ctl);

/* help.c */
void pd_ctl_print_help(void);
void pd_ctl_print_command_help(const struct pd_ctl_command *command);

enum pd_ctl_exit pd_ctl_status(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_models(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_tensors(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_set(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_delete(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_hash(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_ping(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_export(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_import(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_snapshot(const struct pd_ctl *ctl);
enum pd_ctl_exit pd_ctl_verify(const struct pd_ctl *ctl);

/* output.c */

/* One sentence on stderr; returns PD_CTL_USAGE. */
enum pd_ctl_exit pd_ctl_bad_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; returns PD_CTL_FAILED. */
enum pd_ctl_exit pd_ctl_refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What the library says of the call that just failed with status, and what to do next; returns
 * PD_CTL_FAILED. */
enum pd_ctl_exit pd_ctl_failed(const struct pd_ctl *ctl, int status);
/* Writes the one document of a --json run and takes the reference. NULL: there was no memory. */
enum pd_ctl_exit pd_ctl_print_json(json_t *document);
/* An integer where the number is one, null where it is not finite. A new reference. */
json_t *pd_ctl_json_number(double number);
json_t *pd_ctl_json_counters(const struct paramd_stat *stat);
/* "applied" and so on; the other way round: false if no level is called so. */
const char *pd_ctl_ack_level_name(enum paramd_ack_level level);
bool pd_ctl_find_ack_level(const char *name, enum paramd_ack_level *ret_level);
json_t *pd_ctl_json_model(const struct paramd_model_info *info);
/* A new reference. */
json_t *pd_ctl_json_hypers(const struct paramd_hyper *hypers, size_t count);
/* Cuts a KEY=VALUE at its sign; what does not read as a number is a choice's text. PD_CTL_USAGE
 * after the error was printed. */
enum pd_ctl_exit pd_ctl_read_hyper(char *pair, struct paramd_hyper *ret_hyper);
/* 0 if the daemon does not tell it. */
double pd_ctl_counter(const struct paramd_stat *stat, const char *name);

#endif
