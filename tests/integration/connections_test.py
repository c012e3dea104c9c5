"""A thousand workers that are attached and idle, and 64 that work: nobody is refused, and the
memory that an idle worker takes is printed."""

import os
import resource
import unittest

from support import daemon, session, wire, workers
from support.wire import pb

IDLE = 1000
ACTIVE = 64
ROUNDS = 20
# Connection and session; sanitized builds are not held to it.
EACH_BYTES_MAX = 32 * 1024


class Connections(unittest.TestCase):
    def attach(self, server, model):
        connection = wire.connect(server)
        answer = connection.request("ATTACH", model=model, session=os.urandom(16), nonce=1,
                                    mode=pb.NEW)
        self.assertEqual(answer.kind, "ATTACHED", answer)
        return connection

    def test_idle_workers_and_active_ones_beside_each_other(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2 * IDLE:
            self.skipTest("too few open files are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE), hard))
        with daemon.Daemon("--shards", "2") as server:
            session.create(server, "idle", session.adding_definition([1000]))
            self.attach(server, "idle").close()
            before = server.memory_bytes()
            idle = [self.attach(server, "idle") for _ in range(IDLE)]
            each = (server.memory_bytes() - before) / IDLE
            print(f"memory of one idle attached connection: {each:.0f} bytes", flush=True)
            with workers.Worker("crowd", f"127.0.0.1:{server.port}", "active", ACTIVE, 1, ROUNDS,
                                1) as crowd:
                crowd.wait_lines("joined")
                with wire.connect(server) as connection:
                    counters = session.stat(connection)
                self.assertGreaterEqual(counters["connections"], IDLE + ACTIVE)
                crowd.let_go()
                crowd.finish()
            for connection in idle:
                self.assertEqual(connection.request("PING").kind, "PONG")
                connection.close()
            with wire.connect(server) as connection:
                counters = session.stat(connection)
            self.assertEqual(counters["connections_refused"], 0)
            self.assertEqual(counters["protocol_errors"], 0)
            self.assertNotIn("level=warn", server.log())
        if not daemon.sanitized():
            self.assertLess(each, EACH_BYTES_MAX)


if __name__ == "__main__":
    unittest.main()
