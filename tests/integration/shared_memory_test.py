"""Workers that share memory with the daemon: it is there when asked for and goes with them, and
what a hostile one does to it harms nobody but itself."""

import os
import random
import unittest

import numpy

from support import daemon, ledger, session, shared, wire

BLOCK = 65536
PUSHES = 48


def mappings(server):
    """How many pieces of shared memory the daemon has mapped."""
    with open(f"/proc/{server.process.pid}/maps", encoding="utf-8") as file:
        return sum("/memfd:paramd" in line for line in file)


def start(address, number=0):
    return ledger.start(address, number, 2, PUSHES, 1, "plain")


class SharedMemory(unittest.TestCase):
    def values(self, server):
        with session.Session(server, "ledger") as reader:
            return [block.values for tensor in reader.pull_all() for block in tensor]

    def train(self, server, address):
        with start(address) as worker:
            worker.let_go()
            worker.finish()
        return self.values(server)

    def test_it_trains_to_the_same_values_as_over_tcp(self):
        with daemon.Daemon("--shards", "2") as server:
            expected = self.train(server, f"127.0.0.1:{server.port}")
        with daemon.Daemon("--shards", "2", unix=True) as server:
            got = self.train(server, f"unix:{server.unix_path}")
        self.assertEqual(len(got), len(expected))
        for one, other in zip(got, expected):
            numpy.testing.assert_array_equal(one, other)

    def test_the_memory_of_a_killed_worker_is_given_back(self):
        with daemon.Daemon("--shards", "2", unix=True) as server:
            with start(f"unix:{server.unix_path}") as worker:
                worker.tell()
                worker.wait_lines("push", 10)
                self.assertEqual(mappings(server), 2)
                worker.process.kill()
                daemon.wait_until(lambda: mappings(server) == 0, "the memory's end")

    def test_without_a_budget_workers_use_the_socket(self):
        with daemon.Daemon("--shared-memory-max", "0", unix=True) as server:
            with shared.Connection(server) as connection:
                self.assertEqual(connection.ring_bytes, 0)
            with start(f"unix:{server.unix_path}") as worker:
                worker.tell()
                worker.wait_lines("push", 10)
                self.assertEqual(mappings(server), 0)
                worker.let_go()
                worker.finish()

    def test_the_budget_is_for_those_who_are_connected(self):
        with daemon.Daemon("--shards", "1", "--shared-memory-max", "5M", unix=True) as server:
            with shared.Connection(server) as first, shared.Connection(server) as second:
                self.assertGreater(min(first.ring_bytes, second.ring_bytes), 0)
                with shared.Connection(server) as third:
                    self.assertEqual(third.ring_bytes, 0)
                first.close()
                daemon.wait_until(lambda: mappings(server) == 1, "the first one's end")
                with shared.Connection(server) as fourth:
                    self.assertGreater(fourth.ring_bytes, 0)


