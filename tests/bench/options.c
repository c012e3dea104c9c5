/* The command line of options.h: one table that is read with getopt_long and printed by --help. */
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/optim/optim.h"
#include "tests/bench/options.h"

enum { ROUNDS_DEFAULT = 7, NUMBER_MAX = 64, CONNECTIONS_MAX = 65536, PARAMETERS_MIN = 1000000 };

static const uint64_t PARAMETERS_MAX = UINT64_C(1) << 40;

static const struct {
    const char *name;
    const char *value; /* NULL: takes none */
    char letter;       /* in pd_command.options */
    const char *help;
} table[] = {
    {"json", NULL, 'j', "One JSON object a line instead of the table."},
    {"rounds", "N", 'r',
     "How often each case is measured, in turns with its limits; the median\n"
     "    counts. 3 to 101, default: 7."},
    {"optimizer", "NAME", 'o', "Only this one. Default: all."},
    {"threads", "N", 't',
     "Only so many threads. Default: each number up to the cores, by doubling."},
    {"operation", "NAME", 'O', "push, pull or push_pull. Default: all three."},
    {"transport", "NAME", 'T', "tcp, unix or shm (shared memory). Default: tcp."},
    {"workers", "N", 'w', "Worker processes, 1 to 64. Default: 1."},
    {"shards", "N", 's', "Shards of the daemon, 1 to 64. Default: 1."},
    {"connections", "N", 'n', "Only so many, from 5 to 65536, beside four."},
    {"parameters", "N", 'N', "Only so many, from 1000000 on, beside ten million."},
    {"size", "SIZE", 'z',
     "Bytes of the tensor as it travels, as 64KiB, 256MiB or 1GiB; a multiple\n"
     "    of 4. Default: 256MiB (small: 2KiB; connections: 256KiB)."},
    {"dtype", "NAME", 'd', "f32 or bf16, on the wire. Default: f32."},
    {"payload-sum", "on|off", 'p',
     "Checksums over payloads. Default: off, as auto on one machine."},
    {"full", NULL, 'f',
     "The product of all sizes, workers, shards, transports and types; those given\n"
     "    restrict it. Takes hours."},
    {"plot", "DIR", 'P', "Draws the curves into that folder, which is made (needs gnuplot)."},
    {"dir", "DIR", 'D',
     "Folder on the disk that is measured, where a folder of the run's own is made and\n"
     "    removed. Default: this program's."},
    {"help", NULL, 'h', "Prints this."},
};

enum { OPTIONS = sizeof table / sizeof table[0] };

static void print_help(const struct pd_command *commands, size_t command_count,
                       const struct pd_command *command)
{
    if (command == NULL) {
        printf("usage: paramd-bench COMMAND [OPTION]...\n\n"
               "How fast paramd is on this machine, beside what the machine could do: every\n"
               "figure is a median of measurements made in turns with its limit. Starts and\n"
               "stops a daemon of its own, the paramd beside this program.\n\n");
        for (size_t i = 0; i < command_count; i++) {
            printf("  %-11s %s\n", commands[i].name, commands[i].summary);
        }
        printf("\n`paramd-bench COMMAND --help` lists the options of a command.\n");
    } else {
        printf("usage: paramd-bench %s [OPTION]...\n\n%s\n", command->name, command->summary);
        for (size_t i = 0; i < OPTIONS; i++) {
            if (strchr(command->options, table[i].letter) != NULL) {
                printf("\n  --%s%s%s\n    %s\n", table[i].name, table[i].value != NULL ? " " : "",
                       table[i].value != NULL ? table[i].value : "", table[i].help);
            }
        }
    }
    printf("\nExit status: 0; 1 if something failed; 2 for a bad option; 3 if the run proves\n"
           "nothing because a limit was measured too weak (stderr says which).\n");
}

static uint64_t read_number(const char *option, uint64_t min, uint64_t max)
{
    char *rest = NULL;
    errno = 0;
    unsigned long number = strtoul(optarg, &rest, 10);
    if (!isdigit((unsigned char)optarg[0]) || errno != 0 || *rest != '\0' || number < min ||
        number > max) {
        errx(2, "--%s \"%s\" is not allowed: give a whole number from %" PRIu64 " to %" PRIu64,
             option, optarg, min, max);
    }
    return number;
}

static int read_word(const char *option, const char *const *words, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(optarg, words[i]) == 0) {
            return i;
        }
    }
    errx(2, "--%s \"%s\" is not allowed: see --help", option, optarg);
}

