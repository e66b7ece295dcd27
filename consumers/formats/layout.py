"""Where the parts of a JSON message stand among its bytes."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import Final, TypeAlias

from consumers.formats.datasets import Dataset

Span: TypeAlias = tuple[int, int]  # where something begins and ends in a message

_COLON: Final = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*")
_COMMA: Final = re.compile(rb"[ \t\n\r]*,[ \t\n\r]*")
_OPENING: Final = re.compile(rb"\{[ \t\n\r]*")
_CLOSING: Final = re.compile(rb"[ \t\n\r]*\}")
_TEXT: Final = re.compile(rb'"([^\x00-\x1f"\\]*)"')
_SCALAR: Final = re.compile(rb'"[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*)(?=[ \t\n\r,}])')
_ONE_UID: Final = re.compile(rb'\{[^{}\[\]]*\[[ \t\n\r]*"([0-9.]+)"[ \t\n\r]*\][ \t\n\r]*\}')
_VALUES: Final = re.compile(rb"\{[^{}\[\]]*\[([^{}\[\]]*)\][ \t\n\r]*\}")


class NotPlain(Exception):
    """A message whose parts cannot be told by their place."""


class Layout:
    """Where in a message its parts stand: certain only where each name comes once, and no name is escaped.

    ``colon`` and ``comma`` are as the data set has them, with the space around them; everywhere the same.

    Raises:
        NotPlain: it is not.
    """

    def __init__(self, message: bytes, dataset: Dataset) -> None:
        self.message = message
        self.dataset = dataset
        named = self._end_of(b'"dataset"')
        self.colon = _required(_COLON.match(message, named))[0]
        begin = named + len(self.colon)
        opening = _required(_OPENING.match(message, begin))[0]
        self._members = [b'"%s"%s%s' % (tag.encode(), self.colon, raw) for tag, raw in dataset.items()]
        self._first = begin + len(opening)
        comma = _COMMA.match(message, self._first + len(self._members[0])) if dataset else None
        self.comma = b"," if comma is None else comma[0]
        whole = self.comma.join(self._members)
        if not message.startswith(whole, self._first):
            raise NotPlain
        end = _required(_CLOSING.match(message, self._first + len(whole))).end()
        if b"\\" in message[:begin] or b"\\" in message[end:]:
            raise NotPlain
        self.span: Span = (begin, end)  # of the data set
        sizes = [len(member) + len(self.comma) for member in self._members]
        self._ends = dict(zip(dataset, accumulate(sizes), strict=True))  # from the first element on, with its comma

    def __contains__(self, name: bytes) -> bool:
        return name in self.message

    def text(self, name: bytes) -> Span:
        """The inside of the text that a member has."""
        return self._match(_TEXT, name).span(1)

    def scalar(self, name: bytes) -> Span:
        """What a member has: a text or an integer."""
        return self._match(_SCALAR, name).span()

    def _match(self, pattern: re.Pattern[bytes], name: bytes) -> re.Match[bytes]:
        """What a member of the message has."""
        begin = self._end_of(name)
        if not self.message.startswith(self.colon, begin):
            raise NotPlain
        return _required(pattern.match(self.message, begin + len(self.colon)))

    def element(self, tag: str) -> Span:
        """An element of the data set."""
        end = self._first - len(self.comma) + self._ends[tag]
        return end - len(memoryview(self.dataset[tag])), end

    def uid(self, tag: str) -> Span:
        """The UID that an element holds."""
        return self._inside(_ONE_UID, tag)

    def values(self, tag: str) -> Span:
        """What an element's brackets hold, which is no list or object."""
        return self._inside(_VALUES, tag)

    def _inside(self, pattern: re.Pattern[bytes], tag: str) -> Span:
        return _required(pattern.fullmatch(self.message, *self.element(tag))).span(1)

    def _end_of(self, name: bytes) -> int:
        """Where the only such name ends."""
        at = self.message.find(name)
        if at < 0 or self.message.find(name, at + 1) >= 0:
            raise NotPlain
        return at + len(name)


def _required(found: re.Match[bytes] | None) -> re.Match[bytes]:
    if found is None:
        raise NotPlain
    return found
