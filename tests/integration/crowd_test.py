"""Clients in threads, and threads that share a client, do everything at once on one daemon; run
under ThreadSanitizer, too, both the client library and the daemon."""

import os
import random
import unittest

from support import daemon, session, wire, workers


ROUNDS = 150


class Crowd(unittest.TestCase):
    def run_crowd(self, clients, threads, rounds):
        seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        print(f"{self.id()}: PARAMD_SEED={seed}", flush=True)
        with daemon.Daemon("--shards", "3", unix=True) as server:
            for address in (f"127.0.0.1:{server.port}", f"unix:{server.unix_path}"):
                model = "by-" + address.split(":")[0]
                with workers.Worker("crowd", address, model, clients, threads, rounds,
                                    seed) as worker:
                    worker.let_go()
                    applied = int(worker.finish()[-1].split()[1])
                with session.Session(server, model) as reader, wire.connect(server) as connection:
                    blocks = [block for blocks in reader.pull_all() for block in blocks]
                    self.assertEqual(sum(block.version - 1 for block in blocks), applied)
                    self.assertEqual(session.stat(connection, model)["pushes_applied"], applied)

    def test_eight_clients_in_threads(self):
        self.run_crowd(clients=8, threads=1, rounds=ROUNDS)

    def test_eight_threads_on_one_client(self):
        self.run_crowd(clients=1, threads=8, rounds=ROUNDS)


if __name__ == "__main__":
    unittest.main()
