"""A worker in raw frames: attaches a session to a model on every shard, pushes and pulls, and reads
all values of a model without the client library, so that tests can hold that library against it."""

import collections
import os

import numpy

from support import wire
from support.wire import pb

SLOTS = 4096
BLOCK_ELEMENTS = 65536

# The values of one block as pulled.
Block = collections.namedtuple("Block", "version step values")


def adding_definition(elements, block_elements=0):
    """A model whose updates add the gradient to weights that begin as zeros."""
    hypers = [pb.Hyper(name="lr", number=1), pb.Hyper(name="maximize", number=1)]
    return pb.Definition(
        groups=[pb.Group(name="all", optimizer="sgd", hypers=hypers)],
        block_elements=block_elements,
        tensors=[pb.Tensor(name=f"t{i}", shape=[count], init=pb.ZEROS)
                 for i, count in enumerate(elements)])


def create(server, name, definition, session=None, nonce=1):
    """Creates the model and waits until it has values; the CREATED header."""
    with wire.connect(server) as connection:
        while True:
            answer = connection.request("CREATE", definition.SerializeToString(), model=name,
                                        session=session or os.urandom(16), nonce=nonce)
            assert answer.kind == "CREATED", answer
            if answer.header.ready:
                return answer.header


class Session:
    """One session in a model that exists, with a connection for each shard."""

    def __init__(self, server, name):
        self.id = os.urandom(16)
        self.nonce = int.from_bytes(os.urandom(7), "little") + 1
        self.name = name
        self.connections = []
        first = wire.connect(server, 0)
        self.definition = self._read_definition(first)
        self.block_elements = self.definition.block_elements or BLOCK_ELEMENTS
        shards = first.request("STAT").header.counters
        shards = int(next(each.value for each in shards if each.name == "shards"))
        for shard in range(shards):
            connection = first if shard == 0 else wire.connect(server, shard)
            answer = connection.request("ATTACH", model=name, session=self.id, nonce=self.nonce,
                                        mode=pb.NEW if shard == 0 else pb.RESUME)
            assert answer.kind == "ATTACHED", answer
            self.connections.append(connection)
            self.model = answer.header.model
            self.generation = answer.header.generation
        self._push_ids = collections.Counter()
        self._first_slot = wire.xxh3(name.encode()) % SLOTS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for connection in self.connections:
            connection.close()

    def leave(self):
        """Ends the session, so that the daemon forgets it."""
        answer = self.connections[0].request("GOODBYE", model=self.model)
        assert answer.kind == "DONE", answer

    def _read_definition(self, connection):
        answer = connection.request("STAT", model=self.name, definition=True)
        assert answer.kind == "STATED", answer
        data = answer.payload
        while answer.flags & wire.FLAG_MORE:
            answer = connection.receive()
            data += answer.payload
        return pb.Definition.FromString(data)

    def elements(self, tensor):
        count = 1
        for side in self.definition.tensors[tensor].shape:
            count *= side
        return count

    def blocks(self, tensor):
        return -(-self.elements(tensor) // self.block_elements)

    def slot(self, tensor, block):
        before = sum(self.blocks(t) for t in range(tensor))
        return (self._first_slot + before + block) % SLOTS

    def connection(self, tensor, block):
        return self.connections[self.slot(tensor, block) % len(self.connections)]

    def push_header(self, tensor, block, request_id):
        """Of a PUSH of one block in f32, with the next push id of its slot."""
        slot = self.slot(tensor, block)
        self._push_ids[slot] += 1
        return pb.Push(request_id=request_id, model=self.model, generation=self.generation,
                       tensor=[tensor], block=[block], push_id=[self._push_ids[slot]],
                       base_version=[0])

    def push(self, tensor, block, gradient):
        """Pushes one block; the ACK's status by number."""
        connection = self.connection(tensor, block)
        header = self.push_header(tensor, block, connection.next_request_id())
        connection.send("PUSH", header, numpy.asarray(gradient, "<f4").tobytes())
        answer = connection.receive()
        assert answer.kind == "ACK" and answer.header.request_id == header.request_id, answer
        return answer.header.status[0]

    def pull(self, tensor, block):
        """One block as it is now."""
        answer = self.connection(tensor, block).request(
            "PULL", model=self.model, generation=self.generation, tensor=[tensor], block=[block])
        assert answer.kind == "BLOCKS" and answer.header.last, answer
        values = numpy.frombuffer(answer.payload, "<f4")
        return Block(answer.header.version[0], answer.header.step[0], values)

    def pull_all(self):
        """Every tensor as the list of its blocks."""
        return [[self.pull(tensor, block) for block in range(self.blocks(tensor))]
                for tensor in range(len(self.definition.tensors))]


def stat(connection, model=""):
    """The counters of a model, or of the daemon, as a dict."""
    answer = connection.request("STAT", model=model)
    if answer.kind != "STATED":
        return {}
    return {each.name: each.value for each in answer.header.counters}


def half_frame(kind, header, payload, part):
    """The first part (0 to 1) of a frame's payload, with all that comes before it."""
    frame = wire.raw_frame(kind, header, payload)
    head = len(frame) - len(payload)
    return frame[:head + int(len(payload) * part)]
