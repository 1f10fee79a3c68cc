"""Ports, and exact reads of sockets."""

import socket

from outcomes import Failed


def receive(sock, count):
    """Exactly `count` bytes. (MSG_WAITALL does not wait on a socket that has a timeout.)"""
    out = bytearray()
    while len(out) < count:
        piece = sock.recv(count - len(out))
        if not piece:
            raise Failed(f"the connection ended after {len(out)} of {count} bytes")
        out += piece
    return bytes(out)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
