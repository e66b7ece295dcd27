"""Archives that are asked and sinks that are delivered to: whether somebody is there. Nothing is sent to them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from consumers.archives.archive import ArchiveError
from consumers.archives.client import ArchiveClient
from consumers.errors import ConsumerError
from consumers.policy import ArchivePolicy
from consumers.topics import describe_topics
from stocktake.doctor.finding import Examined, Finding, Reporter
from writers.policy import SinkPolicy

_ARCHIVES: Final = Reporter("archives")
_SINKS: Final = Reporter("sinks")
_PORTS: Final = {"http": 80, "https": 443, "dicom": 104, "dicoms": 2762}
_PROBE: Final = {"orthanc": ("system", None), "dicomweb": ("studies", {"limit": 1})}


def check_archives(examined: Examined) -> Iterator[Finding]:
    """One small question to each, with its user and password."""
    wanted = [one for one in examined.settings.archives if one.name in examined.repositories]
    if not wanted:
        yield _ARCHIVES.skip("any", "no archive is configured")
    for policy in wanted:
        yield _archive(replace(policy, timeout=min(policy.timeout, examined.limits.servers)))


def _archive(policy: ArchivePolicy) -> Finding:
    path, params = _PROBE[policy.kind]
    try:
        with closing(ArchiveClient(policy)) as client:
            found = client.get(
                path, params, "application/dicom+json" if policy.kind == "dicomweb" else "application/json"
            )
    except ArchiveError as error:
        return _ARCHIVES.fail(policy.name, str(error), "looks wait until it answers")
    if found is None:
        return _ARCHIVES.fail(
            policy.name, f"{policy.url} has no {path}", f"is archives.{policy.name}.kind {policy.kind} what is there?"
        )
    return _ARCHIVES.ok(policy.name, f"{policy.url} answers as {policy.kind}")


def check_sinks(examined: Examined) -> Iterator[Finding]:
    """Whether the receiver's port is open, or its topic is there."""
    names = {sink.name: sink for one in examined.repositories for sink in examined.settings.sinks_of(one)}
    if not names:
        yield _SINKS.skip("any", "no sink is configured")
    for sink in names.values():
        yield _sink(examined, sink)


def _sink(examined: Examined, sink: SinkPolicy) -> Finding:
    url, patience = urlsplit(sink.url), examined.limits.servers
    if sink.scheme == "kafka":
        topic = sink.url.removeprefix("kafka:")
        try:
            describe_topics(examined.kafka, [topic])
        except ConsumerError as error:
            return _SINKS.warn(sink.name, str(error), "the writer makes the topic if it may")
        return _SINKS.ok(sink.name, f"topic {topic} is there")
    if sink.scheme not in _PORTS or url.hostname is None:
        return _SINKS.skip(sink.name, f"{sink.scheme}: cannot be tried without writing to it; see `stocktake status`")
    port = url.port or _PORTS[sink.scheme]
    try:
        socket.create_connection((url.hostname, port), timeout=min(sink.timeout, patience)).close()
    except OSError as error:
        return _SINKS.fail(
            sink.name, f"{url.hostname}:{port} cannot be reached: {error}", "inventories wait until it can"
        )
    return _SINKS.ok(sink.name, f"{url.hostname}:{port} takes connections")
