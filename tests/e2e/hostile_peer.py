"""A peer that knows the protocol and keeps none of its rules, written from docs/protocol.md and
docs/formats-log.md alone. It speaks with the key of one of the two daemons, as somebody who took over
a site would: `Link.connect` as a sender, `Server` as a DR site.

What it sends is up to the test: every message can be built with any value in any field, also with bytes
that no message has.
"""

import ctypes
import ctypes.util
import os
import socket
import ssl
import struct
import threading
import time

ALPN_SESSION = "farshore/1"
ALPN_JOIN = "farshore-join/1"
READY = 0xffff
ENVELOPE = struct.Struct("<IHH")
MOST = (1 << 64) - 1

# ---- messages (docs/protocol.md) --------------------------------------------------------------------

VOLUME = (("name", "text"), ("size", "int"))
RANGE = (("volume", "int"), ("offset", "int"), ("length", "int"))
MESSAGES = {
    "hello": (1, (("version_min", "int"), ("version_max", "int"), ("features_required", "int"),
                  ("features_offered", "int"), ("group", "text"), ("session", "raw8"), ("link", "int"),
                  ("sender", "raw16"), ("instance", "raw8"), ("volumes", VOLUME), ("common", "position"),
                  ("clock_ms", "int"))),
    "welcome": (2, (("version", "int"), ("features", "int"), ("receiver", "raw16"), ("durable", "position"),
                    ("applied", "position"), ("partial", "position"), ("partial_index", "int"),
                    ("point", "int"), ("in_catch_up", "bool"), ("damage_count", "int"), ("damaged", "bool"),
                    ("window_bytes", "int"), ("digest_key", "raw32"), ("clock_ms", "int"))),
    "refusal": (3, (("code", "int"), ("text", "text"))),
    "ack": (5, (("durable", "position"), ("applied", "position"), ("point", "int"),
                ("journaled_bytes", "int"), ("damage_count", "int"))),
    "begin_stream": (6, (("stream", "raw8"), ("first", "int"), ("copy_went_back", "bool"))),
    "stream_ready": (7, (("stream", "raw8"),)),
    "digest_request": (8, (("id", "int"), ("unit", "int"), ("ranges", RANGE))),
    "digest_reply": (9, (("id", "int"), ("zero_bits", "bytes"), ("digests", "bytes"))),
    "nak": (10, (("damage_count", "int"), ("complete", "bool"),
                 ("blocks", (("volume", "int"), ("block", "int"))))),
    "heartbeat": (11, (("covered", "int"), ("clock_ms", "int"))),
    "verify_result": (12, (("interval", "int"), ("items", RANGE + (("equal", "bool"), ("unseen", "bool"))),
                           ("damage_count", "int"))),
    "notice": (13, (("text", "text"),)),
    "join_request": (14, (("group", "text"), ("secret", "text"))),
    "join_reply": (15, (("ok", "bool"), ("text", "text"))),
    "loan_request": (16, (("id", "int"), ("interval", "int"), ("lender", "text"),
                          ("runs", (("volume", "int"), ("block", "int"), ("digests", "bytes"))))),
    "loan_reply": (17, (("id", "int"), ("granted", "bytes"), ("first", "int"), ("slots", "int"))),
    "changed_request": (18, (("after", "position"),)),
    "changed_reply": (19, (("known", "bool"), ("runs", (("volume", "int"), ("first", "int"), ("count", "int"))),
                           ("more", "bool"))),
    "extent_request": (20, (("id", "int"), ("ranges", RANGE))),
    "extent_reply": (21, (("id", "int"), ("parts", (("covered", "int"), ("extents", "int"))),
                          ("extents", (("gap", "int"), ("blocks", "int"))))),
    "compare_request": (22, (("id", "int"), ("volume", "int"), ("offset", "int"), ("length", "int"))),
    "compare_reply": (23, (("id", "int"), ("compared", "bool"), ("text", "text"))),
}
FRAME = 4
NAMES = {number: name for name, (number, _) in MESSAGES.items()}
RAW = {"raw8": 8, "raw16": 16, "raw32": 32}


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _encode(kind, value):
    if isinstance(kind, tuple):
        items = value or []
        return varint(len(items)) + b"".join(encode_fields(kind, item) for item in items)
    if kind == "int":
        return varint(value or 0)
    if kind == "bool":
        return bytes([int(value or 0)])
    if kind in RAW:
        value = b"" if value is None else value
        if isinstance(value, int):
            value = value.to_bytes(RAW[kind], "little")
        return value.ljust(RAW[kind], b"\0")
    if kind == "position":
        stream, interval = value or (0, 0)
        return struct.pack("<Q", stream) + varint(interval)
    data = value or b""
    data = data.encode() if isinstance(data, str) else data
    return varint(len(data)) + data


