/* Reads the command line and PARAMD_ADDRESS. What does not depend on the daemon is checked here, so
 * that a mistyped command line costs no connection. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl/ctl.h"

enum { TIMEOUT_DEFAULT_MS = 5000, PINGS_MAX = 1000000 };

#define SECONDS_MIN 0.001
#define SECONDS_MAX 86400.0

enum option_code {
    ADDRESS = 1,
    TIMEOUT,
    JSON,
    YES,
    COUNT,
    FORCE,
    FILE_SIZE,
    DATA_DIR,
    OPTIMIZER,
    SET,
    PROGRESS,
    PAUSE,
    ACK_LEVEL,
    HELP,
    VERSION
};

static const struct option options[] = {
    {"address", required_argument, NULL, ADDRESS},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"json", no_argument, NULL, JSON},
    {"yes", no_argument, NULL, YES},
    {"count", required_argument, NULL, COUNT},
    {"force", no_argument, NULL, FORCE},
    {"file-size", required_argument, NULL, FILE_SIZE},
    {"data-dir", required_argument, NULL, DATA_DIR},
    {"optimizer", required_argument, NULL, OPTIMIZER},
    {"set", required_argument, NULL, SET},
    {"progress", no_argument, NULL, PROGRESS},
    {"pause", no_argument, NULL, PAUSE},
    {"ack-level", required_argument, NULL, ACK_LEVEL},
    {"help", no_argument, NULL, HELP},
    {"version", no_argument, NULL, VERSION},
    {NULL, 0, NULL, 0},
};

static bool parse_timeout(const char *text, int *ret_ms)
{
    char *rest = NULL;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.') {
        return false;
    }
    double seconds = strtod(text, &rest);
    if (rest == text || *rest != '\0' || !(seconds >= SECONDS_MIN && seconds <= SECONDS_MAX)) {
        return false;
    }
    *ret_ms = (int)(seconds * 1000 + 0.5);
    return true;
}

static bool parse_count(const char *text, unsigned *ret_count)
{
    char *rest = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long count = strtoul(text, &rest, 10);
    if (errno != 0 || *rest != '\0' || count < 1 || count > PINGS_MAX) {
        return false;
    }
    *ret_count = (unsigned)count;
    return true;
}

/* Bytes, or thousands, millions or thousand millions of them. */
static bool parse_size(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "kMG";
    char *rest = NULL;
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    errno = 0;
    unsigned long long bytes = strtoull(text, &rest, 10);
    const char *unit = *rest != '\0' ? strchr(units, *rest) : NULL;
    for (const char *at = units; unit != NULL && at <= unit; at++) {
        if (__builtin_mul_overflow(bytes, 1000, &bytes)) {
            return false;
        }
    }
    rest += unit != NULL ? 1 : 0;
    if (errno != 0 || *rest != '\0' || bytes < 1) {
        return false;
    }
    *ret_bytes = bytes;
    return true;
}

static enum pd_ctl_exit take_hyper(struct pd_ctl *ctl, char *pair)
{
    if (ctl->hyper_count == PD_CTL_HYPERS_MAX) {
        return pd_ctl_bad_usage("--set is given more than %d times: one optimizer has fewer "
                                "hyper-parameters",
                                PD_CTL_HYPERS_MAX);
    }
    return pd_ctl_read_hyper(pair, &ctl->hypers[ctl->hyper_count++]);
}

static enum pd_ctl_exit take_option(struct pd_ctl *ctl, int code)
{
    switch ((enum option_code)code) {
    case ADDRESS:
        ctl->address = optarg;
        return PD_CTL_OK;
    case TIMEOUT:
        return parse_timeout(optarg, &ctl->timeout_ms)
                   ? PD_CTL_OK
                   : pd_ctl_bad_usage("--timeout \"%s\" is not allowed: give seconds from 0.001 to "
                                      "86400",
                                      optarg);
    case JSON:
        ctl->json = true;
        return PD_CTL_OK;
    case YES:
        ctl->yes = true;
        return PD_CTL_OK;
    case COUNT:
        return parse_count(optarg, &ctl->count)
                   ? PD_CTL_OK
                   : pd_ctl_bad_usage(
                         "--count \"%s\" is not allowed: give a whole number from 1 to "
                         "%d",
                         optarg, PINGS_MAX);
    case FORCE:
        ctl->force = true;
        return PD_CTL_OK;
    case FILE_SIZE:
        return parse_size(optarg, &ctl->file_bytes)
                   ? PD_CTL_OK
                   : pd_ctl_bad_usage("--file-size \"%s\" is not allowed: give bytes, or a number "
                                      "with k, M or G behind it, as 5G",
                                      optarg);
    case DATA_DIR:
        ctl->data_dir = optarg;
        return PD_CTL_OK;
    case OPTIMIZER:
        ctl->optimizer = optarg;
        return PD_CTL_OK;
    case SET:
        return take_hyper(ctl, optarg);
    case PROGRESS:
        ctl->progress = true;
        return PD_CTL_OK;
    case PAUSE:
        ctl->pause = true;
        return PD_CTL_OK;
    case ACK_LEVEL:
        ctl->ack_level_given = true;
        return pd_ctl_find_ack_level(optarg, &ctl->ack_level)
                   ? PD_CTL_OK
                   : pd_ctl_bad_usage("--ack-level \"%s\" is not allowed: give applied or logged",
                                      optarg);
    case HELP:
        ctl->help = true;
        return PD_CTL_OK;
    case VERSION:
        ctl->version = true;
        return PD_CTL_OK;
    }
    return PD_CTL_OK;
}

