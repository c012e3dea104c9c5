"""The daemon's edge: preambles, the limit of connections, full descriptor tables and idle peers."""

import resource
import socket
import time
import unittest

from support import daemon, wire


class Preambles(unittest.TestCase):
    def setUp(self):
        self.server = daemon.Daemon("--shards", "3", unix=True)
        self.address = (self.server.host, self.server.port)
        self.addCleanup(self.server.__exit__, None, None, None)

    def answer_to(self, first):
        with wire.Connection(self.address, first=first) as connection:
            return connection.closed_by_peer()

    def test_each_shard_is_reached(self):
        for shard in range(3):
            with wire.Connection(self.address, shard) as connection:
                self.assertEqual(connection.hello().shard, shard)

    def test_any_shard_is_spread(self):
        for wanted in (wire.ANY_SHARD, 3, 4096):
            reached = set()
            for _ in range(3):
                with wire.Connection(self.address, wanted) as connection:
                    reached.add(connection.hello().shard)
            self.assertEqual(reached, {0, 1, 2})

    def test_preamble_in_pieces_with_hello_behind_it(self):
        hello = wire.raw_frame("HELLO", wire.pb.Hello(request_id=1))
        data = wire.preamble(1) + hello
        for address in (self.address, self.server.unix_path):
            with wire.Connection(address, first=None) as connection:
                for i in range(len(data)):
                    connection.send_bytes(data[i:i + 1])
                self.assertEqual(connection.receive().header.shard, 1)

    def test_other_version_is_told(self):
        for version in (0, 2, 0xFFFFFFFF):
            with wire.Connection(self.address, first=wire.preamble(version=version)) as connection:
                frame = connection.receive()
                self.assertEqual(frame.status, "VERSION")
                self.assertIn(str(version), frame.header.message)
                self.assertEqual(connection.closed_by_peer(), b"")

    def test_what_is_not_paramd_is_closed_without_a_word(self):
        for first in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(16), b"\xff" * 64,
                      wire.preamble(magic=b"PMD2"), wire.preamble(flags=2),
                      wire.raw_frame("HELLO", b"")):
            self.assertEqual(self.answer_to(first), b"")

    def test_silence_is_ended_after_two_seconds(self):
        begin = time.monotonic()
        with wire.Connection(self.address, first=wire.preamble()[:15]) as connection:
            self.assertEqual(connection.closed_by_peer(), b"")
        self.assertGreater(time.monotonic() - begin, 1.5)
        self.assertLess(time.monotonic() - begin, 20)
        self.server.wait_log("connection refused.*not complete in time")

    def test_descriptors_come_back(self):
        before = self.server.descriptors()
        for _ in range(50):
            self.answer_to(b"x" * 16)
            self.answer_to(wire.preamble(version=9))
            with wire.Connection(self.address) as connection:
                connection.hello()
        daemon.wait_until(lambda: self.server.descriptors() == before, "descriptors closed")


class Limits(unittest.TestCase):
    def test_one_connection_too_many_is_told_busy_and_room_comes_back(self):
        with daemon.Daemon("--connections-max", "3", "--shards", "2") as server:
            open_ones = [wire.connect(server) for _ in range(3)]
            with wire.Connection((server.host, server.port)) as connection:
                # A client that does not wait has sent more already, and must still hear why.
                connection.send("HELLO", wire.pb.Hello(request_id=1))
                frame = connection.receive()
                self.assertEqual(frame.status, "BUSY")
                self.assertIn("--connections-max", frame.header.message)
            for connection in open_ones[1:]:
                connection.request("PING")
                connection.close()

            def taken():
                with wire.Connection((server.host, server.port)) as connection:
                    return connection.request("HELLO").status == "OK"

            daemon.wait_until(taken, "room for a connection")
            self.assertEqual(open_ones[0].request("PING").kind, "PONG")
            open_ones[0].close()

    def test_low_limit_of_open_files_lowers_the_limit_of_connections(self):
        with daemon.Daemon("--shards", "1", open_files=256) as server:
            server.wait_log("limit of open files is too low.*connections_max=120 ")


class Idle(unittest.TestCase):
    CONNECTIONS = 1000

    def test_a_thousand_idle_connections_cost_little(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2 * self.CONNECTIONS:
            self.skipTest("too few open files are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * self.CONNECTIONS), hard))
        with daemon.Daemon("--shards", "2") as server:
            with wire.connect(server) as connection:
                connection.request("PING")
            before = server.memory_bytes()
            connections = [wire.connect(server) for _ in range(self.CONNECTIONS)]
            each = (server.memory_bytes() - before) / self.CONNECTIONS
            print(f"memory of one idle connection: {each:.0f} bytes")
            for connection in connections:
                self.assertEqual(connection.request("PING").kind, "PONG")
            begin = time.monotonic()
            for connection in connections:
                connection.close()
            daemon.wait_until(lambda: server.descriptors() < 100, "descriptors closed")
            self.assertLess(time.monotonic() - begin, 30)
            self.assertNotIn("level=warn", server.log())
        if not daemon.sanitized():
            self.assertLess(each, 16 * 1024)


class Peers(unittest.TestCase):
    def test_reset_connections_leave_nothing_behind(self):
        with daemon.Daemon("--shards", "1") as server:
            before = server.descriptors()
            for _ in range(20):
                connection = wire.connect(server)
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                             b"\1\0\0\0\0\0\0\0")
                connection.close()
            daemon.wait_until(lambda: server.descriptors() == before, "descriptors closed")
            with wire.connect(server) as connection:
                self.assertEqual(connection.request("PING").kind, "PONG")

    def test_closing_the_sending_side_still_brings_the_answers(self):
        with daemon.Daemon("--shards", "1", unix=True) as server:
            for unix in (False, True):
                with wire.connect(server, unix=unix) as connection:
                    connection.send("PING", wire.pb.Ping(request_id=77))
                    connection.socket.shutdown(socket.SHUT_WR)
                    self.assertEqual(connection.receive().header.request_id, 77)
                    self.assertEqual(connection.closed_by_peer(), b"")


if __name__ == "__main__":
    unittest.main()
