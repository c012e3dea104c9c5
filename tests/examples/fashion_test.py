"""The main job in small: what it counts, what it says when a worker dies or a stranger pushes."""

import json
import os
import signal
import tempfile
import unittest
from subprocess import PIPE

from daemon import Daemon

KEYS = {"accuracy_async", "accuracy_one_worker", "accuracy_local", "seconds", "pushes",
        "bytes_pushed", "bytes_pulled", "staleness_mean", "staleness_p99", "workers", "shards",
        "optimizer", "ack_level", "told_lost", "lost", "doubled", "kills",
        "seconds_unavailable"}
MODEL_BYTES = 4 * (784 * 128 + 128 + 128 * 10 + 10)


def children_of(pid):
    """The processes it has started and that still run."""
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def is_running(pid):
    """Neither gone nor waiting to be collected."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class FashionTest(unittest.TestCase):
    """Short runs of the program that deploy/quickstart starts."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(lambda: cls.daemon.stop())

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def training(self, *arguments):
        """A run that is known to be at work."""
        process = self.daemon.start("fashion", "--scratch", self.folder, *arguments, stdout=PIPE,
                                    stderr=PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        for line in process.stdout:
            if "pushes/s" in line:
                return process
        self.fail("it never trained: " + process.stderr.read())

    def assert_ended(self, workers):
        """None of them runs any more; those that do are ended, so that the next test has peace."""
        left = [worker for worker in workers if is_running(worker)]
        for worker in left:
            os.kill(worker, signal.SIGKILL)
        self.assertEqual(left, [])

    def test_a_short_run_counts_every_push_once(self):
        path = os.path.join(self.folder, "out.json")
        done = self.daemon.run("fashion", "--scratch", self.folder, "--workers", "3", "--shards",
                               "2", "--epochs", "0.3", "--json", path)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(path, encoding="utf-8") as file:
            table = json.load(file)
        self.assertEqual(set(table), KEYS)
        pushes = int(0.3 * 937)
        self.assertEqual(table["pushes"], pushes)
        self.assertEqual(table["bytes_pushed"], pushes * MODEL_BYTES)
        self.assertGreaterEqual(table["bytes_pulled"], pushes * MODEL_BYTES)
        self.assertEqual((table["lost"], table["doubled"]), (0, 0))
        self.assertEqual((table["workers"], table["shards"], table["optimizer"]), (3, 2, "adam"))
        self.assertGreater(table["staleness_p99"], 0)
        for key in ("accuracy_async", "accuracy_one_worker", "accuracy_local"):
            self.assertGreater(table[key], 60.0, key)
        # No progress is drawn over itself where nobody watches.
        self.assertNotIn("\r", done.stdout)

    def test_pushes_of_a_stranger_show_as_doubled(self):
        process = self.training("--workers", "1", "--seconds", "3")
        # 400 pushes a second are what fashion expects at first: another schedule would be refused.
        stranger = self.daemon.run("fashion-worker", "--model", f"fashion-1-{process.pid}",
                                   "--schedule", "1200", "--pushes", "7")
        self.assertEqual(stranger.returncode, 0, stranger.stderr)
        process.stdout.read()
        said = process.stderr.read()
        self.assertEqual(process.wait(), 1)
        # Five blocks, seven times.
        self.assertIn("0 pushes lost, 0 of them told; 35 doubled", said)

    def test_a_killed_worker_ends_the_run_with_a_clear_error(self):
        process = self.training("--workers", "2", "--epochs", "1000")
        workers = children_of(process.pid)
        self.assertEqual(len(workers), 2)
        os.kill(workers[0], signal.SIGKILL)
        self.assertEqual(process.wait(), 1)
        self.assert_ended(workers)
        self.assertIn("was killed by signal 9", process.stderr.read())

    def test_a_signal_stops_the_workers_too(self):
        process = self.training("--workers", "2", "--epochs", "1000")
        workers = children_of(process.pid)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(), 128 + signal.SIGTERM)
        self.assert_ended(workers)

    def test_too_low_an_accuracy_fails(self):
        done = self.daemon.run("fashion", "--scratch", self.folder, "--workers", "1", "--epochs",
                               "0.1", "--at-least", "99")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is below 99.00 %", done.stderr)

    def test_a_daemon_without_a_data_directory_cannot_log_and_says_what_to_do(self):
        done = self.daemon.run("fashion-worker", "--model", "kept", "--pushes", "1", "--ack-level",
                               "logged")
        self.assertEqual(done.returncode, 1)
        self.assertIn("start the daemon with --data-dir DIR, or ask for \"applied\"", done.stderr)

    def test_wrong_options_are_named(self):
        for arguments, word in ((["--workers", "0"], "--workers 0"),
                                (["--workers", "2.5"], "--workers 2.5"),
                                (["--optimizer", "nosuch"], "nosuch"),
                                (["--ack-level", "often"], "--ack-level often"),
                                (["--epochs", "many"], "--epochs many")):
            done = self.daemon.run("fashion", "--scratch", self.folder, *arguments)
            self.assertEqual(done.returncode, 2)
            self.assertIn(word, done.stderr)


if __name__ == "__main__":
    unittest.main()
