"""What broken and hostile clients send: the table in support/bad_requests.py. Each gets its status
or a closed connection, the daemon's memory does not grow, and another client notices nothing."""

import os
import socket
import statistics
import unittest

from support import bad_requests, daemon, session, wire, workers

ROUNDS_WARM, ROUNDS = 3, 16
# What is lost in each round shows in most rounds and lasts. A step when more came at once than ever
# before does not show in most rounds. A sanitizer's own bookkeeping grows, too; its leak check says
# more in the end.
ROUND_BYTES_MAX = 8 * 1024
LASTING_BYTES_MAX = (16 * 1024 if daemon.sanitized() else 256) * 1024
BLOCK_ELEMENTS = 1024


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # A sanitizer keeps freed memory back for a while; not more than the growth looked for.
        options = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=0"
        cls.server = daemon.Daemon("--shards", "2", "--log-level", "error",
                                   environment={"ASAN_OPTIONS": options.strip(":")})
        definition = session.adding_definition([8 * BLOCK_ELEMENTS], BLOCK_ELEMENTS)
        session.create(cls.server, "other", definition)
        cls.good = workers.Worker("uniform", f"127.0.0.1:{cls.server.port}", "good", 150000, "both")
        cls.good.wait_lines("pushed")

    @classmethod
    def tearDownClass(cls):
        cls.good.__exit__()
        cls.server.__exit__(None, None, None)

    def at_stage(self, case):
        """A connection that has come so far; (connection, session)."""
        if case.stage == "attached":
            attached = session.Session(self.server, "other")
            shard = 1
            blocks = range(attached.blocks(0))
            attached.here = next(b for b in blocks if attached.slot(0, b) % 2 == shard)
            attached.elsewhere = next(b for b in blocks if attached.slot(0, b) % 2 != shard)
            return attached.connections[shard], attached
        first = None if case.stage == "new" else b""
        connection = wire.Connection((self.server.host, self.server.port), first=first)
        if case.stage == "greeted":
            connection.hello()
        return connection, self.witness

    def status_of(self, answer):
        """By name; of an ACK the status of its entry, of SKIPPED its own."""
        if answer.kind == "ERROR":
            return answer.status
        if answer.kind in ("ACK", "SKIPPED"):
            number = answer.header.status
            number = number if answer.kind == "SKIPPED" else number[0]
            return next(name for name, each in wire.STATUS.items() if each == number)
        return answer.kind

    def check(self, case):
        connection, attached = self.at_stage(case)
        with connection:
            try:
                connection.send_bytes(case.data(attached))
            except (BrokenPipeError, ConnectionResetError):
                self.assertTrue(case.closes)
            if case.status is not None:
                answer = connection.receive()
                self.assertEqual(self.status_of(answer), case.status, answer)
                if answer.kind == "ERROR":
                    self.assertEqual(answer.header.request_id == 0, case.closes, answer)
                    self.assertGreater(len(answer.header.message), 10)
            if case.closes:
                try:
                    connection.socket.shutdown(socket.SHUT_WR)
                except OSError:  # reset already
                    pass
                self.assertEqual(connection.closed_by_peer(), b"")
            else:
                answer = connection.request("PING")
                while answer.kind == "MOVED":  # follows the ACK that said so
                    answer = connection.receive()
                self.assertEqual(answer.kind, "PONG")
        if attached is not self.witness:
            # Sessions are remembered for long, as they should be; these shall not count as growth.
            attached.leave()
            attached.__exit__()

    def run_table(self):
        with session.Session(self.server, "other") as self.witness:
            for case in bad_requests.CASES:
                with self.subTest(case.name):
                    self.check(case)
            self.witness.leave()

    def test_each_case_is_answered_and_nobody_else_notices(self):
        self.assertGreaterEqual(len(bad_requests.CASES), 60)
        pushed = self.good.count("pushed")
        for _ in range(ROUNDS_WARM):
            self.run_table()
        descriptors = self.server.descriptors()
        memory = []
        for _ in range(ROUNDS):
            self.run_table()
            memory.append(self.server.memory_bytes())
        growth = statistics.median(b - a for a, b in zip(memory, memory[1:]))
        lasting = min(memory[ROUNDS // 2:]) - min(memory[:ROUNDS // 2])
        print(f"{len(bad_requests.CASES)} cases; memory grew by {growth:.0f} bytes in most rounds,"
              f" by {lasting} for good")
        self.assertFalse(growth > ROUND_BYTES_MAX and lasting > LASTING_BYTES_MAX, memory)
        daemon.wait_until(lambda: self.server.descriptors() <= descriptors, "descriptors closed")
        self.good.wait_lines("pushed", pushed + 10)
        self.good.tell()
        # It has held every value it pulled against what it pushed.
        self.assertRegex(self.good.finish()[-1], r"^applied \d+ reconnects 0$")
        with session.Session(self.server, "other") as reader:
            for block in reader.pull_all()[0]:
                self.assertEqual((block.version, set(block.values.tolist())), (1, {0.0}))


if __name__ == "__main__":
    unittest.main()