def encode_fields(fields, values):
    unknown = set(values) - {name for name, _ in fields}
    if unknown:
        raise ValueError(f"no such fields: {unknown}")
    return b"".join(_encode(kind, values.get(name)) for name, kind in fields)


class _Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        piece = self.data[self.at:self.at + count]
        if len(piece) != count:
            raise ValueError("a message ends too early")
        self.at += count
        return piece

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def field(self, kind):
        if isinstance(kind, tuple):
            return [self.fields(kind) for _ in range(self.varint())]
        if kind == "int":
            return self.varint()
        if kind == "bool":
            return self.take(1) == b"\1"
        if kind in RAW:
            return self.take(RAW[kind])
        if kind == "position":
            return struct.unpack("<Q", self.take(8))[0], self.varint()
        data = self.take(self.varint())
        return data.decode("utf-8", "replace") if kind == "text" else data

    def fields(self, fields):
        return {name: self.field(kind) for name, kind in fields}


def encode(name, **values):
    """(type, payload) of a message."""
    number, fields = MESSAGES[name]
    return number, encode_fields(fields, values)


def decode(number, payload):
    """(name, fields); frames and unknown types keep their bytes."""
    name = NAMES.get(number)
    if name is None:
        return ("frame" if number == FRAME else str(number)), {"payload": payload}
    return name, _Reader(payload).fields(MESSAGES[name][1])


