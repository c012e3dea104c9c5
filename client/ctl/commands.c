/* The commands as data: what is called, what --help and usage errors say of it. */
#include <string.h>

#include "client/ctl/ctl.h"

/* clang-format off */
const struct pd_ctl_command pd_ctl_commands[] = {
    {"status", "", 0, 0, "the daemon: uptime, memory, connections, errors",
     "Shows the daemon's counters. Those without a line of their own follow under the\n"
     "names that proto/README.md explains.\n",
     "    paramctl status\n"
     "    paramctl status --json | jq .counters.memory_bytes\n",
     pd_ctl_status},
    {"models", "", 0, 0, "the models it holds",
     "Lists all models, a line each. READY says whether a model has values; SESSIONS\n"
     "are workers, also those whose push ids are only remembered.\n",
     "    paramctl models\n"
     "    paramctl models --json | jq -r '.models[] | select(.ready) | .name'\n",
     pd_ctl_models},
    {"tensors", "MODEL", 1, 1, "one model: tensors, groups, counters",
     "Shows the tensors of MODEL with the versions of their blocks (0: no values yet;\n"
     "1: first values; one more for each applied push), the hyper-parameters of its\n"
     "groups as they are now, and its counters.\n",
     "    paramctl tensors mnist\n"
     "    paramctl tensors mnist --json | jq '.groups[0].hypers.lr'\n",
     pd_ctl_tensors},
    {"set", "MODEL GROUP KEY=VALUE...", 3, -1, "changes hyper-parameters while training",
     "Changes hyper-parameters of GROUP for every push from now on, of all workers.\n"
     "All of them are changed, or none. `paramctl tensors MODEL` shows the keys.\n",
     "    paramctl set mnist all lr=0.0005\n"
     "    paramctl set mnist all schedule=cosine hold=1000 total=20000\n",
     pd_ctl_set},
    {"delete", "MODEL", 1, 1, "deletes a model with all its state",
     "Deletes MODEL: weights, moments, sessions. Asks first; without a terminal to ask\n"
     "on, --yes must be given.\n"
     "\n"
     "    --yes            does not ask\n",
     "    paramctl delete old-run\n"
     "    paramctl delete old-run --yes\n",
     pd_ctl_delete},
    {"ping", "", 0, 0, "how long a round trip takes",
     "Connects, and then measures round trips one after the other.\n"
     "\n"
     "    --count N        how many, 1 to 1000000 (1)\n",
     "    paramctl ping\n"
     "    paramctl ping --count 1000 --json\n",
     pd_ctl_ping},
    {NULL, NULL, 0, 0, NULL, NULL, NULL, NULL},
};
/* clang-format on */

const struct pd_ctl_command *pd_ctl_find_command(const char *name)
{
    const struct pd_ctl_command *command = pd_ctl_commands;
    while (command->name != NULL && strcmp(command->name, name) != 0) {
        command++;
    }
    return command->name != NULL ? command : NULL;
}
