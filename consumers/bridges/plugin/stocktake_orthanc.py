"""A script for Orthanc's Python plug-in: a journal of what was deleted, which Orthanc itself does not keep.

Orthanc drops the changes of a resource that is deleted, and tells a plug-in of a deletion by its own id alone, which is
a hash. So an SQLite file beside Orthanc's index maps ids of instances to their UIDs, and each deletion goes into a
journal there. ``GET /stocktake/deletions?since=N&limit=M`` gives the journal.

- The map follows ``/changes``. ``Changes`` in the answer is the Seq up to which it does: who reads no further than that
  hears of the deletion of everything read.
- At each start the map is compared with what Orthanc lists: what was deleted while the script was away, or killed
  before it had written, is journaled then. ``Ready`` is false until that is done.
- One thread does all the work; nothing is done on the way of an instance into Orthanc.

It needs the standard library (Python 3.8 or later) and nothing else. In Orthanc's configuration (the second line may
be left out)::

    "PythonScript": "/path/to/stocktake_orthanc.py",
    "Stocktake": {"JournalPath": "/var/lib/orthanc/stocktake-journal.db", "KeepDays": 90}

Who has a script already imports this one in it; if that has a callback for changes, it calls :func:`on_change`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterable
from typing import Any

orthanc: Any = importlib.import_module("orthanc")  # what Orthanc lends to its scripts; no package has it

DATABASE_PROPERTY = 21177  # a global property in Orthanc's own database: which database it is
PAGE = 200  # resources asked for at once; other threads wait that long for Python
MEMBERS = ("Seq", "Time", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "ID")  # of one
UIDS = ("0020,000d", "0020,000e", "0008,0018")  # of study, series, instance
IDLE = 1.0  # seconds between two looks at /changes when nothing wakes the thread
TRIM_INTERVAL = 3600.0  # seconds

_SCHEMA = """
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS series (number INTEGER PRIMARY KEY, study TEXT NOT NULL, uid TEXT NOT NULL,
    UNIQUE (study, uid));
