"""A proxy that tests put between a daemon and its clients, on TCP or (with descriptors) on Unix
sockets. A rule decides for each connection after how many bytes of one direction it is cut with a
reset, or held for good."""

import collections
import os
import selectors
import socket
import struct
import threading

RESET = struct.pack("ii", 1, 0)
CHUNK = 1 << 16

# What becomes of a connection: after so many bytes of a direction (True: from the client to the
# daemon), "cut" or "hold". A held direction carries nothing more.
Fate = collections.namedtuple("Fate", "to_daemon bytes action")


class _Side:
    """One direction of a connection."""

    def __init__(self, source, target, to_daemon):
        self.source = source
        self.target = target
        self.to_daemon = to_daemon
        self.pending = b""
        self.descriptors = []  # that came with it
        self.bytes = 0
        self.ended = False


class Proxy:
    """Use it in a with statement. target is (host, port) or a Unix socket's path. rule() is called
    for each connection and returns a Fate or None; happened(fate, proxy) is called when a fate has
    come, both on the proxy's thread."""

    def __init__(self, target, rule=lambda: None, happened=lambda fate, proxy: None):
        self.target = target
        self.count = collections.Counter()
        self._rule = rule
        self._happened = happened
        self._selector = selectors.DefaultSelector()
        if isinstance(target, str):
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(target + "-proxy")
            self._listener.listen(256)
            self.address = f"unix:{target}-proxy"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
            self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._waker, wakee = socket.socketpair()
        self._selector.register(wakee, selectors.EVENT_READ, "stop")
        self._wakee = wakee
        self._pairs = set()
        self._failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._waker.send(b"x")
        self._thread.join()
        for pair in list(self._pairs):
            pair.close()
        for each in (self._listener, self._waker, self._wakee, self._selector):
            each.close()
        if self._failure:
            raise self._failure

    def _run(self):
        try:
            while True:
                for key, events in self._selector.select():
                    if key.data == "stop":
                        return
                    if key.data is None:
                        self._accept()
                    else:
                        key.data.act(key.fileobj, events)
        except Exception as error:  # told by __exit__, on the test's own thread
            self._failure = error

    def _accept(self):
        client, _ = self._listener.accept()
        try:
            daemon = socket.socket(self._listener.family, socket.SOCK_STREAM)
            daemon.connect(self.target)
        except OSError:
            client.close()
            return
        self.count["connections"] += 1
        self._pairs.add(_Pair(self, client, daemon, self._rule()))

    def forget(self):
        """No new connection has a fate any more, and no present one that has not met it."""
        self._rule = lambda: None
        for pair in list(self._pairs):
            pair.fate = None

    def came(self, pair, fate):
        self.count[fate.action] += 1
        self._happened(fate, self)


class _Pair:
    """A client's connection and the one to the daemon that goes with it."""

    def __init__(self, proxy, client, daemon, fate):
        self.proxy = proxy
        self.fate = fate
        self.closed = False
        self.sides = (_Side(client, daemon, True), _Side(daemon, client, False))
        self.sockets = (client, daemon)
        for each in self.sockets:
            each.setblocking(False)
            if each.family != socket.AF_UNIX:
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            proxy._selector.register(each, selectors.EVENT_READ, self)

    def close(self, reset=False):
        self.closed = True
        self.proxy._pairs.discard(self)
        for each in self.sockets:
            try:
                self.proxy._selector.unregister(each)
            except (KeyError, ValueError):
                pass
            if reset:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            each.close()
        for side in self.sides:
            self._drop_descriptors(side)

    def _drop_descriptors(self, side):
        for each in side.descriptors:
            os.close(each)
        side.descriptors = []

    def act(self, ready, events):
        if self.closed:  # by what came just before in the same turn
            return
        for side in self.sides:
            try:
                if events & selectors.EVENT_READ and side.source is ready and not side.pending:
                    if not self._read(side):
                        return
                if events & selectors.EVENT_WRITE and side.target is ready:
                    self._write(side)
            except BlockingIOError:
                continue
            except OSError:
                self.close(reset=True)
                return
        self._watch()

    def _read(self, side):
        """False: the connection has met its fate."""
        room = CHUNK
        mine = self.fate and self.fate.to_daemon == side.to_daemon
        if mine:
            room = min(room, self.fate.bytes - side.bytes)
        if room == 0:
            return self._meet(side)
        if side.source.family == socket.AF_UNIX:
            data, side.descriptors, *_ = socket.recv_fds(side.source, room, 1)
            self.proxy.count["descriptors"] += len(side.descriptors)
        else:
            data = side.source.recv(room)
        if not data:
            self.close()
            return False
        side.pending = data
        side.bytes += len(data)
        self._write(side)
        return True

    def _meet(self, side):
        fate, self.fate = self.fate, None
        if fate.action == "cut":
            self.close(reset=True)
        else:
            side.ended = True
            self._watch()
        self.proxy.came(self, fate)
        return False

    def _write(self, side):
        while side.pending:
            if side.descriptors:
                sent = socket.send_fds(side.target, [side.pending], side.descriptors)
                self._drop_descriptors(side)
            else:
                sent = side.target.send(side.pending)
            side.pending = side.pending[sent:]

    def _watch(self):
        """Reads from where there is room to write, writes where something waits; a held side is
        still watched for its end."""
        for each in self.sockets:
            events = 0
            for side in self.sides:
                if side.source is each and not side.pending and not side.ended:
                    events |= selectors.EVENT_READ
                if side.target is each and side.pending:
                    events |= selectors.EVENT_WRITE
            try:
                if events:
                    self.proxy._selector.modify(each, events, self)
                else:
                    self.proxy._selector.unregister(each)
            except KeyError:
                if events:
                    self.proxy._selector.register(each, events, self)
