"""An archive of DICOMweb in memory, on loopback: QIDO-RS and WADO-RS metadata, with the habits of real servers."""

from __future__ import annotations

import base64
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from consumers.policy import ArchivePolicy

Dataset = dict[str, Any]

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
ROOT: Final = "/dicom-web"

_STUDY_TAGS: Final = ("00080020", "00080030", "00080050", "00081030", "00100010", "00100020", "0020000D")
_SERIES_TAGS: Final = ("00080060", "0008103E", "0020000E", "00200011")
_VRS: Final = {
    "00080016": "UI",
    "00080018": "UI",
    "00080020": "DA",
    "00080030": "TM",
    "00080050": "SH",
    "00080060": "CS",
    "00081030": "LO",
    "0008103E": "LO",
    "00100010": "PN",
    "00100020": "LO",
    "0020000D": "UI",
    "0020000E": "UI",
    "00200011": "IS",
    "00200013": "IS",
}


def element(vr: str, *values: Any) -> Dataset:
    """An element of the DICOM JSON Model."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def instance(study: str, series: str, sop: str, day: str | None = "20240501", **values: Any) -> Dataset:
    """An instance's data set. ``values`` are by tag, with a ``t`` before it; None takes the element away."""
    given: dict[str, Any] = {
        "00080016": CT,
        "00080018": sop,
        "00080020": day,
        "00080050": "A1",
        "00080060": "CT",
        "00100010": {"Alphabetic": "Müller^Jörg"},
        "00100020": "P1",
        "0020000D": study,
        "0020000E": series,
        "00200011": 1,
        "00200013": 1,
    } | {name.removeprefix("t"): value for name, value in values.items()}
    return {tag: element(_VRS.get(tag, "LO"), value) for tag, value in given.items() if value is not None}


@dataclass
class FakeArchive:
    """What the server holds and how it behaves; may be changed while it runs.

    ``cap`` is how many rows it gives at most. ``filtered`` studies are counted by ``offset``, not given. ``extra`` is
    laid over a study's row. ``answers`` are sent as they are, by the path below the root: status, body, media type.
    """

    latency: float = 0.0
    error_share: float = 0.0
    seed: int = 1
    busy: int = 0  # so many requests are answered 429
    retry_after: str = ""
    cap: int | None = None
    metadata_status: int = 200
    metadata_lacks: set[str] = field(default_factory=set)  # SOP Instance UIDs
    ignores_offset: bool = False
    ignores_dates: bool = False
    gives_counts: bool = True
    basic: tuple[str, str] | None = None
    token: str = ""
    filtered: set[str] = field(default_factory=set)
    extra: dict[str, Dataset] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes, str]] = field(default_factory=dict)
    port: int = 0
    requests: list[str] = field(default_factory=list)
    by_study: Counter[str] = field(default_factory=Counter)
    before_answer: Any = None  # called with the path and query, before anything is looked up

    def __post_init__(self) -> None:
        self._studies: dict[str, dict[str, Dataset]] = {}
        self._lock = Lock()
        self._random = random.Random(self.seed)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{ROOT}"

    def add(self, *instances: Dataset, first: bool = False) -> None:
        """Store instances; a new study is listed last, or first."""
        with self._lock:
            for dataset in instances:
                study, sop = dataset["0020000D"]["Value"][0], dataset["00080018"]["Value"][0]
                if study not in self._studies and first:
                    self._studies = {study: {}} | self._studies
                self._studies.setdefault(study, {})[sop] = deepcopy(dataset)

    def remove(self, study: str, sop: str | None = None) -> None:
        """Remove a study, or one instance of it."""
        with self._lock:
            if sop is not None:
                del self._studies[study][sop]
            if sop is None or not self._studies[study]:
                del self._studies[study]

    # --- answers -----------------------------------------------------------------------------------------------

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, list[Dataset] | None]:
        with self._lock:
            if path == "studies":
                rows = [(uid, self._study_row(uid)) for uid in self._studies]
                return self._page([pair for pair in rows if self._matches(pair[1], query)], query)
            if path == "instances":
                every = [one for held in self._studies.values() for one in held.values()]
                return self._page([("", one) for one in every if self._matches(one, query)], query)
            match = re.fullmatch(r"studies/([0-9.]+)/(metadata|series|instances)", path)
            if match is None:
                return 404, None
            held = self._studies.get(match[1], {})
            if match[2] == "metadata":
                if self.metadata_status != 200 or not held:
                    return (self.metadata_status if self.metadata_status != 200 else 404), None
                return 200, [one for sop, one in held.items() if sop not in self.metadata_lacks]
            if match[2] == "series":
                series = {one["0020000E"]["Value"][0]: one for one in held.values()}
                tags = _STUDY_TAGS + _SERIES_TAGS
                return self._page([("", _only(one, tags)) for one in series.values()], query)
            return self._page([("", one) for one in held.values()], query)

    def _study_row(self, uid: str) -> Dataset:
        held = list(self._studies[uid].values())
        row = _only(held[0], _STUDY_TAGS)
        row["00080061"] = element("CS", *{one["00080060"]["Value"][0] for one in held if "00080060" in one})
        if self.gives_counts:
            row["00201206"] = element("IS", len({one["0020000E"]["Value"][0] for one in held}))
            row["00201208"] = element("IS", len(held))
        return row | self.extra.get(uid, {})

    def _matches(self, row: Dataset, query: dict[str, list[str]]) -> bool:
        uids = query.get("StudyInstanceUID", [""])[0]
        if uids and row["0020000D"]["Value"][0] not in uids.split(","):
            return False
        modality = query.get("ModalitiesInStudy", [""])[0]
        if modality and modality not in row.get("00080061", {}).get("Value", ()):
            return False
        days = query.get("StudyDate", [""])[0]
        if days and not self.ignores_dates:
            day = next(iter(row.get("00080020", {}).get("Value", ())), "")
            low, _, high = days.partition("-")
            return bool(day) and low <= day <= (high or low)
        return True

    def _page(self, rows: list[tuple[str, Dataset]], query: dict[str, list[str]]) -> tuple[int, list[Dataset]]:
        begin = 0 if self.ignores_offset else int(query.get("offset", ["0"])[0])
        limit = int(query.get("limit", [str(len(rows))])[0])
        if self.cap is not None:
            limit = min(limit, self.cap)
        return 200, [row for uid, row in rows[begin : begin + limit] if uid not in self.filtered]

    def refusal(self, authorization: str) -> int | None:
        """The status with which a request is turned away, if it is."""
        if self.token and authorization != f"Bearer {self.token}":
            return 401
        if self.basic is not None:
            wanted = base64.b64encode(":".join(self.basic).encode()).decode()
            if authorization != f"Basic {wanted}":
                return 401
        with self._lock:
            if self.busy:
                self.busy -= 1
                return 429
            return 503 if self._random.random() < self.error_share else None

    def note(self, path: str, query: str) -> None:
        with self._lock:
            self.requests.append(f"{path}?{query}" if query else path)
            found = re.search(r"studies/([0-9.]+)|StudyInstanceUID=([0-9.]+)", self.requests[-1])
            if found is not None:
                self.by_study[found[1] or found[2]] += 1


