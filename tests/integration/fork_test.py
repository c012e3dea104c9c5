"""A worker forks while it pushes: the child may not touch the client, the parent sees no change."""

import unittest

from support import daemon, workers


class Fork(unittest.TestCase):
    def fork(self, server, address):
        with workers.Worker("fork", address) as worker:
            self.assertEqual(worker.finish(), ["went on"])
        self.assertNotIn("level=warn", server.log())

    def test_a_child_is_told_so_and_the_parent_goes_on(self):
        with daemon.Daemon("--shards", "2") as server:
            self.fork(server, f"127.0.0.1:{server.port}")

    def test_the_same_over_shared_memory(self):
        with daemon.Daemon("--shards", "2", unix=True) as server:
            self.fork(server, f"unix:{server.unix_path}")


if __name__ == "__main__":
    unittest.main()
