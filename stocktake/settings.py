"""The settings, read from a TOML file and from ``STOCKTAKE_*`` variables.

``load`` turns the table into frozen dataclasses, each defined by the package whose policy it is. A name that is not in
the table, a value that does not fit, or settings that do not fit each other, is a :class:`SettingsError` that names the
variable, the value and what was expected; it never shows the value of a secret.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from consumers.policy import ArchivePolicy, ConsumerPolicy, KafkaPolicy, RepositoryPolicy
from monitor.policy import CutoverPolicy
from state.policy import ComparisonPolicy, RedisPolicy, StatePolicy
from stocktake.logs import LogPolicy
from stocktake.mapping import read_mapping
from stocktake.setting_checks import contradictions
from stocktake.setting_table import NAMED, PREFIX, SETTINGS, Setting
from stocktake.web.policy import HttpPolicy
from writers.policy import AccessPolicy, ChainPolicy, InventoryPolicy, SinkPolicy

TEST_PREFIX: Final = "STOCKTAKE_TEST_"  # the test suite's own variables; see README
DEFAULT_REPOSITORY: Final = "main"
EMBEDDED_SESSION_TIMEOUT: Final = 6  # seconds; the embedded broker's first join takes half of it

_WITH_USER: Final = re.compile(r"//[^/]*@")  # a URL that may hold a password
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class SettingsError(ValueError):
    """A setting that is unknown or whose value does not fit."""


_TABLE: Final = {setting.name: setting for setting in SETTINGS}
_NAMED: Final = {
    group: {setting.name.rpartition(".")[2]: setting for setting in settings} for group, settings in NAMED.items()
}


_RENAMED: Final = {"consumer.health_file": "health.file"}  # of version 0.1 before its release

_SINGULAR: Final = {"repositories": "repository", "archives": "archive", "sinks": "sink"}


@dataclass(frozen=True, slots=True)
class HealthPolicy:
    """Where the loops of this machine leave word of their health: what the names of the files begin with."""

    file: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. ``repositories`` holds at least one; they and the sinks are in the order of names."""

    kafka: KafkaPolicy
    redis: RedisPolicy
    state: StatePolicy
    consumer: ConsumerPolicy
    inventory: InventoryPolicy
    chain: ChainPolicy
    cutover: CutoverPolicy | None
    http: HttpPolicy
    health: HealthPolicy
    log: LogPolicy
    repositories: tuple[RepositoryPolicy, ...]
    archives: tuple[ArchivePolicy, ...] = ()

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

    def archive(self, repository: str) -> ArchivePolicy | None:
        """Where a repository's archive is asked; None if it is not."""
        return next((policy for policy in self.archives if policy.name == repository), None)

    def sinks_of(self, repository: str) -> list[SinkPolicy]:
        """The sinks that a repository's inventories go to."""
        return [sink for sink in self.inventory.sinks if sink.takes(repository)]


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
    names = _names(given, "repositories") or [DEFAULT_REPOSITORY]
    values: dict[str, dict[str, Any]] = {}
    for setting in SETTINGS:
        group, _, key = setting.name.partition(".")
        values.setdefault(group, {})[key] = _parse(setting, given.get(setting.name))
    repositories = tuple(RepositoryPolicy(name=name, **_values("repositories", name, given)) for name in names)
    archives = tuple(ArchivePolicy(name=name, **_values("archives", name, given)) for name in _names(given, "archives"))
    sinks = tuple(SinkPolicy(name=name, **_values("sinks", name, given)) for name in _names(given, "sinks"))
    _refuse_shared_topics(repositories)
    kafka, redis = KafkaPolicy(**values["kafka"]), RedisPolicy(**values["redis"])
    http = HttpPolicy(**values["http"])
    cutover = _cutover(values["cutover"], given)
    for name, why in contradictions(kafka, redis, http, archives, sinks, repositories, cutover):
        first = next((given[one].where for one in given if one == name or one.startswith(f"{name}.")), _variable(name))
        raise SettingsError(f"{first}: {why}")
    return Settings(
        kafka=kafka,
        redis=redis,
        state=StatePolicy(**values["state"]),
        consumer=ConsumerPolicy(**values["consumer"]),
        inventory=InventoryPolicy(**values["inventory"], access=AccessPolicy(**values["access"]), sinks=sinks),
        chain=ChainPolicy(**values["chain"]),
        cutover=cutover,
        http=http,
        health=HealthPolicy(**values["health"]),
        log=LogPolicy(**values["log"]),
        repositories=repositories,
        archives=archives,
    )


