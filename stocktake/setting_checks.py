"""Settings that do not fit each other: what one of them needs, or makes meaningless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from consumers.policy import ArchivePolicy, KafkaPolicy, RepositoryPolicy
from monitor.policy import CutoverPolicy
from state.address import parse_redis_url
from state.policy import RedisPolicy
from stocktake.web.policy import HttpPolicy
from writers.policy import SinkPolicy

_NO_STORAGE: Final = ("dicom", "dicoms", "http", "https", "kafka")


class Contradiction(NamedTuple):
    """The name of a setting, or of a group of them, and what is wrong with it."""

    name: str
    why: str


def contradictions(
    kafka: KafkaPolicy,
    redis: RedisPolicy,
    http: HttpPolicy,
    archives: Sequence[ArchivePolicy],
    sinks: Sequence[SinkPolicy],
    repositories: Sequence[RepositoryPolicy],
    cutover: CutoverPolicy | None,
) -> Iterator[Contradiction]:
    """All that is wrong, the most telling first; no value of a secret is in it."""
    yield from _kafka(kafka)
    yield from _redis(redis)
    if http.tls_key_file is not None and http.tls_cert_file is None:
        yield Contradiction("http.tls_key_file", "is of no use without http.tls_cert_file")
    names = [repository.name for repository in repositories]
    for repository in repositories:
        if len(repository.topics) > 1:
            yield from _several_topics(repository, archives)
    for archive in archives:
        yield from _archive(archive, names)
    for sink in sinks:
        yield from _sink(sink, names)
    if cutover is not None:
        yield from _cutover(cutover, names)


def _kafka(policy: KafkaPolicy) -> Iterator[Contradiction]:
    protocol = f"kafka.security_protocol {policy.security_protocol}"
    login = ("sasl_mechanism", "sasl_username", "sasl_password")
    files = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
    for key in login:
        if policy.uses_sasl and not getattr(policy, key):
            yield Contradiction(f"kafka.{key}", f"is missing; {protocol} needs it")
        if not policy.uses_sasl and getattr(policy, key):
            yield Contradiction(f"kafka.{key}", f"is of no use with {protocol}; set that to SASL_SSL")
    for key in files:
        if not policy.uses_tls and getattr(policy, key) is not None:
            yield Contradiction(f"kafka.{key}", f"is of no use with {protocol}; set that to SSL or SASL_SSL")
    if policy.ssl_key_file is not None and policy.ssl_cert_file is None:
        yield Contradiction("kafka.ssl_key_file", "is of no use without kafka.ssl_cert_file")


def _redis(policy: RedisPolicy) -> Iterator[Contradiction]:
    try:
        url = parse_redis_url(policy.url)
    except ValueError as error:
        yield Contradiction("redis.url", f"(hidden) is not valid; expected {error}")
        return
    if policy.mode == "single" and len(url.addresses) > 1:
        yield Contradiction("redis.url", "names several hosts; set redis.mode to cluster or sentinel")
    if policy.mode != "single" and not all(address.port for address in url.addresses):
        yield Contradiction("redis.url", f"names a socket; redis.mode {policy.mode} needs hosts")
    if policy.mode == "cluster" and url.database:
        yield Contradiction("redis.url", "names a database; a cluster has only 0")
    if policy.mode == "sentinel" and not policy.sentinel_master:
        yield Contradiction("redis.sentinel_master", "is missing; redis.mode sentinel needs it")
    for key in ("sentinel_master", "sentinel_username", "sentinel_password"):
        if policy.mode != "sentinel" and getattr(policy, key):
            yield Contradiction(f"redis.{key}", f"is of no use with redis.mode {policy.mode}; set that to sentinel")
    for key in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        if not url.tls and getattr(policy, key) is not None:
            yield Contradiction(f"redis.{key}", "is of no use without TLS; let redis.url begin with rediss://")
    if policy.tls_key_file is not None and policy.tls_cert_file is None:
        yield Contradiction("redis.tls_key_file", "is of no use without redis.tls_cert_file")


def _cutover(policy: CutoverPolicy, repositories: Sequence[str]) -> Iterator[Contradiction]:
    rules = policy.rules
    for name, repository in (("cutover.source", rules.source), ("cutover.target", rules.target)):
        if not repository:
            yield Contradiction(name, "is missing; a cutover has a source and a target")
        elif repository not in repositories:
            yield Contradiction(name, f"names {repository}, which is not configured")
    if rules.source == rules.target:
        yield Contradiction("cutover.target", "is the source itself")
    if rules.study_date_from and rules.study_date_to and rules.study_date_from > rules.study_date_to:
        yield Contradiction("cutover.study_date_to", "lies before cutover.study_date_from")


def _several_topics(repository: RepositoryPolicy, archives: Sequence[ArchivePolicy]) -> Iterator[Contradiction]:
    """What a look finds, and what a bridge tells, goes to one topic: it would have no order with what others hold."""
    if repository.heartbeats:
        yield Contradiction(f"repositories.{repository.name}.heartbeats", "is of no use with several topics")
    if any(archive.name == repository.name for archive in archives):
        yield Contradiction(f"archives.{repository.name}", f"goes with one topic only; {repository.name} has several")


def _archive(policy: ArchivePolicy, repositories: Sequence[str]) -> Iterator[Contradiction]:
    name = f"archives.{policy.name}"
    scheme = policy.url.partition(":")[0].lower()
    if policy.name not in repositories:
        yield Contradiction(name, f"is of no use: no repository {policy.name} is configured")
    elif not policy.url:
        yield Contradiction(f"{name}.url", "is missing; an archive needs a url")
    for key in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        if scheme == "http" and getattr(policy, key) is not None:
            yield Contradiction(f"{name}.{key}", "is of no use with a URL of http:")
    yield from _login(name, policy)


def _sink(policy: SinkPolicy, repositories: Sequence[str]) -> Iterator[Contradiction]:
    if not policy.url:
        yield Contradiction(f"sinks.{policy.name}.url", "is missing; a sink needs a url")
        return
    for name in policy.repositories:
        if name not in repositories:
            yield Contradiction(f"sinks.{policy.name}.repositories", f"names {name}, which is not configured")
    web = policy.scheme in ("http", "https")
    tls = policy.scheme in ("https", "dicoms")
    useless = {
        "username": not web and policy.username,
        "password": not web and policy.password,
        "token": not web and policy.token,
        "tls_ca_file": not tls and policy.tls_ca_file,
        "tls_cert_file": not tls and policy.tls_cert_file,
        "tls_key_file": not tls and policy.tls_key_file,
        "storage_options": policy.scheme in _NO_STORAGE and policy.storage_options,
    }
    for key, given in useless.items():
        if given:
            yield Contradiction(f"sinks.{policy.name}.{key}", f"is of no use with a URL of {policy.scheme}:")
    yield from _login(f"sinks.{policy.name}", policy)


def _login(name: str, policy: ArchivePolicy | SinkPolicy) -> Iterator[Contradiction]:
    """How we say who we are to a server of other people's."""
    if policy.token and policy.username:
        yield Contradiction(f"{name}.token", "is of no use together with username; give one")
    if policy.password and not policy.username:
        yield Contradiction(f"{name}.password", "is of no use without username")
    if policy.tls_key_file is not None and policy.tls_cert_file is None:
        yield Contradiction(f"{name}.tls_key_file", "is of no use without tls_cert_file")
