#!/usr/bin/python3
"""The power is cut under a daemon at `logged`, on ext4 and on XFS, again and again, now and then in
its recovery, too: no acknowledged push is lost and none doubled. The same daemon without fdatasync
on its shards' logs loses, which shows that the test would see it.

PARAMD_BUILD: the build to test (build/debug). PARAMD_CUTS: on each file system (75)."""

import os
import signal
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("PARAMD_BUILD", os.path.join(ROOT, "build", "debug"))
sys.path.append(os.path.join(ROOT, "tests", "integration"))

from support import daemon, ledger  # noqa: E402
from support.node import FAULTY, Node  # noqa: E402
from support.volume import Volume  # noqa: E402

CUTS = int(os.environ.get("PARAMD_CUTS", "75"))
CONTROL_CUTS = 20
CONTROL_LOST_MIN = CONTROL_CUTS // 10


def stopped(pid):
    """Whether all its threads are: what they had in the kernel has come back."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/stat", encoding="ascii") as file:
                if file.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        except (FileNotFoundError, ProcessLookupError):
            return False  # it has just ended
    return True


def cut_power(volume, process):
    """ext4 lets a call that is under way succeed although nothing is written any more; so the
    daemon stands still first."""
    process.send_signal(signal.SIGSTOP)
    daemon.wait_until(lambda: stopped(process.pid), "the daemon to stand still")
    volume.cut()


class PowerCut(ledger.Case):
    """Two workers, who look at the values after each cut, and all of it at the end."""

    level = "logged"
    workers = 2

    def loses_nothing(self, kind):
        self.pushes = ledger.BATCH * (CUTS + 1)
        self.block = 1 << (self.workers * self.pushes).bit_length()

        def cut_under(crew):
            for _ in range(CUTS):
                self.progress(crew)
                cut_power(volume, node.server.process)
                node.kill()
                volume.mount_anew()
                if self.random.random() < 0.2:
                    node.kill_at_start(self.random.random() * 0.1, self.random.randrange(1, 4),
                                       lambda process: cut_power(volume, process))
                    volume.mount_anew()
                node.start(self.random.randrange(1, 4), "--snapshot-every",
                           self.random.choice(("0", "60", "0.001", "0.001")))

        with Volume(kind) as volume, Node(os.path.join(volume.path, "data")) as node:
            node.start()
            told = self.run_crew(node.address, "plain", cut_under)
            self.check(node.server, told, "plain")
            node.stop()

    def loses_unsynced(self, volume, number):
        """Whether a daemon that does not sync loses what it acknowledged."""
        data = os.path.join(volume.path, str(number))
        with Node(data) as node:
            node.start(program=FAULTY, environment={"PARAMD_FAULT": "unsynced"})
            with ledger.start(node.address, 0, 1, ledger.BATCH * 2, self.seed, "plain",
                              "logged") as worker:
                self.progress([worker], least=2)
                cut_power(volume, node.server.process)
                node.kill()
                volume.mount_anew()
                node.start()
                worker.let_go()
                return worker.process.wait(daemon.SECONDS_MAX) != 0 and \
                    "acknowledged push" in worker.errors()

    def control_loses(self, kind):
        self.workers = 1
        with Volume(kind) as volume:
            lost = sum(self.loses_unsynced(volume, number) for number in range(CONTROL_CUTS))
        print(f"  without fdatasync {lost} of {CONTROL_CUTS} cuts lost something", flush=True)
        self.assertGreaterEqual(lost, CONTROL_LOST_MIN)

    def test_nothing_acknowledged_is_lost_on_ext4(self):
        self.loses_nothing("ext4")

    def test_nothing_acknowledged_is_lost_on_xfs(self):
        self.loses_nothing("xfs")

    def test_without_fdatasync_it_is_on_ext4(self):
        self.control_loses("ext4")

    def test_without_fdatasync_it_is_on_xfs(self):
        self.control_loses("xfs")


if __name__ == "__main__":
    unittest.main()
