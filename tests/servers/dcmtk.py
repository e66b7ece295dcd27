"""The DCMTK tool dcmdump: a reader of DICOM files that has nothing in common with ours or with pydicom."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.servers.processes import in_ci

MISSING: Final = "dcmdump is not on PATH: install dcmtk"


def dcmdump() -> Path:
    """The program. Without it the test fails in CI and is skipped elsewhere, with the reason."""
    found = shutil.which("dcmdump")
    if found is not None:
        return Path(found)
    if in_ci():
        pytest.fail(MISSING)
    pytest.skip(MISSING)
