"""What is written and how the chain is kept, as frozen values. Durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from state.attributes import Level


@dataclass(frozen=True, slots=True)
class EndPoints:
    """Where instances can be retrieved (PS3.3 C.38.2.4); what is empty is left out."""

    ae_titles: tuple[str, ...]
    retrieve_url: str
    base_uri: str


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What inventories say of access: to the studies, and to the inventories themselves.

    With ``inventory_base_uri`` each reference also says where below it the file is, its size and its digest.
    """

    study_ae_titles: tuple[str, ...]
    study_retrieve_url: str
    study_base_uri: str
    inventory_ae_titles: tuple[str, ...]
    inventory_retrieve_url: str
    inventory_base_uri: str

    @property
    def studies(self) -> EndPoints:
        return EndPoints(self.study_ae_titles, self.study_retrieve_url, self.study_base_uri)

    @property
    def inventories(self) -> EndPoints:
        return EndPoints(self.inventory_ae_titles, self.inventory_retrieve_url, self.inventory_base_uri)


@dataclass(frozen=True, slots=True)
class SinkPolicy:
    """Where published inventories also go; what kind of sink it is, the scheme of ``url`` tells.

    ``repositories``: only theirs; of all, if there are none. ``timeout`` is the patience with one answer;
    ``retry_interval`` the longest pause between two tries. ``storage_options`` are what fsspec is given.
    """

    name: str
    url: str
    repositories: tuple[str, ...]
    timeout: float
    retry_interval: float
    calling_ae_title: str
    username: str
    password: str
    token: str
    tls_ca_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
    storage_options: Mapping[str, Any]

    @property
    def scheme(self) -> str:
        return self.url.partition(":")[0]

    def takes(self, repository: str) -> bool:
        """Whether inventories of this repository go there."""
        return not self.repositories or repository in self.repositories


@dataclass(frozen=True, slots=True)
class InventoryPolicy:
    """The Inventory SOP Instances themselves.

    More than the most records or bytes are split into parts. ``processes`` encode large slices. What
    the head does not reach any more is kept for ``retention``, for ever if that is 0.
    """

    dir: Path
    level: Level
    interval: float
    transfer_syntax: str
    write_empty: bool
    write_timezone: bool
    purpose: str
    manufacturer: str
    institution_name: str
    station_name: str
    device_serial_number: str
    write_transaction_uid: bool
    uid_root: str
    lease: float
    max_records_per_instance: int
    max_bytes_per_instance: int
    processes: int
    retention: float
    access: AccessPolicy
    sinks: tuple[SinkPolicy, ...]


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """Where the chain begins and how it is kept shallow.

    ``start``: UTC microseconds, or None for the oldest update time in the state at the first cut.
    ``origin``: ``empty`` when the archive is followed from its first day, so that the beginning is open.
    """

    start: int | None
    origin: str
    rollup_fanout: int
