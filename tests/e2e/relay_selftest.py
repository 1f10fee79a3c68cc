#!/usr/bin/env python3
"""Does the relay of the end-to-end tests carry, cut, hang and heal?"""

import socket
import sys
import threading
import time

import relay as relays


def echo_server():
    server = socket.create_server(("127.0.0.1", 0))

    def serve(conn):
        try:
            while data := conn.recv(1 << 16):
                conn.sendall(data)
        except OSError:
            pass
        conn.close()

    def accept():
        while True:
            conn, _ = server.accept()
            threading.Thread(target=serve, args=(conn,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return server.getsockname()


def exchange(sock, size):
    """Sends `size` bytes and reads them back."""
    block = bytes(range(256)) * (size // 256)
    sender = threading.Thread(target=sock.sendall, args=(block,))
    sender.start()
    got = b""
    while len(got) < len(block):
        data = sock.recv(1 << 16)
        if not data:
            break
        got += data
    sender.join()
    return got == block


def main():
    relay = relays.Relay(echo_server()).start()
    where = ("127.0.0.1", relay.port)
    sock = socket.create_connection(where, timeout=5)
    assert exchange(sock, 8 << 20), "carries 8 MiB each way unharmed"
    assert relay.carried == 16 << 20, "counts both ways"

    relay.cut()
    try:
        sock.sendall(b"x")
        assert sock.recv(1) == b"", "a cut ends the connection"
    except ConnectionError:
        pass
    try:
        socket.create_connection(where, timeout=5)
        raise AssertionError("a cut refuses connections")
    except ConnectionRefusedError:
        pass
    relay.heal()
    sock = socket.create_connection(where, timeout=5)
    assert exchange(sock, 1 << 16), "healed"

    relay.half_open()
    sock.settimeout(0.3)
    sock.sendall(b"lost")
    for silent in (sock, socket.create_connection(where, timeout=0.3)):
        try:
            assert not silent.recv(1), "half-open carries nothing"
            raise AssertionError("half-open says nothing")
        except socket.timeout:
            pass
    relay.heal()
    sock = socket.create_connection(where, timeout=5)
    assert exchange(sock, 1 << 16), "healed after half-open"
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.2, "idle costs nothing"
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b"", "the end of a stream is passed on"
    relay.close()
    print("all good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
