"""A DICOM archive, by C-STORE (PS3.4 Annex GG, Non-Patient Object Storage).

The data set goes as it stands in the file, block by block. A receiver that takes no deflated data set gets it inflated;
one that takes Implicit VR only, which every receiver takes (PS3.5 10.1), gets a small one converted.
"""

from __future__ import annotations

import logging
import queue
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association

from writers import iod
from writers.file_meta import read_file_meta
from writers.policy import SinkPolicy
from writers.sinks.address import parse_dicom_url
from writers.sinks.sink import Parcel, SinkRefused, SinkUnreachable
from writers.sinks.tls import tls_context
from writers.terms import INVENTORY_STORAGE

log = logging.getLogger(__name__)


# Status codes of a C-STORE (PS3.7 Annex C, PS3.4 GG.4.2)
_SUCCESS: Final = 0x0000
_DUPLICATE: Final = 0x0111  # an instance of this UID is there: we never give a UID to two files
_WARNINGS: Final = (0xB000, 0xB006, 0xB007)  # stored, and something changed on the way
_OUT_OF_RESOURCES: Final = range(0xA700, 0xA800)

_BLOCK: Final = 1 << 20
_PDUS_AHEAD: Final = 64
_LOOK: Final = 0.5  # seconds
_CONVERTIBLE: Final = 64_000_000  # bytes; conversion has the data set in memory many times over


class DicomSink:
    """Sends each file on an association of its own."""

    def __init__(self, policy: SinkPolicy) -> None:
        # The client knows this only as a switch of the whole process: files are sent from disk, and not decoded.
        _config.STORE_SEND_CHUNKED_DATASET = True
        self._policy = policy
        self._to = parse_dicom_url(policy.url)
        self._where = f"sinks.{policy.name}: {self._to.ae_title} at {self._to.host}:{self._to.port}"

    def deliver(self, parcel: Parcel) -> None:
        """See :class:`writers.sinks.sink.Sink`."""
        with self._associated() as association:
            accepted = {str(context.transfer_syntax[0]) for context in association.accepted_contexts}
            try:
                status = self._send(association, parcel, accepted)
            except (RuntimeError, ValueError, queue.Full) as error:  # the association ended, or stands still
                raise SinkUnreachable(f"{self._where}: the association ended while {parcel.name} was sent") from error
        self._check(status, parcel)

    def close(self) -> None:
        """Nothing is held open between two files."""

    @contextmanager
    def _associated(self) -> Iterator[Association]:
        entity = AE(ae_title=self._policy.calling_ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self._policy.timeout
        entity.connection_timeout = self._policy.timeout
        # One context each, so that the receiver chooses for each and not one of them.
        for syntax in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian):
            entity.add_requested_context(INVENTORY_STORAGE, syntax)
        tls: Any = (tls_context(self._policy), self._to.host) if self._to.tls else None
        association = entity.associate(self._to.host, self._to.port, ae_title=self._to.ae_title, tls_args=tls)
        if association.is_rejected:
            raise SinkRefused(
                f"{self._where}: rejects the association; does it know AE title {self._policy.calling_ae_title}?"
            )
        if not association.is_established:
            if association.rejected_contexts:
                raise SinkRefused(f"{self._where}: does not take Inventories (SOP Class {INVENTORY_STORAGE})")
            raise SinkUnreachable(f"{self._where}: no association; is it running, and are host and port right?")
        # The client itself would wait for ever for a receiver that takes no more bytes.
        connection: Any = association.dul.socket
        connection.socket.settimeout(self._policy.timeout)
        association.dul.to_provider_queue = _Ahead(association.dul.is_alive)
        try:
            yield association
        except BaseException:
            association.dul.to_provider_queue = queue.Queue()  # what waits in the other is not to be sent any more
            association.abort()
            raise
        association.release()

    def _send(self, association: Association, parcel: Parcel, accepted: set[str]) -> Dataset:
        syntax = parcel.manifest.transfer_syntax_uid
        if syntax in accepted:
            return association.send_c_store(parcel.path)
        if syntax == DeflatedExplicitVRLittleEndian and ExplicitVRLittleEndian in accepted:
            with tempfile.TemporaryDirectory(prefix="stocktake-") as folder:
                plain = Path(folder, "inflated.dcm")
                inflate(parcel, plain)
                return association.send_c_store(plain)
        if parcel.manifest.bytes > _CONVERTIBLE:
            raise SinkRefused(
                f"{self._where}: takes Implicit VR Little Endian only, and {parcel.name} is too large to be "
                "converted; let it accept Explicit VR Little Endian, or set inventory.max_bytes_per_instance lower"
            )
        return association.send_c_store(dcmread(parcel.path))

    def _check(self, status: Dataset, parcel: Parcel) -> None:
        code = status.get("Status")
        if code is None:
            raise SinkUnreachable(f"{self._where}: no answer to the C-STORE of {parcel.name}")
        text = f"{self._where}: answers the C-STORE of {parcel.name} with status 0x{code:04X}"
        if code in _WARNINGS:
            log.warning("%s: stored, but not as it was sent", text)
            return
        if code in (_SUCCESS, _DUPLICATE):
            return
        if code in _OUT_OF_RESOURCES:
            raise SinkUnreachable(f"{text}: it is out of resources")
        raise SinkRefused(f"{text}; its own log should say why")


class _Ahead(queue.Queue[Any]):
    """What waits to be sent: a few PDUs, for the client itself would take a whole data set into memory."""

    def __init__(self, is_sent: Callable[[], bool]) -> None:
        super().__init__(_PDUS_AHEAD)
        self._is_sent = is_sent

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Wait for room as long as anything is sent: once the connection is lost, nobody makes any."""
        del block, timeout
        while True:
            try:
                super().put(item, timeout=_LOOK)
            except queue.Full:
                if not self._is_sent():
                    raise
            else:
                return


def inflate(parcel: Parcel, to: Path) -> None:
    """Write the file with its data set inflated, as Explicit VR Little Endian, in bounded memory (PS3.5 A.5)."""
    with parcel.path.open("rb") as file, to.open("wb") as plain:
        read_file_meta(file)
        plain.write(iod.file_meta(parcel.manifest.sop_instance_uid, ExplicitVRLittleEndian))
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        while block := file.read(_BLOCK):
            data = inflating.decompress(block, _BLOCK)
            plain.write(data)
            while inflating.unconsumed_tail:
                plain.write(inflating.decompress(inflating.unconsumed_tail, _BLOCK))
        plain.write(inflating.flush())
