"""Inventories that were asked for: by whoever may not write, of the writer that leads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import orjson

from state.connection import Command, Connection, ScriptCall
from state.keys import RepositoryKeys

Kind: TypeAlias = Literal["next", "baseline", "rollup"]

_OF_A_KIND: Final[tuple[Kind, ...]] = ("baseline", "rollup")  # which not every inventory is


@dataclass(frozen=True, slots=True)
class Asked:
    """What waits for an answer: an inventory of this kind. ``number`` is the latest request that it would answer."""

    number: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Answer:
    """An inventory that was begun after request ``number`` and all before it were made, and is of the kind asked for.

    ``manifest``: as JSON; None if a writer answered that does not leave it.
    """

    number: int
    sequence: int
    sop_instance_uid: str
    manifest: dict[str, Any] | None = None


class InventoryRequests:
    """A repository's requests, numbered from 1. A Redis that loses its tail may forget one: it is then asked again.

    Every inventory answers who asked for the ``next``; who asked for a ``baseline`` or ``rollup`` waits for one. The
    hash holds ``asked`` (the latest number), ``answered`` (the latest answer to any), and for each kind ``asked:KIND``,
    ``answered:KIND`` and ``manifest:KIND``. A program that knows no kinds reads and writes the first two alone: for it
    every request is one for the next inventory.
    """

    def __init__(self, connection: Connection, repository: str) -> None:
        self._connection = connection
        self._keys = RepositoryKeys(repository)

    def ask(self, kind: Kind = "next") -> int:
        """Ask for an inventory; the number of the request. A call repeated on the way asks twice, which is no harm.

        Raises:
            StateUnreachable: the state does not answer.
        """
        return int(self._connection.call([ScriptCall("ask", [self._keys.requests], [kind])])[0])

    def look(self, kind: Kind = "next") -> tuple[int, Answer | None]:
        """The number of the latest request of this kind (0: none), and the latest answer to one of this kind.

        A number that is lower than one that :meth:`ask` gave: the server has lost that request. Of ``next``, which
        every inventory answers, the latest request of any kind counts.
        """
        [found] = self._connection.send([self._read("asked", _asked(kind), _answered(kind), f"manifest:{kind}")])
        asked, of_kind, answered, manifest = found
        answer = _answer(answered, manifest)
        # The server may have forgotten a request that the writer had seen: its answer is none to those to come.
        return int(of_kind or 0), answer if answer is not None and answer.number <= int(asked or 0) else None

    def waiting(self) -> Asked | None:
        """What the writer that leads should produce now; None: all requests have their answer."""
        names = ["asked", "answered"]
        for kind in _OF_A_KIND:
            names += (_asked(kind), _answered(kind))
        [[asked, answered, *kinds]] = self._connection.send([self._read(*names)])
        latest = int(asked or 0)
        for kind, wanted, found in zip(_OF_A_KIND, kinds[::2], kinds[1::2], strict=True):
            if int(wanted or 0) > _number(found, latest):
                return Asked(latest, kind)
        return Asked(latest, "next") if latest > _number(answered, latest) else None

    def answer(self, asked: Asked, manifest: dict[str, Any]) -> None:
        """Answer what waited, with the manifest of an inventory that was begun after :meth:`waiting` said so.

        For the writer that leads; said twice, it is the same.
        """
        told = {
            "number": asked.number,
            "sequence": manifest["sequence"],
            "sop_instance_uid": manifest["sop_instance_uid"],
        }
        answer, text = orjson.dumps(told), orjson.dumps(manifest)
        command: Command = ("HSET", self._keys.requests, _answered("next"), answer, "manifest:next", text)
        if asked.kind != "next":
            command = (*command, _answered(asked.kind), answer, f"manifest:{asked.kind}", text)
        self._connection.send([command])

    def _read(self, *fields: str) -> Command:
        return ("HMGET", self._keys.requests, *fields)


def _asked(kind: Kind) -> str:
    return "asked" if kind == "next" else f"asked:{kind}"


def _answered(kind: Kind) -> str:
    return "answered" if kind == "next" else f"answered:{kind}"


def _answer(answered: bytes | None, manifest: bytes | None) -> Answer | None:
    if answered is None:
        return None
    answer = Answer(**orjson.loads(answered))
    found = None if manifest is None else orjson.loads(manifest)
    # One of a writer that leaves none may have come since.
    if found is None or found["sop_instance_uid"] != answer.sop_instance_uid:
        return answer
    return Answer(answer.number, answer.sequence, answer.sop_instance_uid, found)


def _number(answered: bytes | None, latest: int) -> int:
    """The number that was answered; 0 for an answer to a request that the server has forgotten."""
    number = 0 if answered is None else int(orjson.loads(answered)["number"])
    return number if number <= latest else 0
