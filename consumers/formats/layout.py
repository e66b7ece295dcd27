"""Where the parts of a JSON message stand among its bytes."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from consumers.formats.datasets import Dataset

Span: TypeAlias = tuple[int, int]  # where something begins and ends in a message

_STYLES: Final = ((b",", b":"), (b", ", b": "))  # how JSON is written: tight, and as Python does it by itself
_TEXT: Final = re.compile(rb'"([^\x00-\x1f"\\]*)"')
_SCALAR: Final = re.compile(rb'"[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*)(?=[,}])')
_ONE_UID: Final = re.compile(rb'\{[^{}\[\]]*\["([0-9.]+)"\]\}')
_VALUES: Final = re.compile(rb"\{[^{}\[\]]*\[([^{}\[\]]*)\]\}")


class NotPlain(Exception):
    """A message whose parts cannot be told by their place."""


class Layout:
    """Where in a message its parts stand: certain only where each name comes once, and no name is escaped.

    Raises:
        NotPlain: it is not.
    """

    def __init__(self, message: bytes, dataset: Dataset) -> None:
        self.message = message
        self.dataset = dataset
        for self.comma, self.colon in _STYLES:
            self._members = [b'"%s"%s%s' % (tag.encode(), self.colon, raw) for tag, raw in dataset.items()]
            whole = b"{%s}" % self.comma.join(self._members)
            begin = self._begin_of(b'"dataset"')
            if begin is not None and message.startswith(whole, begin):
                break
        else:
            raise NotPlain
        if b"\\" in message[:begin] or b"\\" in message[begin + len(whole) :]:
            raise NotPlain
        self.span: Span = (begin, begin + len(whole))  # of the data set

    def __contains__(self, name: bytes) -> bool:
        return name in self.message

    def text(self, name: bytes) -> Span:
        """The inside of the text that a member has."""
        return self._match(_TEXT, name).span(1)

    def scalar(self, name: bytes) -> Span:
        """What a member has: a text or an integer."""
        return self._match(_SCALAR, name).span()

    def _match(self, pattern: re.Pattern[bytes], name: bytes) -> re.Match[bytes]:
        begin = self._begin_of(name)
        found = None if begin is None else pattern.match(self.message, begin)
        if found is None:
            raise NotPlain
        return found

    def element(self, tag: str) -> Span:
        """An element of the data set."""
        place = [*self.dataset].index(tag)
        before = sum(map(len, self._members[:place])) + place * len(self.comma)
        end = self.span[0] + len(b"{") + before + len(self._members[place])
        return end - len(bytes(self.dataset[tag])), end

    def uid(self, tag: str) -> Span:
        """The UID that an element holds."""
        return self._inside(_ONE_UID, tag)

    def values(self, tag: str) -> Span:
        """What an element's brackets hold, which is no list or object."""
        return self._inside(_VALUES, tag)

    def _inside(self, pattern: re.Pattern[bytes], tag: str) -> Span:
        found = pattern.fullmatch(self.message, *self.element(tag))
        if found is None:
            raise NotPlain
        return found.span(1)

    def _begin_of(self, name: bytes) -> int | None:
        """Where the only member of that name has its value; None if it is written in another style."""
        at = self.message.find(name)
        if at < 0 or self.message.find(name, at + 1) >= 0:
            raise NotPlain
        at += len(name)
        return at + len(self.colon) if self.message.startswith(self.colon, at) else None