class Hostile(unittest.TestCase):
    """Each test harms its own connection while another worker trains over shared memory."""

    def setUp(self):
        seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        print(f"{self.id()}: PARAMD_SEED={seed}", flush=True)
        self.random = random.Random(seed)
        self.server = self.enterContext(daemon.Daemon("--shards", "1", unix=True))
        self.bystander = self.enterContext(start(f"unix:{self.server.unix_path}", 1))
        self.bystander.tell()
        self.bystander.wait_lines("push", 1)
        session.create(self.server, "m", session.adding_definition([4 * BLOCK]))

    def tearDown(self):
        """The others have noticed nothing, and the daemon ends as it should."""
        self.bystander.let_go()
        told = self.bystander.finish()
        self.assertEqual(sum(line.startswith("push") for line in told), PUSHES)
        self.assertEqual(told[-1].split()[:4], ["counters", "0", "0", "0"])

    def attached(self):
        connection = self.enterContext(shared.Connection(self.server))
        self.assertGreater(connection.ring_bytes, 0)
        answer = connection.request("ATTACH", model="m", session=os.urandom(16), nonce=1,
                                    mode=wire.pb.NEW)
        self.assertEqual(answer.kind, "ATTACHED")
        return connection, answer.header

    def push(self, model, push_id, count=1):
        payload = numpy.ones(count * BLOCK, "<f4").tobytes()
        header = wire.pb.Push(request_id=push_id, model=model.model, generation=model.generation,
                              tensor=[0] * count, block=list(range(count)),
                              push_id=[push_id] * count, base_version=[0] * count)
        return wire.raw_frame("PUSH", header, payload)

    def test_positions_that_cannot_be_end_the_connection(self):
        for ring, field in [(shared.TO_SERVER, shared.HEAD), (shared.TO_CLIENT, shared.TAIL)]:
            for _ in range(20):
                connection, _ = self.attached()
                true = connection.get(ring, field)
                lie = self.random.choice([
                    true + self.random.randrange(connection.ring_bytes + 1, 1 << 62),
                    (true - self.random.randrange(1, 1 << 62)) % (1 << 64),
                    self.random.getrandbits(64) | 1 << 63])
                connection.put(ring, field, lie)
                try:
                    if ring == shared.TO_SERVER:
                        connection.bell()
                    else:
                        connection.send("PING", wire.pb.Ping(request_id=9))
                except wire.Closed:
                    pass
                connection.wait_closed()
                connection.close()
        daemon.wait_until(lambda: mappings(self.server) == 1, "only the bystander's memory")

    def test_the_memory_cannot_be_cut_short(self):
        connection, _ = self.attached()
        for size in (0, 4096, 1 << 30):
            with self.assertRaises(PermissionError):
                os.ftruncate(connection.descriptor, size)
        self.assertEqual(connection.request("PING").kind, "PONG")

    def test_noise_in_all_of_the_memory_harms_one_connection(self):
        for _ in range(20):
            connection, model = self.attached()
            connection.send_bytes(self.push(model, 1))
            start = self.random.choice([0, 0, shared.CONTROL_BYTES])
            noise = self.random.randbytes(len(connection.memory) - start)
            connection.memory[start:] = noise
            try:
                for _ in range(50):
                    connection.put(shared.TO_SERVER, shared.HEAD, self.random.getrandbits(22))
                    connection.bell()
            except wire.Closed:
                pass
            connection.close()
        daemon.wait_until(lambda: mappings(self.server) == 1, "only the bystander's memory")

    def test_a_payload_that_changes_while_it_is_read_is_only_other_values(self):
        connection, model = self.attached()
        for push_id in range(1, 40):
            connection.send_bytes(self.push(model, push_id))
            # The values that went last lie before the head.
            at = connection._at(shared.TO_SERVER, connection._written - 4 * BLOCK)
            end = min(at + 4 * BLOCK, connection._at(shared.TO_SERVER, -1) + 1)
            connection.memory[at:end] = self.random.randbytes(end - at)
            answer = connection.receive()
            self.assertEqual(answer.kind, "ACK")
            self.assertIn(answer.header.status[0],
                          [wire.STATUS["OK"], wire.STATUS["NOT_FINITE"]])

    def test_a_worker_that_dies_in_the_middle_of_a_frame_leaves_nothing(self):
        connection, model = self.attached()
        frame = self.push(model, 1)
        connection.send_bytes(frame + frame[:self.random.randrange(1, len(frame))])
        self.assertEqual(connection.receive().kind, "ACK")
        connection.close()
        daemon.wait_until(lambda: mappings(self.server) == 1, "only the bystander's memory")
        with session.Session(self.server, "m") as reader:
            block = reader.pull(0, 0)
        self.assertEqual(block.version, 2)
        self.assertEqual(set(block.values.tolist()), {1.0})


if __name__ == "__main__":
    unittest.main()
