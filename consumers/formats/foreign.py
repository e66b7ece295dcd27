"""What the adapters of archives' own messages share: what is known around a message, and how its JSON is read.

An adapter never invents: a UID or an id that is absent or wrong makes the message none (BadEvent).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Protocol, TypeAlias, TypeVar

import msgspec
from msgspec import Raw, Struct, field

from consumers.events import BadEvent, Told
from state.vr import is_uid

Members: TypeAlias = dict[str, Raw]
Text: TypeAlias = "bytes | Raw"
T = TypeVar("T")

_OFFSET: Final = re.compile(r".*(?:[Zz]|[+-]\d\d(?::?\d\d)?)", re.ASCII)
_decode_members: Final = msgspec.json.Decoder(Members)


class Around(Struct, frozen=True, gc=False):
    """What is known of a message beside its own bytes.

    ``timestamp`` is the Kafka record's, in UTC microseconds. ``time`` and ``type`` are those of the CloudEvents
    envelope that it came in: of what does not state its own time, the envelope's is the time. ``headers`` are the Kafka
    record's, by name.
    """

    timestamp: int
    time: str | None = None
    type: str = ""
    headers: dict[str, bytes | None] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """A header's text, None if there is none; raises BadEvent where it is not UTF-8."""
        value = self.headers.get(name)
        if value is None:
            return None
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise BadEvent(f"header {name} is not UTF-8") from None


class Product(Protocol):
    """Reads the messages of one archive product. Stateless but for what the native format remembers."""

    def knows(self, names: Collection[str], around: Around) -> bool:
        """Whether an object with members of these names seems to be one of its messages."""

    def read(self, members: Members, text: Text, around: Around) -> list[Told]:
        """What a message says, whose JSON is ``text``; an empty list where it concerns no inventory.

        Raises:
            BadEvent: it is malformed.
        """


def parsed(decoder: msgspec.json.Decoder[T], text: Text) -> T:
    """JSON read into what the decoder makes of it.

    Raises:
        BadEvent: it is no JSON, or another; the text names a place and no value.
    """
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise BadEvent(f"unexpected JSON: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadEvent(f"not JSON: {error}") from None
    except RecursionError:
        raise BadEvent("not JSON: nested too deeply") from None


def members_of(text: Text) -> Members:
    """The members of an object, each as it stands; raises BadEvent."""
    return parsed(_decode_members, text)


def uid(value: str | None, name: str) -> str:
    """A UID; raises BadEvent if it is absent or none."""
    if not value:
        raise BadEvent(f"{name} is absent")
    if not is_uid(value):
        raise BadEvent(f"{name} is no UID")
    return value


def utc(text: str | None) -> str | None:
    """A time that is meant to be UTC, though it may carry no offset: with one."""
    return text if text is None or _OFFSET.fullmatch(text) else f"{text}Z"
