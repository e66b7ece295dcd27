"""The helm binary that the chart's tests run: one that is there, or a pinned one built from source."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, NoReturn

import pytest

HELM_VERSION: Final = "v3.22.0"
TOOLS: Final = Path(__file__).resolve().parents[2] / "build" / "tools"
BUILD_SECONDS: Final = 900  # about two minutes on two cores, longer where the modules come slowly

_PACKAGE: Final = f"helm.sh/helm/v3/cmd/helm@{HELM_VERSION}"
# Helm's own build stamps the version this way; without it the binary knows only "v3.22".
_STAMP: Final = f"-X helm.sh/helm/v3/internal/version.version={HELM_VERSION}"


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
        _build(tools)
    return binary


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


def _build(tools: Path) -> None:
    go = shutil.which("go")
    if go is None:
        _unavailable("neither helm nor Go is installed; install one, or set STOCKTAKE_TEST_HELM")
    tools.mkdir(parents=True, exist_ok=True)
    (tools / "helm").unlink(missing_ok=True)  # go does not write over what is no program, as a broken build leaves
    try:
        subprocess.run(
            [go, "install", "-ldflags", _STAMP, _PACKAGE],
            env=os.environ | {"GOBIN": str(tools)},
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        _unavailable(f"building {_PACKAGE} took more than {BUILD_SECONDS} s")
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        _unavailable(f"{_PACKAGE} could not be built: {lines[-1]}")


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"Helm: {reason}")
    pytest.skip(f"Helm: {reason}")
