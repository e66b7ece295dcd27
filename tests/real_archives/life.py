"""The life of an Orthanc: ``python -m tests.real_archives.life [steps] [kills]``, default 60 and 13.

Instances are stored by C-STORE and STOW-RS, patients renamed, studies merged and changed, instances, series and studies
deleted, some stored again; at random, the same for each seed. Bridge, consumer, enricher and Orthanc itself are killed
on the way, and inventories written. In the end the head must list what Orthanc lists, at INSTANCE level, and have a
tombstone for everything else that the topic ever told of: what went before anybody could ask for its UIDs was never
known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import httpx
import pydicom.data
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.real_archives.site import Site, Triple, at_random, open_servers, open_site, report
from tests.servers.orthanc import made

STEPS: Final = 60
KILLS: Final = 13  # every fourth of them the enricher
_FILES: Final = 40  # of pydicom's own, at most


class Life:
    """What is done to Orthanc. ``ever`` is all that it ever listed after a step."""

    def __init__(self, site: Site, seed: int) -> None:
        self._orthanc = site.orthanc
        self._rng = Random(seed)
        self._number = 0
        self._gone: list[Dataset] = []
        self._sent: dict[str, Dataset] = {}
        self.ever: set[Triple] = set()
        self.done: dict[str, int] = {}
        self._deeds: list[Callable[[], bool]] = [
            self.store_a_study,
            self.store_a_study,
            self.stow_a_study,
            self.add_to_a_study,
            self.delete_an_instance,
            self.delete_a_series,
            self.delete_a_study,
            self.store_again,
            self.rename_a_patient,
            self.change_a_study,
            self.merge_studies,
        ]

    def step(self) -> None:
        """Do one thing; another one if it cannot be done now."""
        while True:
            deed = self._rng.choice(self._deeds)
            try:
                happened = deed()
            except (httpx.HTTPError, AssertionError, ValueError):
                time.sleep(0.2)  # it was killed in between: some of it may have happened, or one UID is two patients'
                happened = True
            if happened:
                self.done[deed.__name__] = self.done.get(deed.__name__, 0) + 1
                self._note()
                return

    def _note(self) -> None:
        for _ in range(100):
            try:
                self.ever |= self._orthanc.listing()
            except (httpx.HTTPError, KeyError):
                time.sleep(0.1)  # it is on its way up, or something went while it was listed
            else:
                return

    # --- deeds -------------------------------------------------------------------------------------------------

    def store_pydicoms_files(self) -> None:
        """What Orthanc takes of pydicom's own test files."""
        found = []
        for path in sorted(Path(pydicom.data.__file__).parent.glob("test_files/*.dcm")):
            try:
                dataset = dcmread(path)
                usable = dataset.StudyInstanceUID and dataset.SeriesInstanceUID and dataset.SOPInstanceUID
            except Exception:  # noqa: S112  # some of them are broken on purpose
                continue
            if usable and path.stat().st_size < 500_000:
                found.append(dataset)
        self._orthanc.store(found[:_FILES])
        self._note()

    def _new_study(self) -> list[Dataset]:
        self._number += 1
        study, patient = f"2.25.77.{self._number}", f"P{self._rng.randint(1, 6)}"
        return [
            self._keep(made(study, f"{study}.{series}", f"{study}.{series}.{number}", patient, InstanceNumber=number))
            for series in range(1, self._rng.randint(1, 3) + 1)
            for number in range(1, self._rng.randint(1, 6) + 1)
        ]

    def _keep(self, dataset: Dataset) -> Dataset:
        self._sent[str(dataset.SOPInstanceUID)] = dataset
        return dataset

    def store_a_study(self) -> bool:
        self._orthanc.store(self._new_study())
        return True

    def stow_a_study(self) -> bool:
        self._orthanc.stow(self._new_study())
        return True

    def add_to_a_study(self) -> bool:
        one = self._any()
        if one is None or not one[0].startswith("2.25.77."):
            return False
        self._number += 1
        self._orthanc.store([self._keep(made(one[0], one[1], f"{one[1]}.9.{self._number}", "P1"))])
        return True

    def store_again(self) -> bool:
        """Something that was deleted, or is there still."""
        if not self._gone:
            return False
        self._orthanc.store([self._rng.choice(self._gone)])
        return True

    def delete_an_instance(self) -> bool:
        one = self._any()
        if one is None:
            return False
        if one[2] in self._sent:
            self._gone.append(self._sent[one[2]])
        self._orthanc.delete("Instance", one[2])
        if one[2] in self._sent and self._rng.random() < 0.3:
            self._orthanc.store([self._sent[one[2]]])  # within the same second, most often
        return True

    def delete_a_series(self) -> bool:
        one = self._any()
        if one is not None:
            self._orthanc.delete("Series", one[1])
        return one is not None

    def delete_a_study(self) -> bool:
        one = self._any()
        if one is None or self._rng.random() < 0.5:
            return False
        self._gone += [dataset for dataset in self._sent.values() if dataset.StudyInstanceUID == one[0]]
        self._orthanc.delete("Study", one[0])
        return True

    def rename_a_patient(self) -> bool:
        one = self._any()
        if one is None:
            return False
        patient = f"P{self._rng.randint(1, 9)}"
        self._orthanc.modify_patient(one[0], PatientID=patient, PatientName=f"Name^Of {patient}")
        return True

    def change_a_study(self) -> bool:
        one = self._any()
        if one is not None:
            self._number += 1
            self._orthanc.modify_study(one[0], StudyDescription=f"Changed {self._number}")
        return one is not None

    def merge_studies(self) -> bool:
        studies = sorted({one[0] for one in self._orthanc.listing()})
        if len(studies) < 3 or self._rng.random() < 0.5:
            return False
        into, merged = self._rng.sample(studies, 2)
        if len(self._orthanc.ids(into)) != 1 or len(self._orthanc.ids(merged)) != 1:
            return False
        self._orthanc.merge(into, merged)
        return True

    def _any(self) -> Triple | None:
        found = sorted(self._orthanc.listing())
        return self._rng.choice(found) if found else None


def play(site: Site, steps: int, kills: int, seed: int) -> Life:
    """Let it live; raises AssertionError if the head is not what Orthanc lists in the end."""
    rng = Random(seed)
    to_kill = at_random(rng, kills, steps, ["bridge", "consumer", "orthanc", "enricher"])
    life = Life(site, seed)
    site.start()
    life.store_pydicoms_files()
    for step in range(1, steps + 1):
        life.step()
        if (name := to_kill(step)) is not None:
            site.kill(name)
        if step % max(1, steps // 3) == 0:
            site.write()
    site.write_the_end()
    found, listed = site.inventoried(), set(site.orthanc.listing())
    assert found.live == listed, (len(found.live - listed), len(listed - found.live))
    missing = site.told() - listed - found.removed
    assert not missing, f"{len(missing)} of what was told to be stored and is gone have no tombstone"
    site.verify()
    wrong = site.end()
    assert not wrong, wrong
    return life


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="?", type=int, default=STEPS)
    parser.add_argument("kills", nargs="?", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    begun = time.monotonic()
    with open_servers() as (folder, broker, redis), open_site(folder, broker, redis) as site:
        life = play(site, args.steps, args.kills, args.seed)
        report(
            steps=life.done,
            ever=len(life.ever),
            listed=len(site.orthanc.listing()),
            killed=site.killed,
            inventories=site.written,
            counters=site.counters(),
            seconds=round(time.monotonic() - begun),
        )


if __name__ == "__main__":
    main()
