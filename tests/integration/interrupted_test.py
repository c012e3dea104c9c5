"""Workers that are killed in the middle of a push and stopped in the middle of a pull: the others
go on, nothing of a half-sent frame is applied, and no block is ever seen torn
(workers/uniform.c)."""

import os
import random
import re
import signal
import unittest

import numpy

from support import daemon, session, wire, workers

ELEMENTS = 2_000_003
LARGE = 16_000_001
KILLS = 6


def state_of(process):
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        return re.search(r"\) (\w)", file.read()).group(1)


class Interrupted(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        self.random = random.Random(self.seed)
        print(f"{self.id()}: PARAMD_SEED={self.seed}", flush=True)

    def start(self, server, elements, role):
        worker = workers.Worker("uniform", f"127.0.0.1:{server.port}", "m", elements, role)
        self.addCleanup(worker.__exit__)
        worker.wait_lines("joined")
        return worker

    def check_blocks(self, reader):
        """Each block is one number, its version less 1; the sum of the versions."""
        total = 0
        for block in reader.pull_all()[0]:
            values = numpy.unique(block.values)
            self.assertEqual(values.tolist(), [block.version - 1])
            total += block.version - 1
        return total

    def half_push(self, server, part):
        """A frame that ends in its middle, with its connection."""
        with session.Session(server, "m") as broken:
            header = broken.push_header(0, 0, 99)
            gradient = numpy.full(broken.block_elements, 1000, "<f4").tobytes()
            broken.connection(0, 0).send_bytes(
                session.half_frame("PUSH", header, gradient, part))

    def test_a_worker_killed_while_it_pushes_leaves_whole_blocks(self):
        with daemon.Daemon("--shards", "2") as server:
            survivor = self.start(server, ELEMENTS, "both")
            for _ in range(KILLS):
                victim = self.start(server, ELEMENTS, "push")
                victim.wait_lines("pushed", 1 + self.random.randrange(6))
                victim.process.send_signal(signal.SIGKILL)
                self.assertEqual(victim.process.wait(daemon.SECONDS_MAX), -signal.SIGKILL)
                self.half_push(server, self.random.random())
                survivor.wait_lines("pushed", survivor.count("pushed") + 2)
            survivor.tell()
            mine = int(survivor.finish()[-1].split()[1])
            with session.Session(server, "m") as reader, wire.connect(server) as connection:
                daemon.wait_until(lambda: session.stat(connection)["connections"] <= 3,
                                  "the end of the victims' connections")
                total = self.check_blocks(reader)
                self.assertGreater(total, mine)
                self.assertEqual(session.stat(connection, "m")["pushes_applied"], total)

    def stop_in_a_pull(self, connection, reader, pushers):
        """Stops the reader while the daemon sends it values; the pull's number. That it was there
        shows in blocks that had to be copied for pushes to go on."""
        for _ in range(60):
            begin = session.stat(connection, "m")["bytes_pulled"]
            part = self.random.uniform(0.05, 0.6) * 4 * LARGE
            daemon.wait_until(
                lambda: session.stat(connection, "m")["bytes_pulled"] > begin + part, "a pull")
            reader.process.send_signal(signal.SIGSTOP)
            daemon.wait_until(lambda: state_of(reader.process) == "T", "a stopped reader")
            copies = session.stat(connection)["block_copies"]
            for pusher in pushers:
                pusher.wait_lines("pushed", pusher.count("pushed") + 5)
            if session.stat(connection)["block_copies"] > copies:
                self.assertRegex(reader.lines[-1], "^begin")
                return reader.lines[-1].split()[1]
            reader.process.send_signal(signal.SIGCONT)
        raise AssertionError("the reader was never stopped in a pull")

    def test_a_reader_stopped_in_a_pull_holds_nobody_and_finds_whole_blocks(self):
        with daemon.Daemon("--shards", "2") as server:
            pushers = [self.start(server, LARGE, "push") for _ in range(2)]
            reader = self.start(server, LARGE, "pull")
            with wire.connect(server) as connection:
                for _ in range(2):
                    number = self.stop_in_a_pull(connection, reader, pushers)
                    reader.process.send_signal(signal.SIGCONT)
                    reader.wait_lines(f"end {number}$")
                for worker in [reader, *pushers]:
                    worker.tell()
                applied = sum(int(worker.finish()[-1].split()[1])
                              for worker in [reader, *pushers])
                counters = session.stat(connection)
                print(f"  {counters['block_copies']:.0f} blocks copied, "
                      f"{counters['frames_held']:.0f} frames held", flush=True)
            with session.Session(server, "m") as last:
                self.assertEqual(self.check_blocks(last), applied)


if __name__ == "__main__":
    unittest.main()
