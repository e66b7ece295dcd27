"""What inventories are delivered to in the tests: real receivers that start, stop and start again on the same port.

None of them is our own code: dcmtk's ``storescp``, pynetdicom's server, moto's S3. Only the STOW-RS server is made here
of Python's HTTP server, for no registry has one that takes Inventories.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import fsspec
import orjson
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt

from stocktake.embedded import HOST, ServerProcess, free_ports
from tests.servers.dcmtk import dcmtk

INVENTORY_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.201.1"


def dataset_digest(file: bytes) -> str:
    """SHA-256 of a DICOM file's data set as it is encoded: all that follows the File Meta Information."""
    assert file[128:140] == b"DICM\x02\x00\x00\x00UL\x04\x00"
    return sha256(file[144 + int.from_bytes(file[140:144], "little") :]).hexdigest()


Came: TypeAlias = "list[tuple[str, str]]"  # what came, in its order: SOP Instance UID and digest of the data set


class Receiver(Protocol):
    """A receiver that the tests start and stop."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def received(self) -> Came: ...


class StoreScp:
    """dcmtk's ``storescp``. It knows no Inventory, so it is told to accept SOP Classes that it does not know."""

    def __init__(self, folder: Path, *options: str) -> None:
        [self.port] = free_ports(1)
        self._folder = folder / "storescp"
        self._folder.mkdir(parents=True)
        command: list[str | Path] = [dcmtk("storescp"), "--promiscuous", "--bit-preserving", "--verbose"]
        command += ["--aetitle", "STORESCP", "--output-directory", self._folder, *options, str(self.port)]
        self.process = ServerProcess("storescp", command, folder / "storescp.log", lambda: _listens(self.port))

    @property
    def url(self) -> str:
        return f"dicom://STORESCP@{HOST}:{self.port}"

    def start(self) -> None:
        self.process.start()

    def stop(self) -> None:
        self.process.kill()

    def received(self) -> Came:
        """By the time at which each file was made."""
        files = sorted(self._folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        uids = [dcmread(path, specific_tags=[]).file_meta.MediaStorageSOPInstanceUID for path in files]
        return [(str(uid), dataset_digest(path.read_bytes())) for uid, path in zip(uids, files, strict=True)]


class DicomReceiver:
    """pynetdicom's own server; ``answer`` gives the status for the SOP Instance UID of each request.

    With ``keep`` it also decodes what came, into ``datasets``.
    """

    def __init__(
        self,
        *syntaxes: str,
        answer: Callable[[str], int] = lambda uid: 0,
        tls: ssl.SSLContext | None = None,
        title: str = "RECEIVER",
        sop_class: str = INVENTORY_STORAGE,
        keep: bool = False,
    ) -> None:
        [self.port] = free_ports(1)
        self.title = title
        self._answer = answer
        self._tls = tls
        self._keep = keep
        self.datasets: list[Dataset] = []
        self._entity = AE(ae_title=title)
        self._entity.require_called_aet = True
        self._entity.maximum_pdu_size = 16_382
        for syntax in syntaxes or (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian):
            self._entity.add_supported_context(sop_class, syntax)
        self._server: Any = None
        self.came: Came = []

    @property
    def url(self) -> str:
        return f"dicom{'s' if self._tls else ''}://{self.title}@{HOST}:{self.port}"

    def start(self) -> None:
        handlers: Any = [(evt.EVT_C_STORE, self._take)]
        self._server = self._entity.start_server(
            (HOST, self.port), block=False, evt_handlers=handlers, ssl_context=self._tls
        )

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def received(self) -> Came:
        return list(self.came)

    def _take(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = self._answer(uid)
        if status not in {0xA700, 0xA900, 0xC000, 0x0122}:
            self.came.append((uid, sha256(event.request.DataSet.getvalue()).hexdigest()))
        if self._keep:
            self.datasets.append(event.dataset)
        return status


class StowServer:
    """A Store transaction server; ``answer`` gives status and response module for the SOP Instance UID of each."""

    def __init__(
        self,
        answer: Callable[[str], tuple[int, Mapping[str, Any]]] = lambda uid: (200, {}),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        [self.port] = free_ports(1)
        self.answer = answer
        self.came: Came = []
        self.headers: list[Mapping[str, str]] = []
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://{HOST}:{self.port}/dicom-web/inventories"

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.take(self)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((HOST, self.port), Handler)
        if self._tls is not None:
            self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def received(self) -> Came:
        return list(self.came)

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """One request of one part, taken apart by the rules of RFC 2046 5.1."""
        self.headers.append(dict(handler.headers))
        assert handler.headers.get_content_type() == "multipart/related"
        assert handler.headers.get_param("type") == "application/dicom"
        delimiter = b"\r\n--" + str(handler.headers.get_boundary()).encode()
        body = b"\r\n" + handler.rfile.read(int(handler.headers["Content-Length"]))
        before, part, after = body.split(delimiter)
        head, file = part.split(b"\r\n\r\n", 1)
        assert (before, head, after) == (b"", b"\r\nContent-Type: application/dicom", b"--\r\n")
        uid = str(dcmread(BytesIO(file), specific_tags=[]).file_meta.MediaStorageSOPInstanceUID)
        status, said = self.answer(uid)
        if status == 200:
            self.came.append((uid, dataset_digest(file)))
        reply = orjson.dumps(said) if said else b""
        handler.send_response(status)
        handler.send_header("Content-Type", "application/dicom+json")
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply)


class S3:
    """moto's server, with one bucket. Its data lives as long as it runs."""

    BUCKET: Final = "inventories"

    def __init__(self, folder: Path) -> None:
        [self.port] = free_ports(1)
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]
        self.process = ServerProcess("moto", command, folder / "moto.log", lambda: _listens(self.port))

    @property
    def url(self) -> str:
        return f"s3://{self.BUCKET}/archive"

    @property
    def options(self) -> dict[str, str]:
        return {"endpoint_url": f"http://{HOST}:{self.port}", "key": "test", "secret": "test"}

    def start(self) -> None:
        self.process.start()
        self.files().mkdir(self.BUCKET)

    def stop(self) -> None:
        self.process.kill()

    def files(self) -> Any:
        """The bucket as fsspec sees it."""
        return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False, **self.options)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False
