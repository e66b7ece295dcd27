"""What the chart's tests run: a helm that is there, or a pinned one built from source, and a pinned helm-unittest."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import pytest

HELM_VERSION: Final = "v3.22.0"
UNITTEST_VERSION: Final = "v1.1.2"
TOOLS: Final = Path(__file__).resolve().parents[2] / "build" / "tools"
BUILD_SECONDS: Final = 900  # about two minutes on two cores, longer where the modules come slowly

_PACKAGE: Final = f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}"
# Helm's own build stamps the version this way; without it the binary knows only "v3.22".
_STAMP: Final = f"-X helm.sh/helm/v3/internal/version.version={HELM_VERSION}"
_UNITTEST: Final = f"github.com/helm-unittest/helm-unittest@{UNITTEST_VERSION}"


def helm_binary(tools: Path = TOOLS) -> Path:
    """The helm to use: ``STOCKTAKE_TEST_HELM``, else the one on PATH, else ``tools``/helm, built if need be.

    Without any, the test fails in CI (variable ``CI`` set) and is skipped elsewhere, with the reason.
    """
    if given := os.environ.get("STOCKTAKE_TEST_HELM"):
        if not os.access(given, os.X_OK):
            pytest.fail(f"STOCKTAKE_TEST_HELM: {given!r} is no program that can be run")
        return Path(given)
    if found := shutil.which("helm"):
        return Path(found)
    binary = tools / "helm"
    if _version(binary) != HELM_VERSION:
        with _alone(tools):
            if _version(binary) != HELM_VERSION:
                binary.unlink(missing_ok=True)  # go does not write over what is no program, as a broken build leaves
                _go(["install", "-ldflags", _STAMP, _PACKAGE], _PACKAGE, GOBIN=str(tools))
    return binary


def unittest_binary(tools: Path = TOOLS) -> Path:
    """The pinned helm-unittest, in ``tools`` under its version, built if need be; without Go as for helm.

    ``go install`` refuses a module that replaces others. Built in its own folder it has what it was released with.
    """
    binary = tools / f"helm-unittest-{UNITTEST_VERSION}"
    if not binary.exists():
        with _alone(tools):
            if not binary.exists():
                found = _go(["mod", "download", "-json", _UNITTEST], _UNITTEST)
                folder = json.loads(found)["Dir"]
                unfinished = binary.with_suffix(".tmp")
                unfinished.unlink(missing_ok=True)
                _go(["build", "-C", folder, "-o", str(unfinished), "./cmd/helm-unittest"], _UNITTEST)
                unfinished.rename(binary)  # a build that was interrupted leaves nothing under the name
    return binary


@contextmanager
def _alone(tools: Path) -> Iterator[None]:
    """Tests run in several processes; one of them builds while the others wait for it."""
    tools.mkdir(parents=True, exist_ok=True)
    with (tools / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _version(binary: Path) -> str | None:
    """What the binary says it is; None when there is none, or one that an interrupted build left."""
    try:
        answer = subprocess.run(
            [binary, "version", "--template", "{{.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _go(arguments: Sequence[str], package: str, **variables: str) -> str:
    go = shutil.which("go")
    if go is None:
        _unavailable("neither helm nor Go is installed; install one, or set STOCKTAKE_TEST_HELM")
    try:
        answer = subprocess.run(
            [go, *arguments],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        _unavailable(f"building {package} took more than {BUILD_SECONDS} s")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        _unavailable(f"{package} could not be built: {lines[-1]}")
    return answer.stdout


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"Helm: {reason}")
    pytest.skip(f"Helm: {reason}")
