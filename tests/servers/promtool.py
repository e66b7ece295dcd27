"""The promtool binary (of Prometheus) that the tests of the alert rules run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest


def promtool_binary() -> Path:
    """The promtool on PATH. Without one, the test fails in CI (variable ``CI`` set) and is skipped elsewhere."""
    if found := shutil.which("promtool"):
        return Path(found)
    reason = "promtool is not installed; it comes with Debian's package prometheus"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
