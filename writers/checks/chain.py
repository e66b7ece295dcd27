"""The members of a tree held against each other (PS3.3 C.38.1.1.5, C.38.2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from pydicom.dataset import Dataset

from writers.checks.digests import Digests
from writers.checks.finding import Fault, Severity
from writers.checks.member import Member
from writers.references import Reference, outline
from writers.terms import INVENTORY_STORAGE

_INCORPORATION: Final = "PS3.3 C.38.1.1.5"
_REFERENCE: Final = "PS3.3 Table C.38.2-3"
_STORED_FILE: Final = "PS3.3 Table C.38.2-2"
_AT: Final = "(0008,0422)"
_DIGESTS: Final = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}


def level_faults(member: Member, root: Member) -> Iterator[Fault]:
    """The same Inventory Level through the tree."""
    if member.level != root.level:
        text = f"Inventory Level is {member.level or 'empty'}, that of the root {root.level or 'empty'}"
        yield Fault("same-level", _INCORPORATION, "(0008,0403)", text)


def copy_faults(member: Member, members: Mapping[str, Member]) -> Iterator[Fault]:
    """Each reference holds a true copy of what the referenced Inventory incorporates itself."""
    if member.sop_instance_uid in outline(member.references):
        yield Fault("cycle", _INCORPORATION, _AT, "the Inventory incorporates itself")
    for number, (item, reference) in enumerate(zip(member.reference_items, member.references, strict=True), 1):
        where = f"{_AT}[{number}] {reference.sop_instance_uid}"
        if item.get("ReferencedSOPClassUID") not in (None, "", INVENTORY_STORAGE):
            yield Fault("reference-class", _REFERENCE, where, "does not refer to an Inventory")
        referenced = members.get(reference.sop_instance_uid)
        if referenced is None:
            continue  # missing or unreadable, which is a finding already
        if _shape(reference.incorporates) != _shape(referenced.references):
            text = f"is no copy of what {referenced.path.name} incorporates itself"
            yield Fault("true-copy", _REFERENCE, where, text)
        elif _plain(item) != referenced.reference_items:
            text = f"differs in attributes from what {referenced.path.name} has itself"
            yield Fault("true-copy", _REFERENCE, where, text, Severity.WARNING)


def stored_file_faults(member: Member, members: Mapping[str, Member], digests: Digests) -> Iterator[Fault]:
    """Each reference that tells a MAC or a transfer syntax tells those of the file that was found.

    Raises:
        OSError: a file cannot be read.
    """
    for number, (item, reference) in enumerate(zip(member.reference_items, member.references, strict=True), 1):
        referenced = members.get(reference.sop_instance_uid)
        if referenced is None:
            continue
        where = f"{_AT}[{number}] {reference.sop_instance_uid}"
        algorithm, mac = _DIGESTS.get(str(item.get("MACAlgorithm", ""))), item.get("MAC")
        if (
            algorithm is not None
            and isinstance(mac, bytes)
            and mac
            and not mac.startswith(digests.of(referenced.path, algorithm))  # an odd number of bytes would be padded
        ):
            yield Fault("mac", _STORED_FILE, where, f"its MAC is not that of {referenced.path.name}: it was altered")
        syntax = item.get("StoredInstanceTransferSyntaxUID")
        if syntax and syntax != referenced.transfer_syntax_uid:
            text = f"Stored Instance Transfer Syntax UID is not that of {referenced.path.name}"
            yield Fault("stored-syntax", _STORED_FILE, where, text)


def total_faults(
    member: Member, members: Mapping[str, Member], records: Mapping[str, int], stated: object
) -> Iterator[Fault]:
    """(0008,0428) counts the records of the member and of all that it incorporates.

    ``records`` are the study Items of each member that could be read to its end; with one unknown nothing is
    said.
    """
    below = outline(member.references).keys() | {member.sop_instance_uid}
    if not isinstance(stated, int) or not below <= records.keys():
        return
    total = sum(records[uid] for uid in below)
    if stated != total:
        text = f"Total Number of Study Records is {stated}; the tree below holds {total}"
        yield Fault("total-number", "PS3.3 Table C.38.1-1", "(0008,0428)", text)


def _plain(item: Dataset) -> tuple[Dataset, ...]:
    return tuple(item.get("IncorporatedInventoryInstanceSequence") or ())


def _shape(references: tuple[Reference, ...]) -> list[object]:
    """The UIDs as a tree; the order of siblings means nothing."""
    return sorted(([each.sop_instance_uid, _shape(each.incorporates)] for each in references), key=repr)
