"""Eight workers create and initialise one model at the same moment, each with values of its own. In
half of the runs whoever initialises is killed half-way. Every worker that lives ends with the same
values, all of them from one worker."""

import concurrent.futures
import os
import random
import signal
import threading
import unittest

from support import daemon, proxy, session, wire, workers

RUNS = 20
AT_ONCE = 4
WORKERS = 8
ELEMENTS = 600000
BYTES = 4 * (10 + ELEMENTS // 10 + 7 + ELEMENTS)


class Race(unittest.TestCase):
    def setUp(self):
        self.seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        print(f"{self.id()}: PARAMD_SEED={self.seed}", flush=True)

    def owners(self, crew, but=None):
        """Lets the workers go on to their end; whose values each of them found."""
        return {int(worker.finish()[-1].split()[1]) for worker in crew if worker is not but}

    def start(self, address_of, model):
        crew = [workers.Worker("race", address_of(number), model, number, ELEMENTS)
                for number in range(WORKERS)]
        self.addCleanup(lambda: [worker.__exit__() for worker in crew])
        return crew

    def run_undisturbed(self, server, model):
        crew = self.start(lambda _: f"127.0.0.1:{server.port}", model)
        for worker in crew:
            worker.tell()
        owners = self.owners(crew)
        self.assertEqual(len(owners), 1, f"{model}: workers disagree: {owners}")
        return owners

    def run_with_a_death(self, server, model, chance):
        """Each worker has a proxy of its own, which holds what it sends behind some bytes: only the
        initialiser sends so many, and each of its connections is held somewhere in its values."""
        held = threading.Condition()
        stuck = []
        proxies = []

        def rule():
            return proxy.Fate(True, chance.randrange(BYTES // 8, BYTES // 3), "hold")

        def happened(_, between):
            # Whoever takes over is left alone.
            for each in proxies:
                each.forget()
            with held:
                stuck.append(between)
                held.notify_all()

        try:
            for _ in range(WORKERS):
                between = proxy.Proxy((server.host, server.port), rule, happened)
                proxies.append(between)
            crew = self.start(lambda number: proxies[number].address, model)
            for worker in crew:
                worker.tell()
            with held:
                self.assertTrue(held.wait_for(lambda: stuck, daemon.SECONDS_MAX), model)
                number = proxies.index(stuck[0])
            daemon.wait_until(lambda: self.has_values(server, model), "first values")
            crew[number].process.send_signal(signal.SIGKILL)
            owners = self.owners(crew, but=crew[number])
        finally:
            for between in proxies:
                between.__exit__()
        self.assertEqual(len(owners), 1, f"{model}: workers disagree: {owners}")
        self.assertNotIn(number, owners, f"{model}: values of a worker that died half-way")
        return owners

    def has_values(self, server, model):
        """Whether some block has values, if not all."""
        with wire.connect(server) as connection:
            tensors = connection.request("STAT", model=model).header.tensors
            return sum(tensor.version_sum for tensor in tensors) > 0

    def check_values(self, server, model, owners):
        """Seen by another reader, too, all blocks are those of that worker."""
        with session.Session(server, model) as reader:
            for tensor in reader.pull_all():
                for block in tensor:
                    self.assertEqual(block.version, 1)
                    self.assertEqual({int(value) // 8192 for value in block.values}, owners)

    def test_all_workers_find_the_whole_values_of_one(self):
        with daemon.Daemon("--shards", "2", "--lease", "1") as server:
            def one(number):
                model = f"race{number}"
                if number % 2 == 0:
                    owners = self.run_undisturbed(server, model)
                else:
                    owners = self.run_with_a_death(server, model, random.Random(self.seed + number))
                self.check_values(server, model, owners)
                return model

            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                done = list(pool.map(one, range(RUNS)))
            self.assertEqual(len(set(done)), RUNS)


if __name__ == "__main__":
    unittest.main()
