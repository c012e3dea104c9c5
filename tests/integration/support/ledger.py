"""The ledger: workers whose every push owns a coordinate in every block, and the check of what they
were told against the values that the daemon has (workers/ledger.c says which push writes where)."""

import collections
import os
import random
import unittest

from support import daemon, session, workers

BATCH = 24
BLOCK = 16384  # more than all pushes of all workers

Push = collections.namedtuple("Push", "number tensors status blocks done refused unknown nan")


def start(address, number, count, pushes, seed, mode, level="applied", block=BLOCK):
    """Worker number of count; it waits for a line before each BATCH of its pushes."""
    return workers.Worker("ledger", address, "ledger", number, count, pushes, seed, mode, level,
                          block)


def read_worker(lines):
    """What a worker printed: its pushes, (tensor, block) -> applied, and the library's counters."""
    pushes, applied, counters = [], {}, None
    for kind, *words in map(str.split, lines):
        if kind == "push":
            number, tensors, status, *counts, nan_tensor, nan_block = words
            pushes.append(Push(int(number), int(tensors), status, *map(int, counts),
                               (int(nan_tensor), int(nan_block))))
        elif kind == "block":
            applied[int(words[0]), int(words[1])] = int(words[2])
        else:
            counters = dict(zip(("resent", "lost", "reconnects", "pushes"), map(int, words)))
    return pushes, applied, counters


class Case(unittest.TestCase):
    """A test with a crew of ledger workers. pushes: of each."""

    workers = 4
    pushes = BATCH
    level = "applied"
    block = BLOCK

    def setUp(self):
        self.seed = int(os.environ.get("PARAMD_SEED", random.randrange(1 << 32)))
        self.random = random.Random(self.seed)
        print(f"{self.id()}: PARAMD_SEED={self.seed}", flush=True)

    def limits(self):
        return [1, self.pushes // 10, self.pushes, self.pushes, self.pushes]

    def settled(self, crew):
        return sum(len(worker.lines) for worker in crew)

    def progress(self, crew, least=0):
        """Lets them begin another batch, and waits for a random moment in it. What is under way at
        its end has not been settled, so the moment is none of the last quarter's."""
        moment = self.settled(crew) + self.random.randrange(least, len(crew) * BATCH * 3 // 4)
        for worker in crew:
            worker.tell()
        daemon.wait_until(lambda: self.settled(crew) >= moment or
                          any(worker.process.poll() is not None for worker in crew), "progress")
        for worker in crew:
            if worker.process.poll() is not None:
                worker.finish()  # says why

    def run_crew(self, address, mode, disturb=None):
        """All that the workers said."""
        crew = [start(address, number, self.workers, self.pushes, self.seed, mode, self.level,
                      self.block) for number in range(self.workers)]
        try:
            if disturb:
                disturb(crew)
            for worker in crew:
                worker.let_go()
            return [read_worker(worker.finish()) for worker in crew]
        finally:
            for worker in crew:
                worker.__exit__()

    def check_push(self, push, limit, number, values, lossy):
        """One push against the values of all blocks of its tensors: how many of them have it."""
        ones = refused = 0
        for tensor in range(len(values)):
            if not push.tensors >> tensor & 1:
                continue
            coordinate = number * limit[tensor] + push.number
            for index, block in enumerate(values[tensor]):
                one = int(block.values[coordinate])
                ones += one
                if push.nan == (tensor, index):
                    refused += 1
                    self.assertEqual(one, 0, f"a refused block was applied: {push}")
        if lossy:
            return ones
        if push.status == "OK":
            self.assertEqual((push.done, ones), (push.blocks, push.blocks), push)
        if push.status == "NOT_FINITE":
            self.assertEqual(push.refused, refused, push)
        self.assertLessEqual(push.done, ones, f"an acknowledged block is missing: {push}")
        self.assertLessEqual(ones, push.done + push.unknown, f"applied, but told otherwise: {push}")
        return ones

    def check(self, server, told, mode, disturbed=True):
        limit = self.limits()
        with session.Session(server, "ledger") as reader:
            values = reader.pull_all()
        for tensor, blocks in enumerate(values):
            for index, block in enumerate(blocks):
                where = f"tensor {tensor}, block {index}"
                self.assertLessEqual(set(block.values.tolist()), {0.0, 1.0}, where)
                self.assertEqual(block.version, 1 + int(block.values.sum()), where)
        for number, (pushes, applied, counters) in enumerate(told):
            self.assertEqual(sorted(push.number for push in pushes), list(range(self.pushes)))
            ones = sum(self.check_push(push, limit, number, values, mode == "lossy")
                       for push in pushes)
            self.assertEqual(sum(applied.values()), counters["pushes"])
            if mode == "lossy":
                # What is not there was told to this worker, push by push and block by block.
                self.assertEqual(counters["pushes"] - ones, counters["lost"])
            else:
                self.assertEqual(counters["lost"], 0)
            # REFUSED: cancelled; the daemon had passed over it before a cut took that answer away.
            self.assertLessEqual({push.status for push in pushes},
                                 {"OK", "NOT_FINITE", "CANCELLED", "REFUSED"})
            if mode == "plain":
                self.assertEqual(ones, counters["pushes"])
            if mode in ("plain", "lossy"):
                self.assertEqual({push.status for push in pushes}, {"OK"})
            else:
                refused = [push for push in pushes if push.status == "NOT_FINITE"]
                self.assertGreater(len(refused), 0)
            for (tensor, block), count in applied.items():
                first = number * limit[tensor]
                mine = values[tensor][block].values[first:first + limit[tensor]].sum()
                self.assertTrue(count <= mine or mode == "lossy")
        statuses = collections.Counter(push.status for pushes, *_ in told for push in pushes)
        print(f"  {dict(statuses)}, resent {sum(each[2]['resent'] for each in told)}, "
              f"reconnects {sum(each[2]['reconnects'] for each in told)}", flush=True)
        if disturbed:
            self.assertGreater(sum(each[2]["resent"] for each in told), 0)
        return statuses

