"""A data directory through the lives of a daemon: what a clean stop and a kill leave, with other
numbers of shards between them, what is kept of snapshots and logs, and who may use it."""

import array
import json
import os
import re
import resource
import signal
import struct
import subprocess
import tempfile
import unittest

from support import daemon, session
from support.node import FAULTY
from support.wire import pb

PARAMCTL = os.path.join(daemon.BUILD, "bin", "paramctl")
PUSHER = os.path.join(daemon.BUILD, "bin", "tests", "ctl_pusher")
TENSORS = {"a": 5000, "b": 70000}
SEGMENT_BYTES = 64 << 20  # of a shard's log
EPOCHS_MANY = 16  # of a start that takes a snapshot at once
SPACE_BYTES = 256 << 20
BIG_BYTES = 64 << 20
BIG = session.adding_definition([BIG_BYTES // 4])


def write_model(folder):
    """A safetensors file with a few numbers in each tensor."""
    head = {}
    data = b""
    for name, count in TENSORS.items():
        values = array.array("f", (i % 7 / 8 for i in range(count))).tobytes()
        head[name] = {"dtype": "F32", "shape": [count],
                      "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


class DataDir(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="paramd-test-")
        self.addCleanup(temporary.cleanup)
        self.folder = temporary.name
        self.model = os.path.join(temporary.name, "model")
        self.data = os.path.join(temporary.name, "data")
        os.mkdir(self.model)
        write_model(self.model)

    def start(self, shards=2, *arguments, **more):
        """In a folder of the test's: what a killed one left there is to be looked at."""
        address_file = os.path.join(self.folder, "address")
        if os.path.exists(address_file):
            os.unlink(address_file)
        return daemon.Daemon("--data-dir", self.data, "--shards", str(shards), *arguments,
                             folder=self.folder, **more)

    def ctl(self, server, *words):
        run = subprocess.run([PARAMCTL, "--address", f"127.0.0.1:{server.port}", *words],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, ""), words)
        return run.stdout

    def make(self, server, name, *arguments):
        self.ctl(server, "import", self.model, name, "--optimizer", "adam", *arguments)

    def push(self, server, name, count=6):
        records = b""
        for number in range(count):
            elements = list(TENSORS.values())[number % 2]
            gradient = array.array("f", (0.25 + number for _ in range(elements))).tobytes()
            records += struct.pack("<QQQ", number % 2, 0, 0) + gradient
        run = subprocess.run([PUSHER, f"127.0.0.1:{server.port}", name], input=records,
                             capture_output=True, timeout=60, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, b""))

    def push_bytes(self, server, name, count):
        """At least so many, of gradients for the larger tensor."""
        elements = TENSORS["b"]
        record = struct.pack("<QQQ", 1, 0, 0) + array.array("f", [0.5] * elements).tobytes()
        run = subprocess.run([PUSHER, f"127.0.0.1:{server.port}", name],
                             input=record * (count // (4 * elements) + 1), capture_output=True,
                             timeout=daemon.SECONDS_MAX, check=False)
        self.assertEqual((run.returncode, run.stderr), (0, b""))

    def hash(self, server, name):
        return self.ctl(server, "hash", name).split()[0]

    def files(self, pattern):
        names = os.listdir(self.data)
        return sorted(name for name in names if re.fullmatch(pattern, name))

    def epochs(self):
        """Starts whose logs are there."""
        return {name.split(".")[1] for name in self.files(r"shard-.*")}

    def test_clean_stops_keep_everything_on_any_number_of_shards(self):
        with self.start() as server:
            self.make(server, "applied")
            self.make(server, "logged", "--ack-level", "logged")
        for shards in (3, 1, 4):
            with self.start(shards) as server:
                for name in ("applied", "logged"):
                    self.push(server, name)
                want = [self.hash(server, name) for name in ("applied", "logged")]
            with self.start(2) as server:
                self.assertEqual([self.hash(server, name) for name in ("applied", "logged")], want)

    def test_kills_cost_only_what_came_since_the_last_snapshot_at_applied(self):
        with self.start(2, "--snapshot-every", "0") as server:
            self.make(server, "applied")
            self.make(server, "logged", "--ack-level", "logged")
            self.push(server, "applied")
            before = self.hash(server, "applied")
        for shards in (3, 1, 2):
            server = self.start(shards, "--snapshot-every", "0")
            self.assertEqual(self.hash(server, "applied"), before)
            self.push(server, "applied")
            self.push(server, "logged")
            want = self.hash(server, "logged")
            self.assertNotEqual(self.hash(server, "applied"), before)
            server.kill()
            with self.start(2, "--snapshot-every", "0") as server:
                self.assertEqual(self.hash(server, "logged"), want)

    def test_what_was_replayed_once_is_in_a_snapshot(self):
        server = self.start(2, "--snapshot-every", "3600")
        self.make(server, "logged", "--ack-level", "logged")
        self.push(server, "logged", count=40)
        want = self.hash(server, "logged")
        server.kill()
        server = self.start(2, "--snapshot-every", "3600")
        server.wait_log(r"msg=snapshot number=1 ")
        server.kill()
        with self.start(2, "--snapshot-every", "3600") as again:
            read = [int(re.search(r"msg=recovered bytes=(\d+)", log).group(1))
                    for log in (server.log(), again.log())]
            self.assertLess(read[1], read[0] / 2)
            self.assertEqual(self.hash(again, "logged"), want)

    def test_two_snapshots_are_kept_and_old_logs_go(self):
        with self.start(2, "--snapshot-every", "0.05") as server:
            self.make(server, "logged", "--ack-level", "logged")
            self.push(server, "logged")
            server.wait_log(r"msg=snapshot number=5 ")
        for _ in range(3):
            self.start(3).stop()
        numbers = {name.split(".")[0] for name in self.files(r"snapshot-.*")}
        self.assertEqual(len(numbers), 2)
        self.assertLessEqual(len(self.epochs()), 2,
                             "of the two snapshots, which ended the starts before")
        self.assertEqual(self.files(r".*\.new"), [])

    def test_a_log_that_fills_begins_one_and_its_segments_are_used_again(self):
        log_max = 4 * SEGMENT_BYTES
        server = self.start(1, "--snapshot-every", "0", "--log-max", str(log_max))
        self.addCleanup(server.kill)
        self.make(server, "logged", "--ack-level", "logged")
        for round in range(1, 4):
            self.push_bytes(server, "logged", log_max // 2)
            server.wait_log(rf"msg=snapshot number={2 * round} ")
        segments = self.files(r"shard-.*")
        self.assertLessEqual(len(segments), 4)
        self.assertLessEqual(sum(os.path.getsize(os.path.join(self.data, name))
                                 for name in segments), log_max)
        want = self.hash(server, "logged")
        server.kill()
        with self.start() as server:
            self.assertEqual(self.hash(server, "logged"), want)

    def test_a_daemon_that_is_killed_often_begins_one(self):
        for number in range(EPOCHS_MANY):
            server = self.start(1, "--snapshot-every", "0")
            self.addCleanup(server.kill)
            if number == 0:
                self.make(server, "logged", "--ack-level", "logged")
            self.push(server, "logged", 2)
            want = self.hash(server, "logged") if number + 1 == EPOCHS_MANY else None
            server.kill()
        self.assertEqual(self.files(r"snapshot-.*"), [])
        self.assertEqual(len(self.epochs()), EPOCHS_MANY)
        server = self.start(1, "--snapshot-every", "0")
        self.addCleanup(server.kill)
        server.wait_log("msg=snapshot number=2 ")
        self.assertEqual(len(self.epochs()), 1)
        server.kill()
        with self.start(1) as server:
            self.assertEqual(self.hash(server, "logged"), want)

    def start_held(self):
        """A daemon that has much to write at its end, and the gate that it waits for with that."""
        gate = os.path.join(self.folder, "gate")
        os.mkfifo(gate)
        server = self.start(1, "--snapshot-every", "0", program=FAULTY,
                            environment={"PARAMD_FAULT": "held", "PARAMD_FAULT_GATE": gate})
        self.addCleanup(server.kill)
        session.create(server, "big", BIG)
        return server, gate

    def test_the_last_one_tells_how_far_it_is(self):
        server, gate = self.start_held()
        server.send_signal(signal.SIGTERM)
        line = server.wait_log("taking a last snapshot\" percent=")
        with open(gate, "wb"):
            pass
        self.assertEqual(server.wait(), 0)
        self.assertRegex(server.log(), "msg=snapshot number=1 ")
        percent, count = re.search(r"percent=(\d+) bytes=(\d+) seconds=\d", line).groups()
        self.assertAlmostEqual(int(percent), 100 * int(count) / BIG_BYTES, delta=1)
        self.assertLess(int(percent), 50)
        self.assertGreater(int(percent), 0)

    def test_a_second_signal_skips_the_last_one(self):
        server, _ = self.start_held()
        self.make(server, "logged", "--ack-level", "logged")
        self.push(server, "logged")
        want = self.hash(server, "logged")
        server.send_signal(signal.SIGTERM)
        server.wait_log("taking a last snapshot\" percent=")
        self.assertEqual(server.stop(), 0)
        self.assertIn("second signal", server.log())
        self.assertEqual(self.files(r"snapshot-.*\d"), [])
        with self.start() as server:
            self.assertEqual(self.hash(server, "logged"), want)

    def test_signals_that_come_at_once_are_one(self):
        server, gate = self.start_held()
        for number in (signal.SIGTERM, signal.SIGINT):
            server.send_signal(number)
        server.wait_log("taking a last snapshot\" percent=")
        with open(gate, "wb"):
            pass
        self.assertEqual(server.wait(), 0)
        self.assertRegex(server.log(), "msg=snapshot number=1 ")

    def test_models_come_and_go_while_one_is_taken(self):
        server, gate = self.start_held()
        self.make(server, "kept", "--ack-level", "logged")
        command = [PARAMCTL, "--address", f"127.0.0.1:{server.port}", "snapshot"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            daemon.wait_until(lambda: self.files(r"snapshot-.*\.new"), "it to be under way")
            self.ctl(server, "delete", "big", "--yes")
            self.make(server, "made", "--ack-level", "logged")
            for name in ("kept", "made"):
                self.push(server, name)
            with open(gate, "wb"):
                pass
            said = run.communicate(timeout=daemon.SECONDS_MAX)[0]
        self.assertRegex(said, "^snapshot 1: ")
        for name in ("kept", "made"):
            self.push(server, name)
        want = [self.hash(server, name) for name in ("kept", "made")]
        server.kill()
        with self.start(3) as server:
            models = json.loads(self.ctl(server, "models", "--json"))["models"]
            self.assertEqual([model["name"] for model in models], ["kept", "made"])
            self.assertEqual([self.hash(server, name) for name in ("kept", "made")], want)

    @unittest.skipIf(daemon.sanitized(), "a sanitizer needs the address space")
    def test_a_lack_of_memory_is_not_taken_for_damage(self):
        server = self.start(1, "--snapshot-every", "0")
        self.addCleanup(server.kill)
        session.create(server, "huge", session.adding_definition([SPACE_BYTES // 4]))
        server.kill()
        run = subprocess.run([daemon.PROGRAM, "--listen", "127.0.0.1:0", "--shards", "1",
                              "--data-dir", self.data], capture_output=True, text=True,
                             timeout=daemon.SECONDS_MAX, check=False,
                             preexec_fn=lambda: resource.setrlimit(
                                 resource.RLIMIT_AS, (SPACE_BYTES, SPACE_BYTES)))
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"shard-000\S+ at offset \d+: record \d+ \(\w+\): there is no "
                                     "memory for it")
        self.assertNotIn("damaged", run.stderr)
        with self.start():
            pass

    def test_who_does_not_read_does_not_keep_the_last_one_from_being_taken(self):
        with self.start(2, "--snapshot-every", "0") as server:
            self.make(server, "applied")
            self.push(server, "applied")
            want = self.hash(server, "applied")
            session.create(server, "big", BIG)
            with session.Session(server, "big") as reader:
                connection = reader.connections[0]
                blocks = [block for block in range(reader.blocks(0))
                          if reader.connection(0, block) is connection]
                connection.send("PULL", pb.Pull(request_id=connection.next_request_id(),
                                                model=reader.model, generation=reader.generation,
                                                tensor=[0] * len(blocks), block=blocks))
                connection.receive_bytes(1)
                self.assertEqual(server.stop(), 0)
            self.assertIn("could not be finished in time", server.log())
        with self.start() as server:
            self.assertEqual(self.hash(server, "applied"), want)

    def test_a_snapshot_that_is_damaged_is_found_and_replaced(self):
        with self.start(2, "--snapshot-every", "0") as server:
            self.make(server, "applied")
            want = self.hash(server, "applied")
        server = self.start(2, "--snapshot-every", "0")
        self.addCleanup(server.kill)
        with open(os.path.join(self.data, "snapshot-00000001.001"), "r+b") as file:
            file.seek(5000)
            byte = file.read(1)[0]
            file.seek(5000)
            file.write(bytes([byte ^ 16]))
        line = server.wait_log("a snapshot is damaged")
        self.assertRegex(line, r"file=snapshot-00000001\.001 offset=\d+ reason=")
        server.wait_log(r"msg=snapshot number=2 ")
        server.kill()
        with self.start() as server:
            self.assertEqual(self.hash(server, "applied"), want)
        run = subprocess.run([PARAMCTL, "verify", self.data], capture_output=True, text=True,
                             timeout=60, check=False)
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_of_two_snapshots_the_damaged_one_goes(self):
        """Though it is the newer one, and the last file that is looked at."""
        for _ in range(2):
            with self.start(3, "--snapshot-every", "0") as server:
                if not self.files("snapshot.*"):
                    self.make(server, "applied")
        server = self.start(3, "--snapshot-every", "0")
        self.addCleanup(server.kill)
        os.truncate(os.path.join(self.data, "snapshot-00000002.002"), 5000)
        server.wait_log("a snapshot is damaged.* file=snapshot-00000002.002 ")
        server.wait_log("msg=snapshot number=3 ")
        self.assertEqual({name.split(".")[0] for name in self.files("snapshot.*")},
                         {"snapshot-00000001", "snapshot-00000003"})

    def test_a_snapshot_that_may_not_be_read_is_not_taken_for_a_damaged_one(self):
        """Going on from the one before would lose what is in it, and remove it."""
        for _ in range(2):
            with self.start(1, "--snapshot-every", "0") as server:
                if not self.files("snapshot.*"):
                    self.make(server, "applied")
                self.push(server, "applied")
                want = self.hash(server, "applied")
        newest = os.path.join(self.data, "snapshot-00000002.000")
        elsewhere = os.path.join(self.folder, "elsewhere")
        os.rename(newest, elsewhere)
        os.symlink(elsewhere, newest)
        run = daemon.run("--listen", "127.0.0.1:0", "--shards", "1", "--data-dir", self.data)
        self.assertEqual(run.returncode, 1)
        self.assertIn("snapshot-00000002.000 at offset 0: it is a symbolic link", run.stderr)
        os.rename(elsewhere, newest)
        with self.start(1) as server:
            self.assertEqual(self.hash(server, "applied"), want)

    def test_one_daemon_at_a_time(self):
        with self.start():
            run = daemon.run("--listen", "127.0.0.1:0", "--data-dir", self.data)
            self.assertEqual(run.returncode, 1)
            self.assertIn(f"data directory {self.data}: another process uses", run.stderr)
        with self.start():
            pass

    def test_the_name_of_a_new_directory_is_durable_before_anything_is_in_it(self):
        run = subprocess.run([FAULTY, "--listen", "127.0.0.1:0", "--data-dir", self.data],
                             capture_output=True, text=True, timeout=daemon.SECONDS_MAX,
                             check=False, env={**os.environ, "PARAMD_FAULT": "fsync 1"})
        self.assertEqual(run.returncode, 1)
        self.assertIn(f"data directory {self.data}: the disk reports an I/O error", run.stderr)
        self.assertEqual(os.listdir(self.data), [])

    def test_a_limit_of_file_sizes_is_told(self):
        run = subprocess.run([daemon.PROGRAM, "--listen", "127.0.0.1:0", "--data-dir", self.data],
                             capture_output=True, text=True, timeout=daemon.SECONDS_MAX,
                             check=False, preexec_fn=lambda: resource.setrlimit(
                                 resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, f"data directory {self.data}: control.00000001: "
                                     "the file would be larger than is allowed")

    def test_a_directory_that_cannot_be_made_is_refused(self):
        missing = os.path.join(self.data, "deeper")
        run = daemon.run("--listen", "127.0.0.1:0", "--data-dir", missing)
        self.assertEqual(run.returncode, 1)
        self.assertIn(f"{missing}: the directory to make it in is not there", run.stderr)


if __name__ == "__main__":
    unittest.main()
