"""Where the files of a tree's members are: by File Access URI, by the root's manifest, or found in a folder.

What an Inventory says of places is somebody else's word. It is followed to regular files below the folders searched
only, and a file counts only if its File Meta Information has the UID that is wanted. Nothing is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

import orjson

from writers.file_meta import FileMeta, read_file_meta
from writers.references import Location, Reference, locations
from writers.scanning import Malformed
from writers.terms import INVENTORY_STORAGE

_LOCAL: Final = ("", "localhost")  # hosts of a file: URI (RFC 8089)
_PARENT: Final = ".."


class MissingMember(Exception):
    """An incorporated Inventory whose file is in none of the folders searched.

    ``place`` is where a reference says that it is, for people; empty if none says so.
    """

    def __init__(self, sop_instance_uid: str, folders: Sequence[Path], place: str = "") -> None:
        super().__init__(f"the incorporated Inventory {sop_instance_uid} {not_found(folders, place)}")
        self.sop_instance_uid = sop_instance_uid
        self.folders = tuple(folders)
        self.place = place


def not_found(folders: Sequence[Path], place: str) -> str:
    """That a file is in none of the folders, and where it is said to be."""
    text = "is not in " + ", ".join(map(str, folders))
    if not place:
        return text
    remote = "://" in place and not place.startswith("file:")
    return f"{text}; its reference says it is at {place}" + (", which is not fetched" if remote else "")


def locate(
    root: Path, sop_instance_uid: str, below: Sequence[Reference], folders: Sequence[Path]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The files of all that ``root`` incorporates, by UID; and for those not found where they are said to be.

    The ways are tried in this order: what the references say; the manifest beside the root, whose UID is
    ``sop_instance_uid``; and if a member is still missing, all files below ``folders``.

    Raises:
        OSError: a folder or file has to be searched and cannot be read.
    """
    said = locations(below)
    named = _named_by_manifest(root, sop_instance_uid) if said else {}
    found: dict[str, Path] = {}
    for uid, places in said.items():
        for path in _candidates(places, named.get(uid, ""), folders):
            if _is_member(path, uid):
                found[uid] = path
                break
    if found.keys() < said.keys():
        found = search(folders) | found
    return (
        {uid: path for uid, path in found.items() if uid in said},
        {uid: shown(places[0]) if places else "" for uid, places in said.items() if uid not in found},
    )


def search(folders: Sequence[Path]) -> dict[str, Path]:
    """:func:`find_members` of several folders; the first that has a UID counts."""
    members: dict[str, Path] = {}
    for folder in folders:
        members = find_members(folder) | members
    return members


def find_members(folder: Path) -> dict[str, Path]:
    """The Inventories among the ``*.dcm`` files below a folder, by SOP Instance UID; other files are passed over.
    Hidden folders and files are not searched.

    Only the File Meta Information is read. Of two files with one UID the first by path counts.

    Raises:
        OSError: a folder or file cannot be read.
    """
    found: dict[str, Path] = {}
    for path in _dicom_files(folder):
        try:
            meta = _file_meta(path)
        except (Malformed, FileNotFoundError):
            continue  # somebody else's file, or one that retention took since it was listed
        if meta.sop_class_uid == INVENTORY_STORAGE:
            found.setdefault(meta.sop_instance_uid, path)
    return found


