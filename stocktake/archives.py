"""Archives that are asked: opened as the settings say, and the role that looks up what is owed."""

from __future__ import annotations

from contextlib import closing
from datetime import tzinfo
from threading import Event as Flag
from zoneinfo import ZoneInfo

from consumers.archives.archive import Archive
from consumers.archives.client import ArchiveClient
from consumers.archives.dicomweb import DicomwebArchive
from consumers.archives.orthanc import OrthancArchive
from consumers.enrichment import Enricher
from consumers.policy import ArchivePolicy
from consumers.publish import Publisher
from stocktake.logs import log_about
from stocktake.members import Member
from stocktake.settings import Settings, SettingsError
from stocktake.wiring import OpenRepository, open_health, open_repository, system_clock


def archive_policy(settings: Settings, repository: str) -> ArchivePolicy:
    """Where the repository's archive is asked.

    Raises:
        SettingsError: the settings do not say.
    """
    policy = settings.archive(repository)
    if policy is None:
        raise SettingsError(f"archives.{repository}.url is missing: where is the archive of {repository} to be asked?")
    return policy


def open_archive(policy: ArchivePolicy, zone: tzinfo) -> Archive:
    """The archive behind a policy; ``zone`` is that of its times without offset. Nothing is asked yet.

    Raises:
        ArchiveRefused: a file of tls_* cannot be used.
    """
    client = ArchiveClient(policy)
    return OrthancArchive(client) if policy.kind == "orthanc" else DicomwebArchive(client, zone)


def open_publisher(settings: Settings, opened: OpenRepository) -> Publisher:
    """A publisher to the repository's first topic."""
    return Publisher(settings.kafka, opened.policy.topics[0])


def enrich(settings: Settings, repository: str, stop: Flag) -> None:
    """Look up what one repository is owed, until ``stop`` is set.

    Raises:
        SettingsError: the settings name no archive.
    """
    log_about(role="enricher", repository=repository)
    policy = archive_policy(settings, repository)
    health = open_health(settings, Member("enricher", repository))
    opened = open_repository(settings, repository)
    with closing(opened), closing(open_archive(policy, ZoneInfo(opened.policy.timezone))) as archive:
        Enricher(
            archive,
            policy,
            opened.studies,
            opened.debts,
            opened.connection.now,
            lambda: open_publisher(settings, opened),
            system_clock(),
            opened.repository.count,
            health.beat,
        ).run(stop)
