"""What a study shows of its patient (docs/decisions/0010), worked out from all that was ever said and told.

The program keeps the time of each attribute and news for each patient. Here is no such bookkeeping: the study's own
words are looked for backwards through all that was said of it, and the news is gone through once, oldest first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from state.values import Item, Value
from tests.oracle.events import ISSUER, PATIENT_ID, News, Patient, patient_attributes, patient_of


@dataclass(frozen=True)
class Saying:
    """What an event of the study said of it, at ``time``; ``whole``: it replaced all that was said before."""

    time: int
    whole: bool
    attributes: Item


@dataclass(frozen=True)
class Overlay:
    """The patient attributes to be shown, and the time of the latest news among them (0: none).

    ``patients`` are those whose news was asked for, in their order.
    """

    attributes: Item
    time: int
    patients: tuple[Patient, ...] = ()


@dataclass(frozen=True)
class Word:
    value: Value
    time: int


def own_words(sayings: Sequence[Saying]) -> dict[str, Word]:
    """What the study's own events said last of each patient attribute."""
    words: dict[str, Word] = {}
    for saying in reversed(sayings):
        for tag in saying.attributes.keys() & patient_attributes():
            words.setdefault(tag, Word(saying.attributes[tag], saying.time))
        if saying.whole:
            break
    return words


def named(words: dict[str, Word]) -> tuple[Patient, int] | None:
    """The patient that the study's own events name, and when they did."""
    patient = patient_of({tag: word.value for tag, word in words.items()})
    if not patient.id:
        return None
    return patient, max(words[tag].time for tag in (PATIENT_ID, ISSUER) if tag in words)


def lay_over(sayings: Sequence[Saying], news: Collection[News]) -> Overlay:
    """The news of the study's patient, and of whom they became, laid over the study's own words."""
    words = own_words(sayings)
    shown = {tag: word.value for tag, word in words.items()}
    found = named(words)
    if found is None:
        return Overlay(shown, 0)
    patient, since = found
    latest, patients = 0, [patient]
    for one in sorted(news, key=lambda one: one.time):
        if one.of == patient and one.time > since:
            shown |= {
                tag: value for tag, value in one.attributes.items() if tag not in words or words[tag].time < one.time
            }
            patient, since, latest = one.becomes, one.time, one.time
            patients.append(patient)
    return Overlay(shown, latest, tuple(patients))


def reachable(patients: Collection[Patient], news: Collection[News]) -> list[News]:
    """The news of these patients and of all that they could become."""
    known, size = set(patients), -1
    while len(known) > size:
        size = len(known)
        known |= {one.becomes for one in news if one.of in known}
    return [one for one in news if one.of in known]
