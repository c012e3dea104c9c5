"""The daemon with a data directory is killed (-9) again and again under its workers, at random
moments and in its recovery, and comes back at the same address. At `logged` nothing acknowledged is
lost and nothing is doubled; a single worker's model has the bits that it has without any kill; at
`applied` each worker is told exactly what it lost. Calls wait 60 s at most: none hangs.

PARAMD_KILLS: how many for the ledger of four workers (25)."""

import concurrent.futures
import contextlib
import os
import subprocess
import threading
import unittest

from support import daemon, ledger, workers
from support.node import Node

KILLS = int(os.environ.get("PARAMD_KILLS", "25"))
FEWER = max(KILLS // 4, 4)
PARAMCTL = os.path.join(daemon.BUILD, "bin", "paramctl")


@contextlib.contextmanager
def cuts(address):
    """Meanwhile somebody asks for one cut across the shards after the other. A kill may end each
    of them; behind the last one it is taken."""
    over = threading.Event()

    def ask(*options, check=False):
        subprocess.run([PARAMCTL, *options, "--address", address, "snapshot", "--pause"],
                       capture_output=True, timeout=2 * daemon.SECONDS_MAX, check=check)

    def ask_again_and_again():
        while not over.is_set():
            ask()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask_again_and_again)
        try:
            yield
        finally:
            over.set()
    asking.result()
    ask("--timeout", str(daemon.SECONDS_MAX), check=True)


def in_snapshot(data):
    """Whether one was being written, published, or removed when the daemon died: two are kept."""
    names = os.listdir(data)
    numbers = {name.split(".")[0] for name in names if name.startswith("snapshot-")}
    return len(numbers) > 2 or any(name.endswith(".new") for name in names)


class KillLoop(ledger.Case):
    """Each test kills under other workers, at another level or with other shards."""

    level = "logged"
    block = 4096

    def kill_under(self, node, crew, kills, shards):
        with cuts(node.address) if len(shards) > 1 else contextlib.nullcontext():
            self.kill_again_and_again(node, crew, kills, shards)

    def kill_again_and_again(self, node, crew, kills, shards):
        """In each batch of pushes one kill; a fifth of them are followed by one in the recovery."""
        in_snapshots = 0
        for i in range(kills):
            self.progress(crew)
            node.kill()
            in_snapshots += in_snapshot(node.data)
            if self.random.random() < 0.2:
                node.kill_at_start(self.random.random() * 0.1, shards[i % len(shards)])
            # None, one behind the recovery, or one after the other.
            node.start(shards[i % len(shards)], "--snapshot-every",
                       self.random.choice(("0", "60", "0.001", "0.001")))
        print(f"  {in_snapshots} of {kills} kills came in a snapshot", flush=True)

    def ledger_survives(self, mode, kills, shards=(2,)):
        self.pushes = ledger.BATCH * (kills + 1)
        with Node() as node:
            node.start(shards[-1])
            told = self.run_crew(node.address, mode,
                                 lambda crew: self.kill_under(node, crew, kills, shards))
            self.check(node.server, told, mode)
            node.stop()
            # After a stop in order everything is there as it was.
            self.check(node.start(), told, mode)
        return told

    def bits(self, node):
        """The hash of the model of the Adam worker."""
        run = subprocess.run([PARAMCTL, "--address", node.address, "hash", "adam"], text=True,
                             capture_output=True, check=True)
        return run.stdout.split()[0]

    def adam(self, kills, disturbed, shards=(2,)):
        """The bits after one worker's pushes, and after a stop in order and another start."""
        with Node() as node:
            node.start(shards[-1])
            with workers.Worker("adam", node.address, "adam", ledger.BATCH * (kills + 1), self.seed,
                                "logged") as worker:
                if disturbed:
                    self.kill_under(node, [worker], kills, shards)
                worker.let_go()
                last = worker.finish()[-1].split()
            self.assertEqual(last[:2], ["lost", "0"])
            if disturbed:
                self.assertGreater(int(last[3]), 0, "no push was under way at any kill")
            bits = self.bits(node)
            node.stop()
            node.start(3)
            self.assertEqual(self.bits(node), bits)
        return bits

    def test_four_workers_lose_and_double_nothing_at_logged(self):
        self.ledger_survives("plain", KILLS)

    def test_cancelled_and_refused_pushes_are_told_truly_at_logged(self):
        self.ledger_survives("mixed", FEWER)

    def test_the_ledger_is_exact_when_the_shards_change_at_each_kill(self):
        self.ledger_survives("plain", FEWER, shards=(4, 3, 1))

    def test_one_worker_finds_the_bits_of_an_undisturbed_run(self):
        self.assertEqual(self.adam(FEWER, True), self.adam(FEWER, False))

    def test_one_worker_finds_the_same_bits_on_one_four_and_three_shards(self):
        self.assertEqual(self.adam(FEWER, True, shards=(4, 3, 1)), self.adam(FEWER, False))

    def test_at_applied_each_worker_is_told_what_it_lost(self):
        self.level = "applied"
        told = self.ledger_survives("lossy", FEWER)
        lost = [counters["lost"] for *_, counters in told]
        print(f"  lost: {lost} blocks", flush=True)
        self.assertGreater(sum(lost), 0)


if __name__ == "__main__":
    unittest.main()