def shown(location: Location) -> str:
    """A location for people: absolute if it can be, without user, password, query and fragment, which may be secret."""
    split = _split(_absolute(location))
    if split is None:
        return ""
    text = split._replace(netloc=split.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _candidates(places: Sequence[Location], named: str, folders: Sequence[Path]) -> Iterator[Path]:
    """The files below ``folders`` that a member may be, the likeliest first."""
    for place in places:
        for relative in (_below_base(place), _last_of_base(place)):
            yield from _below(folders, relative)
        yield from _inside(folders, _file_path(place))
    yield from _below(folders, _segments(named))


def _below(folders: Sequence[Path], segments: Sequence[str]) -> Iterator[Path]:
    if segments:
        for folder in folders:
            yield from _inside([folder], folder.joinpath(*segments))


def _inside(folders: Sequence[Path], path: Path | None) -> Iterator[Path]:
    """``path``, spelled as the folder is that it lies in; nothing for one that a link leads out of all of them."""
    if path is None:
        return
    try:
        real = path.resolve()
        for folder in folders:
            top = folder.resolve()
            if real.is_relative_to(top):
                yield folder / real.relative_to(top)
    except (OSError, RuntimeError):
        return  # a name that is too long, or links in a circle


def _is_member(path: Path, sop_instance_uid: str) -> bool:
    try:
        # Only a regular file: to open a pipe or a device may wait for ever, or do something.
        meta = _file_meta(path) if path.is_file() else None
    except (Malformed, OSError):
        return False  # the search of the folder tells what cannot be read
    return meta is not None and (meta.sop_class_uid, meta.sop_instance_uid) == (INVENTORY_STORAGE, sop_instance_uid)


def _file_meta(path: Path) -> FileMeta:
    with path.open("rb") as file:
        return read_file_meta(file)


# --- URIs (RFC 3986) -------------------------------------------------------------------------------------------


def _absolute(location: Location) -> str:
    """The URI; one that is relative put behind its base, which is a folder even where its last slash is missing."""
    split = _split(location.uri)
    if split is None or split.scheme or split.netloc or location.uri.startswith("/") or not location.base:
        return location.uri
    return location.base.rstrip("/") + "/" + location.uri.removeprefix("./")


def _below_base(location: Location) -> tuple[str, ...]:
    """The names that lead from the base to the file, which a copy of the folder has kept; none if that is unknown."""
    split, base = _split(location.uri), _split(location.base)
    if split is None or base is None:
        return ()
    if not split.scheme and not split.netloc:
        return () if split.path.startswith("/") else _decoded(split.path)
    top = base.path.rstrip("/") + "/"
    if not base.scheme or (split.scheme, split.netloc) != (base.scheme, base.netloc) or not split.path.startswith(top):
        return ()
    return _decoded(split.path.removeprefix(top))


def _last_of_base(location: Location) -> tuple[str, ...]:
    """The same with the last name of the base: what is searched may be the folder around."""
    below, base = _below_base(location), _split(location.base)
    last = _decoded(base.path.rstrip("/").rpartition("/")[2]) if base is not None else ()
    return (*last, *below) if below and last else ()


def _file_path(location: Location) -> Path | None:
    """The path of a ``file:`` URI of this machine; None for any other, and for one that goes up."""
    split = _split(_absolute(location))
    if split is None or split.scheme != "file" or split.netloc not in _LOCAL or not split.path.startswith("/"):
        return None
    names = _decoded(split.path)
    return Path("/", *names) if names else None


def _split(uri: str) -> SplitResult | None:
    try:
        return urlsplit(uri)
    except ValueError:
        return None  # such as a bracket without its other


def _decoded(path: str) -> tuple[str, ...]:
    """The names of a path, percent-decoded once each; none if one of them would lead elsewhere than down."""
    return _names([unquote(name) for name in path.split("/")])


def _segments(path: str) -> tuple[str, ...]:
    """The same of a path that is not encoded, as a manifest has it; none for an absolute one."""
    return () if path.startswith("/") else _names(path.split("/"))


def _names(names: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(name for name in names if name not in ("", "."))
    if any(name == _PARENT or not name.isprintable() or "/" in name or "\\" in name for name in kept):
        return ()
    return kept


# --- the manifest beside the root ------------------------------------------------------------------------------


def _named_by_manifest(root: Path, sop_instance_uid: str) -> Mapping[str, str]:
    """The members' files by UID, relative to the repository's folder, as the manifest beside ``root`` lists them.

    Empty where there is none, or none of this Inventory. Parts are named after their UIDs.
    """
    try:
        manifest: Any = orjson.loads(root.with_name(f"{sop_instance_uid}.json").read_bytes())
        if manifest["sop_instance_uid"] != sop_instance_uid:
            return {}
        named: dict[str, str] = {}
        for member in manifest["members"]:
            parts = map(str, member.get("parts", ()))
            named |= {part.rpartition("/")[2].removesuffix(".dcm"): part for part in parts}
            named[str(member["sop_instance_uid"])] = str(member["file"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # no help, and `verify` tells of a manifest that is none
    return named


def _dicom_files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        # What is hidden is not published: a writer at work keeps its temporary files there.
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(".dcm") and not name.startswith("."):
                yield Path(parent, name)