def archive_policy(url: str, **given: Any) -> ArchivePolicy:
    """How to ask an archive there, without waiting between requests."""
    known: dict[str, Any] = {
        "name": "a",
        "kind": "dicomweb",
        "url": url,
        "username": "",
        "password": "",
        "token": "",
        "tls_ca_file": None,
        "tls_cert_file": None,
        "tls_key_file": None,
        "timeout": 5.0,
        "requests_per_second": 10_000.0,
        "connections": 4,
        "quiet": 0.0,
        "retry_interval": 1.0,
        "tries": 3,
        "absent": "keep",
    }
    return ArchivePolicy(**(known | given))


@contextmanager
def run_archive(archive: FakeArchive) -> Iterator[FakeArchive]:
    """Serve it on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body goes out without waiting for its head's acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix(ROOT + "/")
            archive.note(path, parts.query)
            if archive.latency:
                time.sleep(archive.latency)
            if archive.before_answer is not None:
                archive.before_answer(path, parts.query)
            status = archive.refusal(self.headers.get("Authorization", ""))
            if status is not None:
                self._send(status, b"", "text/plain", archive.retry_after)
            elif path in archive.answers:
                code, body, media_type = archive.answers[path]
                self._send(code, body, media_type, archive.retry_after)
            else:
                code, rows = archive.answer(path, parse_qs(parts.query))
                body = b"" if rows is None else json.dumps(rows, ensure_ascii=False).encode()
                self._send(code, body, "application/dicom+json", "")

        def _send(self, status: int, body: bytes, media_type: str, retry_after: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            if retry_after:
                self.send_header("Retry-After", retry_after)
            if status in range(300, 400):
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked was killed
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    archive.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _only(dataset: Dataset, tags: tuple[str, ...]) -> Dataset:
    return {tag: dataset[tag] for tag in tags if tag in dataset}
