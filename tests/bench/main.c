/* paramd-bench: how fast paramd is, beside what the machine could do. */
#include "server/optim/optim.h"
#include "tests/bench/commands.h"

static const struct pd_command commands[] = {
    {"limits", "Memory, loopback and round trips: what this machine can do at all.", "jrh",
     pd_bench_limits},
    {"kernels", "Each optimizer, beside additions with the same loads and stores.", "jrothP",
     pd_bench_kernels},
    {"dense",
     "One large tensor: push, pull, push_pull. A set of cases that takes three minutes,\n"
     "              or the one that options describe.",
     "jrOTwszdpfPh", pd_bench_dense},
    {"small", "10,000 small tensors in one call and in one call each; --size is a tensor's.",
     "jrTszph", pd_bench_small},
    {"latency", "A push of 64 bytes and of 256 KiB: p50, p99, p99.9, idle and loaded.", "jrTh",
     pd_bench_latency},
    {"rate", "64-byte pushes a second, 1 to 1,024 of them outstanding.", "jrTPh", pd_bench_rate},
    {"connections", "4, 64, 256 and 1,024 connections, all of them pushing; --size is a tensor's.",
     "jrTsznPh", pd_bench_connections},
    {"scale", "A million to a billion parameters, and the daemon's memory.", "jrTNPh",
     pd_bench_scale},
    {"calls", "System calls of worker and server for each block of 256 KiB.", "jrTzh",
     pd_bench_calls},
    {"durable",
     "Pushes acknowledged when they are on the disk, snapshots and recovery; --size is the\n"
     "              large tensor's.",
     "jrTzDh", pd_bench_durable},
};

int main(int argc, char **argv)
{
    struct pd_options options;
    if (pd_optim_choose_isa(NULL) != PARAMD_OK) {
        return 1;
    }
    const struct pd_command *command =
        pd_options_read(argc, argv, commands, sizeof commands / sizeof commands[0], &options);
    return command->run(&options);
}
