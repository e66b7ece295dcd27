"""Every setting: one table of name, default and help, read from a TOML file and from ``STOCKTAKE_*`` variables.

``load`` turns the table into frozen dataclasses, each defined by the package whose policy it is. A name that is not in
the table, a value that does not fit, or settings that do not fit each other, is a :class:`SettingsError` that names the
variable, the value and what was expected; it never shows the value of a secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from consumers.policy import SASL_MECHANISMS, SECURITY_PROTOCOLS, ConsumerPolicy, KafkaPolicy, RepositoryPolicy
from state.policy import MODES, RedisPolicy, StatePolicy
from stocktake import setting_values as kinds
from stocktake.setting_checks import contradictions
from writers.policy import AccessPolicy, ChainPolicy, InventoryPolicy

PREFIX: Final = "STOCKTAKE_"
TEST_PREFIX: Final = "STOCKTAKE_TEST_"  # the test suite's own variables; see README
DEFAULT_REPOSITORY: Final = "main"
FORMATS: Final = ("auto", "native")
EMBEDDED_SESSION_TIMEOUT: Final = 6  # seconds; the embedded broker's first join takes half of it

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting that is unknown or whose value does not fit."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table. ``parse`` takes the text and returns the value or raises ValueError("what is expected")."""

    name: str
    default: str
    help: str
    parse: Callable[[str], Any]
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable, ``STOCKTAKE_GROUP__NAME``."""
        return PREFIX + self.name.upper().replace(".", "__")


SETTINGS: Final = (
    Setting("kafka.bootstrap_servers", "127.0.0.1:9092", "Kafka brokers, HOST:PORT, comma-separated", kinds.listing),
    Setting("kafka.group_id", "stocktake", "consumer group; each repository adds its name", kinds.required_text),
    Setting("kafka.instance_id", "", "static membership: this process's name in its group, e.g. the pod's", kinds.text),
    Setting("kafka.session_timeout", "45s", "a consumer unheard of for so long loses its partitions", kinds.duration),
    Setting("kafka.max_poll_records", "10000", "events taken in one batch at most", kinds.integer(1, 1_000_000)),
    Setting("kafka.timeout", "30s", "give up on an unreachable broker after this", kinds.duration),
    Setting("kafka.security_protocol", "PLAINTEXT", "how brokers are spoken to", kinds.choice(*SECURITY_PROTOCOLS)),
    Setting("kafka.sasl_mechanism", "", "how a SASL user is proved", kinds.optional(kinds.choice(*SASL_MECHANISMS))),
    Setting("kafka.sasl_username", "", "SASL user", kinds.text),
    Setting("kafka.sasl_password", "", "SASL password", kinds.text, secret=True),
    Setting("kafka.ssl_ca_file", "", "authorities that sign the brokers; empty: the system's", kinds.path),
    Setting("kafka.ssl_cert_file", "", "our certificate, if brokers ask for one", kinds.path),
    Setting("kafka.ssl_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting("redis.mode", "single", "what redis.url names: " + ", ".join(MODES), kinds.choice(*MODES)),
    Setting("redis.url", "redis://127.0.0.1:6379/0", "Redis or Valkey server", kinds.required_text, secret=True),
    Setting("redis.username", "", "ACL user; wins over the one in redis.url", kinds.text),
    Setting("redis.password", "", "password; wins over the one in redis.url", kinds.text, secret=True),
    Setting("redis.sentinel_master", "", "name of the master that the sentinels watch", kinds.text),
    Setting("redis.sentinel_username", "", "ACL user of the sentinels", kinds.text),
    Setting("redis.sentinel_password", "", "password of the sentinels", kinds.text, secret=True),
    Setting("redis.tls_ca_file", "", "authorities that sign the servers; empty: the system's", kinds.path),
    Setting("redis.tls_cert_file", "", "our certificate, if the servers ask for one", kinds.path),
    Setting("redis.tls_key_file", "", "our certificate's key, if it is not in the same file", kinds.path),
    Setting("redis.timeout", "5s", "give up on a command or connection after this", kinds.duration),
    Setting("state.shards", "64", "hash slots a repository's state uses; fixed when made", kinds.integer(1, 4096)),
    Setting("consumer.max_clock_skew", "5m", "an event's time further ahead of its record is replaced", kinds.delay),
    Setting("consumer.max_out_of_order", "5s", "how late an event may come and still be in its cut", kinds.delay),
    Setting("consumer.dlq_limit", "0.1", "share of bad messages at which the consumer stops", kinds.fraction),
    Setting("consumer.dlq_window", "1000", "latest messages that the limit looks at", kinds.integer(1, 1_000_000)),
    Setting("consumer.watermark_interval", "1s", "how often progress is published", kinds.duration),
    Setting("consumer.shutdown_timeout", "20s", "time to finish after SIGTERM", kinds.duration),
    Setting(
        "consumer.lost_offsets",
        "stop",
        "what to do when Kafka no longer holds the wanted offset",
        kinds.choice("stop", "earliest"),
    ),
    Setting("consumer.health_file", "", "the consumer writes its liveness and readiness here", kinds.path),
    Setting(
        "inventory.dir",
        "inventories",
        "folder of the inventory files",
        lambda value: Path(kinds.required_text(value)),
    ),
    Setting("inventory.level", "INSTANCE", "STUDY, SERIES or INSTANCE; fixed for a chain", kinds.level),
    Setting("inventory.interval", "5m", "a delta is written this often", kinds.duration),
    Setting(
        "inventory.transfer_syntax",
        "EXPLICIT",
        "EXPLICIT or DEFLATED (little endian)",
        kinds.choice("EXPLICIT", "DEFLATED"),
    ),
    Setting("inventory.write_empty", "true", "write a delta also when nothing changed", kinds.flag),
    Setting("inventory.write_timezone", "false", "write Timezone Offset From UTC (0008,0201)", kinds.flag),
    Setting("inventory.purpose", "", "Inventory Purpose (0008,0401)", kinds.dicom_text("LT", 10_240)),
    Setting("inventory.manufacturer", "Stocktake", "Manufacturer (0008,0070)", kinds.dicom_text("LO", 64)),
    Setting(
        "inventory.institution_name", "", "Institution Name (0008,0080); empty: left out", kinds.dicom_text("LO", 64)
    ),
    Setting("inventory.station_name", "", "Station Name (0008,1010); empty: left out", kinds.dicom_text("SH", 16)),
    Setting(
        "inventory.device_serial_number",
        "",
        "Device Serial Number (0018,1000); empty: left out",
        kinds.dicom_text("LO", 64),
    ),
    Setting(
        "inventory.write_transaction_uid", "false", "write Transaction UID (0008,1195), a new one each time", kinds.flag
    ),
    Setting("inventory.uid_root", "2.25", "root of new SOP Instance UIDs", kinds.uid_root),
    Setting("inventory.lease", "30s", "a writer unheard of for so long is replaced", kinds.duration),
    Setting(
        "inventory.max_records_per_instance",
        "100000",
        "study records of one file; more are split into parts",
        kinds.integer(1, 10**9),
    ),
    Setting("inventory.max_bytes_per_instance", "1GB", "the same for its size", kinds.size),
    Setting(
        "inventory.retention",
        "0",
        "how long inventories stay that the head does not reach any more; 0: for ever",
        kinds.delay,
    ),
    Setting("inventory.processes", "2", "a large slice is encoded in so many processes", kinds.integer(1, 64)),
    Setting("access.study_ae_titles", "", "AE titles that studies can be retrieved from", kinds.ae_titles),
    Setting("access.study_retrieve_url", "", "DICOMweb service that studies can be retrieved from", kinds.url),
    Setting("access.study_base_uri", "", "what relative URIs of stored instances begin at", kinds.base_uri),
    Setting("access.inventory_ae_titles", "", "AE titles that inventories can be retrieved from", kinds.ae_titles),
    Setting("access.inventory_retrieve_url", "", "DICOMweb service that inventories can be retrieved from", kinds.url),
    Setting("access.inventory_base_uri", "", "where the repository's folder of inventories is served", kinds.base_uri),
    Setting("chain.start", "", "the chain's first moment; empty: oldest update time at the first cut", kinds.moment),
    Setting(
        "chain.origin",
        "unknown",
        "empty: the archive is followed from its first day",
        kinds.choice("unknown", "empty"),
    ),
    Setting("chain.rollup_fanout", "8", "deltas of one tier that a rollup replaces", kinds.integer(2, 1000)),
    Setting("http.listen", "127.0.0.1:8080", "HOST:PORT of the HTTP service", kinds.listen),
    Setting("log.level", "INFO", "DEBUG, INFO, WARNING or ERROR", kinds.choice("DEBUG", "INFO", "WARNING", "ERROR")),
)

REPOSITORY_SETTINGS: Final = (
    Setting(
        "repositories.<name>.topics", "stocktake.<name>.events", "topics to follow, comma-separated", kinds.listing
    ),
    Setting(
        "repositories.<name>.format",
        "auto",
        "format of its events: " + " or ".join(FORMATS),
        kinds.choice(*FORMATS),
    ),
    Setting("repositories.<name>.timezone", "UTC", "zone of its times without offset and of Content Date", kinds.zone),
)

_TABLE: Final = {setting.name: setting for setting in SETTINGS}
_REPOSITORY_TABLE: Final = {setting.name.rpartition(".")[2]: setting for setting in REPOSITORY_SETTINGS}


@dataclass(frozen=True, slots=True)
class HttpPolicy:
    """Where the HTTP service listens: (host, port)."""

    listen: tuple[str, int]


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """How much is logged to stderr."""

    level: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. ``repositories`` holds at least one, in the order of their names."""

    kafka: KafkaPolicy
    redis: RedisPolicy
    state: StatePolicy
    consumer: ConsumerPolicy
    inventory: InventoryPolicy
    chain: ChainPolicy
    http: HttpPolicy
    log: LogPolicy
    repositories: tuple[RepositoryPolicy, ...]

    @property
    def access(self) -> AccessPolicy:
        """What inventories say of access."""
        return self.inventory.access

    def names(self, name: str | None) -> list[str]:
        """The named repository alone, or all of them.

        Raises:
            SettingsError: no such repository.
        """
        return [policy.name for policy in self.repositories] if name is None else [self.repository(name).name]

    def repository(self, name: str | None) -> RepositoryPolicy:
        """The named repository, or the only one.

        Raises:
            SettingsError: no such repository, or none named while there are several.
        """
        names = ", ".join(policy.name for policy in self.repositories)
        if name is None:
            if len(self.repositories) > 1:
                raise SettingsError(f"several repositories are configured; name one with --repository: {names}")
            return self.repositories[0]
        for policy in self.repositories:
            if policy.name == name:
                return policy
        raise SettingsError(f"no repository {name!r} is configured; there is: {names}")


