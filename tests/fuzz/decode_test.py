"""pd_decode against python3-protobuf, which shares no code with it: on many made and mutated
headers of every kind both accept and refuse the same, and read the same fields. Where pd_decode is
stricter on purpose, Walk finds the reason in the header; without one it is a failure."""

import os
import random
import struct
import subprocess
import sys
import time
import unittest
import warnings

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                             "integration"))
from support import wire  # noqa: E402
from google.protobuf.descriptor import FieldDescriptor as Field  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402

SEED = int(os.environ.get("PARAMD_SEED", 7))
HEADERS = 150000
UNKNOWN_FIELDS_MAX = 16
VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
WIRE_TYPE = {Field.TYPE_STRING: BYTES, Field.TYPE_BYTES: BYTES, Field.TYPE_MESSAGE: BYTES,
             Field.TYPE_DOUBLE: FIXED64, Field.TYPE_FIXED64: FIXED64, Field.TYPE_FLOAT: FIXED32}


def wire_type(field):
    return WIRE_TYPE.get(field.type, VARINT)


# ---- made headers ----

def any_number(rng, bits):
    some = rng.getrandbits(rng.randrange(1, bits + 1))
    return rng.choice((0, 1, 127, 128, (1 << bits) - 1, some))


def any_text(rng):
    return "".join(chr(rng.choice((32 + rng.randrange(95), 0xE9, 0x20AC, 0x1F600)))
                   for _ in range(rng.randrange(9)))


def any_value(rng, field):
    kind = field.type
    if kind == Field.TYPE_STRING:
        return any_text(rng)
    if kind == Field.TYPE_BYTES:
        return rng.randbytes(rng.randrange(20))
    if kind == Field.TYPE_DOUBLE:
        return struct.unpack("<d", rng.randbytes(8))[0]
    if kind == Field.TYPE_FLOAT:
        return rng.choice((0.0, -0.0, 0.5, -1.0, float("inf"), float("nan")))
    if kind == Field.TYPE_BOOL:
        return rng.random() < 0.5
    if kind in (Field.TYPE_SINT32, Field.TYPE_ENUM):
        return any_number(rng, 31) * rng.choice((1, -1))
    return any_number(rng, 32 if kind == Field.TYPE_UINT32 else 64)


def fill(rng, message):
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.3:
            continue
        repeated = field.label == Field.LABEL_REPEATED
        if field.type == Field.TYPE_MESSAGE:
            for _ in range(rng.randrange(4) if repeated else 1):
                inside = getattr(message, field.name)
                fill(rng, inside.add() if repeated else inside)
                if not repeated:
                    inside.SetInParent()
        elif repeated:
            getattr(message, field.name).extend(any_value(rng, field)
                                                for _ in range(rng.randrange(6)))
        else:
            setattr(message, field.name, any_value(rng, field))


def varint(value, padding=0):
    out = b""
    while value > 127 or padding > 0:
        out += bytes([value & 127 | 128])
        padding -= value <= 127
        value >>= 7
    return out + bytes([value])


def any_field(rng, descriptor):
    """One field as bytes: known or not, of its own wire type or another, in any form."""
    field = rng.choice(descriptor.fields)
    number = field.number if rng.random() < 0.7 else rng.choice((0, 15, 16, 99, (1 << 29) - 1))
    kind = wire_type(field) if rng.random() < 0.7 else rng.randrange(8)
    out = varint(number << 3 | kind, rng.choice((0, 0, 0, 0, 1, 5)))
    if kind == VARINT:
        return out + varint(any_number(rng, 64), rng.choice((0, 0, 0, 1, 9)))
    if kind in (FIXED64, FIXED32):
        return out + rng.randbytes(8 if kind == FIXED64 else 4)
    if kind == BYTES:
        data = rng.choice((rng.randbytes(rng.randrange(12)), any_text(rng).encode(),
                           b"".join(varint(any_number(rng, 64)) for _ in range(rng.randrange(5)))))
        return out + varint(len(data), rng.choice((0, 0, 0, 0, 1, 4))) + data
    if kind == GROUP:
        return out + varint(8) + varint(3) + varint(number << 3 | 4)
    return out


def mutate(rng, data, descriptor):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        way = rng.randrange(6)
        if way == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 127, 128, 255))
        elif way == 2:
            del data[at:at + rng.randrange(1, 5)]
        elif way == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 4))
        elif way == 4:
            data += b"".join(any_field(rng, descriptor) for _ in range(rng.randrange(1, 4)))
        else:
            data += varint(rng.choice((15, 99)) << 3) + b"\1"
            data += (varint(98 << 3) + b"\1") * rng.randrange(20)
    return bytes(data)


# ---- why pd_decode refuses what protobuf accepts ----