def all_zero(request):
    """Fields of the digest_reply of a copy that is all zero."""
    units = sum(-(-r["length"] // request["unit"]) for r in request["ranges"])
    bits = (1 << units) - 1
    return dict(id=request["id"], zero_bits=bits.to_bytes((units + 7) // 8, "little"), digests=b"")


def all_holes(request):
    """Fields of the extent_reply of a copy without data."""
    return dict(id=request["id"], parts=[dict(covered=r["length"], extents=0) for r in request["ranges"]])


def now_ms():
    return time.time_ns() // 1_000_000


# ---- frames (docs/formats-log.md) -------------------------------------------------------------------

_xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
_xxh.XXH3_64bits.restype = ctypes.c_uint64
_xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


_xxh.XXH3_128bits.restype = _Hash128
_xxh.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data):
    return _xxh.XXH3_64bits(bytes(data), len(data))


def xxh3_low128(data):
    return _xxh.XXH3_128bits(bytes(data), len(data)).low


def frame(stream, interval, index, payload=b"", kind=1, blocks=0, raw_bytes=0, checksum=None,
          header_checksum=None):
    head = b"FSF1" + struct.pack("<HBBIIQQIIQQ", 1, kind, 0, len(payload), raw_bytes, stream, interval,
                                 index, blocks, xxh3(payload) if checksum is None else checksum, 0)
    tail = xxh3(head) if header_checksum is None else header_checksum
    return head + struct.pack("<Q", tail) + payload


def barrier(stream, interval, data_payloads=(), time_ns=0, consistent=True, heals=0, blocks=0, written=0,
            verify=()):
    sums = b"".join(struct.pack("<Q", xxh3(p)) for p in data_payloads)
    payload = struct.pack("<HHIqQQQQI12x", 1, 1 if consistent else 0, len(data_payloads), time_ns, blocks,
                          written, heals, xxh3_low128(sums), len(verify))
    payload += b"".join(struct.pack("<HHIQ16s", v, 0, length, offset, digest)
                        for v, offset, length, digest in verify)
    return frame(stream, interval, len(data_payloads), payload, kind=2)


# ---- links ------------------------------------------------------------------------------------------

class Closed(Exception):
    """The other side ended the connection."""


class Link:
    """One TLS connection; messages in envelopes."""

    def __init__(self, sock):
        self.sock = sock

    @staticmethod
    def connect(port, identity, alpn=ALPN_SESSION, timeout=10):
        """`identity`: directory with identity.crt and identity.key, or None for a fresh stranger."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.set_alpn_protocols([alpn])
        if identity:
            context.load_cert_chain(os.path.join(identity, "identity.crt"),
                                    os.path.join(identity, "identity.key"))
        raw = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        try:
            link = Link(context.wrap_socket(raw))
        except (OSError, ssl.SSLError) as error:
            raw.close()
            raise Closed(str(error)) from None
        number, _ = link.receive_raw()
        if number != READY:
            raise Closed(f"message {number} instead of ready")
        return link

    def send(self, name, **values):
        self.send_raw(*encode(name, **values))

    def send_raw(self, number, payload):
        try:
            self.sock.sendall(ENVELOPE.pack(len(payload), number, 0) + payload)
        except (OSError, ssl.SSLError) as error:
            raise Closed(str(error)) from None

    def send_bytes(self, data):
        try:
            self.sock.sendall(data)
        except (OSError, ssl.SSLError) as error:
            raise Closed(str(error)) from None

    def _take(self, count):
        out = b""
        while len(out) < count:
            try:
                piece = self.sock.recv(count - len(out))
            except (OSError, ssl.SSLError) as error:
                raise Closed(str(error)) from None
            if not piece:
                raise Closed("the connection ended")
            out += piece
        return out

    def receive_raw(self):
        length, number, _ = ENVELOPE.unpack(self._take(ENVELOPE.size))
        return number, self._take(length)

    def receive(self, *names, skip=("heartbeat",)):
        """The next message, which must be one of `names` when any are given."""
        while True:
            name, fields = decode(*self.receive_raw())
            if name in skip and name not in names:
                continue
            if names and name not in names:
                raise Closed(f"{name} came instead of {' or '.join(names)}: {fields}")
            return name, fields

    def closed_within(self, seconds):
        """True when the other side ends the connection in time; what it says until then is dropped."""
        self.sock.settimeout(seconds)
        try:
            while self.sock.recv(1 << 16):
                pass
        except socket.timeout:
            return False
        except (OSError, ssl.SSLError):
            pass
        return True

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass


class Sender:
    """A session as a sender has it: control link and data links."""

    def __init__(self, port, identity, group, volumes, links=1, **hello):
        self.port, self.identity, self.group = port, identity, group
        self.session = int.from_bytes(os.urandom(8), "little")
        with open(os.path.join(identity, "sender.id"), "rb") as file:
            sender = file.read()[:16]
        self.hello = dict(version_min=1, version_max=1, group=group, session=self.session, link=0, clock_ms=now_ms(),
                          sender=sender, instance=self.session,
                          volumes=[dict(name=n, size=s) for n, s in volumes])
        self.hello.update(hello)
        self.control = Link.connect(port, identity)
        self.control.send("hello", **self.hello)
        name, fields = self.control.receive("welcome", "refusal")
        self.refused = fields["text"] if name == "refusal" else None
        self.welcome = None if self.refused else fields
        self.data = []
        if self.welcome:
            self.data = [self.data_link(1 + i) for i in range(links)]

    def data_link(self, index):
        link = Link.connect(self.port, self.identity)
        link.send("hello", version_min=1, version_max=1, group=self.group, session=self.session,
                  link=index)
        return link

    def begin(self, first=None, stream=None):
        """A new stream after what the copy has; returns (stream, first interval)."""
        stream = stream or int.from_bytes(os.urandom(8), "little") | 1
        first = first or self.welcome["durable"][1] + 1
        self.control.send("begin_stream", stream=stream, first=first)
        self.control.receive("stream_ready", skip=("heartbeat", "ack", "notice"))
        return stream, first

    def send_frame(self, data):
        self.data[0].send_raw(FRAME, data)

    def close(self):
        for link in [self.control, *self.data]:
            link.close()


class Server:
    """A DR site that does what `serve(server, control, hello)` says with each control link; data links are
    taken and read. Runs in threads until close()."""

    def __init__(self, port, identity, serve):
        self.serve = serve  # (server, control, hello)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.set_alpn_protocols([ALPN_SESSION])
        self.context.load_cert_chain(os.path.join(identity, "identity.crt"),
                                     os.path.join(identity, "identity.key"))
        self.listening = socket.socket()
        self.listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listening.bind(("127.0.0.1", port))
        self.listening.listen(64)
        self.sessions = 0
        self.controls = []
        self.links = []
        self.taken = {}  # bytes as they count in the window, by session
        self.on_barrier = {}  # by session: called with (stream, interval, bytes taken) as barriers come
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                raw, _ = self.listening.accept()
            except OSError:
                return
            threading.Thread(target=self._greet, args=(raw,), daemon=True).start()

    def _greet(self, raw):
        try:
            raw.settimeout(20)
            link = Link(self.context.wrap_socket(raw, server_side=True))
            self.links.append(link)
            link.send_raw(READY, b"")
            _, hello = link.receive("hello")
            if hello["link"] != 0:
                while True:
                    self._take(hello["session"], link.receive_raw()[1])
            self.sessions += 1
            self.controls.append(link)
            self.serve(self, link, hello)
        except (Closed, OSError, ssl.SSLError, ValueError):
            pass
        finally:
            raw.close()

    def _take(self, session, data):
        # A frame counts at least 16 KiB in the window.
        self.taken[session] = self.taken.get(session, 0) + max(len(data), 16384)
        kind, stream, interval = data[6], *struct.unpack_from("<QQ", data, 16)
        if kind == 2 and session in self.on_barrier:
            self.on_barrier[session](stream, interval, self.taken[session])

    def close(self):
        # shutdown, so that accept() returns and the port is free at once
        try:
            self.listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listening.close()
        for link in self.links:
            link.close()
