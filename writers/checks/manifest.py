"""An Inventory's file against the manifest beside it (design: "Publishing")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from state.times import parse_time
from writers.checks.digests import Digests
from writers.checks.finding import Fault

_SECTION: Final = "Stocktake manifest"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the manifest of an Inventory states; None where there is none, or it does not say.

    ``watermark`` is the moment that Content Date and Time tell, UTC microseconds.
    """

    there: bool
    sop_instance_uid: str | None = None
    sha256: str | None = None
    size: int | None = None
    watermark: int | None = None
    readable: bool = True


def read_manifest(path: Path, sop_instance_uid: str) -> Manifest:
    """The manifest ``<SOP Instance UID>.json`` beside the Inventory at ``path``.

    Raises:
        OSError: it is there and cannot be read.
    """
    beside = path.with_name(f"{sop_instance_uid}.json") if sop_instance_uid else path.with_suffix(".json")
    if not beside.is_file():
        return Manifest(there=False)
    try:
        stated: Any = orjson.loads(beside.read_bytes())
    except orjson.JSONDecodeError:
        return Manifest(there=True, readable=False)
    if not isinstance(stated, dict):
        return Manifest(there=True, readable=False)
    size = stated.get("bytes")
    return Manifest(
        there=True,
        sop_instance_uid=_text(stated.get("sop_instance_uid")),
        sha256=_text(stated.get("sha256")),
        size=size if isinstance(size, int) else None,
        watermark=_moment(stated.get("watermark")),
    )


def manifest_faults(path: Path, sop_instance_uid: str, manifest: Manifest, digests: Digests) -> Iterator[Fault]:
    """Where the file differs from what its manifest states. Reads the whole file if a digest is stated.

    Raises:
        OSError: the file cannot be read.
    """
    if not manifest.there:
        return
    if not manifest.readable:
        yield Fault("manifest", _SECTION, "", "the manifest is no JSON object")
        return
    stated = manifest.sop_instance_uid
    if stated is not None and sop_instance_uid and stated != sop_instance_uid:
        yield Fault("manifest", _SECTION, "", f"the manifest is of {stated}")
    if manifest.sha256 is None or manifest.size is None:
        yield Fault("manifest", _SECTION, "", "the manifest lacks sha256 or bytes")
    size = path.stat().st_size
    if manifest.size is not None and manifest.size != size:
        yield Fault("bytes", _SECTION, "", f"the file has {size} bytes; the manifest says {manifest.size}")
    if manifest.sha256 is not None:
        digest = digests.of(path, "sha256").hex()
        if digest != manifest.sha256.lower():
            yield Fault("sha256", _SECTION, "", f"the file's SHA-256 is {digest}; the manifest says otherwise")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _moment(value: object) -> int | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except ValueError:
        return None
