"""One member of a tree as the checks see it: what its header states, known before its studies are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from state.times import MICROSECONDS, parse_time
from writers.checks.manifest import Manifest, read_manifest
from writers.decoding import items_of
from writers.read_scope import InvalidScope, Scope, read_scope
from writers.reader import InventoryFile
from writers.references import Reference, references

_FARTHEST: Final = 14 * 3600 * MICROSECONDS  # a zone is at most so far ahead of UTC
_DA: Final = re.compile(r"\d{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Member:
    """A member whose header can be read.

    ``zone`` is that of its times without offset. ``content_moment`` is the earliest that its Content Date and
    Time can mean, UTC microseconds; None if they are no time. ``scope`` is None where it is not definite, and
    ``scope_fault`` tells why. ``reference_items`` are the Items of its own (0008,0422), ``references`` what
    they say.
    """

    path: Path
    sop_instance_uid: str
    transfer_syntax_uid: str
    level: str
    zone: tzinfo
    content_moment: int | None
    scope: Scope | None
    scope_fault: str
    references: tuple[Reference, ...]
    reference_items: tuple[Dataset, ...]
    manifest: Manifest


def read_member(path: Path, zone: tzinfo | None) -> Member:
    """Read a member's header. ``zone`` None: unknown, unless the file states its own.

    Raises:
        InvalidInventory: the file is no Inventory, or its header is malformed.
        OSError: the file cannot be read.
    """
    with InventoryFile(path) as file:
        header, uid = file.header, file.sop_instance_uid
        manifest = read_manifest(path, uid)
        stated = file.stated_zone or zone
        scope, fault = _scope(header, stated or UTC)
        return Member(
            path=path,
            sop_instance_uid=uid,
            transfer_syntax_uid=file.meta.transfer_syntax_uid,
            level=str(header.get("InventoryLevel", "")),
            zone=stated or UTC,
            content_moment=_content_moment(header, stated, manifest.watermark),
            scope=scope,
            scope_fault=fault,
            references=references(header, path),
            reference_items=items_of(header, "IncorporatedInventoryInstanceSequence"),
            manifest=manifest,
        )


def _scope(header: Dataset, zone: tzinfo) -> tuple[Scope | None, str]:
    try:
        return read_scope(header, zone), ""
    except InvalidScope as error:
        return None, str(error)


def _content_moment(header: Dataset, zone: tzinfo | None, watermark: int | None) -> int | None:
    date, time = (str(header.get(keyword) or "").strip() for keyword in ("ContentDate", "ContentTime"))
    if _DA.fullmatch(date) is None:
        return None
    try:
        moment = parse_time(date + time, zone or UTC)
    except ValueError:
        return None
    if zone is not None:
        return moment
    return moment - _FARTHEST if watermark is None else watermark


def incorporators(root: Member) -> dict[str, set[str]]:
    """For each UID of the tree, the members that incorporate it, directly or not, as the root's copy tells."""
    above: dict[str, set[str]] = {root.sop_instance_uid: set()}
    _climb(root.references, (root.sop_instance_uid,), above)
    return above


def _climb(below: Sequence[Reference], path: tuple[str, ...], above: dict[str, set[str]]) -> None:
    for reference in below:
        above.setdefault(reference.sop_instance_uid, set()).update(path)
        _climb(reference.incorporates, (*path, reference.sop_instance_uid), above)
