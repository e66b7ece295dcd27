"""A real Orthanc with its DICOMweb and Python plug-ins, the latter running Stocktake's script.

It listens on loopback ports of its own, keeps its data below a folder, and asks for a password. Its local time is not
UTC. What it lists is read here with none of Stocktake's code.
"""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from uuid import uuid4

import httpx
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext, build_context

from consumers.bridges import plugin
from stocktake.embedded import HOST, ServerProcess, free_ports
from tests.servers.processes import RealServer, running

Listed: TypeAlias = "set[tuple[str, str, str]]"  # Study, Series, SOP Instance UID
OrthancLevel: TypeAlias = Literal["Study", "Series", "Instance"]

USER: Final = "stocktake"
PASSWORD: Final = "a-password-of-the-tests"  # noqa: S105
PLUGINS: Final = Path("/usr/share/orthanc/plugins")
SCRIPT: Final = Path(plugin.__file__).with_name("stocktake_orthanc.py")
MISSING: Final = "no Orthanc here: install the Debian packages orthanc, orthanc-dicomweb and orthanc-python"
MARK: Final = "2.25.1"  # the study of what is stored and deleted as a mark
KEEP: Final = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]

_TIMEOUT: Final = 30.0  # seconds
_CONTEXTS: Final = 128  # presentation contexts of an association


