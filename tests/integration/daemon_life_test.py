"""The daemon's life: options, addresses, start, address file, signals and end."""

import json
import os
import re
import signal
import socket
import stat
import time
import unittest

from support import daemon, wire


def preamble_is_taken(address):
    """Whether a daemon there takes a connection: it says nothing, and does not close it."""
    with wire.Connection(address) as connection:
        return connection.hello().server.startswith("paramd/")


class Options(unittest.TestCase):
    def test_help_tells_every_option_its_default_and_its_variable(self):
        result = daemon.run("--help")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr, "")
        options = re.findall(r"^  --(\S+)", result.stdout, re.MULTILINE)
        self.assertEqual(options[-2:], ["version", "help"])
        options = options[:-2]
        self.assertEqual(options[:3], ["listen", "unix", "shards"])
        for option in options:
            self.assertRegex(result.stdout, rf"(?s)\n  --{option}\b.*?\n    Default: [^\n]+\. "
                             rf"Environment: PARAMD_{option.upper().replace('-', '_')}\n")
        self.assertEqual(result.stdout.count("Default: "), len(options))
        self.assertLessEqual(max(map(len, result.stdout.splitlines())), 90)

    def test_version_is_one_line(self):
        result = daemon.run("--version")
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r"^paramd \d+\.\d+\.\d+\n$")

    def test_bad_option_is_one_sentence_and_status_2(self):
        for arguments in (["--shards", "many"], ["--nonsense"], ["--listen", "nowhere"], ["extra"]):
            result = daemon.run(*arguments)
            self.assertEqual(result.returncode, 2, arguments)
            self.assertEqual(result.stdout, "")
            self.assertEqual(len(result.stderr.splitlines()), 1)
            self.assertIn(arguments[-1], result.stderr)

    def test_bad_isa_is_refused(self):
        result = daemon.run(environment={"PARAMD_ISA": "mmx"})
        self.assertEqual(result.returncode, 2)
        self.assertIn("mmx", result.stderr)

    def test_variables_stand_in_for_options(self):
        with daemon.Daemon(environment={"PARAMD_SHARDS": "3", "PARAMD_LOG_FORMAT": "json",
                                        "PARAMD_ISA": "baseline"}) as server:
            line = json.loads(server.wait_log('"ready"'))
            self.assertEqual(line["shards"], 3)
            self.assertEqual(line["isa"], "baseline")


class Addresses(unittest.TestCase):
    def test_port_0_is_told_in_the_address_file(self):
        with daemon.Daemon() as server:
            self.assertEqual(list(server.addresses), ["tcp"])
            self.assertEqual(server.host, "127.0.0.1")
            self.assertGreater(server.port, 0)
            self.assertTrue(preamble_is_taken((server.host, server.port)))
            self.assertEqual(os.listdir(server.folder), ["address"])
            self.assertEqual(server.stop(), 0)
            self.assertEqual(os.listdir(server.folder), [])

    def test_unix_socket_is_served_and_removed(self):
        with daemon.Daemon(unix=True) as server:
            self.assertEqual(server.addresses["unix"], server.unix_path)
            self.assertTrue(stat.S_ISSOCK(os.stat(server.unix_path).st_mode))
            self.assertTrue(preamble_is_taken(server.unix_path))
            self.assertEqual(server.stop(), 0)
            self.assertFalse(os.path.exists(server.unix_path))

    def test_stale_socket_and_address_file_of_a_killed_daemon_are_replaced(self):
        with daemon.Daemon(unix=True) as first:
            first.process.kill()
            self.assertEqual(first.wait(), -signal.SIGKILL)
            self.assertTrue(os.path.exists(first.unix_path))
            os.unlink(first.address_file)
            with daemon.Daemon(unix=True, folder=first.folder) as second:
                self.assertTrue(preamble_is_taken(second.unix_path))
            first.process.returncode = 0

    def test_live_socket_is_refused(self):
        with daemon.Daemon(unix=True) as server:
            result = daemon.run("--listen", "127.0.0.1:0", "--unix", server.unix_path)
            self.assertEqual(result.returncode, 1)
            self.assertIn(server.unix_path, result.stderr)
            self.assertTrue(preamble_is_taken(server.unix_path))

    def test_taken_port_is_refused_with_advice(self):
        with daemon.Daemon() as server:
            result = daemon.run("--listen", f"127.0.0.1:{server.port}")
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"port {server.port} is in use", result.stderr)
            self.assertIn("--listen", result.stderr)

    def test_address_file_that_cannot_be_written_is_refused(self):
        result = daemon.run("--listen", "127.0.0.1:0", "--address-file", "/nonexistent/address")
        self.assertEqual(result.returncode, 1)
        self.assertIn("/nonexistent/address", result.stderr)

    def test_all_addresses_take_ipv4_and_ipv6_and_warn(self):
        with daemon.Daemon(listen="[::]:0") as server:
            self.assertTrue(preamble_is_taken(("127.0.0.1", server.port)))
            self.assertTrue(preamble_is_taken(("::1", server.port)))
            server.wait_log("level=warn.*no authentication")

    def test_loopback_does_not_warn(self):
        with daemon.Daemon(listen="[::1]:0") as server:
            self.assertTrue(preamble_is_taken(("::1", server.port)))
            self.assertNotIn("authentication", server.log())


class Signals(unittest.TestCase):
    def end_in_time(self, server, number):
        begin = time.monotonic()
        self.assertEqual(server.stop(number), 0)
        self.assertLess(time.monotonic() - begin, 5)

    def test_sigterm_and_sigint_end_an_idle_daemon(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with daemon.Daemon() as server:
                self.end_in_time(server, number)

    def test_connections_are_closed_and_do_not_delay_the_end(self):
        with daemon.Daemon("--shards", "2") as server:
            connections = [wire.connect(server, shard) for shard in (0, 1, 0, 1)]
            half = wire.connect(server)
            half.send_bytes(wire.raw_frame("PING", wire.pb.Ping(request_id=9))[:20])
            silent = wire.Connection((server.host, server.port), first=None)
            self.end_in_time(server, signal.SIGTERM)
            for connection in connections + [half, silent]:
                connection.closed_by_peer()
                connection.close()

    def test_answers_in_hand_are_finished(self):
        with daemon.Daemon("--shards", "1") as server:
            connection = wire.connect(server)
            pings = 2000
            frames = b"".join(wire.raw_frame("PING", wire.pb.Ping(request_id=number + 1))
                              for number in range(pings))
            connection.send_bytes(frames)
            first = connection.receive()
            self.assertEqual(first.kind, "PONG")
            server.send_signal(signal.SIGTERM)
            answered = 1
            try:
                while True:
                    frame = connection.receive()
                    self.assertEqual(frame.kind, "PONG")
                    answered += 1
                    self.assertEqual(frame.header.request_id, answered)
            except wire.Closed as closed:
                # The end lies between two frames, never inside one.
                self.assertIn("closed after 0 of 32", str(closed))
            connection.close()
            self.assertEqual(server.wait(5), 0)

    def test_no_new_connection_while_stopping(self):
        with daemon.Daemon() as server:
            with wire.connect(server):
                server.send_signal(signal.SIGTERM)
                server.wait_log("stopping")
                with self.assertRaises((ConnectionError, socket.timeout)):
                    socket.create_connection((server.host, server.port), 5).close()
                # Holding the other side open costs a second at most.
                self.assertEqual(server.wait(5), 0)


if __name__ == "__main__":
    unittest.main()
