"""Manifests as the API gives them: the same JSON as beside the file, described for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class MemberBody(BaseModel):
    """An inventory that the head still reaches."""

    sop_instance_uid: str
    sequence: int
    tier: int | None
    file: str
    total_records: int
    parts: list[str]


class ManifestBody(BaseModel):
    """A manifest; ``docs/inventories.md`` tells what each field holds. Times are ISO 8601 in UTC."""

    sop_instance_uid: str
    repository: str
    sequence: int
    kind: str
    tier: int | None
    level: str
    status: str
    cut: int
    slice_from: int
    watermark: str
    scope_begin: str | None
    scope_end: str
    last_item_time: str
    own_records: int
    total_records: int
    counts: dict[str, int]
    incorporated: list[str]
    members: list[MemberBody]
    transfer_syntax_uid: str
    file: str
    bytes: int
    sha256: str
    software: str


def manifest_body(manifest: dict[str, Any]) -> ManifestBody:
    """The body of a manifest in JSON."""
    return ManifestBody.model_validate(manifest)
