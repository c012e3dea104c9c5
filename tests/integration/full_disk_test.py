"""A data directory on a small ext4 whose space runs out: pushes at `logged` are refused, all else
goes on, nothing spins, and when there is space again they are taken without anybody's doing. A
daemon that is killed loses nothing it had acknowledged; one that starts without space waits for it.
Takes root and a loop device; without them it says so and is left out."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import unittest

import numpy

from support import daemon, session, wire
from support.node import Node
from support.volume import Volume

VOLUME_BYTES = 640 << 20
FREE_BYTES = 120 << 20  # control's segment and one of the shard's, and no more
SEGMENT_BYTES = 64 << 20
ELEMENTS = session.BLOCK_ELEMENTS
IDLE_SECONDS = 1
SNAPSHOT_EVERY = "0.2"
# Asking the disk at each tick, and the shard's and control's own ticks, take a hundredth of this.
IDLE_CPU_SECONDS_MAX = 0.5


class SmallVolume(Volume):
    """In it a file that takes most of the space until it is removed."""

    def __init__(self):
        super().__init__("ext4", VOLUME_BYTES)
        self.filler = os.path.join(self.path, "filler")
        self.data = os.path.join(self.path, "data")

    def __enter__(self):
        with open(self.filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free_bytes() - FREE_BYTES)
        return self

    def free_bytes(self):
        state = os.statvfs(self.path)
        return state.f_bfree * state.f_frsize  # root's reserve, too: the daemon is root here

    def make_room(self):
        os.unlink(self.filler)


def small_volume():
    """One, or the test is skipped."""
    if os.geteuid() != 0:
        raise unittest.SkipTest("it takes root to mount a file system")
    try:
        return SmallVolume()
    except OSError as error:
        raise unittest.SkipTest(str(error)) from error


class Pusher(session.Session):
    """Pushes ones to the only block of its model, and counts what was acknowledged."""

    gradient = numpy.ones(ELEMENTS, "<f4").tobytes()

    def __init__(self, server, name, level):
        definition = session.adding_definition([ELEMENTS])
        definition.ack_level = level
        session.create(server, name, definition)
        super().__init__(server, name)
        self.acknowledged = 0

    def push_is_taken(self):
        """False: it was refused for lack of space, and is not tried again."""
        header = self.push_header(0, 0, self.connections[0].next_request_id())
        self.connections[0].send("PUSH", header, self.gradient)
        answer = self.connections[0].receive()
        if answer.kind == "ERROR" and answer.status == "RESOURCE_EXHAUSTED":
            self._push_ids[self.slot(0, 0)] -= 1
            return False
        assert answer.kind == "ACK" and answer.header.status[0] == wire.STATUS["OK"], answer
        self.acknowledged += 1
        return True


def value(of):
    """All of the block are the same."""
    values = of.pull(0, 0).values
    assert (values == values[0]).all(), values
    return values[0]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class FullDisk(unittest.TestCase):
    def run_full(self, node, volume):
        """One worker at each level, and no space for more pushes of the first."""
        server = node.start(shards=1)
        logged = Pusher(server, "logged", wire.pb.LOGGED)
        applied = Pusher(server, "applied", wire.pb.APPLIED)
        self.addCleanup(logged.__exit__)
        self.addCleanup(applied.__exit__)
        while logged.push_is_taken():
            self.assertLess(logged.acknowledged, VOLUME_BYTES)
        self.assertGreater(logged.acknowledged, 0)
        self.assertLess(volume.free_bytes(), SEGMENT_BYTES)
        server.wait_log("no space for a log.*log=shard-000")
        return logged, applied

    def all_else_goes_on(self, logged, applied):
        for _ in range(10):
            self.assertFalse(logged.push_is_taken())
            self.assertEqual(value(logged), logged.acknowledged)
            self.assertTrue(applied.push_is_taken())
            self.assertEqual(value(applied), applied.acknowledged)

    def does_not_spin(self, pid):
        """What must not happen gives no event to wait for."""
        before = cpu_seconds(pid)
        threading.Event().wait(IDLE_SECONDS)
        self.assertLess(cpu_seconds(pid) - before, IDLE_CPU_SECONDS_MAX)

    def test_pushes_go_on_by_themselves_when_there_is_space_again(self):
        with small_volume() as volume, Node(volume.data) as node:
            logged, applied = self.run_full(node, volume)
            self.all_else_goes_on(logged, applied)
            self.does_not_spin(node.server.process.pid)
            volume.make_room()
            daemon.wait_until(logged.push_is_taken, "a push to be taken again")
            node.server.wait_log("space for the log again.*log=shard-000")
            for _ in range(10):
                self.assertTrue(logged.push_is_taken())
            node.kill()
            with session.Session(node.start(shards=2), "logged") as reader:
                self.assertEqual(value(reader), logged.acknowledged)
            node.stop()

    def wait_line(self, process, pattern):
        """In what it logs from now on."""
        lines = []
        for line in process.stderr:
            lines.append(line)
            if re.search(pattern, line):
                return
        self.fail(f"no {pattern!r} in: {''.join(lines)}")

    @contextlib.contextmanager
    def start_without_space(self, volume):
        """A process that waits for space; killed at the end."""
        command = [daemon.PROGRAM, "--listen", "127.0.0.1:0", "--shards", "1",
                   "--snapshot-every", SNAPSHOT_EVERY, "--data-dir", volume.data]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as waiting:
            limit = threading.Timer(daemon.SECONDS_MAX, waiting.kill)
            limit.start()
            try:
                self.wait_line(waiting, "no space for a log.*log=control")
                yield waiting
            finally:
                limit.cancel()
                waiting.kill()

    def test_a_start_waits_for_space_and_finds_what_was_acknowledged(self):
        with small_volume() as volume, Node(volume.data) as node:
            logged, _ = self.run_full(node, volume)
            node.kill()
            with self.start_without_space(volume) as waiting:
                self.does_not_spin(waiting.pid)
            with self.start_without_space(volume) as waiting:
                volume.make_room()
                self.wait_line(waiting, "msg=ready")
            with session.Session(node.start(shards=2), "logged") as reader:
                self.assertEqual(value(reader), logged.acknowledged)
            node.stop()

    def test_a_stop_does_not_wait_for_space(self):
        """One of two shards has no file for its log."""
        with small_volume() as volume, Node(volume.data) as node:
            server = node.start(shards=2)
            server.wait_log("no space for a log.*log=shard-001")
            status = node.end(signal.SIGTERM)
            # Each try for the file takes all there is for a moment, perhaps when the last snapshot
            # needs some.
            self.assertIn((status, "stopping without a last snapshot" in node.log(),
                           "no space to close a log" in node.log()),
                          ((0, False, True), (1, True, False)))
            volume.make_room()
            node.start(shards=2)
            node.stop()


if __name__ == "__main__":
    unittest.main()
