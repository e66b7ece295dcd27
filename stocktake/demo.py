"""The demo's story: a simulated archive, its events, a baseline, deltas, and a check that nothing was lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from consumers.publish import Publisher, event_key
from consumers.simulate import simulate
from state.attributes import Level
from state.chain import Lease
from state.times import MICROSECONDS, to_iso
from stocktake.progress import Progress
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository
from writers.compare import differences
from writers.manifest import Manifest
from writers.produce import Producer
from writers.reader import InventoryFile
from writers.resolve import resolve
from writers.tree import load_tree
from writers.verify import verify

_PATIENCE: Final = 120.0
_HOUR: Final = 3600 * MICROSECONDS
_MAX_INSTANCES: Final = 300  # of one study: the demo is about the story, not about size
_ADDED: Final = 12
_LATE_STUDY: Final = "2.25.302311460893640138229180862120711467001"
_QUALITY: Final = {
    "CodeValue": "113001",
    "CodingSchemeDesignator": "DCM",
    "CodeMeaning": "Rejected for Quality Reasons",
}


class DemoFailed(Exception):
    """A step did not end as it should; the text says which."""


@dataclass(slots=True)
class Stage:
    """What the story is played on, how many events were sent so far, and which."""

    settings: Settings
    opened: OpenRepository
    producer: Producer
    lease: Lease
    failed: Callable[[], bool]
    sent: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def topic(self) -> str:
        return self.opened.policy.topics[0]


def play(stage: Stage, studies: int, seed: int) -> None:
    """Tell the whole story, each step on stdout."""
    begun = stage.opened.connection.now() - 24 * _HOUR
    say("1", f"A simulated archive of {studies} studies tells what it stores, corrects and deletes.")
    publish(stage, simulate(studies, seed, start=begun, max_instances=_MAX_INSTANCES))
    say("2", "A baseline: an Inventory SOP Instance of everything that the archive holds.")
    baseline = produce(stage)

    say(
        "3",
        f"The archive receives {_ADDED} new studies. The first delta holds these alone.",
    )
    new = list(simulate(_ADDED, seed + 1, start=begun + 2 * _HOUR, max_instances=_MAX_INSTANCES))
    publish(stage, new)
    produce(stage)

    corrected, deleted = _two_stored_studies(new)
    say("4", f"Study {corrected} is corrected: another description and accession number.")
    publish(stage, [_correction(corrected, stage.opened.connection.now())])
    produce(stage)

    say("5", f"Study {deleted} is deleted (rejected for quality reasons): its record becomes a tombstone.")
    late = baseline.watermark - 20 * _HOUR
    print(f"     And a study comes late: its time, {to_iso(late)}, lies before every cut so far.")
    publish(stage, [_deletion(deleted, stage.opened.connection.now()), _late(late)])
    last = produce(stage)
    _show_own(stage, last, {deleted: "the tombstone", _LATE_STUDY: "the late study"})

    say("6", "Read back: the tree of the head is resolved; the newest record of each study prevails.")
    _check(stage, last)


def tell_where(stage: Stage) -> None:
    """Say where the files are, and how to look at them."""
    folder = stage.producer.folder.path
    print(f"\nDone. The files are in {folder}. Look at them with\n")
    for command in ("show", "verify", "resolve"):
        print(f"     {sys.argv[0]} {command} {folder}")


def say(number: str, text: str) -> None:
    """Begin a step of the story."""
    print(f"\n{number}.   {text}", flush=True)


def publish(stage: Stage, events: Iterable[dict[str, Any]]) -> None:
    """Send events, and wait until they are applied."""
    with (
        Progress("events published") as progress,
        Publisher(stage.settings.kafka, stage.topic, progress.at) as publisher,
    ):
        for event in events:
            publisher.send(event_key(event), orjson.dumps(event))
            stage.told.append(event)
    stage.sent += publisher.sent
    _wait_until_applied(stage)
    known = stage.opened.studies.count()
    print(f"     {publisher.sent:,} events sent to topic {stage.topic} and applied: {known:,} studies known")


def _wait_until_applied(stage: Stage) -> None:
    """Until the watermark stands for everything that was sent."""
    deadline = time.monotonic() + _PATIENCE
    with Progress("events applied", stage.sent) as progress:
        while True:
            published = stage.opened.repository.progress().values()
            applied = sum(one.offset + 1 for one in published if one is not None)
            if applied >= stage.sent and None not in published:
                return
            if stage.failed() or time.monotonic() > deadline:
                raise DemoFailed("the consumer did not apply the events")
            progress.at(applied)
            time.sleep(0.05)


def produce(stage: Stage) -> Manifest:
    """Produce the next inventory, and say what it is."""
    stage.lease.keep()
    manifest = stage.producer.produce()
    counts = manifest.counts
    print(
        f"     {manifest.kind} {manifest.sop_instance_uid}, {manifest.bytes:,} bytes, {manifest.status}\n"
        f"     {manifest.own_records:,} own study records ({counts['removed_studies']:,} removed) with "
        f"{counts['instances']:,} instances; {manifest.total_records:,} records in the whole tree\n"
        f"     -> {stage.producer.folder.path / manifest.file}"
    )
    return manifest


def _show_own(stage: Stage, manifest: Manifest, wanted: dict[str, str]) -> None:
    """Say that the inventory's own records are these studies."""
    with InventoryFile(stage.producer.folder.path / manifest.file) as inventory:
        own = {item.study_instance_uid for item in inventory.studies()}
    missing = [what for uid, what in wanted.items() if uid not in own]
    if missing:
        raise DemoFailed(f"{' and '.join(missing)} should be in {manifest.file}")
    print(f"     In it: {' and '.join(wanted.values())}")


