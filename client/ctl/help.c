/* What --help prints, from the table of commands. */
#include <stdio.h>

#include "client/ctl/ctl.h"

static const char options_help[] =
    "Options, before or after the command:\n"
    "  --address ADDRESS  the daemon: HOST:PORT, [IPV6]:PORT or unix:PATH\n"
    "                     (PARAMD_ADDRESS of the environment, else 127.0.0.1:7700)\n"
    "  --timeout SECONDS  most time to wait for an answer, 0.001 to 86400 (5)\n"
    "  --json             prints one JSON document instead of text\n"
    "  --help             prints this, or what a command does\n"
    "  --version          prints the version\n";

void pd_ctl_print_help(void)
{
    (void)printf("usage: paramctl [OPTION]... COMMAND [ARGUMENT]...\n\n"
                 "Looks at a running paramd, and steers it.\n\nCommands:\n");
    for (const struct pd_ctl_command *command = pd_ctl_commands; command->name != NULL; command++) {
        char synopsis[64];
        (void)snprintf(synopsis, sizeof synopsis, "%s %s", command->name, command->arguments);
        (void)printf("  %-29s%s\n", synopsis, command->summary);
    }
    (void)printf("  %-29s%s\n\n%s", "help [COMMAND]", "this, or what a command does", options_help);
    (void)printf("\nExamples:\n"
                 "    paramctl --address 10.0.0.7:7700 status\n"
                 "    PARAMD_ADDRESS=unix:/run/paramd/paramd.sock paramctl models\n"
                 "    paramctl set mnist all lr=0.0005\n"
                 "    paramctl models --json | jq -r '.models[].name'\n"
                 "\nOnly results go to stdout; an error is one sentence on stderr.\n"
                 "Exit status: 0 done, 1 failed, 2 the command line is wrong.\n");
}

void pd_ctl_print_command_help(const struct pd_ctl_command *command)
{
    (void)printf("usage: paramctl [OPTION]... %s%s%s\n\n%s\n%s\nExamples:\n%s", command->name,
                 command->arguments[0] != '\0' ? " " : "", command->arguments, command->help,
                 options_help, command->examples);
}
