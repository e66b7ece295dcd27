"""Every setting: its default, where it may come from, and what is said of one that does not fit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stocktake.setting_table import ARCHIVE_SETTINGS, REPOSITORY_SETTINGS, SETTINGS, SINK_SETTINGS, Setting
from stocktake.settings import Settings, SettingsError, load

ALL: Final = (*SETTINGS, *REPOSITORY_SETTINGS, *ARCHIVE_SETTINGS, *SINK_SETTINGS)


def by_name(setting: Setting) -> str:
    return setting.name


def toml(folder: Path, text: str) -> Path:
    path = folder / "stocktake.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("setting", ALL, ids=by_name)
def test_every_default_is_a_value_that_the_setting_takes(setting: Setting) -> None:
    setting.parse(setting.default.replace("<name>", "main"))


def test_without_a_file_and_variables_there_is_one_repository_with_the_defaults() -> None:
    settings = load(None, {})
    assert [policy.name for policy in settings.repositories] == ["main"]
    assert settings.repository(None).topics == ("stocktake.main.events",)
    assert settings.kafka.bootstrap_servers == ("127.0.0.1:9092",)
    assert (settings.consumer.max_clock_skew, settings.inventory.interval) == (300.0, 300.0)
    assert (settings.state.shards, settings.chain.rollup_fanout, settings.chain.start) == (64, 8, None)


@pytest.mark.parametrize("setting", SETTINGS, ids=by_name)
def test_every_setting_has_a_variable_that_reaches_it(setting: Setting) -> None:
    group, _, key = setting.name.partition(".")
    assert setting.variable == f"STOCKTAKE_{group.upper()}__{key.upper()}"
    if group == "cutover":  # of two repositories that have to be there
        both = {name: f"STOCKTAKE_REPOSITORIES__{name}__TOPICS" for name in ("A", "B")}
        given = {"STOCKTAKE_CUTOVER__SOURCE": "a", "STOCKTAKE_CUTOVER__TARGET": "b"}
        given |= {variable: name for name, variable in both.items()}
        if setting.default:
            given |= {setting.variable: setting.default}
        cutover = load(None, given).cutover
        assert cutover is not None
        wanted = {"source": "a", "target": "b", "accession_numbers": {}, "study_uids": {}}.get(
            key, setting.parse(setting.default)
        )
        assert getattr(cutover if hasattr(cutover, key) else cutover.rules, key) == wanted
        return
    settings = load(None, {setting.variable: setting.default} if setting.default else {})
    assert getattr(getattr(settings, group), key) == setting.parse(setting.default)


@pytest.mark.parametrize("setting", ALL, ids=by_name)
@given(text=st.text(max_size=12))
@hypothesis_settings(deadline=None)  # others may have the machine
def test_a_text_is_either_taken_or_refused_with_what_is_expected(setting: Setting, text: str) -> None:
    with suppress(ValueError):
        setting.parse(text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("kafka.bootstrap_servers", "a:1, b:2,", ("a:1", "b:2")),
        ("kafka.timeout", "500ms", 0.5),
        ("kafka.timeout", "1.5 h", 5400.0),
        ("kafka.timeout", "7", 7.0),
        ("consumer.max_clock_skew", "0", 0.0),
        ("consumer.dlq_limit", "1", 1.0),
        ("inventory.dir", "/a b", Path("/a b")),
        ("inventory.write_empty", "False", False),
        ("chain.start", "2026-01-31T00:00:00+01:00", 1_769_814_000_000_000),
        ("http.listen", "[::1]:80", ("::1", 80)),
    ],
)
def test_values_are_read_as_the_table_says(name: str, text: str, value: object) -> None:
    [setting] = [one for one in SETTINGS if one.name == name]
    assert setting.parse(text) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("kafka.bootstrap_servers", " , ", "one or more names"),
        ("kafka.timeout", "0s", "a duration above zero"),
        ("kafka.timeout", "-1s", "a duration above zero"),
        ("kafka.timeout", "1 week", "a duration above zero"),
        ("kafka.group_id", "  ", "a text that is not empty"),
        ("consumer.dlq_limit", "0", "a number above 0 and up to 1"),
        ("consumer.dlq_limit", "nan", "a number above 0 and up to 1"),
        ("state.shards", "4097", "a whole number from 1 to 4096"),
        ("inventory.level", "study", "one of STUDY, SERIES, INSTANCE"),
        ("inventory.write_empty", "yes", "true or false"),
        ("inventory.uid_root", "1.02", "a UID root"),
        ("inventory.uid_root", "1.1٢", "a UID root"),
        ("inventory.uid_root", "1." + "2" * 31, "a UID root"),
        ("chain.start", "yesterday", "empty, or a time"),
        ("http.listen", "localhost:0", "HOST:PORT"),
        ("http.listen", "localhost:²", "HOST:PORT"),
        ("repositories.<name>.timezone", "Middle-earth", "an IANA time zone"),
        ("repositories.<name>.timezone", "../etc/passwd", "an IANA time zone"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_its_variable(name: str, text: str, expected: str) -> None:
    [setting] = [one for one in ALL if one.name == name]
    variable = setting.variable.replace("<NAME>", "MAIN")
    with pytest.raises(SettingsError) as refused:
        load(None, {variable: text})
    assert str(refused.value).startswith(f"{variable}: {text!r} is not valid; expected {expected}")


@pytest.mark.parametrize(
    "variable",
    [
        "STOCKTAKE_KAFKA",
        "STOCKTAKE_KAFKA__X",
        "STOCKTAKE_REPOSITORIES__MAIN__X",
        "STOCKTAKE_X",
        "STOCKTAKE_LOG__LEVEL_FILE",
    ],
)
def test_an_unknown_variable_is_an_error_that_names_it(variable: str) -> None:
    with pytest.raises(SettingsError, match=f"^{variable}: unknown setting"):
        load(None, {variable: "1"})


def test_other_programs_variables_and_the_tests_own_are_left_alone() -> None:
    load(None, {"PATH": "/bin", "STOCKTAKE_TEST_KAFKA": "a:1", "stocktake_kafka__x": "1"})


@pytest.mark.parametrize("text", ["x = 1", "[kafka]\nx = 1", "[nonsense]", "[kafka.timeout]\nseconds = 1"])
def test_an_unknown_name_in_a_file_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = toml(tmp_path, text)
    with pytest.raises(SettingsError, match="unknown setting") as refused:
        load(path, {})
    assert str(refused.value).startswith(f"{path}: ")


def test_a_file_gives_values_in_tomls_own_types_and_variables_win(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        """
        [kafka]
        bootstrap_servers = ["a:1", "b:2"]
        max_poll_records = 7
        [consumer]
        dlq_limit = 0.5
        [inventory]
        write_empty = false
        [chain]
        start = 2026-01-31T00:00:00+01:00
        [repositories.pacs-1]
        topics = "events"
        timezone = "Asia/Tokyo"
        """,
    )
    settings = load(path, {"STOCKTAKE_KAFKA__MAX_POLL_RECORDS": "8"})
    assert settings.kafka.bootstrap_servers == ("a:1", "b:2")
    assert settings.kafka.max_poll_records == 8
    assert (settings.consumer.dlq_limit, settings.inventory.write_empty) == (0.5, False)
    assert settings.chain.start == 1_769_814_000_000_000
    [repository] = settings.repositories
    assert (repository.name, repository.topics, repository.timezone) == ("pacs-1", ("events",), "Asia/Tokyo")


def test_a_repository_is_configured_by_its_name_alone(tmp_path: Path) -> None:
    settings = load(toml(tmp_path, "[repositories.pacs]\n[repositories.vna]\ntimezone = 'UTC'\n"), {})
    assert [policy.name for policy in settings.repositories] == ["pacs", "vna"]
    assert settings.repository("pacs").topics == ("stocktake.pacs.events",)


@pytest.mark.parametrize("name", ["-x", "x_y", "x" * 64, "ä"])
def test_a_repository_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="is no repository name"):
        load(None, {f"STOCKTAKE_REPOSITORIES__{name}__TOPICS": "events"})


def test_two_repositories_may_not_share_a_topic() -> None:
    shared = {f"STOCKTAKE_REPOSITORIES__{name}__TOPICS": "events" for name in ("A", "B")}
    with pytest.raises(SettingsError, match="topic 'events' belongs to repositories a and b; one only"):
        load(None, shared)


def test_one_of_several_repositories_must_be_named_and_be_there() -> None:
    settings = load(None, {f"STOCKTAKE_REPOSITORIES__{name}__TOPICS": name for name in ("A", "B")})
    assert settings.repository("b").name == "b"
    with pytest.raises(SettingsError, match="name one with --repository: a, b"):
        settings.repository(None)
    with pytest.raises(SettingsError, match="no repository 'c' is configured; there is: a, b"):
        settings.repository("c")


SECRETS: Final = [setting for setting in SETTINGS if setting.secret]


def test_what_is_secret_is_known() -> None:
    assert [setting.name for setting in SECRETS] == [
        "kafka.sasl_password",
        "redis.url",
        "redis.password",
        "redis.sentinel_password",
    ]


def secret_of(settings: Settings, setting: Setting) -> str:
    group, _, key = setting.name.partition(".")
    return str(getattr(getattr(settings, group), key))


NEEDED: Final = {  # by secrets that are of no use alone
    "kafka.sasl_password": {
        "STOCKTAKE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "STOCKTAKE_KAFKA__SASL_MECHANISM": "PLAIN",
        "STOCKTAKE_KAFKA__SASL_USERNAME": "stocktake",
    },
    "redis.sentinel_password": {
        "STOCKTAKE_REDIS__MODE": "sentinel",
        "STOCKTAKE_REDIS__SENTINEL_MASTER": "archive",
    },
}


@pytest.mark.parametrize("setting", SECRETS, ids=by_name)
def test_a_secret_may_stand_in_a_file_of_its_own(setting: Setting, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("redis://:geheim@h:1/0\n")
    variable = setting.variable + "_FILE"
    needed = NEEDED.get(setting.name, {})
    assert secret_of(load(None, {variable: str(path)} | needed), setting) == "redis://:geheim@h:1/0"
    with pytest.raises(SettingsError, match=f"{variable} and {setting.variable} are both set; give one"):
        load(None, {variable: str(path), setting.variable: "x"})
    with pytest.raises(SettingsError, match=f"^{variable}: .* cannot be read"):
        load(None, {variable: str(tmp_path / "missing")})
    path.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=f"^{variable}: .* cannot be read"):
        load(None, {variable: str(path)})


def test_the_value_of_a_secret_is_never_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^STOCKTAKE_REDIS__URL: \(hidden\) is not valid"):
        load(None, {"STOCKTAKE_REDIS__URL": "  "})
    path = tmp_path / "secret"
    path.write_text("")
    with pytest.raises(SettingsError, match=r"^STOCKTAKE_REDIS__URL_FILE: \(hidden\) is not valid"):
        load(None, {"STOCKTAKE_REDIS__URL_FILE": str(path)})


# --- sinks -----------------------------------------------------------------------------------------------------

SINK: Final = "STOCKTAKE_SINKS__VNA__"


@pytest.mark.parametrize(
    "url",
    [
        "dicom://ARCHIVE@pacs.example.org:11112",
        "dicoms://MY%20PACS@[::1]:2762",
        "https://vna.example.org/dicom-web/inventories",
        "s3://bucket/folder",
        "file:///mnt/mirror",
        "kafka:stocktake.inventories",
    ],
)
def test_a_sink_is_named_by_its_url(url: str) -> None:
    [sink] = load(None, {f"{SINK}URL": url}).inventory.sinks
    assert (sink.name, sink.url, sink.scheme) == ("vna", url, url.partition(":")[0])
    assert sink.takes("any")


@pytest.mark.parametrize(
    "url",
    [
        "pacs.example.org:11112",
        "dicom://pacs.example.org:11112",
        "dicom://A_TITLE_THAT_IS_TOO_LONG@pacs.example.org",
        "dicom://ARCHIVE@pacs.example.org:99999",
        "https:///inventories",
        "kafka:no spaces",
        "gopher://archive",
        "nothing",
    ],
)
def test_a_url_that_names_no_sink_is_refused_with_what_is_expected(url: str) -> None:
    with pytest.raises(SettingsError, match=f"^{SINK}URL: .* is not valid; expected "):
        load(None, {f"{SINK}URL": url})


def test_a_sink_s_secrets_may_stand_in_files_and_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text('{"key": "geheim"}\n')
    environ = {f"{SINK}URL": "s3://bucket"}
    [sink] = load(None, environ | {f"{SINK}STORAGE_OPTIONS_FILE": str(file)}).inventory.sinks
    assert sink.storage_options == {"key": "geheim"}
    with pytest.raises(SettingsError) as refused:
        load(None, environ | {f"{SINK}STORAGE_OPTIONS": "geheim"})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"TIMEOUT": "5s"}, "URL: is missing; a sink needs a url"),
        ({"URL": "s3://b", "REPOSITORIES": "pacs"}, "REPOSITORIES: names pacs, which is not configured"),
        ({"URL": "s3://b", "TOKEN": "x"}, "TOKEN: is of no use with a URL of s3:"),
        ({"URL": "https://h/i", "TOKEN": "x", "USERNAME": "u"}, "TOKEN: is of no use together with username"),
        ({"URL": "https://h/i", "PASSWORD": "x"}, "PASSWORD: is of no use without username"),
        ({"URL": "https://h/i", "TLS_KEY_FILE": "x"}, "TLS_KEY_FILE: is of no use without tls_cert_file"),
        ({"URL": "dicom://A@h:1", "TLS_CA_FILE": "x"}, "TLS_CA_FILE: is of no use with a URL of dicom:"),
        ({"URL": "dicom://A@h:1", "STORAGE_OPTIONS": '{"a": 1}'}, "STORAGE_OPTIONS: is of no use with"),
        ({"URL": "https://u:geheim@h/i"}, "URL: .* a URL without a password"),
    ],
)
def test_settings_of_a_sink_that_do_not_fit_are_refused_by_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"{SINK}{named}"):
        load(None, {f"{SINK}{name}": value for name, value in given.items()})


def test_a_sink_may_stand_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "stocktake.toml"
    file.write_text('[sinks.vna]\nurl = "dicom://ARCHIVE@h:11112"\nrepositories = ["main"]\n')
    [sink] = load(file, {}).inventory.sinks
    assert (sink.repositories, sink.takes("main"), sink.takes("other")) == (("main",), True, False)
    file.write_text("[sinks.vna]\n")
    with pytest.raises(SettingsError, match="url"):
        load(file, {})


# --- cutover ---------------------------------------------------------------------------------------------------

BOTH: Final = {f"STOCKTAKE_REPOSITORIES__{name}__TOPICS": name for name in ("A", "B")}
CUTOVER: Final = "STOCKTAKE_CUTOVER__"


def test_without_a_source_and_target_nothing_is_compared() -> None:
    assert load(None, BOTH | {f"{CUTOVER}GRACE": "5m"}).cutover is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SOURCE": "a"}, "TARGET: is missing; a cutover has a source and a target"),
        ({"SOURCE": "a", "TARGET": "c"}, "TARGET: names c, which is not configured"),
        ({"SOURCE": "a", "TARGET": "a"}, "TARGET: is the source itself"),
        ({"SOURCE": "a", "TARGET": "b", "ATTRIBUTES": "PatientID,Shoe"}, "ATTRIBUTES: .* Shoe is none"),
        ({"SOURCE": "a", "TARGET": "b", "STUDY_DATE_FROM": "2026"}, "STUDY_DATE_FROM: .* a date such as"),
        (
            {"SOURCE": "a", "TARGET": "b", "STUDY_DATE_FROM": "20260102", "STUDY_DATE_TO": "20260101"},
            "STUDY_DATE_TO: lies before cutover.study_date_from",
        ),
        ({"SOURCE": "a", "TARGET": "b", "ACCESSION_NUMBERS": "/nowhere.csv"}, "ACCESSION_NUMBERS: /nowhere.csv: "),
    ],
)
def test_settings_of_a_cutover_that_do_not_fit_are_refused_by_name(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"{CUTOVER}{named}"):
        load(None, BOTH | {f"{CUTOVER}{name}": value for name, value in given.items()})


def test_a_mapping_of_accession_numbers_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mapping.csv"
    given = BOTH | {f"{CUTOVER}SOURCE": "a", f"{CUTOVER}TARGET": "b", f"{CUTOVER}ACCESSION_NUMBERS": str(file)}
    file.write_text("# before, after\nA1, B1\n\nA2,B2\n")
    cutover = load(None, given).cutover
    assert cutover is not None
    assert cutover.rules.accession_numbers == {"A1": "B1", "A2": "B2"}
    for text, wrong in (("A1\n", "line 1: expected two columns"), ("A1,B1\nA1,B2\n", "line 2: its first column")):
        file.write_text(text)
        with pytest.raises(SettingsError, match=wrong):
            load(None, given)
