"""A simulated archive: its native events, plausible and reproducible, for tests, benchmarks and the demo."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, Final

from consumers.simulated_events import Draft, Mix, follow_up, merge, store
from consumers.simulated_studies import Patient, Study, draw_patient, draw_study
from state.times import MICROSECONDS, to_dt, to_iso

__all__ = ["DEFAULT_MIX", "MAX_INSTANCES", "OPEN_STUDIES", "START", "Mix", "simulate"]

START: Final = 1_767_225_600 * MICROSECONDS  # 2026-01-01T00:00:00Z
MAX_INSTANCES: Final = 3000
OPEN_STUDIES: Final = 20

_GAP: Final = 0.25  # mean seconds of the archive's time between two events
_JITTER: Final = 0.3  # seconds that an ordinary event's time may lie behind the clock
_LONGEST_DELAY: Final = 5 * 86_400  # seconds that a late event may be late
_WAITING: Final = 100  # studies and merges with something still to happen
_PATIENTS: Final = 200  # patients who may come again
_STUDIES_OF_PATIENT: Final = 8
_REMEMBERED: Final = 256  # events that may be sent again much later

DEFAULT_MIX: Final = Mix()


def simulate(
    studies: int,
    seed: int,
    *,
    start: int = START,
    max_instances: int = MAX_INSTANCES,
    open_studies: int = OPEN_STUDIES,
    mix: Mix = DEFAULT_MIX,
) -> Iterator[dict[str, Any]]:
    """The native events of an archive that receives that many studies, in the order they are sent.

    The same arguments give the same events. Memory is bounded by the studies open at a time. No event's time lies
    ahead of the archive's clock, which begins at ``start`` (UTC microseconds) and moves with every event. Events
    share parts of their datasets: read them, do not change them.

    Args:
        studies: how many studies are begun.
        seed: of the random numbers; nothing else is random.
        start: the archive's first moment, UTC microseconds.
        max_instances: the most instances of one study; few come near.
        open_studies: how many studies are being stored at a time.
        mix: how often things happen.
    """
    return _Archive(Random(seed), seed, start, max_instances, mix).events(studies, open_studies)


class _Archive:
    def __init__(self, rng: Random, seed: int, start: int, max_instances: int, mix: Mix) -> None:
        self._rng = rng
        self._seed = seed
        self._clock = start
        self._max_instances = max_instances
        self._mix = mix
        self._sent = 0
        self._patients: list[Patient] = []
        self._storing: list[tuple[Study, Iterator[Draft]]] = []
        self._waiting: list[Iterator[Draft]] = []
        self._remembered: list[dict[str, Any]] = []

    def events(self, studies: int, open_studies: int) -> Iterator[dict[str, Any]]:
        begun = 0
        while True:
            while begun < studies and len(self._storing) < open_studies:
                study = self._begin_study()
                self._storing.append((study, store(self._rng, self._mix, study)))
                begun += 1
            draft = self._next_draft()
            if draft is None:
                return
            event = self._send(draft)
            yield event
            if self._happens(self._mix.duplicates):
                again_at_once = self._happens(0.5) or not self._remembered
                yield event if again_at_once else self._rng.choice(self._remembered)
            self._remember(event)

    def _happens(self, share: float) -> bool:
        return self._rng.random() < share

    def _next_draft(self) -> Draft | None:
        """From one of the open studies or of those that wait; None when nothing is left to happen."""
        while self._storing or self._waiting:
            crowded = not self._storing or len(self._waiting) >= _WAITING
            if self._waiting and (crowded or self._happens(self._mix.follow_ups)):
                place = self._rng.randrange(len(self._waiting))
                if (draft := next(self._waiting[place], None)) is not None:
                    return draft
                del self._waiting[place]
                continue
            place = self._rng.randrange(len(self._storing))
            study, drafts = self._storing[place]
            if (draft := next(drafts, None)) is not None:
                return draft
            del self._storing[place]
            self._waiting.append(follow_up(self._rng, self._mix, study))
            if self._happens(self._mix.merges):
                self._waiting.append(self._merge(study.patient))
        return None

    def _send(self, draft: Draft) -> dict[str, Any]:
        self._clock += 1 + round(self._rng.expovariate(1 / _GAP) * MICROSECONDS)
        self._sent += 1
        event: dict[str, Any] = {
            "id": f"{self._seed}-{self._sent}",
            "action": draft.action,
            "level": draft.level.value,
        }
        time = self._clock
        if not draft.punctual:
            behind = self._rng.uniform(60, _LONGEST_DELAY) if self._happens(self._mix.late) else 0.0
            time -= round((behind + self._rng.uniform(0, _JITTER)) * MICROSECONDS)
        if draft.punctual or not self._happens(self._mix.untimed):
            event["time"] = to_dt(time) if self._happens(self._mix.dicom_times) else to_iso(time)
        if draft.reason is not None:
            value, meaning = draft.reason
            event["reason"] = {"CodeValue": value, "CodingSchemeDesignator": "DCM", "CodeMeaning": meaning}
        if len(draft.datasets) == 1:
            return event | {"dataset": draft.datasets[0]}
        return event | {"datasets": list(draft.datasets)}

    def _remember(self, event: dict[str, Any]) -> None:
        if len(self._remembered) < _REMEMBERED:
            self._remembered.append(event)
        elif self._happens(0.05):
            self._remembered[self._rng.randrange(_REMEMBERED)] = event

    def _begin_study(self) -> Study:
        known = [each for each in self._patients if len(each.studies) < _STUDIES_OF_PATIENT]
        if known and self._happens(self._mix.returning):
            patient = self._rng.choice(known)
        else:
            patient = draw_patient(self._rng, self._mix.awkward)
            if len(self._patients) >= _PATIENTS:
                del self._patients[self._rng.randrange(_PATIENTS)]
            self._patients.append(patient)
        return draw_study(self._rng, patient, self._clock, self._max_instances, self._mix.awkward)

    def _merge(self, merged: Patient) -> Iterator[Draft]:
        others = [each for each in self._patients if each is not merged]
        if others and merged.studies:
            survivor = self._rng.choice(others)
            self._patients = [each for each in self._patients if each is not merged]
            yield from merge(merged, survivor)