CREATE TABLE IF NOT EXISTS instance (id BLOB PRIMARY KEY, series INTEGER NOT NULL, uid TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deletion (seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, id BLOB NOT NULL,
    study TEXT NOT NULL, series TEXT NOT NULL, uid TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deletion_of ON deletion (id);
CREATE TEMP TABLE listed (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""


def packed(resource: str) -> bytes:
    """Orthanc's id of a resource as 20 bytes."""
    return bytes.fromhex(resource.replace("-", ""))


def spelled(blob: bytes) -> str:
    """The same as Orthanc writes it."""
    text = blob.hex()
    return "-".join(text[begin : begin + 8] for begin in range(0, 40, 8))


def now() -> int:
    """UTC microseconds."""
    return time.time_ns() // 1000


def iso(microseconds: int) -> str:
    """A time as ISO 8601 in UTC, with microseconds."""
    seconds, rest = divmod(microseconds, 1000000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}+00:00"


class Journal:
    """The map and the journal in one SQLite file. What a method writes is on the disk when it returns.

    One thread writes; others may call :meth:`page`.
    """

    def __init__(self, path: str) -> None:
        self._writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=60)
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.executescript(_SCHEMA)
        self._writer.execute("INSERT OR IGNORE INTO note VALUES ('journal', ?)", (uuid.uuid4().hex,))
        self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=60)
        self._reading = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
        self._reader.close()

    def note(self, name: str) -> str | None:
        """A text that was kept under that name, or None."""
        found = self._writer.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def set_note(self, name: str, value: str) -> None:
        """Keep a text under a name."""
        self._writer.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))

    def unmapped(self, ids: Iterable[bytes]) -> list[bytes]:
        """Those of the packed ids that the map does not have."""
        return [
            one for one in ids if not self._writer.execute("SELECT 1 FROM instance WHERE id = ?", (one,)).fetchone()
        ]

    def add(self, instances: Iterable[tuple[bytes, str, str, str]]) -> None:
        """Put (packed id, study, series, SOP Instance UID) into the map."""
        with self._transaction() as database:
            for one, study, series, uid in instances:
                database.execute("INSERT OR IGNORE INTO series (study, uid) VALUES (?, ?)", (study, series))
                database.execute(
                    "INSERT OR REPLACE INTO instance SELECT ?, number, ? FROM series WHERE study = ? AND uid = ?",
                    (one, uid, study, series),
                )

    def delete(self, deletions: Iterable[tuple[bytes, int]]) -> None:
        """Journal (packed id, time), and take them out of the map.

        Of an id that is not in the map an earlier deletion may give the UIDs; else they are empty.
        """
        with self._transaction() as database:
            for one, moment in deletions:
                found = database.execute(
                    "SELECT series.study, series.uid, instance.uid FROM instance JOIN series"
                    " ON series.number = instance.series WHERE id = ?",
                    (one,),
                ).fetchone()
                if not found:
                    before = "SELECT study, series, uid FROM deletion WHERE id = ? ORDER BY seq DESC LIMIT 1"
                    found = database.execute(before, (one,)).fetchone() or ("", "", "")
                row = (moment, one, *found)
                database.execute("INSERT INTO deletion (time, id, study, series, uid) VALUES (?, ?, ?, ?, ?)", row)
                database.execute("DELETE FROM instance WHERE id = ?", (one,))

    def compare(self, listed: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """What the map has and a complete listing of packed ids has not, and the other way round."""
        with self._transaction() as database:
            database.execute("DELETE FROM listed")
            database.executemany("INSERT OR IGNORE INTO listed VALUES (?)", ((one,) for one in listed))
        gone = self._writer.execute("SELECT id FROM instance WHERE id NOT IN (SELECT id FROM listed)").fetchall()
        new = self._writer.execute("SELECT id FROM listed WHERE id NOT IN (SELECT id FROM instance)").fetchall()
        self._writer.execute("DELETE FROM listed")
        self._writer.execute("DELETE FROM series WHERE number NOT IN (SELECT series FROM instance)")
        return [one for (one,) in gone], [one for (one,) in new]

    def trim(self, before: int) -> None:
        """Drop deletions from before that time (UTC microseconds), and note up to where some were dropped."""
        with self._transaction() as database:
            [last] = database.execute("SELECT max(seq) FROM deletion WHERE time < ?", (before,)).fetchone()
            if last is not None:
                database.execute("DELETE FROM deletion WHERE seq <= ?", (last,))
                database.execute("INSERT OR REPLACE INTO note VALUES ('trimmed', ?)", (str(last),))

    def page(self, since: int, limit: int) -> dict[str, Any]:
        """Deletions after that sequence number, and what else the answer says of the journal."""
        with self._reading:
            rows = self._reader.execute(
                "SELECT seq, time, study, series, uid, id FROM deletion WHERE seq > ? ORDER BY seq LIMIT ?",
                (since, limit + 1),
            ).fetchall()
            notes = dict(self._reader.execute("SELECT name, value FROM note").fetchall())
            [highest] = self._reader.execute(
                "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'deletion'), 0)"
            ).fetchone()
        deletions: list[dict[str, Any]] = [
            dict(zip(MEMBERS, (seq, iso(moment), *uids, spelled(one))))  # noqa: B905 (strict came with Python 3.10)
            for seq, moment, *uids, one in rows[:limit]
        ]
        return {
            "Deletions": deletions,
            "Done": len(rows) <= limit,
            "Last": deletions[-1]["Seq"] if deletions else highest,
            "Trimmed": int(notes.get("trimmed", 0)),
            "Changes": int(notes.get("changes", 0)),
            "Database": notes.get("database", ""),
            "Journal": notes["journal"],
        }

    def _transaction(self) -> sqlite3.Connection:
        self._writer.execute("BEGIN IMMEDIATE")
        return self._writer  # as a context manager it commits, or rolls back


class Keeper:
    """The thread that keeps map and journal; asks Orthanc, and answers what is asked of the journal."""

    def __init__(self, journal: Journal, keep_days: float) -> None:
        self.ready = False
        self._journal = journal
        self._keep = int(keep_days * 86400 * 1000000)
        self._queue: queue.Queue[tuple[bytes, int] | None] = queue.Queue()  # a deletion's id and time; None to wake
        self._held: list[tuple[bytes, int]] = []  # taken from the queue, not journaled yet
        self._lock = threading.Lock()
        self._waiting: list[int] = []  # times of deletions that are not journaled yet, the oldest first
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stocktake", daemon=True)
        self._trimmed = time.monotonic() - TRIM_INTERVAL

    def start(self, database: str) -> None:
        """Begin; ``database`` says which database Orthanc has."""
        if self._journal.note("database") != database:
            self._journal.set_note("database", database)
            self._journal.set_note("changes", "0")
        self._thread.start()

    def stop(self) -> None:
        """End after what was told is journaled, or in ten seconds."""
        self._stopping.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(10)

    def wake(self) -> None:
        """There is a new instance."""
        self._queue.put(None)

    def deleted(self, resource: str) -> None:
        """Orthanc says that this instance was deleted, or overwritten."""
        with self._lock:
            moment = now()
            self._waiting.append(moment)
            self._queue.put((packed(resource), moment))

    def answer(self, since: int, limit: int) -> dict[str, Any]:
        """What the route answers. All deletions told before ``Until`` are in the journal."""
        with self._lock:
            until = self._waiting[0] if self._waiting else now()
        return {**self._journal.page(since, limit), "Ready": self.ready, "Until": iso(until)}

    def on_request(self, output: Any, uri: str, **request: Any) -> None:
        """Answer the route."""
        if request["method"] != "GET":
            output.SendMethodNotAllowed("GET")
            return
        given = request.get("get", {})
        try:
            since, limit = int(given.get("since", 0)), int(given.get("limit", 1000))
        except ValueError:
            output.SendHttpStatusCode(400)
            return
        answer = self.answer(max(0, since), min(max(1, limit), 10000))
        output.AnswerBuffer(json.dumps(answer), "application/json")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self.ready:
                    self._compare()
                    self.ready = not self._stopping.is_set()
                self.work(IDLE)
            except Exception as error:  # whatever it is: comparing finds what was not written
                self.ready = False
                orthanc.LogWarning(
                    f"stocktake: the journal of deletions waits and tries again: {type(error).__name__}: {error}"
                )
                self._stopping.wait(2.0)
        with contextlib.suppress(Exception):  # the next start compares
            while self._held or not self._queue.empty():
                self.work(0.0)

    def work(self, patience: float) -> None:
        """Journal what was told, waiting up to so many seconds for something; map what is new."""
        try:
            told = self._queue.get(timeout=patience) if patience else self._queue.get_nowait()
            self._stopping.wait(patience / 20)  # more may come: one look at Orthanc for all
            while True:
                if told is not None:
                    self._held.append(told)
                if len(self._held) >= PAGE:
                    break
                told = self._queue.get_nowait()
        except queue.Empty:
            pass
        self._follow()
        if self._held:
            # One that is there was overwritten; should it be deleted after all, that is told again.
            there = {packed(one["ID"]) for one in self._bulk({one for one, _ in self._held})}
            self._journal.delete([one for one in self._held if one[0] not in there])
            with self._lock:
                del self._waiting[: len(self._held)]
            self._held.clear()
        if time.monotonic() - self._trimmed >= TRIM_INTERVAL:
            self._trimmed = time.monotonic()
            self._journal.trim(now() - self._keep)

    def _compare(self) -> None:
        """Journal what is mapped and not listed any more, map what is listed and not mapped."""
        last = _get("/changes?last")["Last"]
        gone, new = self._journal.compare(packed(one) for one in _get("/instances"))
        moment = now()
        for begin in range(0, len(gone), 10000):
            self._journal.delete([(one, moment) for one in gone[begin : begin + 10000]])
        for begin in range(0, len(new), PAGE):
            if self._stopping.is_set():
                return
            self._map(new[begin : begin + PAGE])
            time.sleep(0.001)  # others want Python too
        self._journal.set_note("changes", str(last))  # also a lower one: of a database that was put back
        orthanc.LogWarning(f"stocktake: compared: {len(gone)} instances gone, {len(new)} new")

    def _follow(self) -> None:
        """Map what is new since the last time."""
        done = False
        since = before = int(self._journal.note("changes") or 0)
        while not done:
            page = _get(f"/changes?since={since}&limit={PAGE}")
            changes = page["Changes"]
            done = page["Done"] or not changes
            self._map([packed(one["ID"]) for one in changes if one["ChangeType"] == "NewInstance"])
            if changes:
                since = changes[-1]["Seq"]
        if since != before:
            self._journal.set_note("changes", str(since))

    def _map(self, ids: Iterable[bytes]) -> None:
        missing = self._journal.unmapped(ids)
        if not missing:
            return
        instances = self._bulk(missing)
        series = {one["ID"]: one for one in self._bulk({packed(one["ParentSeries"]) for one in instances})}
        studies = {one["ID"]: one for one in self._bulk({packed(one["ParentStudy"]) for one in series.values()})}
        rows = []
        for one in instances:
            parent = series.get(one["ParentSeries"], {})
            study = studies.get(parent.get("ParentStudy"), {})
            if study:  # else it was deleted just now, which is told
                tags = [found["MainDicomTags"] for found in (study, parent, one)]
                uids = [str(of.get(tag, "")) for of, tag in zip(tags, UIDS)]  # noqa: B905
                rows.append((packed(one["ID"]), uids[0], uids[1], uids[2]))
        self._journal.add(rows)

    def _bulk(self, ids: Collection[bytes]) -> list[dict[str, Any]]:
        wanted = {"Resources": [spelled(one) for one in ids], "Metadata": False, "Short": True}
        found: list[dict[str, Any]] = _post("/tools/bulk-content", wanted) if ids else []
        return found


def _get(uri: str) -> Any:
    return json.loads(orthanc.RestApiGet(uri))


def _post(uri: str, body: Any) -> Any:
    return json.loads(orthanc.RestApiPost(uri, json.dumps(body)))


def settings() -> tuple[str, float]:
    """The journal's path and how many days it is kept, from Orthanc's configuration."""
    configuration = json.loads(orthanc.GetConfiguration())
    own = configuration.get("Stocktake", {})
    folder = configuration.get("IndexDirectory") or configuration.get("StorageDirectory") or "OrthancStorage"
    path = own.get("JournalPath") or os.path.join(folder, "stocktake-journal.db")
    base = orthanc.GetConfigurationPath()  # of the folder, or of a file in it
    return os.path.join(base if os.path.isdir(base) else os.path.dirname(base), path), own.get("KeepDays", 90)


def database_identity() -> str:
    """A name that Orthanc's database keeps, made when it has none."""
    found: str = orthanc.GetGlobalProperty(DATABASE_PROPERTY, "") or uuid.uuid4().hex
    orthanc.SetGlobalProperty(DATABASE_PROPERTY, found)
    return found


def on_change(change: int, level: int, resource: str) -> None:
    """Orthanc tells of a change; takes microseconds."""
    if keeper is None:
        return
    if change == orthanc.ChangeType.DELETED:
        if level == orthanc.ResourceType.INSTANCE:
            keeper.deleted(resource)
    elif change == orthanc.ChangeType.NEW_INSTANCE:
        keeper.wake()
    elif change == orthanc.ChangeType.ORTHANC_STARTED:
        keeper.start(database_identity())
    elif change == orthanc.ChangeType.ORTHANC_STOPPED:
        keeper.stop()


def _open() -> Keeper | None:
    """The journal's keeper; None if the file cannot be used: an archive is not to stand still for that."""
    path, keep_days = settings()
    try:
        journal = Journal(path)
    except sqlite3.Error as error:
        orthanc.LogError(f"stocktake: NO JOURNAL OF DELETIONS IS KEPT: {path} cannot be used: {error}")
        return None
    return Keeper(journal, keep_days)


keeper = _open()
if keeper is not None:
    orthanc.RegisterOnChangeCallback(on_change)
    orthanc.RegisterRestCallback("/stocktake/deletions", keeper.on_request)
