"""What happens to a simulated study: it is stored, perhaps corrected, merged, removed, restored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from consumers.simulated_studies import (
    Dataset,
    Patient,
    Study,
    draw_name,
    element,
    instance_dataset,
    instance_uids,
    series_dataset,
    series_uids,
    study_dataset,
    study_uids,
)
from consumers.simulated_values import REASONS
from state.attributes import Level

_LARGEST_BATCH: Final = 25
_ALONE: Final = 0.4  # of the restores of a series or study: one instance comes back, not the whole
_PATIENT_NAME: Final = "00100010"
_IDENTITY: Final = (_PATIENT_NAME, "00100020", "00100021", "00100030")  # name, ID, issuer, birth date


@dataclass(frozen=True, slots=True)
class Mix:
    """How often things happen: shares from 0 to 1, of what the comment above each group says."""

    # of store messages
    batches: float = 0.05  # carry several instances in ``datasets``
    # of events
    duplicates: float = 0.01  # come again, at once or much later
    late: float = 0.01  # have a time hours or days behind
    untimed: float = 0.01  # have no time
    dicom_times: float = 0.05  # write it as a DICOM DT
    follow_ups: float = 0.03  # are about a study whose instances have all been stored
    # of series
    series_stores: float = 0.05  # are announced by a SERIES-level store
    # of studies
    study_stores: float = 0.08  # are announced by a STUDY-level store with the counts to come
    study_only: float = 0.02  # are never told of below STUDY level
    study_updates: float = 0.10
    series_updates: float = 0.06
    merges: float = 0.03  # are followed by their patient's merge into another
    instance_deletes: float = 0.03
    series_deletes: float = 0.03
    study_deletes: float = 0.04
    returning: float = 0.3  # are of a patient who was here before
    awkward: float = 0.03  # have an empty name, date or accession number
    # of removals and of corrections
    reasons: float = 0.7  # of removals: state one of CID 7031
    restores: float = 0.4  # of removals: are taken back
    emptied: float = 0.2  # of corrections: make an attribute empty


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is sent. A punctual one has its time, exactly: what follows relies on it."""

    action: str
    level: Level
    datasets: tuple[Dataset, ...]
    reason: tuple[str, str] | None = None
    punctual: bool = False


def store(rng: Random, mix: Mix, study: Study) -> Iterator[Draft]:
    """The study arrives: at STUDY level, at SERIES level, and instance by instance or in batches."""
    study.study_only = rng.random() < mix.study_only
    if study.study_only or rng.random() < mix.study_stores:
        yield Draft("store", Level.STUDY, (study_dataset(study),))
    if study.study_only:
        return
    for series in study.series:
        if rng.random() < mix.series_stores:
            yield Draft("store", Level.SERIES, (series_dataset(study, series),))
        number = 1
        while number <= series.instances:
            size = rng.randint(2, _LARGEST_BATCH) if rng.random() < mix.batches else 1
            batch = range(number, min(number + size, series.instances + 1))
            datasets = tuple(instance_dataset(study, series, each) for each in batch)
            yield Draft("store", Level.INSTANCE, datasets)
            number = batch.stop


def follow_up(rng: Random, mix: Mix, study: Study) -> Iterator[Draft]:
    """What happens to a study after it was stored: corrections, then at most one removal."""
    if rng.random() < mix.study_updates:
        yield _correct_study(rng, mix, study)
    if rng.random() < mix.series_updates and not study.study_only:
        yield _correct_series(rng, mix, study)
    shares = {
        Level.INSTANCE: 0.0 if study.study_only else mix.instance_deletes,
        Level.SERIES: 0.0 if study.study_only else mix.series_deletes,
        Level.STUDY: mix.study_deletes,
    }
    drawn = rng.random()
    for level, share in shares.items():
        if drawn < share:
            yield from _remove(rng, mix, study, level)
            return
        drawn -= share


def merge(merged: Patient, survivor: Patient) -> Iterator[Draft]:
    """One patient turns out to be another.

    Told as an update of each of the patient's studies, as archives do that know no events of patients.
    """
    moved, merged.studies = merged.studies, []
    survivor.studies.extend(moved)
    for study in moved:
        study.patient = survivor
        study.attributes = {tag: value for tag, value in study.attributes.items() if tag != _PATIENT_NAME}
    for study in moved:
        if not study.removed:
            identity = {tag: study.patient.attributes[tag] for tag in _IDENTITY}
            yield Draft("update", Level.STUDY, (study_uids(study) | identity,))


def _correct_study(rng: Random, mix: Mix, study: Study) -> Draft:
    corrections = (
        (_PATIENT_NAME, draw_name(rng)),
        ("00081030", element("LO", f"Corrected {rng.randrange(1000)}")),
        ("00080050", element("SH", f"C{rng.randrange(10**7):07}")),
    )
    change = _correction(rng, mix, corrections)
    study.attributes = study.attributes | change
    return Draft("update", Level.STUDY, (study_uids(study) | change,))


def _correct_series(rng: Random, mix: Mix, study: Study) -> Draft:
    series = rng.choice(study.series)
    corrections = (("0008103E", element("LO", "Corrected series")), ("00180015", element("CS", "ARM")))
    change = _correction(rng, mix, corrections)
    series.attributes = series.attributes | change
    return Draft("update", Level.SERIES, (series_uids(study, series) | change,))


def _correction(rng: Random, mix: Mix, corrections: tuple[tuple[str, Dataset], ...]) -> Dataset:
    tag, value = rng.choice(corrections)
    return {tag: element(value["vr"]) if rng.random() < mix.emptied else value}


def _remove(rng: Random, mix: Mix, study: Study, level: Level) -> Iterator[Draft]:
    series = rng.choice(study.series)
    number = rng.randint(1, series.instances)
    if level is Level.STUDY:
        uids, whole = study_uids(study), study_dataset(study)
    elif level is Level.SERIES:
        uids, whole = series_uids(study, series), series_dataset(study, series)
    else:
        uids, whole = instance_uids(study, series, number), instance_dataset(study, series, number)
    last_of_study = study.instances == 1 or (level is Level.SERIES and len(study.series) == 1)
    study.removed = level is Level.STUDY or last_of_study
    reason = rng.choice(REASONS) if rng.random() < mix.reasons else None
    yield Draft("delete", level, (uids,), reason, punctual=True)
    if rng.random() >= mix.restores:
        return
    study.removed = False
    if rng.random() < _ALONE and not study.study_only:
        yield Draft("store", Level.INSTANCE, (instance_dataset(study, series, number),), punctual=True)
    else:
        yield Draft("store", level, (whole,), punctual=True)
