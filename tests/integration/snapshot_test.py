"""Snapshots on command, of a daemon that is pushed to all the time: what paramctl says, and what is
there after the daemon was killed. With a pause all blocks of all models are of one moment."""

import json
import os
import signal
import struct
import subprocess
import tempfile
import unittest

from support import daemon, workers
from support.node import FAULTY

PARAMCTL = os.path.join(daemon.BUILD, "bin", "paramctl")
MODELS = ("even", "odd")  # of worker-lockstep


class Snapshot(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="paramd-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.data = os.path.join(temporary.name, "data")

    def start(self, *arguments, shards=3, **more):
        return daemon.Daemon("--data-dir", self.data, "--shards", str(shards), "--snapshot-every",
                             "0", *arguments, folder=self.folder, **more)

    def ctl(self, server, *words):
        run = subprocess.run([PARAMCTL, "--address", f"127.0.0.1:{server.port}", *words],
                             capture_output=True, text=True, timeout=daemon.SECONDS_MAX,
                             check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        return run.stdout

    def versions(self, server):
        """The least and the greatest of each model's blocks."""
        found = []
        for model in MODELS:
            tensors = json.loads(self.ctl(server, "tensors", model, "--json"))["tensors"]
            found.append((min(tensor["version_min"] for tensor in tensors),
                          max(tensor["version_max"] for tensor in tensors)))
        return found

    def kept(self, *words, shards=3):
        """The versions that a daemon has which was killed after a snapshot under load, and what
        paramctl said of that."""
        server = self.start(shards=shards)
        with workers.Worker("lockstep", f"127.0.0.1:{server.port}") as worker:
            worker.wait_lines("step")
            said = self.ctl(server, "snapshot", *words)
            worker.wait_lines("step", worker.count("step") + 1)
            server.kill()
        with self.start(shards=shards) as server:
            return self.versions(server), said

    def test_under_load_it_is_taken_and_is_there_after_a_kill(self):
        versions, said = self.kept()
        self.assertRegex(said, r"\Asnapshot 1: \d+\.\d [KM]iB in \d+\.\d\d s, \d+ MB/s\n\Z")
        for least, _ in versions:
            self.assertGreater(least, 20)

    def test_with_a_pause_it_is_one_cut_across_shards_and_models(self):
        versions, said = self.kept("--pause", "--json")
        document = json.loads(said)
        self.assertEqual(set(document), {"number", "bytes", "seconds", "pause", "held_seconds"})
        self.assertEqual((document["number"], document["pause"]), (1, True))
        self.assertGreater(document["bytes"], 2 * 1500 * 4 * 4)
        self.assertGreater(document["held_seconds"], 0)
        self.assertLessEqual(document["held_seconds"], document["seconds"])
        least = min(versions[0] + versions[1])
        self.assertGreater(least, 20)
        self.assertLessEqual(max(versions[0] + versions[1]), least + 1)

    def test_what_came_in_one_frame_is_in_a_cut_as_a_whole(self):
        ((even, even_max), (odd, odd_max)), said = self.kept("--pause", shards=1)
        self.assertRegex(said, r"; pushes were held for \d+\.\d\d s\n\Z")
        self.assertEqual((even_max, odd_max), (even, odd))
        self.assertIn(even - odd, (0, 1))

    def export(self, model, *words):
        """The files that paramctl makes of it, by name."""
        folder = tempfile.mkdtemp(dir=self.folder)
        run = subprocess.run([PARAMCTL, "export", model, folder, *words], capture_output=True,
                             text=True, timeout=daemon.SECONDS_MAX, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        files = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name), "rb") as file:
                files[name] = file.read()
        return files

    def work(self, server):
        """Some steps; the worker, which goes on."""
        worker = workers.Worker("lockstep", f"127.0.0.1:{server.port}")
        self.addCleanup(worker.__exit__)
        worker.wait_lines("step")
        return worker

    def test_an_export_of_the_directory_is_what_was_there_at_the_cut(self):
        server = self.start()
        self.addCleanup(server.kill)
        worker = self.work(server)
        worker.tell()
        worker.finish()
        self.ctl(server, "snapshot", "--pause")
        there = [self.export(model, "--address", f"127.0.0.1:{server.port}") for model in MODELS]
        self.work(server)
        server.kill()
        kept = [self.export(model, "--data-dir", self.data) for model in MODELS]
        self.assertEqual(kept, there)

    def test_an_export_of_the_directory_is_one_cut(self):
        server = self.start()
        self.addCleanup(server.kill)
        self.work(server)
        self.ctl(server, "snapshot", "--pause")
        server.kill()
        values = set()
        for model in MODELS:
            file = self.export(model, "--data-dir", self.data)["model.safetensors"]
            start = 8 + struct.unpack_from("<Q", file)[0]
            values |= set(struct.unpack(f"<{(len(file) - start) // 4}f", file[start:]))
        self.assertGreaterEqual(min(values), 20)
        self.assertLessEqual(max(values) - min(values), 1)

    def test_without_space_there_is_none_and_nothing_is_left_of_it(self):
        gate = os.path.join(self.folder, "gate")
        os.mkfifo(gate)
        with self.start(shards=2, program=FAULTY, environment={
                "PARAMD_FAULT": "full", "PARAMD_FAULT_GATE": gate}) as server:
            command = [PARAMCTL, "--address", f"127.0.0.1:{server.port}", "snapshot"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True) as run:
                part = os.path.join(self.data, "snapshot-00000001.000")
                daemon.wait_until(lambda: os.path.exists(part), "the other shard's part")
                with open(gate, "wb"):
                    pass
                said = run.communicate(timeout=daemon.SECONDS_MAX)
            self.assertEqual((run.returncode, said[0]), (1, ""))
            self.assertIn("the disk has no room for a snapshot", said[1])
            self.assertRegex(server.log(), r"file=snapshot-00000001\.001 reason=\"no space left")
            self.assertFalse([name for name in os.listdir(self.data) if "snapshot" in name])
            self.assertRegex(self.ctl(server, "snapshot"), "^snapshot 1: ")

    def test_a_stop_without_space_for_the_last_one_is_a_failure(self):
        gate = os.path.join(self.folder, "gate")
        os.mkfifo(gate)
        server = self.start(shards=2, program=FAULTY, environment={
            "PARAMD_FAULT": "full", "PARAMD_FAULT_GATE": gate})
        self.addCleanup(server.kill)
        self.work(server)
        server.send_signal(signal.SIGTERM)
        with open(gate, "wb"):
            pass
        self.assertEqual(server.wait(), 1)
        self.assertRegex(server.log(), 'a snapshot was given up.* reason="the disk has no room')
        self.assertRegex(server.log(), "level=error msg=\"stopping without a last snapshot")

    def test_they_may_be_asked_for_at_once_and_by_many(self):
        with self.start() as server:
            with workers.Worker("lockstep", f"127.0.0.1:{server.port}") as worker:
                worker.wait_lines("step")
                address = ("--address", f"127.0.0.1:{server.port}")
                runs = [subprocess.Popen([PARAMCTL, *address, "snapshot", *pause],
                                         stdout=subprocess.PIPE, text=True)
                        for pause in ((), ("--pause",)) * 5]
                for run in runs:
                    self.assertRegex(run.communicate(timeout=daemon.SECONDS_MAX)[0], "^snapshot ")
                    self.assertEqual(run.returncode, 0)
                counters = json.loads(self.ctl(server, "status", "--json"))["counters"]
                self.assertGreaterEqual(counters["snapshots_taken"], 2)
                self.assertEqual(counters["snapshots_failed"], 0)
                self.assertEqual(counters["snapshot_number"], counters["snapshots_taken"])
                worker.tell()
                worker.finish()

    def test_so_many_updates_begin_one(self):
        with self.start("--snapshot-updates", "500") as server:
            with workers.Worker("lockstep", f"127.0.0.1:{server.port}") as worker:
                server.wait_log("msg=snapshot number=3 ")
                worker.tell()
                worker.finish()

    def test_a_stop_in_a_pause_ends_it_and_is_clean(self):
        with self.start() as server:
            with workers.Worker("lockstep", f"127.0.0.1:{server.port}") as worker:
                worker.wait_lines("step")
                address = ("--address", f"127.0.0.1:{server.port}")
                with subprocess.Popen([PARAMCTL, "--timeout", "0.2", *address, "snapshot",
                                       "--pause"], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE) as run:
                    self.assertEqual(server.stop(), 0)
                    run.communicate(timeout=daemon.SECONDS_MAX)
                self.assertNotIn("in time", server.log())
                self.assertRegex(server.log(), "msg=snapshot number=[12] ")


if __name__ == "__main__":
    unittest.main()
