"""What a container is to its process: a root of its own that cannot be written, its mounts, its user, PID 1, no rights.

The root is an empty file system with the system's programs, the Python of this run and this folder mounted into it,
read-only. A process that writes anywhere but into its mounts is refused by the kernel. The network is the machine's.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, NoReturn

import pytest

from tests.servers.processes import in_ci

ROOT: Final = Path(__file__).resolve().parents[2]
BIN: Final = Path(sys.executable).parent  # where the program is that the image would have

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")
_NAMESPACES: Final = ("--mount", "--uts", "--pid")
_NO_RIGHTS: Final = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of this machine that a container finds at ``target``."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """Who the process is, and the group that its volumes belong to."""

    uid: int
    gid: int
    fs_group: int


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One container's surroundings. ``root`` is an empty folder for its root."""

    root: Path
    hostname: str
    user: User
    mounts: tuple[Mount, ...]

    def command(self, argv: Sequence[str]) -> list[str]:
        """What to start, so that ``argv`` is the first process in there; everything dies with the thread that does."""
        script = "\n".join(self._script())
        return [
            *("setpriv", "--pdeathsig", "KILL", "--", "unshare", *_as_root(), *_NAMESPACES, "--fork", "--kill-child"),
            *("sh", "-ec", script, "sh", *argv),
        ]

    def inside(self, pid: int, argv: Sequence[str]) -> list[str]:
        """What to start, so that ``argv`` runs beside ``pid``, the first process in there, as ``kubectl exec`` does."""
        own_user = ("--user", "--preserve-credentials") if _as_root() else ()
        enter = ("nsenter", "--target", str(pid), *own_user, *_NAMESPACES, "--root", "--wd")
        return [*enter, "setpriv", *self._identity(), *_NO_RIGHTS, "--", *argv]

    def give(self, folder: Path) -> None:
        """Let the container's user write to a volume, and read the files in it, as ``fsGroup`` does."""
        if not _as_root():
            for path in (folder, *folder.iterdir()):
                os.chown(path, -1, self.user.fs_group)
            folder.chmod(0o2775)

    def _script(self) -> Iterator[str]:
        root = shlex.quote(str(self.root))
        yield f"mount -t tmpfs -o mode=755 tmpfs {root}"
        for path in _SYSTEM:
            if Path(path).is_symlink():  # to a folder below /usr
                yield f"cp -P {path} {root}{path}"
            elif Path(path).exists():
                yield from self._bind(Path(path), path, read_only=True)
        yield f"mkdir {root}/proc {root}/dev; mount -t proc proc {root}/proc; mount --rbind /dev {root}/dev"
        yield f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm"  # noqa: S108 -- the container's own
        for one in sorted(self.mounts, key=lambda mount: mount.target):
            yield from self._bind(one.source, one.target, read_only=one.read_only)
        for part in _image():
            yield from self._bind(part, str(part), read_only=True)
        yield f"mount -o remount,bind,ro {root}"
        yield f"hostname {shlex.quote(self.hostname)}"
        yield f'exec chroot {root} setpriv {shlex.join((*self._identity(), *_NO_RIGHTS))} -- "$@"'

    def _bind(self, source: Path, target: str, *, read_only: bool) -> Iterator[str]:
        at = shlex.quote(f"{self.root}{target}")
        yield f"mkdir -p {at}"
        yield f"mount -o bind{',ro' if read_only else ''} {shlex.quote(str(source))} {at}"

    def _identity(self) -> tuple[str, ...]:
        if _as_root():  # the only user that there is in a user namespace made without rights
            return ()
        user = self.user
        return ("--reuid", str(user.uid), "--regid", str(user.gid), "--groups", f"{user.gid},{user.fs_group}")


@cache
def need_sandboxes() -> None:
    """Fail in CI, and skip elsewhere with the reason, where this machine cannot make such a root."""
    for tool in ("unshare", "nsenter", "setpriv", "mount", "hostname", "chroot"):
        if shutil.which(tool) is None:
            _unavailable(f"there is no {tool} (util-linux, coreutils)")
    tried = subprocess.run(
        [str(shutil.which("unshare")), *_as_root(), *_NAMESPACES, "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        _unavailable(f"namespaces are refused: {tried.stderr.strip()}")


def _unavailable(reason: str) -> NoReturn:
    if in_ci():
        pytest.fail(f"containers as processes: {reason}")
    pytest.skip(f"containers as processes: {reason}")


def _as_root() -> tuple[str, ...]:
    """What lets a user without rights make namespaces: one of users, in which it is root. Root needs none."""
    return () if os.geteuid() == 0 else ("--user", "--map-root-user")


@cache
def _image() -> tuple[Path, ...]:
    """What the image would hold beside the system's programs: this folder with its environment, and its Python."""
    real = Path(sys.executable).resolve().parents[1]
    wanted = sorted({ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve(), real})
    beside = [one for one in wanted if not any(one.is_relative_to(path) for path in _SYSTEM)]
    return tuple(one for one in beside if not any(one.is_relative_to(other) for other in beside if other != one))
