"""Messages as an archive sends them, from numbers: store events of instances and of whole studies, about 1.2 KB each.

The same arguments give the same messages. Studies differ in patient, identifiers, descriptions and times, as an
archive's do; each patient has two or three.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from state.times import MICROSECONDS, parse_time, to_datetime, to_iso
from tests.benchmarks.uids import Uid, vendor

Message = tuple[bytes, bytes]  # a Kafka record's key and value
Dataset = dict[str, Any]

INSTANCES: Final = 100  # of a study
INTERLEAVED: Final = 20  # studies that an archive receives at the same time
SERIES_LENGTH: Final = 50
_BEGIN: Final = parse_time("2026-01-01T06:00:00+00:00")  # past: a time ahead of its record would be replaced
_BETWEEN_STUDIES: Final = 7 * MICROSECONDS
_BETWEEN_INSTANCES: Final = 40_000

_FAMILIES: Final = ("Schmidt", "Müller", "Smith", "O'Brien", "Nguyen", "Lefèvre", "Łukasiewicz", "Garçon", "Rossi")
_GIVENS: Final = ("Anna", "Jürgen", "Mary", "John", "Élodie", "Zoé", "Paweł", "Grace", "Max", "Käthe", "Noël")
_REFERRING: Final = ("Weber^Petra^^Dr.", "House^Gregory", "Dupré^Chloé", "Rossi^Carla^^Dott.ssa")
_STUDIES: Final = (
    (("CT",), "CT abdomen and pelvis with contrast", "CTABDPELVC"),
    (("CT", "SR"), "CT Thorax/Abdomen mit KM", "CTTHXABDC"),
    (("MR",), "MRT Schädel nativ und mit KM", "MRHEADC"),
    (("CT", "PT"), "PET/CT FDG whole body", "PETCTWB"),
)


def instance_events(
    studies: int,
    instances: int = INSTANCES,
    *,
    first: int = 0,
    series_length: int = SERIES_LENGTH,
    uid: Uid = vendor,
) -> Iterator[Message]:
    """A store of every instance of studies ``first``, ``first + 1``, ...

    :data:`INTERLEAVED` studies come at the same time, in turn.
    """
    for begin in range(first, first + studies, INTERLEAVED):
        lanes = range(begin, min(begin + INTERLEAVED, first + studies))
        of_study = {study: _patient(study) | _study(study) for study in lanes}
        for instance in range(instances):
            for study in lanes:
                dataset = of_study[study] | _instance(
                    study, instance // series_length + 1, instance % series_length + 1, uid
                )
                yield _message("INSTANCE", _time(study) + instance * _BETWEEN_INSTANCES, dataset)


def study_events(studies: int, *, first: int = 0, uid: Uid = vendor) -> Iterator[Message]:
    """One store of each study ``first``, ``first + 1``, ..., with what QIDO-RS returns for a study (PS3.18 10.6.3)."""
    for study in range(first, first + studies):
        study_uid = uid(study, 0, 0)
        modalities, description, procedure = _kind(study)
        dataset = (
            _patient(study)
            | _study(study)
            | {
                "00080056": _element("CS", "ONLINE"),
                "00080061": _element("CS", *modalities),
                "00081032": {"vr": "SQ", "Value": [_code(procedure, "99RIS", description)]},
                "00081190": _element("UR", f"https://pacs.example.org/dicom-web/studies/{study_uid}"),
                "0020000D": _element("UI", study_uid),
                "00201206": _element("IS", 1 + study % 9),
                "00201208": _element("IS", 2 + study * 37 % 900),
            }
        )
        yield _message("STUDY", _time(study), dataset)


def _message(level: str, time: int, dataset: Dataset) -> Message:
    name = f"{dataset['00080050']['Value'][0]}-{time}"
    event = {"id": name, "action": "store", "level": level, "time": to_iso(time), "dataset": dataset}
    return dataset["0020000D"]["Value"][0].encode("ascii"), orjson.dumps(event)


def _time(study: int) -> int:
    return _BEGIN + study * _BETWEEN_STUDIES


def _kind(study: int) -> tuple[tuple[str, ...], str, str]:
    return _STUDIES[study % len(_STUDIES)]


def _patient(study: int) -> Dataset:
    number = study * 2 // 5
    birth = f"{1930 + number % 90}{1 + number % 12:02}{1 + number % 28:02}"
    family, given = _FAMILIES[number % len(_FAMILIES)], _GIVENS[number % len(_GIVENS)]
    return {
        "00100010": _element("PN", {"Alphabetic": f"{family}^{given}"}),
        "00100020": _element("LO", f"P{number:08}"),
        "00100021": _element("LO", "HOSPITAL_NORTH"),
        "00100030": _element("DA", birth),
        "00100040": _element("CS", "FM"[number % 2]),
    }


def _study(study: int) -> Dataset:
    begun = to_datetime(_time(study))
    return {
        "00080020": _element("DA", begun.strftime("%Y%m%d")),
        "00080030": _element("TM", begun.strftime("%H%M%S")),
        "00080050": _element("SH", f"A{study:09}"),
        "00080090": _element("PN", {"Alphabetic": _REFERRING[study % len(_REFERRING)]}),
        "00081030": _element("LO", _kind(study)[1]),
        "00200010": _element("SH", f"S{study:09}"),
    }


def _instance(study: int, series: int, number: int, uid: Uid) -> Dataset:
    return {
        "00080016": _element("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00080018": _element("UI", uid(study, series, number)),
        "00080060": _element("CS", "CT"),
        "0008103E": _element("LO", f"Axial {series}.0 mm"),
        "0020000D": _element("UI", uid(study, 0, 0)),
        "0020000E": _element("UI", uid(study, series, 0)),
        "00200011": _element("IS", series),
        "00200013": _element("IS", number),
        "00280010": _element("US", 512),
        "00280011": _element("US", 512),
        "00280100": _element("US", 16),
    }


def _element(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    return {
        "00080100": _element("SH", value),
        "00080102": _element("SH", scheme),
        "00080104": _element("LO", meaning),
    }
