"""Versions of what runs this program. Those of the servers are told where the servers are looked at."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Final

from stocktake import __version__
from stocktake.doctor.finding import Examined, Finding, Reporter

_REPORT: Final = Reporter("versions")
_PYTHON: Final = (3, 11)
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?\s*([^;]*)(;.*)?")


def check(examined: Examined) -> Iterator[Finding]:
    yield _REPORT.ok("program", f"Stocktake {__version__}")
    python = platform.python_version()
    if sys.version_info >= _PYTHON:
        yield _REPORT.ok("python", f"Python {python}")
    else:
        yield _REPORT.fail("python", f"Python {python}", f"use {'.'.join(map(str, _PYTHON))} or newer")
    try:
        required = metadata.requires("stocktake") or []
    except metadata.PackageNotFoundError:
        yield _REPORT.skip("libraries", "the program is not installed as a package")
        return
    yield from libraries(required)


def libraries(required: Iterable[str]) -> Iterator[Finding]:
    """Hold the installed libraries to what the program was made for; those of extras are left out."""
    unfit, count = [], 0
    for text in required:
        match = _REQUIREMENT.fullmatch(text)
        if match is None or (match[3] and "extra" in match[3]):
            continue
        count += 1
        try:
            found = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            unfit.append(f"{match[1]} is missing")
            continue
        if not fits(found, match[2]):
            unfit.append(f"{match[1]} is {found}, wanted {match[2].strip()}")
    if unfit:
        yield _REPORT.fail("libraries", ", ".join(unfit), "install the program anew, with constraints.txt")
    else:
        yield _REPORT.ok("libraries", f"{count} libraries are as required")


def fits(version: str, specifier: str) -> bool:
    """Whether a version is within ``>=a,<b`` and the like; what is none of these is taken to fit."""
    found = _numbers(version)
    for part in filter(None, (one.strip(" ()") for one in specifier.split(","))):
        match = re.fullmatch(r"(>=|<=|==|!=|<|>)\s*([0-9][0-9.]*)", part)
        if match is None:
            continue
        wanted = _numbers(match[2])
        size = max(len(found), len(wanted))
        left, right = (one + (0,) * (size - len(one)) for one in (found, wanted))
        holds = {
            ">=": left >= right,
            "<=": left <= right,
            "==": left == right,
            "!=": left != right,
            "<": left < right,
            ">": left > right,
        }
        if not holds[match[1]]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 9.1.2.post2 is 9.1.2."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