class Walk:
    """Collects the reasons that a header which protobuf accepts gives for being refused."""

    def __init__(self, descriptor, data):
        self.reasons = set()
        self.message(descriptor, data)

    @staticmethod
    def varint(data, at):
        value, shift = data[at] & 127, 0
        while data[at] > 127:
            at, shift = at + 1, shift + 7
            value |= (data[at] & 127) << shift
        return value, at + 1

    def message(self, descriptor, data):
        fields = {field.number: field for field in descriptor.fields}
        at, unknown, seen = 0, 0, set()
        while at < len(data):
            key, at = self.varint(data, at)
            field, kind = fields.get(key >> 3), key & 7
            inside = b""
            if key >> 32 != 0:
                self.reasons.add("a key of more than 32 bits")
                return
            if key >> 3 == 0 or kind == END_GROUP:
                self.reasons.add("field 0, or the end of no group")
                return
            if kind == VARINT:
                _, at = self.varint(data, at)
            elif kind == BYTES:
                count, at = self.varint(data, at)
                inside = data[at:at + count]
                at += count
            elif kind in (FIXED64, FIXED32):
                at += 8 if kind == FIXED64 else 4
            else:
                self.reasons.add("a group")
                return
            unknown += field is None
            if unknown > UNKNOWN_FIELDS_MAX:
                self.reasons.add("more than 16 unknown fields")
            if field is not None:
                self.known(field, kind, inside, seen)
                seen.add(field)

    def known(self, field, kind, inside, seen):
        packs = field.label == Field.LABEL_REPEATED and wire_type(field) != BYTES
        if kind != wire_type(field) and not (packs and kind == BYTES):
            self.reasons.add("a field of another wire type")
        elif field.type == Field.TYPE_STRING and b"\0" in inside:
            self.reasons.add("a text with a NUL")
        elif field.type == Field.TYPE_MESSAGE:
            if field in seen and field.label != Field.LABEL_REPEATED:
                self.reasons.add("a message in two pieces")
            self.message(field.message_type, inside)


# ---- what protobuf reads, as decode_driver prints it ----

def as_text(field, value):
    kind = field.type
    if kind == Field.TYPE_STRING:
        return f'"{value.encode().hex()}"'
    if kind == Field.TYPE_BYTES:
        return f'"{value.hex()}"'
    if kind == Field.TYPE_MESSAGE:
        return message_text(value)
    if kind == Field.TYPE_DOUBLE:
        return f"{struct.unpack('<Q', struct.pack('<d', value))[0]:x}"
    if kind == Field.TYPE_FLOAT:
        return f"{struct.unpack('<I', struct.pack('<f', value))[0]:x}"
    if kind in (Field.TYPE_SINT32, Field.TYPE_ENUM):
        return f"{value & 0xFFFFFFFF:x}"
    return f"{int(value):x}"


def message_text(message):
    out = []
    for field in sorted(message.DESCRIPTOR.fields, key=lambda field: field.number):
        value = getattr(message, field.name)
        if field.label == Field.LABEL_REPEATED:
            out += [f"{field.number}={as_text(field, item)};" for item in value]
        elif field.type != Field.TYPE_MESSAGE or message.HasField(field.name):
            out.append(f"{field.number}={as_text(field, value)};")
    return "{" + "".join(out) + "}"


def protobuf_says(cases):
    """A text for each header, "-" for one that is refused. What the library itself writes about
    them to stderr is thrown away."""
    said = []
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    # About field 0 and the end of a group that did not begin, where it stops reading.
    warnings.simplefilter("ignore", RuntimeWarning)
    for kind, data in cases:
        try:
            said.append(message_text(wire.HEADER[kind].FromString(data)))
        except DecodeError:
            said.append("-")
    os.dup2(kept, 2)
    os.close(kept)
    os.close(nowhere)
    return said


class Decode(unittest.TestCase):
    def test_agrees_with_protobuf_on_every_header(self):
        started = time.monotonic()
        print(f"PARAMD_SEED={SEED}", flush=True)
        rng = random.Random(SEED)
        cases = []
        for i in range(HEADERS):
            kind = sorted(wire.HEADER)[i % len(wire.HEADER)]
            message = wire.HEADER[kind]()
            fill(rng, message)
            data = message.SerializeToString()
            cases.append((kind, mutate(rng, data, message.DESCRIPTOR) if i % 4 else data))
        program = os.path.join(os.environ.get("PARAMD_BUILD", "build/debug"),
                               "bin/tests/decode_driver")
        said = subprocess.run([program], check=True, stdout=subprocess.PIPE, input=b"".join(
            struct.pack("<HI", kind, len(data)) + data for kind, data in cases)).stdout
        lines = said.decode().splitlines()
        self.assertEqual(len(lines), len(cases))
        self.counts = {}
        for (kind, data), line, text in zip(cases, lines, protobuf_says(cases)):
            self.check(kind, data, line, text)
        for outcome, count in sorted(self.counts.items()):
            print(f"{count:6} {outcome}")
        self.assertGreater(self.counts["accepted by both"], HEADERS / 3)
        self.assertGreater(self.counts["refused by both"], HEADERS / 20)
        print(f"{time.monotonic() - started:.1f} s")

    def check(self, kind, data, line, expected):
        where = f"{wire.KIND_NAME[kind]} {data.hex()}\n  pd_decode {line}\n  protobuf  {expected}"
        if line == expected:
            outcomes = ["refused by both" if line == "-" else "accepted by both"]
        else:
            self.assertEqual(line, "-", where)
            outcomes = sorted(Walk(wire.HEADER[kind].DESCRIPTOR, data).reasons)
            self.assertTrue(outcomes, "refused without a reason: " + where)
        for outcome in outcomes:
            self.counts[outcome] = self.counts.get(outcome, 0) + 1


if __name__ == "__main__":
    unittest.main()
