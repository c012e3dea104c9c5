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

enum option_code { ADDRESS = 1, TIMEOUT, JSON, YES, COUNT, HELP, VERSION };

static const struct option options[] = {
    {"address", required_argument, NULL, ADDRESS},
    {"timeout", required_argument, NULL, TIMEOUT},
    {"json", no_argument, NULL, JSON},
    {"yes", no_argument, NULL, YES},
    {"count", required_argument, NULL, COUNT},
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
    if (ctl->yes && command->run != pd_ctl_delete) {
        return pd_ctl_bad_usage("--yes is for delete: leave it out with %s", command->name);
    }
    if (ctl->count > 0 && command->run != pd_ctl_ping) {
        return pd_ctl_bad_usage("--count is for ping: leave it out with %s", command->name);
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
