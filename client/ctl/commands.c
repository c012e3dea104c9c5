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
     "Lists all models, a line each. READY says whether a model has values; LEVEL,\n"
     "when a push is acknowledged: applied, or logged, which no crash undoes; SESSIONS\n"
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
    {"export", "MODEL DIR", 2, 2, "writes a model as safetensors files",
     "Writes MODEL into DIR, made if need be: the weights to model.safetensors, the\n"
     "optimizer's state to optimizer.safetensors (state.TENSOR.exp_avg and the like,\n"
     "and state.TENSOR.step), and to paramd.json what import needs beside them. Needs\n"
     "the same memory for any size of model. A block is of one version; if workers\n"
     "push meanwhile, blocks may be of different ones: for one cut, stop pushing.\n"
     "\n"
     "    --file-size SIZE  most of a file, in bytes or as 500M or 5G (5G); more gets\n"
     "                      several files and an index, as transformers has them\n"
     "    --data-dir DATA   from a data directory that no daemon uses: starts the\n"
     "                      paramd beside paramctl, else that of PATH, on it and\n"
     "                      stops it: a start and a stop like any other to DATA,\n"
     "                      and to the machine's memory\n"
     "    --force           replaces a checkpoint, once the new one is whole\n"
     "    --progress        shows how far it is on stderr, as a terminal does anyway\n",
     "    paramctl export mnist /data/mnist\n"
     "    paramctl export mnist /data/mnist --force --json | jq .bytes\n"
     "    paramctl export mnist /data/mnist --data-dir /var/lib/paramd\n",
     pd_ctl_export},
    {"import", "DIR [MODEL]", 1, 2, "makes a model from safetensors files",
     "Makes a model from a directory of export, under its old name or as MODEL: with\n"
     "weights, moments, steps and hyper-parameters. What another program has put into\n"
     "its safetensors files since then is taken, too. A checkpoint of PyTorch or\n"
     "transformers without paramd.json becomes a model with one group, \"all\", in F32.\n"
     "Needs the same memory for any size of model.\n"
     "\n"
     "    --optimizer NAME  of a checkpoint without paramd.json: adam, sgd, ...\n"
     "    --set KEY=VALUE   and its hyper-parameters; may be given several times\n"
     "    --ack-level LEVEL when a push is acknowledged: applied, or logged, for which\n"
     "                      the daemon needs --data-dir (as exported, else applied)\n"
     "    --progress        shows how far it is on stderr, as a terminal does anyway\n",
     "    paramctl import /data/mnist\n"
     "    paramctl import /data/mnist mnist-again\n"
     "    paramctl import ./gpt2 gpt2 --optimizer adamw --set lr=3e-4 --set warmup=90\n",
     pd_ctl_import},
    {"hash", "MODEL", 1, 1, "one sum over a model, to compare two",
     "Prints one sum over all bits of MODEL: weights, moments, versions and steps. It\n"
     "is the same for the same bits on any number of shards, also after a restart. The\n"
     "daemon reads the whole model; while workers push it is of no single moment.\n",
     "    paramctl hash mnist\n"
     "    paramctl hash mnist --json --timeout 600 | jq -r .hash\n",
     pd_ctl_hash},
    {"snapshot", "", 0, 0, "writes what the daemon holds to its disk, now",
     "Has the daemon take a snapshot of all models into its --data-dir, and waits for\n"
     "it as long as the daemon answers. A crash then costs models at ack level applied\n"
     "what came after it. Who asks while one is being taken gets the next one.\n"
     "\n"
     "    --pause           one cut: no push takes effect anywhere while it is copied,\n"
     "                      so models and tensors fit together; pulls go on\n"
     "    --progress        shows how far it is on stderr, as a terminal does anyway\n",
     "    paramctl snapshot\n"
     "    paramctl snapshot --pause --json | jq .held_seconds\n",
     pd_ctl_snapshot},
    {"verify", "DIR", 1, 1, "checks every sum of a data directory",
     "Reads all of DIR, a daemon's --data-dir: MANIFEST, snapshots and logs. A line each\n"
     "says what was checked, a sentence on stderr what is damaged and where; with damage\n"
     "the exit status is 1. Changes nothing and asks no daemon: stop the one that uses\n"
     "DIR first (while it runs it checks its snapshots by itself).\n"
     "\n"
     "    --progress        shows how far it is on stderr, as a terminal does anyway\n",
     "    paramctl verify /var/lib/paramd\n"
     "    paramctl verify /var/lib/paramd --json | jq .damaged\n",
     pd_ctl_verify},
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
