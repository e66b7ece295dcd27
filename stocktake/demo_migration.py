"""The demo's second story: the archive is migrated to another one, a few studies go wrong, and the gate turns."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final
from zoneinfo import ZoneInfo

from consumers.policy import RepositoryPolicy
from consumers.publish import event_key
from monitor.cutover import Cutover, keep
from monitor.policy import CutoverPolicy
from monitor.reasons import reasons
from state.comparison import OPEN, Place
from state.pair import Acknowledgement
from state.policy import ComparisonPolicy
from state.times import to_iso
from stocktake.comparing import compare_side
from stocktake.cutover import OpenCutover, look_at, open_cutover
from stocktake.cutover_text import cutover_lines
from stocktake.demo import DemoFailed, Stage, produce, publish, say
from stocktake.settings import Settings
from writers.verify import verify

TARGET: Final = "vna"

_RULES: Final = ("PatientID", "StudyDate", "AccessionNumber")
_LEAST: Final = 6  # studies that are needed for what goes wrong
_EXTRA: Final = "2.25.302311460893640138229180862120711467002"


def with_target(settings: Settings, source: str) -> Settings:
    """The settings with a second repository that the first one is migrated to; no wait is longer than a story."""
    zone = settings.repository(source).timezone
    target = RepositoryPolicy(TARGET, (f"stocktake.{TARGET}.events",), "auto", zone)
    rules = ComparisonPolicy(source, TARGET, _RULES, (), "", "", None, {}, {})
    cutover = CutoverPolicy(rules, grace=0.0, quiet=1.0, max_lag=300.0, max_silence=30 * 86_400.0)
    return replace(settings, repositories=(settings.repository(source), target), cutover=cutover)


def play_migration(source: Stage, target: Stage, events: Sequence[dict[str, Any]]) -> None:
    """Tell the story; ``events`` are all that the source was told so far."""
    opened = open_cutover(source.settings)
    try:
        _play(source, target, opened, events)
    finally:
        opened.close()


def _play(source: Stage, target: Stage, opened: OpenCutover, events: Sequence[dict[str, Any]]) -> None:
    for stage in (source, target):
        compare_side(stage.settings, stage.opened)
    say("7", f"A migration: {TARGET} is to hold what the archive holds. It gets a first half of it.")
    wrong = _what_goes_wrong(events)
    first, second = _halves(events)
    publish(target, _spoilt(first, wrong))
    _show(_look(source, opened), ("open", "forecast"))

    say("8", "It gets the other half, but a few studies go wrong on the way, and one that nobody knows comes in.")
    publish(target, [*_spoilt(second, wrong), _stored(_EXTRA, source.opened.connection.now())])
    _show(_look(source, opened), ("gate", "open", "exceptions"))
    for study in opened.pair.page(OPEN, None, 20):
        print(f"     {study.study_instance_uid}: {study.place.name.lower()}: {'; '.join(reasons(study, _RULES))}")
    _expect(opened, {Place.MISSING: 1, Place.INCOMPLETE: 1, Place.DIFFERENT: 1, Place.EXTRA: 1})

    say("9", "They are mended: sent again, completed and corrected. Somebody acknowledges the study that is extra.")
    studies = set(wrong.values())
    publish(target, [event for event in events if _study_of(event) in studies])
    seen = Acknowledgement("demo", source.opened.connection.now(), "a test study, made at the target on purpose")
    if not opened.pair.acknowledge(_EXTRA, seen):
        raise DemoFailed("the extra study is not open")
    for stage in (source, target):
        manifest = produce(stage)
        findings = len(list(verify(stage.producer.folder.path / manifest.file)))
        now = stage.opened.connection.now()
        stage.opened.repository.set_verified(manifest.sop_instance_uid, findings, now)
    found = _look(source, opened)
    _show(found, ("gate", "open", "exceptions"))
    if not found.gate.met:
        raise DemoFailed("the gate is not met")
    print(f"\n     Whenever servers run: {sys.argv[0]} cutover --config FILE")


def _look(stage: Stage, opened: OpenCutover) -> Cutover:
    found = look_at(stage.settings, opened)
    keep(opened.pair, opened.history, found)
    return found


def _show(cutover: Cutover, labels: Iterable[str]) -> None:
    """These parts of what `stocktake cutover` prints."""
    wanted = set(labels)
    shown = False
    for line in cutover_lines(cutover, ZoneInfo("UTC")):
        label = line[:13].strip()
        shown = label in wanted if label else shown
        if shown:
            print(f"     {line}")


def _expect(opened: OpenCutover, places: dict[Place, int]) -> None:
    found = {place: count for place, count in opened.pair.standing().places.items() if place in OPEN and count}
    if found != places:
        raise DemoFailed(f"the studies that went wrong are {found}, not {places}")


def _what_goes_wrong(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Three studies that are stored with several instances and never deleted: one for each thing that goes wrong."""
    instances: dict[str, int] = {}
    gone: set[str] = set()
    for event in events:
        if event["action"] == "store":
            instances[_study_of(event)] = instances.get(_study_of(event), 0) + 1
        else:
            gone.add(_study_of(event))
    fit = [uid for uid, count in instances.items() if count > 1 and uid not in gone]
    if len(fit) < _LEAST:
        raise DemoFailed("the archive has too few studies for a migration; use more --studies")
    return {"missing": fit[0], "incomplete": fit[1], "different": fit[2]}


def _spoilt(events: Iterable[dict[str, Any]], wrong: dict[str, str]) -> Iterable[dict[str, Any]]:
    """The events as they reach the target when something goes wrong."""
    left_out = False
    for event in events:
        uid = _study_of(event)
        if uid == wrong["missing"]:
            continue
        if uid == wrong["incomplete"] and not left_out:
            left_out = True
            continue
        if uid == wrong["different"]:
            yield _with_another_accession_number(event)
        else:
            yield event


def _with_another_accession_number(event: dict[str, Any]) -> dict[str, Any]:
    changed = {"00080050": {"vr": "SH", "Value": ["MIGRATED-7"]}}
    if "datasets" in event:
        return event | {"datasets": [dataset | changed for dataset in event["datasets"]]}
    return event | {"dataset": event["dataset"] | changed}


def _halves(events: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Whole studies: a study's events stay together."""
    uids = list(dict.fromkeys(map(_study_of, events)))
    first = set(uids[: len(uids) // 2])
    return [one for one in events if _study_of(one) in first], [one for one in events if _study_of(one) not in first]


def _study_of(event: dict[str, Any]) -> str:
    return event_key(event).decode("ascii")


def _stored(study_instance_uid: str, time: int) -> dict[str, Any]:
    values = {
        "00080016": ("UI", "1.2.840.10008.5.1.4.1.1.1"),
        "00080018": ("UI", study_instance_uid + ".1.1"),
        "00080020": ("DA", "20260101"),
        "00080060": ("CS", "CR"),
        "0020000D": ("UI", study_instance_uid),
        "0020000E": ("UI", study_instance_uid + ".1"),
    }
    dataset = {tag: {"vr": vr, "Value": [value]} for tag, (vr, value) in values.items()}
    return {"id": "demo-extra", "action": "store", "level": "INSTANCE", "time": to_iso(time), "dataset": dataset}
