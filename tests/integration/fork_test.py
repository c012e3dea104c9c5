"""A worker forks while it pushes: the child may not touch the client, the parent sees no change."""

import unittest

from support import daemon, workers


class Fork(unittest.TestCase):
    def test_a_child_is_told_so_and_the_parent_goes_on(self):
        with daemon.Daemon("--shards", "2") as server:
            with workers.Worker("fork", f"127.0.0.1:{server.port}") as worker:
                self.assertEqual(worker.finish(), ["went on"])
            self.assertNotIn("level=warn", server.log())


if __name__ == "__main__":
    unittest.main()
