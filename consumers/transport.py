"""Large reads from brokers, in place of kafka-python's own.

kafka-python 3.0 takes 4 KiB at a time from a socket, in a thread of its own. Each of these reads waits for the
interpreter's lock, which the loop holds while it applies what came before: a fetch of some megabytes would hardly get
on meanwhile. A large read copies without the lock. Connections with TLS are read as kafka-python does it.
"""

from __future__ import annotations

from typing import Any, Final

from kafka.errors import KafkaConnectionError
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.transport import KafkaTCPTransport

_READ: Final = 1024 * 1024  # bytes


class LargeReads(KafkaNetClient):  # type: ignore[misc]  # kafka-python has no types
    """To be given to a consumer as its ``kafka_client``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._manager.__class__ = _Manager


class _Manager(KafkaConnectionManager):  # type: ignore[misc]
    async def _build_transport(self, node: Any, timeout_at: float | None = None) -> Any:
        transport = await super()._build_transport(node, timeout_at=timeout_at)
        if type(transport) is KafkaTCPTransport:
            transport.__class__ = _Transport
        return transport


class _Transport(KafkaTCPTransport):  # type: ignore[misc]
    def _sock_recv(self) -> tuple[bytes, KafkaConnectionError | None]:
        """What has come by now, and what is wrong with the connection."""
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return b"", None
        except OSError as error:
            return b"", KafkaConnectionError(error)
        return data, None if data else KafkaConnectionError("socket disconnected")
