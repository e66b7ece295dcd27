"""The Prometheus text format, version 0.0.4: what may stand in it, and how samples are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind: TypeAlias = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One value with its labels, in their order."""

    labels: Mapping[str, str]
    value: float


def exposition(name: str, kind: Kind, text: str, samples: Iterable[Sample]) -> Sequence[str]:
    """The lines of one metric: what it is, then its samples. A metric without samples is named all the same."""
    lines = [f"# HELP {name} {_escaped(text)}", f"# TYPE {name} {kind}"]
    for sample in samples:
        labels = ",".join(f'{label}="{_quoted(value)}"' for label, value in sample.labels.items())
        lines.append(f"{name}{{{labels}}} {_number(sample.value)}" if labels else f"{name} {_number(sample.value)}")
    return lines


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")


def _number(value: float) -> str:
    """Whole numbers without a point, whatever their size."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
