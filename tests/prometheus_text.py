"""A reader of the Prometheus text format, after the format's description; anything unexpected is an error."""

from __future__ import annotations

import re
from typing import NamedTuple


class Parsed(NamedTuple):
    """What a reader of the text format finds: type and help by name, values by name and labels."""

    kinds: dict[str, str]
    helps: dict[str, str]
    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Parsed:
    """Read a whole answer."""
    found = Parsed({}, {}, {})
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        if match := re.fullmatch(r"# HELP (\S+) (.+)", line):
            assert match[1] not in found.helps
            found.helps[match[1]] = _unescape(match[2])
        elif match := re.fullmatch(r"# TYPE (\S+) (counter|gauge)", line):
            assert match[1] not in found.kinds
            found.kinds[match[1]] = match[2]
        else:
            match = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)", line)
            assert match, line
            assert match[1] in found.kinds, f"{match[1]} comes before its type"
            key = (match[1], _labels(match[2] or ""))
            assert key not in found.values, f"{key} twice"
            found.values[key] = float(match[3])
    return found


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    found = []
    while text:
        match = re.match(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"(?:,|$)', text)
        assert match, text
        found.append((match[1], _unescape(match[2])))
        text = text[match.end() :]
    return tuple(found)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), text)