def _check(stage: Stage, head: Manifest) -> None:
    folder = stage.producer.folder.path
    path = folder / head.file
    findings = list(verify(path, [folder]))
    if findings:
        raise DemoFailed(f"the chain does not verify: {findings[0]}")
    tree = load_tree(path, [folder])
    effective = {found.item.study_instance_uid: found.item for found in resolve(tree)}
    wrong = list(differences(stage.opened.studies, effective, Level(head.level)))
    if wrong:
        raise DemoFailed(f"the resolved head differs from the state: {wrong[0]}")
    removed = sum(item.removed for item in effective.values())
    print(
        f"     {len(tree.nodes)} inventories, {head.total_records:,} records: {len(effective):,} studies, "
        f"{removed:,} of them removed.\n"
        "     The chain verifies, and every resolved record equals the state, byte for byte."
    )


def _two_stored_studies(events: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """Two studies that the events stored and did not delete."""
    alive: dict[str, None] = {}
    for event in events:
        uid = _study_uid(event)
        if event["action"] == "delete":
            alive.pop(uid, None)
        elif event["action"] == "store":
            alive[uid] = None
    first, second, *_ = alive
    return first, second


def _study_uid(event: dict[str, Any]) -> str:
    return event_key(event).decode("ascii")


def _correction(study_instance_uid: str, time: int) -> dict[str, Any]:
    return {
        "id": "demo-correction",
        "action": "update",
        "level": "STUDY",
        "time": to_iso(time),
        "dataset": {
            "0020000D": {"vr": "UI", "Value": [study_instance_uid]},
            "00080050": {"vr": "SH", "Value": ["DEMO-0001"]},
            "00081030": {"vr": "LO", "Value": ["Corrected description"]},
        },
    }


def _deletion(study_instance_uid: str, time: int) -> dict[str, Any]:
    return {
        "id": "demo-deletion",
        "action": "delete",
        "level": "STUDY",
        "time": to_iso(time),
        "reason": _QUALITY,
        "dataset": {"0020000D": {"vr": "UI", "Value": [study_instance_uid]}},
    }


def _late(time: int) -> dict[str, Any]:
    return {
        "id": "demo-late",
        "action": "store",
        "level": "INSTANCE",
        "time": to_iso(time),
        "dataset": {
            "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.1"]},
            "00080018": {"vr": "UI", "Value": [_LATE_STUDY + ".1.1"]},
            "00080020": {"vr": "DA", "Value": ["20260101"]},
            "00080060": {"vr": "CS", "Value": ["CR"]},
            "0020000D": {"vr": "UI", "Value": [_LATE_STUDY]},
            "0020000E": {"vr": "UI", "Value": [_LATE_STUDY + ".1"]},
        },
    }
