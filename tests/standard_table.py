"""PS3.3 Table C.38.1-1 read a second time, by its path column: what the program's own reading of it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from pydicom.datadict import tag_for_keyword

TABLE: Final = Path(__file__).parents[1] / "state" / "standard" / "inventory_module.tsv"

STUDIES: Final = ("00080423",)
SERIES: Final = (*STUDIES, "00080424")
INSTANCES: Final = (*SERIES, "00080425")

TagPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table; the tag is the one that pydicom's dictionary knows the keyword by."""

    keyword: str
    vr: str
    vm: str
    type: str


@cache
def standard_rows() -> dict[TagPath, Row]:
    """Every row by its path of tags, its own tag last."""
    rows = {}
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, tag, vr_vm, type_, parents = line.split("\t")
        keyword = name.strip(">")
        path = tuple(_tag(one) for one in (*parents.split("/"), keyword) if one)
        assert path[-1] == tag.strip("()").replace(",", ""), f"{keyword} is not {tag}"
        vr, vm = vr_vm.split()
        rows[path] = Row(keyword, vr, vm, type_)
    return rows


@cache
def children(parent: TagPath) -> dict[str, Row]:
    """The rows right below a path, by tag."""
    return {path[-1]: row for path, row in standard_rows().items() if path[:-1] == parent}


def _tag(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    assert tag is not None, f"pydicom does not know {keyword}"
    return f"{tag:08X}"
