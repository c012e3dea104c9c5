"""A connection over shared memory, written from proto/README.md alone; what a hostile worker may do
to that memory is open to tests."""

import mmap
import os
import socket
import struct

from support import daemon, wire

PREAMBLE_SHARED = 1
CONTROL_BYTES = 4096
RING_CONTROL_BYTES = 512
HEAD, TAIL, READER_SLEEPS, WRITER_SLEEPS = 0, 128, 256, 384
TO_SERVER, TO_CLIENT = 0, 1


class Connection(wire.Connection):
    """Up to its WELCOME. ring_bytes is 0 where the daemon gives no memory; the socket is used
    then."""

    def __init__(self, server, shard=wire.ANY_SHARD):
        super().__init__(server.unix_path, first=wire.preamble(shard, flags=PREAMBLE_SHARED))
        answer, descriptors, *_ = socket.recv_fds(self.socket, 8, 1)
        magic, self.ring_bytes = struct.unpack("<4sI", answer)
        assert magic == b"PDMS", answer
        assert len(descriptors) == (self.ring_bytes > 0), descriptors
        self.memory = None
        if descriptors:
            self.descriptor = descriptors[0]
            size = CONTROL_BYTES + 2 * self.ring_bytes
            assert os.fstat(self.descriptor).st_size == size
            self.memory = mmap.mmap(self.descriptor, size)
            self._words = memoryview(self.memory).cast("Q")
            self.socket.setblocking(False)
        self._written = self._read = 0
        self.hello()

    def close(self):
        super().close()
        if self.memory:
            self._words.release()
            self.memory.close()
            os.close(self.descriptor)
            self.memory = None

    def get(self, ring, field):
        return self._words[(ring * RING_CONTROL_BYTES + field) // 8]

    def put(self, ring, field, value):
        self._words[(ring * RING_CONTROL_BYTES + field) // 8] = value

    def bell(self):
        """Whether the daemon sleeps or not: one byte too many does no harm."""
        try:
            self.socket.send(b"!")
        except BlockingIOError:
            pass
        except (ConnectionResetError, BrokenPipeError) as error:
            raise wire.Closed("at a bell") from error

    def _at(self, ring, position):
        return CONTROL_BYTES + ring * self.ring_bytes + position % self.ring_bytes

    def send_bytes(self, data):
        if not self.memory:
            super().send_bytes(data)
            return
        while data:
            room = daemon.wait_until(
                lambda: self.ring_bytes - (self._written - self.get(TO_SERVER, TAIL)), "room")
            at = self._at(TO_SERVER, self._written)
            count = min(room, len(data), self._at(TO_SERVER, -1) + 1 - at)
            self.memory[at:at + count] = data[:count]
            self._written += count
            self.put(TO_SERVER, HEAD, self._written)
            self.bell()
            data = data[count:]

    def receive_bytes(self, count):
        if not self.memory:
            return super().receive_bytes(count)
        data = bytearray()
        while len(data) < count:
            ready = daemon.wait_until(self._ready, "bytes from the daemon")
            at = self._at(TO_CLIENT, self._read)
            step = min(ready, count - len(data), self._at(TO_CLIENT, -1) + 1 - at)
            data += self.memory[at:at + step]
            self._read += step
            self.put(TO_CLIENT, TAIL, self._read)
            self.bell()
        return bytes(data)

    def _ready(self):
        ended = self._ended()
        ready = self.get(TO_CLIENT, HEAD) - self._read
        if ended and not ready:
            raise wire.Closed("the socket has ended")
        return ready

    def _ended(self):
        try:
            return self.socket.recv(64) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def wait_closed(self):
        daemon.wait_until(self._ended, "the daemon's end of the connection")
