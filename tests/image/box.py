"""A built image's root file system, and programs that run in it as a container engine would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
USER: Final = 10001
TOOLS: Final = ("buildah", "unshare", "mount", "chroot")
DEBIAN: Final = "trixie"  # its Python is the one that Containerfile asks for
_PACKAGES: Final = "python3,python3-venv,python3-pip,ca-certificates"
_CERTIFICATES: Final = "/etc/ssl/certs/ca-certificates.crt"

# What an engine does for `--read-only --cap-drop all --security-opt no-new-privileges --user 10001`, with a folder as
# /tmp and another as the volume of the inventories; the network is the machine's.
_START: Final = """\
set -e
root=$1 tmp=$2 inventories=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --bind "$tmp" "$root/tmp"
mount --bind "$inventories" "$root/var/lib/stocktake/inventories"
mount --bind /dev "$root/dev"
mount -t proc proc "$root/proc"
cd /
exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all \\
    --inh-caps=-all sh -c 'cd /var/lib/stocktake && exec "$@"' sh "$@"
"""


@dataclass(frozen=True)
class Store:
    """Images below a folder, kept by buildah without an engine; needs root and Linux."""

    folder: Path

    def buildah(self, *arguments: str) -> str:
        """Run buildah; its stdout. Raises subprocess.CalledProcessError, with its stderr shown."""
        places = ["--root", str(self.folder / "images"), "--runroot", str(self.folder / "run")]
        command = ["buildah", *places, "--storage-driver", "vfs", *arguments]
        ended = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        return ended.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether the image is here."""
        names = self.buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines()
        return image in names

    def make_base(self, image: str) -> None:
        """A base of Debian's packages, where no registry of images can be reached."""
        tree = self.folder / "debian"
        if not tree.exists():
            command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", DEBIAN, str(tree)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for folder in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(tree / folder, ignore_errors=True)
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, str(tree), "/")
        self.buildah("commit", "--quiet", "--rm", container, image)

    def build(self, context: Path, base: str, image: str) -> str:
        """Build the Containerfile of a folder on the base; the image's id."""
        # A machine whose way out has authorities of its own needs them in the build, and nothing of them stays.
        certificates = f"{_CERTIFICATES}:{_CERTIFICATES}:ro"
        options = ["--isolation", "chroot", "--pull-never", "--volume", certificates, "--timestamp", "315532800"]
        built = self.buildah("bud", *options, "--build-arg", f"PYTHON={base}", "--tag", image, str(context))
        return built.splitlines()[-1]

    @contextmanager
    def mounted(self, image: str) -> Iterator[Path]:
        """The image's root file system for the time of a block."""
        container = self.buildah("from", "--pull-never", image)
        try:
            yield Path(self.buildah("mount", container))
        finally:
            self.buildah("rm", container)


@dataclass(frozen=True)
class Box:
    """Runs programs of an image whose root cannot be written. ``tmp`` and ``inventories`` can, and are shared."""

    root: Path
    tmp: Path
    inventories: Path
    environ: Mapping[str, str]

    def command(self, *arguments: str) -> list[str]:
        """The command that runs a program of the image."""
        places = [str(path) for path in (self.root, self.tmp, self.inventories)]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _START, "sh", *places, *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the image to its end."""
        command = self.command(*arguments)
        return subprocess.run(command, env=dict(self.environ), check=check, capture_output=True, text=True)

    def start(self, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of the image; what it says goes to ``log``."""
        with log.open("ab") as file:
            return subprocess.Popen(
                self.command(*arguments), env=dict(self.environ), stdout=file, stderr=subprocess.STDOUT
            )


def missing_tools(tools: Sequence[str] = TOOLS) -> str:
    """Why images cannot be built here; empty if they can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "building and running an image without an engine takes root on Linux"
    return ", ".join(f"{tool} is not installed" for tool in tools if shutil.which(tool) is None)


def megabytes(folder: Path) -> float:
    """What the files of a folder take, in MB."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1_000_000
