"""Settings that need each other, or make each other meaningless: each is refused with its variable."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from stocktake.settings import SettingsError, load

SASL: Final = {
    "KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA__SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA__SASL_USERNAME": "stocktake",
    "KAFKA__SASL_PASSWORD": "hunter2",
}
SENTINEL: Final = {"REDIS__MODE": "sentinel", "REDIS__URL": "redis://s1,s2", "REDIS__SENTINEL_MASTER": "archive"}
ARCHIVE: Final = {"ARCHIVES__MAIN__URL": "https://archive.example.org/dicom-web"}


def variables(given: dict[str, str]) -> dict[str, str]:
    return {f"STOCKTAKE_{name}": value for name, value in given.items() if value}


@pytest.mark.parametrize(
    "given",
    [
        SASL,
        SASL | {"KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"},
        SASL | {"KAFKA__SSL_CA_FILE": "/ca", "KAFKA__SSL_CERT_FILE": "/cert", "KAFKA__SSL_KEY_FILE": "/key"},
        {"KAFKA__SECURITY_PROTOCOL": "SSL", "KAFKA__SSL_CERT_FILE": "/both"},
        SENTINEL,
        SENTINEL | {"REDIS__SENTINEL_USERNAME": "watcher", "REDIS__SENTINEL_PASSWORD": "hunter2"},
        {"REDIS__MODE": "cluster", "REDIS__URL": "rediss://n1:7000,n2:7000", "REDIS__TLS_CA_FILE": "/ca"},
        {"REDIS__URL": "unix:///run/redis.sock"},
        ARCHIVE,
        ARCHIVE | {"ARCHIVES__MAIN__USERNAME": "u", "ARCHIVES__MAIN__PASSWORD": "hunter2"},
        ARCHIVE | {"ARCHIVES__MAIN__TOKEN": "hunter2", "ARCHIVES__MAIN__TLS_CA_FILE": "/ca"},
    ],
)
def test_settings_that_fit_each_other_are_taken(given: dict[str, str]) -> None:
    load(None, variables(given))


@pytest.mark.parametrize(
    ("given", "named", "why"),
    [
        (SASL | {"KAFKA__SASL_MECHANISM": ""}, "KAFKA__SASL_MECHANISM", "is missing; kafka.security_protocol SASL_SSL"),
        (SASL | {"KAFKA__SASL_USERNAME": ""}, "KAFKA__SASL_USERNAME", "is missing"),
        (SASL | {"KAFKA__SASL_PASSWORD": ""}, "KAFKA__SASL_PASSWORD", "is missing"),
        (SASL | {"KAFKA__SECURITY_PROTOCOL": "SSL"}, "KAFKA__SASL_MECHANISM", "is of no use with kafka.security_proto"),
        ({"KAFKA__SASL_PASSWORD": "hunter2"}, "KAFKA__SASL_PASSWORD", "is of no use with kafka.security_protocol PLAI"),
        ({"KAFKA__SSL_CA_FILE": "/ca"}, "KAFKA__SSL_CA_FILE", "is of no use with kafka.security_protocol PLAINTEXT"),
        (
            {"KAFKA__SECURITY_PROTOCOL": "SSL", "KAFKA__SSL_KEY_FILE": "/key"},
            "KAFKA__SSL_KEY_FILE",
            "is of no use without kafka.ssl_cert_file",
        ),
        ({"REDIS__URL": "redis://a,b"}, "REDIS__URL", "names several hosts; set redis.mode to cluster or sentinel"),
        ({"REDIS__URL": "redis://:hunter2/x@a"}, "REDIS__URL", "(hidden) is not valid; expected a URL such as"),
        ({"REDIS__URL": "redis://a?ssl_cert_reqs=none"}, "REDIS__URL", "(hidden) is not valid; expected a URL such as"),
        ({"REDIS__MODE": "cluster", "REDIS__URL": "redis://a/1"}, "REDIS__URL", "names a database; a cluster has only"),
        ({"REDIS__MODE": "cluster", "REDIS__URL": "unix:///a"}, "REDIS__URL", "names a socket"),
        ({"REDIS__MODE": "sentinel"}, "REDIS__SENTINEL_MASTER", "is missing; redis.mode sentinel needs it"),
        ({"REDIS__SENTINEL_MASTER": "archive"}, "REDIS__SENTINEL_MASTER", "is of no use with redis.mode single"),
        (
            {"REDIS__MODE": "cluster", "REDIS__SENTINEL_PASSWORD": "hunter2"},
            "REDIS__SENTINEL_PASSWORD",
            "is of no use with redis.mode cluster",
        ),
        (
            {"REDIS__TLS_CA_FILE": "/ca"},
            "REDIS__TLS_CA_FILE",
            "is of no use without TLS; let redis.url begin with redi",
        ),
        (
            {"REDIS__URL": "rediss://a", "REDIS__TLS_KEY_FILE": "/key"},
            "REDIS__TLS_KEY_FILE",
            "is of no use without redis.tls_cert_file",
        ),
        ({"HTTP__TLS_KEY_FILE": "/key"}, "HTTP__TLS_KEY_FILE", "is of no use without http.tls_cert_file"),
        ({"ARCHIVES__MAIN__KIND": "orthanc"}, "ARCHIVES__MAIN__URL", "is missing; an archive needs a url"),
        ({"ARCHIVES__OTHER__URL": "http://a"}, "ARCHIVES__OTHER__URL", "is of no use: no repository other"),
        (ARCHIVE | {"REPOSITORIES__MAIN__TOPICS": "a,b"}, "ARCHIVES__MAIN__URL", "goes with one topic only"),
        (
            {"REPOSITORIES__MAIN__TOPICS": "a,b", "REPOSITORIES__MAIN__HEARTBEATS": "true"},
            "REPOSITORIES__MAIN__HEARTBEATS",
            "is of no use with several topics",
        ),
        (
            ARCHIVE | {"ARCHIVES__MAIN__PASSWORD": "hunter2"},
            "ARCHIVES__MAIN__PASSWORD",
            "is of no use without username",
        ),
        (
            ARCHIVE | {"ARCHIVES__MAIN__USERNAME": "u", "ARCHIVES__MAIN__TOKEN": "hunter2"},
            "ARCHIVES__MAIN__TOKEN",
            "is of no use together with username",
        ),
        (ARCHIVE | {"ARCHIVES__MAIN__TLS_KEY_FILE": "/k"}, "ARCHIVES__MAIN__TLS_KEY_FILE", "is of no use without tls"),
        (
            {"ARCHIVES__MAIN__URL": "http://a", "ARCHIVES__MAIN__TLS_CA_FILE": "/ca"},
            "ARCHIVES__MAIN__TLS_CA_FILE",
            "is of no use with a URL of http:",
        ),
        (
            {"ARCHIVES__MAIN__URL": "https://u:hunter2@a"},
            "ARCHIVES__MAIN__URL",
            "(hidden) is not valid; expected an http",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_variable_and_without_a_secret(
    given: dict[str, str], named: str, why: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(None, variables(given))
    assert str(refused.value).startswith(f"STOCKTAKE_{named}: {why}")
    assert "hunter2" not in str(refused.value)


def test_a_contradiction_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stocktake.toml"
    path.write_text('[redis]\nmode = "cluster"\nurl = "redis://a/3"\n')
    with pytest.raises(SettingsError) as refused:
        load(path, {})
    assert str(refused.value).startswith(f"{path}: redis.url: names a database")
