"""The rendered chart, as tests take it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.integration.helm.rendered import CI_FILES, Rendered, ci_file, render


@pytest.fixture(scope="session")
def rendered() -> Callable[[str], Rendered]:
    """What a ci file renders to; each is rendered once."""

    @cache
    def from_file(name: str) -> Rendered:
        return render("--values", ci_file(name))

    return from_file


@pytest.fixture(params=CI_FILES)
def chart(request: pytest.FixtureRequest, rendered: Callable[[str], Rendered]) -> Rendered:
    """One ci file's objects; a test that takes it runs once for each file."""
    return rendered(request.param)
