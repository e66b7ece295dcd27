"""Where the state lives and the numbers that are fixed when it is created. Durations are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MODES: Final = ("single", "cluster", "sentinel")


@dataclass(frozen=True, slots=True)
class RedisPolicy:
    """How to reach Redis or Valkey: one server, a cluster, or the master that sentinels name.

    ``username`` and ``password`` win over those in ``url``; empty texts and None stand for what is not used. In the
    mode ``sentinel`` the hosts of ``url`` are the sentinels. ``timeout`` bounds a command with all its retries.
    """

    mode: str
    url: str = field(repr=False)
    username: str
    password: str = field(repr=False)
    sentinel_master: str
    sentinel_username: str
    sentinel_password: str = field(repr=False)
    tls_ca_file: Path | None
    tls_cert_file: Path | None
    tls_key_file: Path | None
    timeout: float


@dataclass(frozen=True, slots=True)
class ComparisonPolicy:
    """Two repositories that are compared, and by which rules.

    ``attributes`` are keywords of study attributes that must agree. Out of scope is a study of which all modalities are
    among ``ignored_modalities``, one with a Study Date before ``study_date_from`` or after ``study_date_to``
    (``YYYYMMDD``, empty: open), and one last updated before ``updated_from`` (UTC microseconds; None: open).
    ``accession_numbers`` maps those of the source to what the migration makes of them; ``study_uids`` does the same for
    Study Instance UIDs. By the pair a study is known by its UID at the source.
    """

    source: str
    target: str
    attributes: tuple[str, ...]
    ignored_modalities: tuple[str, ...]
    study_date_from: str
    study_date_to: str
    updated_from: int | None
    accession_numbers: Mapping[str, str]
    study_uids: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StatePolicy:
    """``shards`` is fixed when a repository's state is created and checked at every start."""

    shards: int