static size_t read_size(void)
{
    size_t bytes = 0;
    if (!pd_size_parse(optarg, &bytes) || bytes < 4 || bytes % 4 != 0 || bytes > 64 * PD_GIB) {
        errx(2,
             "--size \"%s\" is not allowed: give a multiple of 4 bytes up to 64GiB, as 64KiB or "
             "256MiB",
             optarg);
    }
    return bytes;
}

static void take(struct pd_options *options, char letter, const char *name)
{
    static const char *const operations[] = {"push", "pull", "push_pull"};
    static const char *const transports[] = {"tcp", "unix", "shm"};
    static const char *const dtypes[] = {"f32", "bf16"};
    static const char *const switches[] = {"off", "on"};
    switch (letter) {
    case 'j':
        options->json = true;
        break;
    case 'f':
        options->full = true;
        break;
    case 'r':
        options->rounds = (unsigned)read_number(name, 3, PD_ROUNDS_MAX);
        break;
    case 'o':
        options->optimizer = optarg;
        if (pd_optimizer_find(optarg) == NULL) {
            errx(2, "--optimizer \"%s\" is not known", optarg);
        }
        break;
    case 't':
        options->threads = (unsigned)read_number(name, 1, NUMBER_MAX);
        break;
    case 'w':
        options->workers = (unsigned)read_number(name, 1, NUMBER_MAX);
        break;
    case 's':
        options->shards = (unsigned)read_number(name, 1, NUMBER_MAX);
        break;
    case 'n':
        options->connections = (unsigned)read_number(name, 5, CONNECTIONS_MAX);
        break;
    case 'N':
        options->parameters = read_number(name, PARAMETERS_MIN, PARAMETERS_MAX);
        break;
    case 'P':
        options->plot = optarg;
        break;
    case 'D':
        options->folder = optarg;
        break;
    case 'z':
        options->size_bytes = read_size();
        break;
    case 'O':
        options->operation = read_word(name, operations, 3);
        break;
    case 'T':
        options->transport = read_word(name, transports, PD_TRANSPORTS);
        break;
    case 'd':
        options->bf16 = read_word(name, dtypes, 2);
        break;
    default:
        options->payload_sum = read_word(name, switches, 2) == 1;
        break;
    }
}

enum pd_transport pd_options_transport(const struct pd_options *options)
{
    return options->transport < 0 ? PD_TRANSPORT_TCP : (enum pd_transport)options->transport;
}

static const struct pd_command *find(const char *name, const struct pd_command *commands,
                                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    errx(2, "\"%s\" is no command: paramd-bench --help lists them", name);
}

/* The command's own options in getopt's form; val is the place in the table, from 1. */
static void list_options(const struct pd_command *command, struct option *ret_list)
{
    size_t count = 0;
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strchr(command->options, table[i].letter) != NULL) {
            ret_list[count++] =
                (struct option){.name = table[i].name,
                                .has_arg = table[i].value != NULL ? required_argument : no_argument,
                                .val = (int)i + 1};
        }
    }
    ret_list[count] = (struct option){0};
}

const struct pd_command *pd_options_read(int argc, char **argv, const struct pd_command *commands,
                                         size_t command_count, struct pd_options *ret_options)
{
    struct option list[OPTIONS + 1];
    int place;
    if (argc < 2) {
        errx(2, "no command is given: paramd-bench --help lists them");
    }
    if (strcmp(argv[1], "--help") == 0) {
        print_help(commands, command_count, NULL);
        exit(0);
    }
    const struct pd_command *command = find(argv[1], commands, command_count);
    *ret_options = (struct pd_options){
        .argv = argv, .rounds = ROUNDS_DEFAULT, .operation = -1, .transport = -1, .bf16 = -1};
    list_options(command, list);
    /* getopt_long takes the command for the program's name, and so its messages begin with it. */
    while ((place = getopt_long(argc - 1, argv + 1, "", list, NULL)) != -1) {
        if (place == '?') {
            errx(2, "paramd-bench %s --help lists the options", command->name);
        }
        if (table[place - 1].letter == 'h') {
            print_help(commands, command_count, command);
            exit(0);
        }
        take(ret_options, table[place - 1].letter, table[place - 1].name);
    }
    if (optind != argc - 1) {
        errx(2, "\"%s\" is too much: paramd-bench %s --help", argv[optind + 1], command->name);
    }
    return command;
}