def _cutover(values: dict[str, Any], given: Mapping[str, _Given]) -> CutoverPolicy | None:
    if not values["source"] and not values["target"]:
        return None
    for key in ("accession_numbers", "study_uids"):
        path = values[key]
        try:
            values[key] = {} if path is None else read_mapping(path)
        except (OSError, ValueError) as error:
            raise SettingsError(f"{given[f'cutover.{key}'].where}: {path}: {error}") from None
    rules = ComparisonPolicy(**{each.name: values.pop(each.name) for each in fields(ComparisonPolicy)})
    return CutoverPolicy(rules, **values)


def _names(given: Mapping[str, _Given], group: str) -> list[str]:
    return sorted({name.split(".")[1] for name in given if name.startswith(group + ".")})


def _values(group: str, name: str, given: Mapping[str, _Given]) -> dict[str, Any]:
    """The settings of one member of a group whose members have names."""
    values = {}
    for key, setting in _NAMED[group].items():
        found = given.get(f"{group}.{name}.{key}")
        values[key] = _parse(setting, found, setting.default.replace("<name>", name))
    return values


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
        shown = "(hidden)" if setting.secret or _WITH_USER.search(given.value) else repr(given.value)
        raise SettingsError(f"{given.where}: {shown} is not valid; expected {error}") from None


def _variable(name: str) -> str:
    """The environment variable of a setting, also of one whose group's members have names."""
    return PREFIX + name.upper().replace(".", "__")


def _setting(name: str) -> Setting | None:
    """The row of the table that a given name is of, if there is one."""
    group, _, rest = name.partition(".")
    if group in _NAMED:
        return _NAMED[group].get(rest.partition(".")[2])
    return _TABLE.get(name)


def _check_name(name: str, where: str) -> None:
    if _setting(name) is not None:
        group, member, *_ = name.split(".")
        if group in _NAMED and not _NAME.fullmatch(member):
            raise SettingsError(f"{where}: {member!r} is no {_SINGULAR[group]} name; use a-z, 0-9 and -")
        return
    if name in _RENAMED:
        raise SettingsError(f"{where}: unknown setting; it is {_RENAMED[name]} now, and of every role")
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
    """A repository that is named and left at its defaults is followed, a sink lacks its URL; others must be known."""
    where = f"{path}: [{name}]"
    group, _, member = name.partition(".")
    if group in _NAMED and member:
        first, *_ = _NAMED[group].items()
        _check_name(f"{name}.{first[0]}", where)
        given[f"{name}.{first[0]}"] = _Given(where, first[1].default.replace("<name>", member))
    elif group not in _NAMED and not any(known.startswith(name + ".") for known in _TABLE):
        raise SettingsError(f"{where}: unknown setting; the README lists all of them")


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower().replace("__", ".")
        from_file = name.removesuffix("_file")
        setting = _setting(from_file)
        if from_file != name and setting is not None and setting.secret:
            _check_name(from_file, variable)
            if (plain := variable.removesuffix("_FILE")) in environ:
                raise SettingsError(f"{variable} and {plain} are both set; give one")
            try:
                given[from_file] = _Given(variable, Path(value).read_text(encoding="utf-8").strip())
            except (OSError, UnicodeDecodeError) as error:
                raise SettingsError(f"{variable}: {value!r} cannot be read: {error}") from None
            continue
        _check_name(name, variable)
        given[name] = _Given(variable, value)
    return given
