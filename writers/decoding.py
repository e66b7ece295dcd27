"""Encoded elements turned into pydicom Datasets, whole and at once, whatever they hold.

pydicom converts a value when it is first touched, and its warnings and log lines quote values. Here every
value is converted while its validation is off, so nothing fails or speaks later: a patient attribute must not
reach a log.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from io import BytesIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.config import disable_value_validation, strict_reading
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from writers.scanning import Element, Malformed, elements, items


def decode(data: bytes, implicit: bool, encodings: Sequence[str]) -> Dataset:
    """The Dataset of little-endian elements; ``encodings`` are Python's, of the data set around it.

    A value that breaks its VR stays the text or bytes that it is; with VR UN, if pydicom cannot hold it else.

    Raises:
        Malformed: the bytes are no Data Elements, at some depth.
    """
    _check(data, 0, len(data), implicit, 0)
    with _quiet():
        try:
            dataset = read_dataset(BytesIO(data), implicit, True, parent_encoding=list(encodings), at_top_level=False)
            _convert(dataset)
        except Exception as error:
            # pydicom has no error of its own for bytes that it cannot take apart (a private or unknown
            # sequence that _check does not see into): struct.error, ValueError, RecursionError and more. The
            # text may hold values.
            raise Malformed(0, f"cannot be decoded ({type(error).__name__})") from None
    return dataset


def python_encodings(character_sets: Sequence[str]) -> tuple[str, ...]:
    """Python's names for the values of Specific Character Set (0008,0005); the default for unknown ones."""
    with _quiet():
        return tuple(convert_encodings(list(character_sets)))


def decode_text(value: bytes, vr: str, character_sets: Sequence[str]) -> str:
    """A text in the character sets of (0008,0005); what they do not hold is replaced."""
    with _quiet():
        encodings = convert_encodings(list(character_sets))
        return decode_bytes(value, encodings, _delimiters(vr))


def decode_strictly(value: bytes, vr: str, character_sets: tuple[str, ...]) -> str | None:
    """A text in the character sets of (0008,0005); None if one is unknown, or they do not hold what is there."""
    encodings = _known_encodings(character_sets)
    if encodings is None:
        return None
    try:
        with strict_reading():
            return decode_bytes(value, encodings, _delimiters(vr))
    except (ValueError, LookupError):
        return None


@lru_cache(maxsize=1 << 8)
def _known_encodings(character_sets: tuple[str, ...]) -> tuple[str, ...] | None:
    try:
        with strict_reading(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(convert_encodings(list(character_sets)))
    except LookupError:
        return None


def _delimiters(vr: str) -> set[int]:
    return set(b"\\^=" if vr == "PN" else b"\\")


def character_sets_of(value: bytes) -> tuple[str, ...]:
    """The terms in an encoded Specific Character Set (0008,0005)."""
    return tuple(term.strip(" \0") for term in value.decode("ascii", "replace").split("\\"))


def items_of(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """The Items of a sequence; none where it is absent, empty or has another VR than SQ."""
    if keyword not in dataset or dataset[keyword].VR != "SQ":
        return ()
    return tuple(dataset[keyword].value)


@cache
def known_vr(tag: int) -> str:
    """The VR of the standard's dictionary (PS3.6), empty for a tag that it does not hold."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def is_sequence(element: Element) -> bool:
    """Whether the element holds Items: by its VR or undefined length, in Implicit VR by the dictionary."""
    if element.vr:
        return element.vr == b"SQ" or element.undefined
    return element.undefined or known_vr(element.tag) == "SQ"


def _check(data: bytes, start: int, stop: int, implicit: bool, depth: int) -> None:
    for element in elements(data, start, stop, implicit, depth):
        if is_sequence(element):
            for begin, end in items(data, element, depth + 1):
                _check(data, begin, end, element.implicit, depth + 1)


def _convert(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except Exception as error:
            raw: DataElement | RawDataElement = dataset.get_item(tag)
            if not isinstance(raw, RawDataElement) or isinstance(error, RecursionError):
                raise
            dataset[tag] = DataElement(tag, "UN", raw.value or b"", already_converted=True)
            continue
        if element.VR == "SQ":
            for item in element.value:
                _convert(item)


@contextmanager
def _quiet() -> Iterator[None]:
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
