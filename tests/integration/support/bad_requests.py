"""The table of what broken and hostile clients send, and what must come back. A case is a stage
("new", "open": the preamble is sent, "greeted", "attached"), a name, a status by name (None:
nothing comes), whether the connection is closed then, and a function that makes the bytes for a
session."""

import collections
import struct

from support import wire
from support.wire import pb, raw_frame

Case = collections.namedtuple("Case", "stage name status closes data")
NAN = float("nan")


def _case(stage, name, status, closes, data):
    return Case(stage, name, status, closes, data if callable(data) else lambda _: data)


def _closed(stage, name, status, data):
    return _case(stage, name, status, True, data)


def _told(stage, name, status, data):
    return _case(stage, name, status, False, data)


def _varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


PING = pb.Ping(request_id=9)


def preambles():
    """The whole first bytes of a connection."""
    good = wire.preamble()
    hello = raw_frame("HELLO", pb.Hello(request_id=1))
    yield _closed("new", "wrong magic", None, wire.preamble(magic=b"PMD2") + hello)
    yield _closed("new", "magic backwards", None, wire.preamble(magic=b"1DMP") + hello)
    yield _closed("new", "zeros", None, bytes(64))
    yield _closed("new", "another protocol", None, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    yield _closed("new", "a TLS greeting", None,
                  bytes.fromhex("16030100c8010000c40303") + bytes(64))
    yield _closed("new", "an unknown flag", None, wire.preamble(flags=2) + hello)
    yield _closed("new", "all flags", None, wire.preamble(flags=0xFFFFFFFF) + hello)
    yield _closed("new", "version 0", "VERSION", wire.preamble(version=0) + hello)
    yield _closed("new", "the highest version", "VERSION",
                  wire.preamble(version=0xFFFFFFFF) + hello)
    yield _closed("new", "no preamble", None, hello)
    yield _closed("new", "the preamble twice", "PROTOCOL", good + good + bytes(32))


def greetings():
    """The first frame."""
    yield _closed("open", "PING first", "PROTOCOL", raw_frame("PING", PING))
    yield _closed("open", "CREATE first", "PROTOCOL",
                  raw_frame("CREATE", pb.Create(request_id=1, model="m")))
    yield _closed("open", "a kind of the server first", "PROTOCOL",
                  raw_frame("WELCOME", pb.Welcome(request_id=1)))
    yield _closed("open", "an unknown kind first", "PROTOCOL", raw_frame(99, PING))
    yield _closed("open", "a greeting above 4 KiB", "TOO_LARGE",
                  raw_frame("HELLO", pb.Hello(request_id=1, client="x" * 5000)))
    yield _closed("open", "a large payload before HELLO", "TOO_LARGE",
                  raw_frame("PING", PING, payload_bytes=1 << 20))
    yield _closed("open", "a greeting with a wrong sum", "PROTOCOL",
                  raw_frame("HELLO", pb.Hello(request_id=1), header_sum=1))


def frames():
    """Frames as such, on a connection that was greeted."""
    def bad(name, data, status="PROTOCOL"):
        return _closed("greeted", name, status, data)

    yield bad("wrong magic", raw_frame("PING", PING, magic=b"PDMG"))
    yield bad("header above its limit", raw_frame("PING", PING, header_bytes=65537), "TOO_LARGE")
    yield bad("the largest header", raw_frame("PING", PING, header_bytes=0xFFFFFFFF), "TOO_LARGE")
    yield bad("payload above its limit", raw_frame("PING", PING, payload_bytes=(1 << 20) + 1),
              "TOO_LARGE")
    yield bad("the largest payload", raw_frame("PING", PING, payload_bytes=0xFFFFFFFF),
              "TOO_LARGE")
    yield bad("both lengths wrong", raw_frame("PING", PING, header_bytes=0xFFFFFFFF,
                                              payload_bytes=0xFFFFFFFF), "TOO_LARGE")
    yield bad("wrong header sum", raw_frame("PING", PING, header_sum=1))
    yield bad("no header sum", raw_frame("PING", PING, header_sum=0))
    yield bad("wrong payload sum", raw_frame("CREATE", pb.Create(request_id=1), b"abc",
                                             wire.FLAG_SUM, payload_sum=7))
    yield bad("unknown flags", raw_frame("PING", PING, flags=0x8000))
    for name, header in (
            ("no varint", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            ("a varint without end", b"\x08\xff"), ("field number 0", b"\x00\x01"),
            ("an unknown wire type", b"\x0f\x01"), ("a group", b"\x0b\x08\x01\x0c"),
            ("another type for the request id", b"\x0a\x03abc"),
            ("a length beyond the end", b"\x12\xff\x01abc"),
            ("17 unknown fields", b"\x08\x09" + b"\xa0\x06\x01" * 17),
            ("random bytes", bytes(range(255, 155, -1)))):
        yield bad("a header with " + name, raw_frame("PING", header))
    yield bad("a text with a zero byte", raw_frame("STAT", b"\x08\x01\x12\x03a\0b"))
    yield bad("a text that is not UTF-8", raw_frame("STAT", b"\x08\x01\x12\x02\xc3\x28"))
    for number in (0, 30, 999, 65535):
        yield _told("greeted", f"kind {number}", "UNSUPPORTED", raw_frame(number, PING))
    yield _told("greeted", "an unknown kind that may be skipped", None,
                raw_frame(400, b"\xff\xff", flags=wire.FLAG_SKIPPABLE))
    yield bad("an unknown kind with a bad header", raw_frame(400, b"\xff"))
    for kind in ("WELCOME", "CREATED", "ATTACHED", "ACK", "BLOCKS", "SKIPPED", "LISTED", "STATED",
                 "PONG", "DONE", "ERROR", "MOVED", "SNAPSHOTTED"):
        header = wire.HEADER[wire.KIND[kind]](request_id=3)
        yield bad(f"{kind} from a client", raw_frame(kind, header))
    for kind in ("LIST", "STAT", "DELETE", "SET", "ATTACH", "SNAPSHOT"):
        header = wire.HEADER[wire.KIND[kind]](request_id=3)
        yield bad(f"{kind} with a payload", raw_frame(kind, header, b"payload!"))


def _create(definition, model="bad", more=0, **fields):
    payload = definition if isinstance(definition, bytes) else definition.SerializeToString()
    fields.setdefault("session", bytes(range(16)))
    return raw_frame("CREATE", pb.Create(request_id=3, model=model, nonce=1, **fields), payload,
                     flags=more)


def _definition(optimizer="sgd", hypers=(), shape=(4,), tensors=None, groups=None, **fields):
    group = pb.Group(name="all", optimizer=optimizer, hypers=hypers,
                     merge=fields.pop("merge", ""))
    tensor = pb.Tensor(name=fields.pop("tensor", "t"), shape=shape, init=pb.ZEROS,
                       group=fields.pop("group", 0))
    return pb.Definition(groups=[group] if groups is None else groups,
                         tensors=[tensor] if tensors is None else tensors, **fields)


def definitions():
    """CREATE with what must not become a model."""
    def bad(name, definition, status="INVALID", **fields):
        return _told("greeted", "CREATE: " + name, status, _create(definition, **fields))

    lr = pb.Hyper(name="lr", number=1)
    tensor = pb.Tensor(name="t", shape=[4], init=pb.ZEROS)
    yield bad("nothing", b"")
    yield bad("bytes that are no definition", b"\xff" * 40)
    yield bad("no groups", _definition(groups=[]))
    yield bad("no tensors", _definition(tensors=[]))
    for name in ("", "a b", "x" * 256, "a\tb", "ü"):
        yield bad(f"the name {name[:9]!r}", _definition(), model=name)
    yield bad("a tensor without a name", _definition(tensor=""))
    yield bad("two tensors of one name", _definition(tensors=[tensor, tensor]))
    group = pb.Group(name="g", optimizer="sgd")
    yield bad("two groups of one name", _definition(groups=[group, group]))
    yield bad("an unknown optimizer", _definition("sgdm"), "UNSUPPORTED")
    yield bad("an unknown hyper-parameter", _definition(hypers=[pb.Hyper(name="beta9")]))
    yield bad("lr that is no number", _definition(hypers=[pb.Hyper(name="lr", number=NAN)]))
    yield bad("a negative lr", _definition(hypers=[pb.Hyper(name="lr", number=-1)]))
    yield bad("a word for a number", _definition(hypers=[pb.Hyper(name="lr", text="much")]))
    yield bad("65 hyper-parameters", _definition(hypers=[lr] * 65))
    yield bad("rank 9", _definition(shape=[1] * 9))
    yield bad("a side of 0", _definition(shape=[4, 0]))
    yield bad("2^41 elements", _definition(shape=[1 << 41]))
    yield bad("sides whose product overflows", _definition(shape=[1 << 33, 1 << 33, 1 << 33]))
    yield bad("a group that is not there", _definition(group=1))
    yield bad("blocks of 1,000", _definition(block_elements=1000))
    yield bad("blocks of 2^30", _definition(block_elements=1 << 30))
    yield bad("level logged", _definition(ack_level=pb.LOGGED), "UNSUPPORTED")
    yield bad("level replicated", _definition(ack_level=pb.REPLICATED), "UNSUPPORTED")
    yield bad("merging", _definition(merge="mean"), "UNSUPPORTED")
    yield bad("a gate", _definition(gate="ssp"), "UNSUPPORTED")
    yield bad("a table", _definition(tables=[pb.Table(name="e", width=8)]), "UNSUPPORTED")
    yield bad("more than the daemon may hold", _definition(shape=[1 << 39]), "RESOURCE_EXHAUSTED")
    yield bad("a session of 15 bytes", _definition(), session=bytes(15))
    yield bad("another definition than at first", _definition(), "MISMATCH", model="other")
    yield _closed("greeted", "CREATE: a frame between its frames", "PROTOCOL",
                  _create(b"ab", more=wire.FLAG_MORE) + raw_frame("PING", PING))
    yield _closed("greeted", "CREATE: above 16 MiB", "TOO_LARGE",
                  _create(bytes(1 << 20), more=wire.FLAG_MORE) * 17)


def requests():
    """Requests of a connection without a session."""
    def bad(name, kind, header, status):
        return _told("greeted", f"{kind}: {name}", status, raw_frame(kind, header))

    id16 = bytes(range(16))
    yield bad("an unknown model", "ATTACH",
              pb.Attach(request_id=3, model="nowhere", session=id16), "NOT_FOUND")
    yield bad("a session of 3 bytes", "ATTACH",
              pb.Attach(request_id=3, model="other", session=b"abc"), "INVALID")
    yield bad("an unknown session", "ATTACH",
              pb.Attach(request_id=3, model="other", session=id16, mode=pb.RESUME),
              "SESSION_EXPIRED")
    yield bad("an unknown model", "SET", pb.Set(request_id=3, model="nowhere"), "NOT_FOUND")
    yield bad("an unknown group", "SET",
              pb.Set(request_id=3, model="other", group="none", hypers=[pb.Hyper(name="lr")]),
              "NOT_FOUND")
    for hyper in (pb.Hyper(name="beta9", number=1), pb.Hyper(name="lr", number=NAN),
                  pb.Hyper(name="lr", number=-1)):
        yield bad(f"{hyper.name} {hyper.number}", "SET",
                  pb.Set(request_id=3, model="other", group="all", hypers=[hyper]), "INVALID")
    yield bad("an unknown model", "STAT", pb.Stat(request_id=3, model="nowhere"), "NOT_FOUND")
    yield bad("an unknown model", "DELETE", pb.Delete(request_id=3, model="nowhere"), "NOT_FOUND")
    yield bad("another number", "DELETE", pb.Delete(request_id=3, model="other", number=5),
              "NOT_FOUND")
    yield bad("nothing is kept", "SNAPSHOT", pb.Snapshot(request_id=3), "UNSUPPORTED")
    yield bad("an unknown model", "PUSH", pb.Push(request_id=3, model=77), "NOT_FOUND")
    yield _told("greeted", "PUSH without ATTACH", "NOT_ATTACHED",
                lambda it: raw_frame("PUSH", pb.Push(request_id=3, model=it.model)))
    for kind in ("PULL", "INIT", "SKIP", "REPORT", "GOODBYE"):
        header = wire.HEADER[wire.KIND[kind]]
        yield _told("greeted", f"{kind} without ATTACH", "NOT_ATTACHED",
                    lambda it, kind=kind, header=header:
                    raw_frame(kind, header(request_id=3, model=it.model)))


def _push(it, payload=None, **fields):
    """A good PUSH of the first block but for these fields."""
    values = dict(request_id=3, model=it.model, generation=it.generation, tensor=[0],
                  block=[it.here], push_id=[1], base_version=[0])
    values.update(fields)
    payload = bytes(4 * it.block_elements) if payload is None else payload
    return raw_frame("PUSH", pb.Push(**values), payload)


def _pull(it, payload=b"", **fields):
    values = dict(request_id=3, model=it.model, generation=it.generation, tensor=[0],
                  block=[it.here])
    values.update(fields)
    return raw_frame("PULL", pb.Pull(**values), payload)


def pushes():
    """Frames of a session that break its model's rules. it.here is a block of this connection's
    shard, it.elsewhere one of another."""
    def bad(name, data, status="PROTOCOL"):
        return _closed("attached", name, status, data)

    yield bad("PUSH of nothing",
              lambda it: _push(it, b"", tensor=[], block=[], push_id=[], base_version=[]))
    yield bad("PUSH with arrays of two lengths", lambda it: _push(it, block=[it.here, it.here]))
    yield bad("PUSH without push ids", lambda it: _push(it, push_id=[]))
    yield bad("PUSH id 0", lambda it: _push(it, push_id=[0]))
    yield bad("PUSH of no tensor", lambda it: _push(it, tensor=[9]))
    yield bad("PUSH of the highest tensor", lambda it: _push(it, tensor=[0xFFFFFFFF]))
    yield bad("PUSH of no block", lambda it: _push(it, block=[999]))
    yield bad("PUSH of the highest block", lambda it: _push(it, block=[(1 << 64) - 1]))
    yield bad("PUSH too short", lambda it: _push(it, bytes(4 * it.block_elements - 4)))
    yield bad("PUSH too long", lambda it: _push(it, bytes(4 * it.block_elements + 4)))
    yield bad("PUSH of an unknown dtype", lambda it: _push(it, dtype=3))
    yield bad("PUSH of another dtype's length", lambda it: _push(it, dtype=1))
    yield bad("PUSH of 4,097 entries", lambda it: _push(
        it, b"", tensor=[0] * 4097, block=[0] * 4097, push_id=[1] * 4097, base_version=[0] * 4097))
    yield _told("attached", "PUSH with a gap before it", "EXPECTED",
                lambda it: _push(it, push_id=[1 << 40]))
    yield _told("attached", "PUSH of NaN", "NOT_FINITE",
                lambda it: _push(it, struct.pack("<f", NAN) * it.block_elements))
    yield _told("attached", "PUSH with the scale NaN", "NOT_FINITE",
                lambda it: _push(it, struct.pack("<f", 1) * it.block_elements, scale=NAN))
    yield _told("attached", "PUSH to another shard", "MOVED",
                lambda it: _push(it, block=[it.elsewhere]))
    yield bad("PULL of nothing", lambda it: _pull(it, tensor=[], block=[]))
    yield bad("PULL with arrays of two lengths", lambda it: _pull(it, tensor=[0, 0]))
    yield bad("PULL of no block", lambda it: _pull(it, block=[1 << 50]))
    yield bad("PULL of an unknown dtype", lambda it: _pull(it, dtype=200))
    yield bad("PULL of unknown parts", lambda it: _pull(it, parts=16))
    yield bad("PULL with a payload", lambda it: _pull(it, b"more"))
    yield _told("attached", "PULL of moments that sgd lacks", "INVALID",
                lambda it: _pull(it, parts=2))
    yield _told("attached", "PULL from another shard", "MOVED",
                lambda it: _pull(it, block=[it.elsewhere]))


def others():
    """INIT, SKIP and the rest with a session."""
    def init(it, payload=None, **fields):
        values = dict(request_id=3, model=it.model, attempt=1, tensor=[0], block=[it.here])
        values.update(fields)
        return raw_frame("INIT", pb.Init(**values),
                         bytes(4 * it.block_elements) if payload is None else payload)

    def skip(it, slot=None, first=1, last=1):
        slot = it.slot(0, it.here) if slot is None else slot
        return raw_frame("SKIP", pb.Skip(request_id=3, model=it.model, slot=slot,
                                         **{"from": first, "to": last}))

    yield _told("attached", "INIT of another's model", "NOT_INITIALISER", init)
    yield _closed("attached", "INIT too short", "PROTOCOL", lambda it: init(it, b"abcd"))
    yield _closed("attached", "INIT of an unknown part", "PROTOCOL", lambda it: raw_frame(
        "INIT", pb.Init(request_id=3, model=it.model, tensor=[0], block=[it.here])
        .SerializeToString() + b"\x20" + _varint(77), bytes(4 * it.block_elements)))
    yield _closed("attached", "SKIP of no slot", "PROTOCOL", lambda it: skip(it, slot=4096))
    yield _closed("attached", "SKIP from 0", "PROTOCOL", lambda it: skip(it, first=0))
    yield _closed("attached", "SKIP backwards", "PROTOCOL", lambda it: skip(it, first=5))
    yield _closed("attached", "SKIP to the last number", "PROTOCOL",
                  lambda it: skip(it, last=(1 << 64) - 1))
    yield _told("attached", "SKIP behind a gap", "EXPECTED", lambda it: skip(it, first=7, last=9))
    yield _told("attached", "SKIP on another shard", "MOVED",
                lambda it: skip(it, slot=it.slot(0, it.elsewhere)))
    yield _closed("attached", "HELLO in half and an end", None, lambda it: raw_frame(
        "HELLO", pb.Hello(request_id=3, client="x" * 100))[:60])


CASES = [case for table in (preambles, greetings, frames, definitions, requests, pushes, others)
         for case in table()]
