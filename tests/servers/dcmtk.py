"""The DCMTK tools: readers and writers of DICOM files that have nothing in common with ours or with pydicom."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.servers.processes import in_ci


def dcmdump() -> Path:
    """The tool that shows a file."""
    return dcmtk("dcmdump")


def dcmtk(tool: str) -> Path:
    """The program. Without it the test fails in CI and is skipped elsewhere, with the reason."""
    found = shutil.which(tool)
    if found is not None:
        return Path(found)
    missing = f"{tool} is not on PATH: install dcmtk"
    if in_ci():
        pytest.fail(missing)
    pytest.skip(missing)