@dataclass(frozen=True, kw_only=True)
class Orthanc(RealServer):
    """A running Orthanc. ``folder`` holds its storage, index and journal."""

    url: str
    dicom_port: int
    folder: Path
    web: httpx.Client

    def restart(self) -> None:
        """End it in order, and start it on the same folder."""
        self.stop()
        self.start()

    def settings(self, repository: str) -> dict[str, str]:
        """How a repository's archive is set to be asked: settings for :class:`tests.harness.Deployment`."""
        given = {
            "KIND": "orthanc",
            "URL": self.url,
            "USERNAME": USER,
            "PASSWORD": PASSWORD,
            "REQUESTS_PER_SECOND": "1000",
            "QUIET": "100ms",
            "ABSENT": "remove",
        }
        return {f"ARCHIVES__{repository.upper()}__{name}": value for name, value in given.items()}

    def get(self, path: str, **params: Any) -> Any:
        """The JSON that it answers."""
        reply = self.web.get(path, params=params or None)  # an empty one would take the query away
        assert reply.status_code == 200, f"{path}: {reply.status_code}"
        return reply.json()

    def post(self, path: str, body: Any) -> Any:
        """The same for a POST."""
        reply = self.web.post(path, content=body if isinstance(body, str | bytes) else json.dumps(body))
        assert reply.status_code == 200, f"{path}: {reply.status_code} {reply.text}"
        return reply.json()

    def listing(self) -> Listed:
        """All that it lists now."""
        studies = {one["ID"]: one["MainDicomTags"]["StudyInstanceUID"] for one in self.get("/studies?expand")}
        series = {
            one["ID"]: (studies[one["ParentStudy"]], one["MainDicomTags"]["SeriesInstanceUID"])
            for one in self.get("/series?expand")
        }
        return {
            (*series[one["ParentSeries"]], one["MainDicomTags"]["SOPInstanceUID"])
            for one in self.get("/instances?expand")
        }

    def ids(self, uid: str, level: OrthancLevel = "Study") -> list[str]:
        """Its own ids of what has that UID; several under several patients."""
        return [one["ID"] for one in self.post("/tools/lookup", uid) if one["Type"] == level]

    def store(self, datasets: Iterable[Dataset]) -> list[Dataset]:
        """Send instances with C-STORE; those that it took."""
        given = list(datasets)
        taken: list[Dataset] = []
        for begin in range(0, len(given), _CONTEXTS):
            taken += self._store(given[begin : begin + _CONTEXTS])
        return taken

    def _store(self, datasets: list[Dataset]) -> list[Dataset]:
        contexts: dict[tuple[str, str], PresentationContext] = {}
        for dataset in datasets:
            key = (str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID))
            contexts.setdefault(key, build_context(*key))
        entity = AE(ae_title="STOCKTAKE")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _TIMEOUT
        association = entity.associate(HOST, self.dicom_port, list(contexts.values()), ae_title="ORTHANC")
        assert association.is_established
        taken = []
        try:
            for dataset in datasets:
                try:
                    status = association.send_c_store(dataset)
                except (ValueError, AttributeError):  # no context was accepted, or it cannot be encoded
                    continue
                if getattr(status, "Status", None) == 0:
                    taken.append(dataset)
        finally:
            association.release()
        return taken

    def put(self, file: bytes) -> bool:
        """Upload a file by Orthanc's own API; whether it took it."""
        return self.web.post("/instances", content=file).status_code == 200

    def stow(self, datasets: Iterable[Dataset]) -> None:
        """Send instances with STOW-RS, in one request."""
        boundary = uuid4().hex
        body = b"".join(
            f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file_of(dataset) + b"\r\n"
            for dataset in datasets
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
        reply = self.web.post("/dicom-web/studies", content=body + f"--{boundary}--\r\n".encode(), headers=headers)
        assert reply.status_code == 200, reply.text

    def delete(self, level: OrthancLevel, uid: str) -> None:
        """Delete what has that UID, under all patients."""
        ids = self.ids(uid, level)
        assert ids, f"no {level} {uid}"
        path = {"Study": "studies", "Series": "series", "Instance": "instances"}[level]
        for one in ids:
            assert self.web.delete(f"/{path}/{one}").status_code == 200

    def modify_patient(self, study_instance_uid: str, **replace: str) -> None:
        """Give the patient of a study other attributes; the UIDs stay, and the patient before is gone."""
        [study] = self.ids(study_instance_uid)
        patient = self.get(f"/studies/{study}")["ParentPatient"]
        self.post(f"/patients/{patient}/modify", {"Replace": replace, "Keep": KEEP, "Force": True, "KeepSource": False})

    def modify_study(self, study_instance_uid: str, **replace: str) -> None:
        """Change attributes of a study in place."""
        for one in self.ids(study_instance_uid):
            self.post(f"/studies/{one}/modify", {"Replace": replace, "Keep": KEEP, "Force": True, "KeepSource": True})

    def merge(self, into: str, study_instance_uid: str) -> None:
        """Move all of one study into another; it makes new series and instances there."""
        [target], [source] = self.ids(into), self.ids(study_instance_uid)
        self.post(f"/studies/{target}/merge", {"Resources": [source], "KeepSource": False, "Synchronous": True})

    def deletions(self, since: int = 0) -> Any:
        """What the journal of Stocktake's script answers."""
        return self.get("/stocktake/deletions", since=since, limit=10000)

    def settle(self) -> None:
        """Wait until all that was deleted is in the journal: its thread keeps the order, so a last deletion tells."""
        deadline = time.monotonic() + _TIMEOUT
        while not (begun := self.deletions())["Ready"]:
            assert time.monotonic() < deadline, "the journal is not ready"
            time.sleep(0.05)
        last = self.post("/instances", file_of(made(MARK, MARK, f"2.25.{uuid4().int}", "MARK")))["ID"]
        assert self.web.delete(f"/instances/{last}").status_code == 200
        while not any(one["ID"] == last for one in self.deletions(begun["Last"])["Deletions"]):
            assert time.monotonic() < deadline, "a deletion is not in the journal"
            time.sleep(0.05)


def made(study: str, series: str, instance: str, patient: str = "P1", **attributes: Any) -> Dataset:
    """A small secondary capture of that identity; ``attributes`` by keyword."""
    dataset = Dataset()
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = UID(study), UID(series), UID(instance)
    dataset.PatientID, dataset.PatientName = patient, f"Name^Of {patient}"
    dataset.Modality, dataset.StudyDate, dataset.Rows, dataset.Columns = "OT", "20260102", 2, 3
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def file_of(dataset: Dataset) -> bytes:
    """A data set as a DICOM file."""
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


@contextmanager
def run_orthanc(folder: Path, **configured: Any) -> Iterator[Orthanc]:
    """An Orthanc that is ended with the block; data and log are below ``folder``. ``configured``: more settings.

    Without Orthanc on this machine the test fails.
    """
    program = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    plugins = [PLUGINS / "libOrthancDicomWeb.so", PLUGINS / "libOrthancPython.so"]
    if program is None or not all(one.exists() for one in plugins):
        pytest.fail(MISSING)
    http_port, dicom_port = free_ports(2)
    data = folder / "orthanc"
    data.mkdir(parents=True, exist_ok=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(_configuration(http_port, dicom_port, data, plugins) | configured))
    url = f"http://{HOST}:{http_port}"
    with httpx.Client(base_url=url, auth=(USER, PASSWORD), timeout=_TIMEOUT) as web:
        process = ServerProcess(
            f"Orthanc {http_port}",
            [program, file],
            folder / "orthanc.log",
            lambda: _answers(web, dicom_port),
            variables={"TZ": "America/New_York"},
        )
        with running(process):
            version = web.get("/system").json()["Version"]
            yield Orthanc(
                url=url,
                dicom_port=dicom_port,
                folder=data,
                web=web,
                description=f"Orthanc {version} ({program})",
                ours=True,
                process=process,
            )


def _configuration(http_port: int, dicom_port: int, data: Path, plugins: list[Path]) -> dict[str, Any]:
    return {
        "Name": "Tests of Stocktake",
        "StorageDirectory": str(data),
        "IndexDirectory": str(data),
        "HttpPort": http_port,
        "DicomPort": dicom_port,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "AuthenticationEnabled": True,
        "RemoteAccessAllowed": False,
        "RegisteredUsers": {USER: PASSWORD},
        "OverwriteInstances": True,
        "StableAge": 1,
        "Plugins": [str(one) for one in plugins],
        "PythonScript": str(SCRIPT),
    }


def _answers(web: httpx.Client, dicom_port: int) -> bool:
    try:
        ready = web.get("/system", timeout=1).status_code == 200
        with socket.create_connection((HOST, dicom_port), 1):
            return ready
    except (httpx.HTTPError, OSError):
        return False
