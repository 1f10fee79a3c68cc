"""A TCP relay on loopback whose line can be cut, half-open or healed: the faults of a line without
root. Counts the bytes that it carried.

    relay = Relay(("127.0.0.1", 7420)); relay.start()   connect to relay.port
    relay.cut()        connections are reset, new ones refused
    relay.half_open()  connections stay, new ones are accepted, nothing is carried and nobody told
    relay.heal()

One thread of its own; the methods may be called from any other.
"""

import selectors
import socket
import struct
import threading

BUFFER_MAX = 1 << 20


class _Stream:
    """One direction of one connection."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.pending = b""
        self.ended = False


class Relay:
    def __init__(self, target, port=0):
        self.target = target
        self.state = "up"
        self.carried = 0
        self.accepted = 0
        self._port = port
        self._listener = None
        self._streams = {}  # source socket -> _Stream
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._commands = []
        self._done = threading.Event()
        self._thread = None

    @property
    def port(self):
        return self._port

    def start(self):
        self._open_listener()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def cut(self):
        self._command("cut")

    def half_open(self):
        self._command("half-open")

    def heal(self):
        self._command("up")

    def reset_connections(self):
        """A hiccup: every connection is reset, the next one works at once."""
        self._command("reset")

    def close(self):
        if self._thread:
            self._command("close")
            self._thread.join()
            self._thread = None

    def _command(self, text):
        self._done.clear()
        self._commands.append(text)
        self._wake_write.send(b"x")
        if not self._done.wait(10):
            raise RuntimeError("the relay does not answer")

    def _open_listener(self):
        if self._listener:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(64)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def _close_listener(self):
        if self._listener:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _run(self):
        while True:
            for key, events in self._selector.select(1.0):
                sock = key.fileobj
                if sock is self._wake_read:
                    sock.recv(100)
                elif sock is self._listener:
                    self._accept()
                elif sock in self._streams:
                    self._move(sock, events)
            while self._commands:
                if self._obey(self._commands.pop(0)):
                    self._done.set()
                    return
                self._done.set()

    def _obey(self, command):
        if command in ("cut", "close", "reset"):
            for sock in list(self._streams):
                self._drop(sock)
        if command in ("cut", "close"):
            self._close_listener()
        if command == "up":
            if self.state == "half-open":  # what was swallowed can't be made up for: reset
                for sock in list(self._streams):
                    self._drop(sock)
            self._open_listener()
        if command != "reset":
            self.state = command
        for sock in self._streams:
            self._watch(sock)
        return command == "close"

    def _accept(self):
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        self.accepted += 1
        far = socket.socket()
        try:
            if self.state == "half-open":
                far.close()  # nobody is there; the near side is kept, silent
                near.setblocking(False)
                self._streams[near] = _Stream(near, None)
                self._selector.register(near, selectors.EVENT_READ)
                return
            far.settimeout(2)
            far.connect(self.target)
        except OSError:
            near.close()
            far.close()
            return
        for sock in (near, far):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((near, far), (far, near)):
            self._streams[source] = _Stream(source, sink)
            self._selector.register(source, selectors.EVENT_READ)

    def _watch(self, sock):
        """Reads where there is room, writes where something is pending."""
        stream = self._streams[sock]
        events = 0
        if self.state == "up" and not stream.ended and len(stream.pending) < BUFFER_MAX:
            events |= selectors.EVENT_READ
        back = self._streams.get(stream.sink)  # what is to be written to `sock`
        if self.state == "up" and back and back.pending:
            events |= selectors.EVENT_WRITE
        try:
            if events:
                self._selector.modify(sock, events)
            else:
                self._selector.unregister(sock)
        except KeyError:
            if events:
                self._selector.register(sock, events)

    def _move(self, sock, events):
        stream = self._streams[sock]
        if self.state != "up" or stream.sink is None:
            self._watch(sock)
            return
        try:
            if events & selectors.EVENT_READ and not stream.ended:
                data = sock.recv(1 << 18)
                stream.ended = not data
                stream.pending += data
                self._flush(stream)
            if events & selectors.EVENT_WRITE:
                self._flush(self._streams[stream.sink])
        except BlockingIOError:
            pass
        except OSError:
            self._drop(sock)
            return
        for one in (sock, stream.sink):
            if one in self._streams:
                self._watch(one)

    def _flush(self, stream):
        while stream.pending:
            try:
                sent = stream.sink.send(stream.pending)
            except BlockingIOError:
                return
            self.carried += sent
            stream.pending = stream.pending[sent:]
        if stream.ended:
            stream.sink.shutdown(socket.SHUT_WR)
            other = self._streams.get(stream.sink)
            if other and other.ended and not other.pending:
                self._drop(stream.source, reset=False)

    def _drop(self, sock, reset=True):
        stream = self._streams.get(sock)
        for one in (sock, stream.sink if stream else None):
            if one is None or one not in self._streams:
                continue
            del self._streams[one]
            try:
                self._selector.unregister(one)
            except KeyError:
                pass
            if reset:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
