"""An Orthanc crawled while it changes: ``python -m tests.real_archives.crawl [instances] [kills]``, default 20000, 5.

An archive that was filled before anybody followed it: its past is found by ``stocktake crawl``, what happens from then
on by the bridge. A client goes on storing and deleting all the time, also of what the crawl has yet to come to. The
crawl, and the enricher that looks for it, are killed and started again. In the end the head, a baseline and deltas,
must list what Orthanc lists.
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from collections.abc import Iterable
from random import Random
from threading import Event, Thread
from typing import Final

import httpx
import orjson
from pydicom.dataset import Dataset

from stocktake.embedded import wait_until
from tests.harness import wait_for
from tests.real_archives.site import PATIENCE, Site, open_servers, open_site, report
from tests.servers.orthanc import file_of, made
from tests.soak.program import program

INSTANCES: Final = 20_000
KILLS: Final = 5
_STUDY: Final = 10  # instances of a study, in two series
_ZIP: Final = 1000
_LONGEST: Final = 1800.0  # seconds


def study(number: int) -> list[Dataset]:
    """The instances of a study of the archive's past."""
    uid = f"2.25.55.{number}"
    return [
        made(uid, f"{uid}.{one % 2 + 1}", f"{uid}.{one % 2 + 1}.{one}", f"P{number % 997}", InstanceNumber=one)
        for one in range(1, _STUDY + 1)
    ]


def fill(site: Site, instances: int) -> None:
    """Fill Orthanc, by archives of many files."""
    pending: list[bytes] = []
    for number in range(1, instances // _STUDY + 1):
        pending += map(file_of, study(number))
        if len(pending) >= _ZIP:
            _upload(site, pending)
            pending = []
    if pending:
        _upload(site, pending)


def _upload(site: Site, files: Iterable[bytes]) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.dcm", file)
    reply = site.orthanc.web.post("/instances", content=packed.getvalue(), timeout=PATIENCE)
    assert reply.status_code == 200


class Client:
    """Somebody else who stores and deletes, in a thread. ``changes`` counts what was done."""

    def __init__(self, site: Site, studies: int, seed: int) -> None:
        self._site = site
        self._rng = Random(seed)
        self._left = list(range(1, studies + 1))
        self._stop = Event()
        self._thread = Thread(target=self._run)
        self._number = 0
        self.changes: dict[str, int] = {"stored": 0, "deleted": 0, "added": 0, "renamed": 0}

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self._change()
            except (httpx.HTTPError, AssertionError, IndexError):
                continue  # gone in the meantime

    def _change(self) -> None:
        orthanc = self._site.orthanc
        self._number += 1
        chosen = self._left[self._rng.randrange(len(self._left))]
        uid = f"2.25.55.{chosen}"
        match self._rng.randrange(8):
            case 0 | 1:
                new = f"2.25.66.{self._number}"
                orthanc.store([made(new, f"{new}.1", f"{new}.1.{one}", "P1") for one in range(1, 4)])
                self.changes["stored"] += 1
            case 2 | 3:
                orthanc.store([made(uid, f"{uid}.3", f"{uid}.3.{self._number}", f"P{chosen % 997}")])
                self.changes["added"] += 1
            case 4 | 5:
                orthanc.delete("Instance", f"{uid}.1.{self._rng.choice((2, 4, 6, 8, 10))}")
                self.changes["deleted"] += 1
            case 6:
                orthanc.delete("Study", uid)
                self._left.remove(chosen)
                self.changes["deleted"] += 1
            case _:
                orthanc.modify_patient(uid, PatientID=f"R{self._number}", PatientName="Renamed^Patient")
                self.changes["renamed"] += 1


def play(site: Site, instances: int, kills: int, seed: int) -> dict[str, object]:
    """Fill, crawl, compare; raises AssertionError if the head is not what Orthanc lists in the end."""
    begun = time.monotonic()
    fill(site, instances)
    filled = time.monotonic()
    site.start()
    wait_for(lambda: bool(site.deployment.opened.repository.progress()), "a consumer", PATIENCE)
    client = Client(site, instances // _STUDY, seed)
    client.start()
    crawl = program("crawl", site.settings, site.settings.parent, "crawl", "--chunk", "50")
    try:
        crawl.start()
        for number in range(1, kills + 1):
            share = instances // _STUDY * number // (kills + 1)
            wait_for(lambda share=share: _listed(site) >= share, f"{share} studies listed", _LONGEST)  # type: ignore[misc]
            crawl.kill()
            site.killed["crawl"] = number
            if number % 2 == 0:
                site.kill("enricher")
            site.write()
            crawl.start()
        assert wait_until(lambda: crawl.exit_code is not None, _LONGEST), "the crawl has not ended"
        assert crawl.exit_code == 0, crawl.last_words()
    finally:
        crawl.kill()
        client.end()
    crawled = time.monotonic()
    summary = orjson.loads(crawl.log_file.read_text().strip().splitlines()[-1])
    assert summary["whole"]
    site.write_the_end()
    found, listed = site.inventoried(), set(site.orthanc.listing())
    assert found.live == listed, (len(found.live - listed), len(listed - found.live))
    site.verify()
    assert site.deployment.opened.repository.is_whole()
    wrong = site.end()
    assert not wrong, wrong
    return {
        "instances": instances,
        "listed": len(listed),
        "tombstones": len(found.removed),
        "changes": client.changes,
        "killed": site.killed,
        "inventories": site.written,
        "crawl": summary,
        "fill_seconds": round(filled - begun),
        "crawl_seconds": round(crawled - filled),
        "counters": site.counters(),
    }


def _listed(site: Site) -> int:
    found = site.deployment.opened.connection.send([("HGET", site.deployment.keys.positions, "crawl")])[0]
    return 0 if found is None else int(orjson.loads(found)["listed"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instances", nargs="?", type=int, default=INSTANCES)
    parser.add_argument("kills", nargs="?", type=int, default=KILLS)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with open_servers() as (folder, broker, redis), open_site(folder, broker, redis, ["--from-now"]) as site:
        report(**play(site, args.instances, args.kills, args.seed))


if __name__ == "__main__":
    main()
