"""Random events of a handful of studies, made to meet every rule: removals and restores, out of order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from state.times import MICROSECONDS, to_iso
from tests.oracle.events import Json

BEGIN: Final = 1_790_000_000 * MICROSECONDS  # 2026-09-21
CT: Final = "1.2.840.10008.5.1.4.1.1.2"

_REASONS: Final = (("113001", "Rejected for Quality Reasons"), ("113039", "Data Retention Policy Expired"))


@dataclass(frozen=True)
class Universe:
    """How many there are of each, and what may happen.

    ``late`` and ``renamed`` are shares of the events: those that come late, and those whose study, series or instance
    had another UID before; ``moving``: also an instance's series alone, so that it moves to another one. ``classless``
    is the share of updates and deletes of instances that do not say the SOP Class.
    """

    studies: int = 3
    series: int = 3
    instances: int = 8
    largest_batch: int = 4
    late: float = 0.3
    patients: int = 0
    renamed: float = 0.0
    moving: bool = False
    classless: float = 0.7


def study_uid(number: int) -> str:
    return f"1.2.826.0.1.{number}"


def event_key(event: Json) -> bytes:
    """What keeps the events of one study, or of one patient, in order."""
    dataset = event["datasets"][0] if "datasets" in event else event["dataset"]
    named = dataset.get("0020000D") or dataset["00100020"]
    return str(named["Value"][0]).encode()


def random_events(rng: Random, universe: Universe) -> Iterator[Json]:
    """Events without end; no two have the same time."""
    number = 0
    while True:
        number += 1
        yield random_event(rng, universe, number)


def random_event(
    rng: Random, universe: Universe, number: int, *, action: str | None = None, level: str | None = None
) -> Json:
    """The event with that number; about ``late`` of them have a time before that of others that came earlier."""
    action = action or rng.choices(("store", "update", "delete"), (6, 2, 3))[0]
    level = (
        level or rng.choices(("STUDY", "SERIES", "INSTANCE", "PATIENT"), (2, 2, 6, 2 if universe.patients else 0))[0]
    )
    behind = rng.randint(1, 20) if rng.random() < universe.late else 0
    event: Json = {
        "id": str(number),
        "action": action,
        "level": level,
        "time": to_iso(BEGIN + (number - behind) * MICROSECONDS + number),
    }
    if level == "PATIENT":
        event["action"] = rng.choice(("store", "update"))
        return event | random_news(rng, universe)
    study = study_uid(rng.randrange(universe.studies))
    many = rng.randint(1, universe.largest_batch) if level == "INSTANCE" and rng.random() < 0.3 else 1
    event["datasets"] = [random_dataset(rng, universe, action, level, study) for _ in range(many)]
    if action == "delete" and rng.random() < 0.7:
        value, meaning = rng.choice(_REASONS)
        event["reason"] = {"CodeValue": value, "CodingSchemeDesignator": "DCM", "CodeMeaning": meaning}
    if many == 1 and rng.random() < universe.renamed:
        event["prior"] = random_old_uids(rng, universe, level, event["datasets"][0])
    return event


def random_news(rng: Random, universe: Universe) -> Json:
    """What a PATIENT event tells: what a patient's attributes are, perhaps of one who was another patient before."""
    dataset = random_identity(rng, universe) | _some(rng, {"00100010": "PN", "00100030": "DA", "00100040": "CS"})
    if rng.random() < 0.5:
        return {"dataset": dataset}
    prior = random_identity(rng, universe)
    if rng.random() < 0.3:
        del prior["00100020"]  # the ID stays, the issuer was another
    return {"dataset": dataset, "prior": prior}


def random_identity(rng: Random, universe: Universe) -> Json:
    """A Patient ID, and an issuer or none, or one that is empty."""
    found = {"00100020": element("LO", f"P{rng.randrange(universe.patients)}")}
    issuer = rng.choice(("absent", "absent", "absent", "empty", "HOSPITAL"))
    if issuer != "absent":
        found["00100021"] = {"vr": "LO"} if issuer == "empty" else element("LO", issuer)
    return found


def random_old_uids(rng: Random, universe: Universe, level: str, dataset: Json) -> Json:
    """Which UIDs the study, series or instance of a data set had before; some are what they are."""
    [study] = dataset["0020000D"]["Value"]
    prior: Json = {}
    if rng.random() < 0.4:
        study = study_uid(rng.randrange(universe.studies))
        prior["0020000D"] = element("UI", study)
    number = rng.randrange(universe.instances)
    if level != "STUDY":
        prior["0020000E"] = element("UI", f"{study}.{number % universe.series}")
    if level == "INSTANCE":
        prior["00080018"] = element("UI", f"{study}.{number % universe.series}.{number}")
        if universe.moving and rng.random() < 0.5:
            del prior[rng.choice(("0020000E", "00080018"))]
    return prior


def random_dataset(rng: Random, universe: Universe, action: str, level: str, study: str) -> Json:
    """A data set of that level of that study."""
    found: Json = {"0020000D": element("UI", study)}
    number = rng.randrange(universe.instances)
    # An instance stays in one series, so that what happens to a series happens to the same instances.
    series = f"{study}.{number % universe.series if level == 'INSTANCE' else rng.randrange(universe.series)}"
    found |= _some(rng, {"00100010": "PN", "00081030": "LO", "00080020": "DA", "00080061": "CS"})
    if universe.patients and rng.random() < 0.5:
        found |= random_identity(rng, universe) | _some(rng, {"00100030": "DA", "00100040": "CS"})
        if rng.random() < 0.15:
            del found["00100020"]  # the issuer alone, or neither
    if rng.random() < 0.15:
        found["00201206"] = element("IS", rng.randint(0, universe.series + 1))
        found["00201208"] = element("IS", rng.randint(0, universe.instances + 2))
    if level == "STUDY":
        return found
    found["0020000E"] = element("UI", series)
    found |= _some(rng, {"00080060": "CS", "0008103E": "LO"})
    if level == "SERIES":
        return found
    found["00080018"] = element("UI", f"{series}.{number}")
    found |= _some(rng, {"00200013": "IS", "00280010": "US"})
    if action == "store" or rng.random() >= universe.classless:
        found["00080016"] = element("UI", CT)
    return found


def _some(rng: Random, attributes: dict[str, str]) -> Json:
    found = {}
    for tag, vr in attributes.items():
        drawn = rng.random()
        if drawn < 0.4:
            found[tag] = element(vr, _VALUES[vr](rng))
        elif drawn < 0.5:
            found[tag] = {"vr": vr}
    return found


_VALUES: Final[dict[str, Any]] = {
    "PN": lambda rng: {"Alphabetic": f"Doe^{rng.randrange(9)}", "Ideographic": "山田"},
    "LO": lambda rng: f"Text {rng.randrange(9)}",
    "DA": lambda rng: f"2026010{rng.randint(1, 9)}",
    "CS": lambda rng: rng.choice(("CT", "MR", "SR")),
    "IS": lambda rng: rng.randint(1, 99),
    "US": lambda rng: rng.choice((256, 512)),
}


def element(vr: str, value: Any) -> Json:
    """An element with one value, in the DICOM JSON Model."""
    return {"vr": vr, "Value": [value]}
