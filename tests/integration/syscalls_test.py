"""One call to the disk after the other fails, once: in a scripted run (start, a model, pushes, a
stop in order), and in one that begins with a recovery, the 1st, 2nd, 3rd ... pwrite, fdatasync,
rename, open or fallocate ends with EIO. The daemon stops with a sentence or goes on; another one on
the same directory finds the ledger exact."""

import os
import signal
import unittest

from support import daemon, ledger
from support.node import FAULTY, Node

CALLS_MAX = 1000


class Syscalls(ledger.Case):
    """A worker that goes on with whatever daemon there is."""

    level = "logged"
    workers = 1
    block = 1024

    def end(self, node):
        """The daemon has stopped by itself, or does so when asked to: in order or with a reason."""
        log = node.server.log
        status = node.end(signal.SIGTERM)
        if status != 0:
            self.stopped = True
            self.assertEqual(status, 1, log())
            self.assertRegex(log(), "level=error")

    def crew_with(self, node, crew):
        """The first daemon may stop at any moment; then the second takes over."""
        for worker in crew:
            worker.let_go()
        daemon.wait_until(lambda: node.server.process.poll() is not None or
                          all(worker.process.poll() is not None for worker in crew), "an end")
        self.end(node)
        node.start()

    def start_with(self, node, fault, shards):
        """The daemon whose call fails; the next one, if that was while it started."""
        try:
            node.start(shards, "--snapshot-updates", "80", program=FAULTY,
                       environment={"PARAMD_FAULT": fault,
                                    "PARAMD_FAULT_MARK": os.path.join(node.folder, "mark")})
        except RuntimeError:
            self.stopped = True
            node.start()

    def recover_with(self, node, fault, crew):
        """A daemon is killed before that, which had other shards."""
        self.progress(crew)
        node.kill()
        self.start_with(node, fault, 1)
        self.crew_with(node, crew)

    def run_with_fault(self, fault, recovering):
        """Whether there was such a call at all."""
        self.stopped = False
        with Node() as node:
            if recovering:
                node.start()
                told = self.run_crew(node.address, "plain",
                                     lambda crew: self.recover_with(node, fault, crew))
            else:
                self.start_with(node, fault, 2)
                told = self.run_crew(node.address, "plain", lambda crew: self.crew_with(node, crew))
            self.check(node.server, told, "plain", disturbed=False)
            node.stop()
            there = os.path.exists(os.path.join(node.folder, "mark"))
            # A sync that failed is never passed over: it ends the daemon, or what was being written
            # (a snapshot, MANIFEST at the very end) is given up with a word.
            self.assertTrue(self.stopped or not (there and "sync" in fault) or
                            "the disk reports an I/O error" in node.log(), fault)
            return there

    def each_failure_of(self, call):
        for recovering in (False, True):
            number = 1
            while self.run_with_fault(f"{call} {number}", recovering):
                number += 1
                self.assertLess(number, CALLS_MAX)
            print(f"  {number - 1} calls of {call}", flush=True)
            self.assertGreater(number, 1)

    def test_each_pwrite(self):
        self.each_failure_of("pwrite")

    def test_each_fdatasync(self):
        self.each_failure_of("fdatasync")

    def test_each_fsync_of_the_directory(self):
        self.each_failure_of("fsync")

    def test_each_rename(self):
        self.each_failure_of("rename")

    def test_each_open(self):
        self.each_failure_of("open")

    def test_each_fallocate(self):
        self.each_failure_of("fallocate")


if __name__ == "__main__":
    unittest.main()
