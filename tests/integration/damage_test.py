"""A data directory that is damaged is refused by the daemon: exit status 1 and one sentence with
file, offset and what to do. When the damage is undone it is served as if nothing had been. Which
damages are noticed, and that nothing is changed, is the subject of tests/unit/recovery."""

import contextlib
import os
import re
import unittest

import numpy

from support import daemon, session, wire
from support.node import Node

ELEMENTS = 4096
BLOCK_ELEMENTS = 1024
PUSHES = 20
PAGE = 4096
CONTROL, SHARD_0, SHARD_1 = (f"{log}.00000001.00000" for log in
                             ("control", "shard-000", "shard-001"))


@contextlib.contextmanager
def flipped(data, name, offset):
    def flip():
        with open(os.path.join(data, name), "r+b") as file:
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 4]))
    flip()
    try:
        yield
    finally:
        flip()


@contextlib.contextmanager
def replaced(data, name, by=None):
    """By these bytes, or by nothing."""
    path, kept = os.path.join(data, name), os.path.join(data, "kept")
    os.rename(path, kept)
    try:
        if by is not None:
            with open(path, "wb") as file:
                file.write(by)
        yield
    finally:
        if by is not None:
            os.unlink(path)
        os.rename(kept, path)


class Damage(unittest.TestCase):
    def setUp(self):
        self.node = self.enterContext(Node())

    def write(self):
        """What a daemon leaves that was killed."""
        definition = session.adding_definition([ELEMENTS], BLOCK_ELEMENTS)
        definition.ack_level = wire.pb.LOGGED
        session.create(self.node.start(2, "--snapshot-every", "0"), "m", definition)
        with session.Session(self.node.server, "m") as worker:
            for _ in range(PUSHES):
                for block in range(worker.blocks(0)):
                    status = worker.push(0, block, numpy.ones(BLOCK_ELEMENTS, "<f4"))
                    self.assertEqual(status, wire.STATUS["OK"])
        self.node.kill()

    def refuses(self, damage, where):
        data = self.node.data
        with self.subTest(where), damage:
            ended = daemon.run("--listen", "127.0.0.1:0", "--data-dir", data)
            self.assertEqual(ended.returncode, 1, ended.stderr)
            name = re.escape(data)
            sentence = (rf"\Aparamd: data directory {name} is damaged .*: {where}: "
                        rf'.*"paramctl verify {name}".*\n\Z')
            self.assertRegex(ended.stderr, sentence)

    def test_it_is_refused_in_one_sentence_and_served_once_the_damage_is_undone(self):
        self.write()
        data = self.node.data
        with open(os.path.join(data, SHARD_1), "rb") as file:
            other = file.read()
        with open(os.path.join(data, SHARD_0), "rb") as file:
            head = file.read(3 * PAGE)
        self.refuses(flipped(data, "MANIFEST", 40), "MANIFEST at offset 0")
        self.refuses(replaced(data, "MANIFEST"), r"\S+ at offset 0")
        self.refuses(flipped(data, CONTROL, PAGE), f"{CONTROL} at offset {PAGE}")
        self.refuses(flipped(data, SHARD_0, 24), rf"{SHARD_0} at offset \d+")
        self.refuses(flipped(data, SHARD_0, PAGE), f"{SHARD_0} at offset {PAGE}")
        self.refuses(replaced(data, SHARD_0, head), f"{SHARD_0} at offset {3 * PAGE}")
        self.refuses(replaced(data, SHARD_0, other), f"{SHARD_0} at offset 0")
        self.refuses(replaced(data, SHARD_1), f"{SHARD_1} at offset 0")
        self.refuses(replaced(data, SHARD_1, bytes(len(other))), f"{SHARD_1} at offset 0")
        with session.Session(self.node.start(shards=3), "m") as reader:
            for block in range(reader.blocks(0)):
                self.assertTrue((reader.pull(0, block).values == PUSHES).all(), block)
        self.node.stop()


if __name__ == "__main__":
    unittest.main()