/* The words that are no options: the command and its arguments. */
static enum pd_ctl_exit take_words(struct pd_ctl *ctl, char **words, int count)
{
    bool asks_help = count > 0 && strcmp(words[0], "help") == 0;
    ctl->help = ctl->help || asks_help;
    if (asks_help) {
        words++;
        count--;
    }
    if (count == 0) {
        return ctl->help || ctl->version
                   ? PD_CTL_OK
                   : pd_ctl_bad_usage("no command is given: paramctl --help lists them");
    }
    ctl->command = pd_ctl_find_command(words[0]);
    ctl->arguments = words + 1;
    ctl->argument_count = count - 1;
    if (ctl->command == NULL) {
        return pd_ctl_bad_usage("\"%s\" is no command: paramctl --help lists them", words[0]);
    }
    return PD_CTL_OK;
}

/* Whether the command takes what it was given. */
static enum pd_ctl_exit check_command(const struct pd_ctl *ctl)
{
    const struct pd_ctl_command *command = ctl->command;
    if (ctl->argument_count < command->arguments_min ||
        (command->arguments_max >= 0 && ctl->argument_count > command->arguments_max)) {
        return pd_ctl_bad_usage("%s takes %s: see paramctl help %s", command->name,
                                command->arguments[0] != '\0' ? command->arguments : "no arguments",
                                command->name);
    }
    const struct {
        bool given;
        const char *option;
        const char *commands;
    } own[] = {
        {ctl->yes, "--yes", "delete"},
        {ctl->count > 0, "--count", "ping"},
        {ctl->force, "--force", "export"},
        {ctl->file_bytes > 0, "--file-size", "export"},
        {ctl->data_dir != NULL, "--data-dir", "export"},
        {ctl->optimizer != NULL, "--optimizer", "import"},
        {ctl->hyper_count > 0, "--set", "import"},
        {ctl->ack_level_given, "--ack-level", "import"},
        {ctl->pause, "--pause", "snapshot"},
        {ctl->progress, "--progress", "export, import, snapshot and verify"},
    };
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (own[i].given && strstr(own[i].commands, command->name) == NULL) {
            return pd_ctl_bad_usage("%s is for %s: leave it out with %s", own[i].option,
                                    own[i].commands, command->name);
        }
    }
    return PD_CTL_OK;
}

enum pd_ctl_exit pd_ctl_read_options(int argc, char **argv, struct pd_ctl *ret_ctl)
{
    const char *address = getenv("PARAMD_ADDRESS");
    struct pd_ctl ctl = {
        .address = address != NULL && address[0] != '\0' ? address : "127.0.0.1:7700",
        .timeout_ms = TIMEOUT_DEFAULT_MS,
    };
    enum pd_ctl_exit outcome = PD_CTL_OK;
    while (outcome == PD_CTL_OK) {
        int code = getopt_long(argc, argv, ":", options, NULL);
        if (code == -1) {
            break;
        }
        if (code == ':') {
            return pd_ctl_bad_usage("%s needs a value: paramctl --help tells which",
                                    argv[optind - 1]);
        }
        if (code == '?' && optopt > VERSION) {
            return pd_ctl_bad_usage("-%c is no option, all are long ones: see paramctl --help",
                                    optopt);
        }
        if (code == '?') {
            return pd_ctl_bad_usage("%s is no option, is cut too short, or takes no value: see "
                                    "paramctl --help",
                                    argv[optind - 1]);
        }
        outcome = take_option(&ctl, code);
    }
    if (outcome == PD_CTL_OK) {
        outcome = take_words(&ctl, argv + optind, argc - optind);
    }
    if (outcome == PD_CTL_OK && ctl.command != NULL && !ctl.help && !ctl.version) {
        outcome = check_command(&ctl);
    }
    if (ctl.count == 0) {
        ctl.count = 1;
    }
    *ret_ctl = ctl;
    return outcome;
}