def with_servers(settings: Settings, bootstrap_servers: str, redis_url: str, inventory_dir: Path) -> Settings:
    """The settings with other servers, for embedded ones; their inventories go to ``inventory_dir``."""
    return replace(
        settings,
        kafka=replace(
            settings.kafka,
            bootstrap_servers=tuple(bootstrap_servers.split(",")),
            session_timeout=float(EMBEDDED_SESSION_TIMEOUT),
            security_protocol="PLAINTEXT",
        ),
        redis=replace(settings.redis, mode="single", url=redis_url, username="", password=""),
        inventory=replace(settings.inventory, dir=inventory_dir.resolve()),
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as it was given, and where: the name an error should use."""

    where: str
    value: str


def load(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """Read the file, then the environment, which wins; what neither gives has the table's default.

    Raises:
        SettingsError: a file that cannot be read, an unknown name, a value that does not fit, or not with another.
    """
    given = _from_file(config) if config is not None else {}
    given |= _from_environment(environ)
    names = sorted({name.split(".")[1] for name in given if name.startswith("repositories.")}) or [DEFAULT_REPOSITORY]
    values: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        group, _, key = setting.name.partition(".")
        values.setdefault(group, {})[key] = _parse(setting, given.get(setting.name))
    repositories = tuple(_repository(name, given) for name in names)
    _refuse_shared_topics(repositories)
    kafka, redis = KafkaPolicy(**values["kafka"]), RedisPolicy(**values["redis"])
    for name, why in contradictions(kafka, redis):
        raise SettingsError(f"{given[name].where if name in given else _TABLE[name].variable}: {why}")
    return Settings(
        kafka=kafka,
        redis=redis,
        state=StatePolicy(**values["state"]),
        consumer=ConsumerPolicy(**values["consumer"]),
        inventory=InventoryPolicy(**values["inventory"], access=AccessPolicy(**values["access"])),
        chain=ChainPolicy(**values["chain"]),
        http=HttpPolicy(**values["http"]),
        log=LogPolicy(**values["log"]),
        repositories=repositories,
    )


def _repository(name: str, given: Mapping[str, _Given]) -> RepositoryPolicy:
    values = {}
    for key, setting in _REPOSITORY_TABLE.items():
        found = given.get(f"repositories.{name}.{key}")
        values[key] = _parse(setting, found, setting.default.replace("<name>", name))
    return RepositoryPolicy(name=name, **values)


def _refuse_shared_topics(repositories: tuple[RepositoryPolicy, ...]) -> None:
    owner: dict[str, str] = {}
    for policy in repositories:
        for topic in policy.topics:
            if topic in owner:
                raise SettingsError(
                    f"topic {topic!r} belongs to repositories {owner[topic]} and {policy.name}; one only"
                )
            owner[topic] = policy.name


def _parse(setting: Setting, given: _Given | None, default: str | None = None) -> Any:
    if given is None:
        return setting.parse(setting.default if default is None else default)
    try:
        return setting.parse(given.value)
    except ValueError as error:
        shown = "(hidden)" if setting.secret else repr(given.value)
        raise SettingsError(f"{given.where}: {shown} is not valid; expected {error}") from None


def _check_name(name: str, where: str) -> None:
    if name in _TABLE:
        return
    group, _, rest = name.partition(".")
    repository, _, key = rest.partition(".")
    if group == "repositories" and key in _REPOSITORY_TABLE:
        if not _NAME.fullmatch(repository):
            raise SettingsError(f"{where}: {repository!r} is no repository name; use a-z, 0-9 and -")
        return
    raise SettingsError(f"{where}: unknown setting; the README lists all of them")


def _from_file(path: Path) -> dict[str, _Given]:
    try:
        with path.open("rb") as file:
            tree = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    given: dict[str, _Given] = {}
    _flatten(tree, "", path, given)
    return given


def _flatten(tree: Mapping[str, Any], prefix: str, path: Path, given: dict[str, _Given]) -> None:
    for key, value in tree.items():
        name = prefix + key
        if isinstance(value, dict) and value:
            _flatten(value, name + ".", path, given)
            continue
        if value == {}:
            _note_empty_table(name, path, given)
            continue
        where = f"{path}: {name}"
        _check_name(name, where)
        if isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, list):
            text = ",".join(map(str, value))
        else:
            text = str(value)
        given[name] = _Given(where, text)


def _note_empty_table(name: str, path: Path, given: dict[str, _Given]) -> None:
    """A repository that is named and left at its defaults is followed; any other empty table must at least be known."""
    where = f"{path}: [{name}]"
    group, _, repository = name.partition(".")
    if group == "repositories" and repository:
        topics = _REPOSITORY_TABLE["topics"]
        _check_name(f"{name}.topics", where)
        given[f"{name}.topics"] = _Given(where, topics.default.replace("<name>", repository))
    elif group != "repositories" and not any(known.startswith(name + ".") for known in _TABLE):
        raise SettingsError(f"{where}: unknown setting; the README lists all of them")


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        from_file = name.removesuffix("_file")
        if from_file != name and from_file in _TABLE and _TABLE[from_file].secret:
            if _TABLE[from_file].variable in environ:
                raise SettingsError(f"{variable} and {_TABLE[from_file].variable} are both set; give one")
            try:
                given[from_file] = _Given(variable, Path(value).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable}: {value!r} cannot be read: {error}") from None
            continue
        _check_name(name, variable)
        given[name] = _Given(variable, value)
    return given
