"""Whose a study is, and what news of its patient lays over it (docs/decisions/0010)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from state.attributes import ISSUER_OF_PATIENT_ID, PATIENT_ID
from state.values import Item


class Patient(NamedTuple):
    """Patient ID (0010,0020) and Issuer of Patient ID (0010,0021), empty if there is none."""

    patient_id: str
    issuer: str


class News(NamedTuple):
    """What is true of a patient from ``time`` on (UTC microseconds).

    ``text`` holds the attributes as JSON; among them are the identifiers of the patient that it is from then on.
    """

    time: int
    text: bytes

    @classmethod
    def of(cls, time: int, attributes: Item) -> News:
        return cls(time, orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS))

    @property
    def attributes(self) -> Item:
        found: Item = orjson.loads(self.text)
        return found


class LaidOver(NamedTuple):
    """What news lays over a study's own attributes, and the time of the latest (UTC microseconds, 0 for none)."""

    attributes: Item
    time: int


NOTHING: Final = LaidOver({}, 0)
_NEVER: Final = -(1 << 63)


def patient_of(attributes: Mapping[str, object]) -> Patient | None:
    """The patient that attributes name; None without a Patient ID."""
    patient_id, issuer = attributes.get(PATIENT_ID), attributes.get(ISSUER_OF_PATIENT_ID)
    if not isinstance(patient_id, str) or not patient_id:
        return None
    # As Patient(...) would, at half of the cost: it is made of every study that is written.
    return tuple.__new__(Patient, (patient_id, issuer if isinstance(issuer, str) else ""))


def lay_over(attributes: Item, said_at: Mapping[str, int], news: Mapping[Patient, Sequence[News]]) -> LaidOver:
    """Work out what news lays over a study whose own events say ``attributes``.

    ``said_at`` is by tag when its own events said it. Follows the patient through time: each news that is newer than
    where it stands, the earliest first; a merge leads on to another patient's news.
    """
    laid: Item = {}
    patient = patient_of(attributes)
    named = max(said_at.get(PATIENT_ID, _NEVER), said_at.get(ISSUER_OF_PATIENT_ID, _NEVER))
    at, latest = (named, b"\xff"), 0
    while patient is not None:
        newer = [one for one in news.get(patient, ()) if one > at]
        if not newer:
            break
        time, text = at = min(newer)
        told = News(time, text).attributes
        for tag, value in told.items():
            if said_at.get(tag, _NEVER) < time:
                laid[tag] = value
        patient = patient_of(told)
        latest = time
    return LaidOver(laid, latest)
