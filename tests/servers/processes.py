"""What the brokers and Redis servers of the tests have in common beside stocktake.embedded.ServerProcess."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from stocktake.embedded import ServerProcess, wait_until

_DOCKER_SOCKET: Final = "unix:///var/run/docker.sock"
_CONTAINER_DEADLINE: Final = 90.0  # seconds from the container's start to the server's first answer


class Stoppable(Protocol):
    """A process or a container. Its port and data stay the same over kill, stop and start."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class RealServer:
    """A server that answers. ``ours``: this run started it, so it may be emptied, stopped and killed."""

    description: str
    ours: bool
    process: Stoppable

    def start(self) -> None:
        """Start it again, on the same port with the same data; nothing happens when it runs."""
        self.process.start()

    def stop(self) -> None:
        """End it in order; skips the test if the server is not ours."""
        self.process.stop()

    def kill(self) -> None:
        """End it at once, as a crash would; skips the test if the server is not ours."""
        self.process.kill()


class Given:
    """A server that whoever runs the tests provides: it is used, never stopped."""

    def __init__(self, variable: str) -> None:
        self._variable = variable

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """Skip the test, which cannot do its work on a server that is not ours."""
        pytest.skip(f"this test stops its server, and the one of {self._variable} is not ours to stop")

    kill = stop


class Container:
    """One server in Docker, with the same port number inside and on this machine."""

    def __init__(
        self,
        image: str,
        port: int,
        answers: Callable[[], bool],
        *,
        command: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        with _quiet():
            from testcontainers.core.container import DockerContainer
        self._answers = answers
        self._image = image
        self._container = DockerContainer(image, command=command or None, env=dict(environment or {}))
        self._container.with_bind_ports(port, port)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._docker().start()
        else:
            self._created = True
            self._container.start()
        if not wait_until(self._answers, _CONTAINER_DEADLINE):
            raise TimeoutError(f"{self._image} did not answer within {_CONTAINER_DEADLINE:g} seconds")

    def stop(self) -> None:
        self._docker().stop()

    def kill(self) -> None:
        self._docker().kill()

    def remove(self) -> None:
        """End the server and delete its data."""
        self._container.stop()

    def _docker(self) -> Any:
        return self._container.get_wrapped_container()


@contextlib.contextmanager
def running(server: ServerProcess | Container) -> Iterator[None]:
    """Start a server; whatever happens, it is gone when the block ends."""
    with contextlib.ExitStack() as stack:
        stack.callback(server.remove if isinstance(server, Container) else server.stop)
        server.start()
        yield


def docker_answers() -> bool:
    """Whether a Docker engine on this machine answers within two seconds and publishes ports on loopback."""
    address = os.environ.get("DOCKER_HOST", _DOCKER_SOCKET)
    if not address.startswith("unix://") or not Path(address.removeprefix("unix://")).exists():
        return False
    with _quiet():
        from docker.errors import DockerException  # type: ignore[import-untyped]
        from testcontainers.core.docker_client import DockerClient
    try:
        engine = DockerClient(timeout=2)
    except (DockerException, OSError):
        return False
    with contextlib.closing(engine.client):
        try:
            engine.client.ping()
        except (DockerException, OSError):
            return False
        return engine.host() == "localhost"


def in_ci() -> bool:
    """Whether a continuous integration service runs the tests."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Importing testcontainers and docker can warn of their own use of other packages; ours stay errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
