"""TLS in front of a server that has none: not every build of Valkey speaks it.

What begins with a TLS handshake is taken as TLS, everything else is passed on as it is, so that servers that look after
each other can do so under the port that they tell their clients.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from stocktake.embedded import HOST, free_ports
from tests.servers.certificates import Certificates, Signed

_HANDSHAKE = b"\x16"


@contextmanager
def tls_proxy(
    target: int, certificates: Certificates, *, shown: Signed | None = None, ask_client: bool = False
) -> Iterator[int]:
    """Pass on to the port ``target`` for the time of a block, showing a certificate of our authority; yields the port.

    ``ask_client``: a client must have a certificate of it too, and may not come without TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = shown or certificates.server
    context.load_cert_chain(server.certificate, server.key)
    if ask_client:
        context.load_verify_locations(certificates.authority)
        context.verify_mode = ssl.CERT_REQUIRED
    [port] = free_ports(1)
    with socket.create_server((HOST, port)) as listener:
        acceptor = Thread(target=_accept, args=(listener, target, context, ask_client), name=f"tls-{port}")
        acceptor.start()
        try:
            yield port
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def _accept(listener: socket.socket, target: int, context: ssl.SSLContext, only_tls: bool) -> None:
    passing: list[Thread] = []
    client: socket.socket
    connections: list[socket.socket] = []
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            break
        connections.append(client)
        passing.append(Thread(target=_pass, args=(client, target, context, only_tls)))
        passing[-1].start()
    for connection in connections:
        _end(connection)
    for thread in passing:
        thread.join()


def _pass(client: socket.socket, target: int, context: ssl.SSLContext, only_tls: bool) -> None:
    """Pass on in both directions until either side ends."""
    with contextlib.ExitStack() as stack:
        stack.callback(client.close)
        try:
            inner = client
            if only_tls or client.recv(1, socket.MSG_PEEK) == _HANDSHAKE:
                inner = stack.enter_context(context.wrap_socket(client, server_side=True))
            server = stack.enter_context(socket.create_connection((HOST, target)))
        except OSError:
            return
        back = Thread(target=_copy, args=(server, inner))
        back.start()
        _copy(inner, server)
        back.join()


def _copy(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            to.sendall(data)
    _end(source)
    _end(to)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
