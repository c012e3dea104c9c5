"""Four workers on two shards while their connections are cut: by `ss -K` at random moments, and by
a proxy at random bytes, or, over shared memory, at random wake-ups. Each acknowledged push is found
exactly once in every block, none twice, and each block's version counts them (workers/ledger.c says
which push writes where)."""

import re
import socket
import subprocess
import threading
import unittest

from support import daemon, ledger, proxy

CUTS = 40
PUSHES = ledger.BATCH * CUTS


def ss(*words, kill=False):
    command = ["ss", "-t", "-n", "-H", *(["-K"] if kill else []), "state", "established", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def ss_can_cut():
    """Tries it on a connection of our own: it needs a kernel that allows it, and root."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            with listener.accept()[0]:
                try:
                    ss("sport", "=", f":{port}", kill=True)
                    return client.recv(1) == b""
                except ConnectionError:
                    return True
                except (socket.timeout, FileNotFoundError):
                    return False


class Ledger(ledger.Case):
    """Each test is one way to cut, with or without cancelled and refused pushes."""

    pushes = PUSHES

    def cut_by_ss(self, server, crew):
        """Ends one connection, or all, in each batch, when the workers are somewhere in it."""
        cuts = 0
        for _ in range(CUTS):
            moment = self.settled(crew) + self.random.randrange(self.workers * ledger.BATCH // 2)
            for worker in crew:
                worker.tell()
            daemon.wait_until(lambda: self.settled(crew) >= moment or
                              any(worker.process.poll() for worker in crew), "progress")
            cuts += self.cut_one_or_all(server.port)
        return cuts

    def cut_one_or_all(self, port):
        every = ["sport", "=", f":{port}"]
        found = re.findall(rf"127\.0\.0\.1:{port}\s+127\.0\.0\.1:(\d+)", ss(*every).stdout)
        if not found:
            return 0
        peer = self.random.choice(found)
        at_daemon = ["sport", "=", f":{port}", "and", "dport", "=", f":{peer}"]
        at_client = ["dport", "=", f":{port}", "and", "sport", "=", f":{peer}"]
        where = self.random.choice([at_daemon, at_daemon, at_client, at_client, every])
        return len(ss(*where, kill=True).stdout.splitlines())

    def cutting_rule(self, scales=(1 << 9, 1 << 17, 1 << 22, 1 << 23)):
        """Cuts connections at random bytes: greetings, heads of frames, the middle of values."""
        left = 2 * CUTS
        guard = threading.Lock()

        def rule():
            nonlocal left
            with guard:
                left -= 1
                scale = self.random.choice(scales)
                to_daemon = self.random.random() < 0.7
                return proxy.Fate(to_daemon, self.random.randrange(1, scale), "cut") \
                    if left >= 0 else None

        return rule

    def by_ss(self, mode):
        if not ss_can_cut():
            print("  `ss -K` cannot cut connections here (it needs root and a kernel with"
                  " INET_DIAG_DESTROY): the proxy's resets stand in for it", flush=True)
            self.by_proxy(mode)
            return
        cuts = 0

        def cutter(crew):
            nonlocal cuts
            cuts = self.cut_by_ss(server, crew)

        with daemon.Daemon("--shards", "2") as server:
            told = self.run_crew(f"127.0.0.1:{server.port}", mode, cutter)
            print(f"  {cuts} connections cut by ss -K", flush=True)
            self.assertGreaterEqual(cuts, 30)
            self.check(server, told, mode)

    def by_proxy(self, mode):
        with daemon.Daemon("--shards", "2") as server:
            with proxy.Proxy((server.host, server.port), self.cutting_rule()) as between:
                told = self.run_crew(between.address, mode)
                print(f"  {between.count['cut']} connections cut by the proxy", flush=True)
                self.assertGreaterEqual(between.count["cut"], 30)
            self.check(server, told, mode)

    def by_wake_ups(self, mode):
        """Both sides lose what lies in the rings when the socket beside them is cut."""
        with daemon.Daemon("--shards", "2", unix=True) as server:
            rule = self.cutting_rule(scales=(1 << 5, 1 << 7, 1 << 8))
            with proxy.Proxy(server.unix_path, rule) as between:
                told = self.run_crew(between.address, mode)
                print(f"  {dict(between.count)}", flush=True)
                self.assertGreaterEqual(between.count["cut"], 30)
                self.assertGreaterEqual(between.count["descriptors"], 30)
            self.check(server, told, mode)

    def test_every_push_is_applied_once_when_shared_memory_is_cut_off(self):
        self.by_wake_ups("plain")

    def test_cancelled_and_refused_pushes_are_told_truly_when_shared_memory_is_cut_off(self):
        self.by_wake_ups("mixed")

    def test_every_push_is_applied_once_when_ss_cuts_connections(self):
        self.by_ss("plain")

    def test_every_push_is_applied_once_or_told_otherwise_when_ss_cuts_cancelling_workers(self):
        self.by_ss("mixed")

    def test_every_push_is_applied_once_when_connections_are_cut_at_any_byte(self):
        self.by_proxy("plain")

    def test_cancelled_and_refused_pushes_are_told_truly_when_cut_at_any_byte(self):
        self.by_proxy("mixed")


if __name__ == "__main__":
    unittest.main()
