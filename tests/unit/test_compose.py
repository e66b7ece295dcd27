"""The compose file held to the program: its settings load, its commands parse, and nothing is open that need not be."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from typing import Final

import pytest

from stocktake import __version__
from stocktake.cli import parser
from stocktake.settings import Settings, load
from tests.image.box import USER
from tests.image.compose import ROOT, Service, document, services
from tests.servers.kafka_broker import kafka_version

SERVICES: Final = services()
OURS: Final = [one for one in SERVICES.values() if one.ours]


def settings_of(name: str) -> Settings:
    """What the program reads from the variables of a service, but the secrets, which stand in files."""
    environ = SERVICES[name].environ
    return load(None, {variable: value for variable, value in environ.items() if "/run/secrets/" not in value})


@pytest.mark.parametrize("service", OURS, ids=lambda one: one.name)
def test_its_variables_are_settings_that_fit_together(service: Service) -> None:
    files = {name for name in service.environ if name.endswith("_FILE") and "/run/secrets/" in service.environ[name]}
    settings = load(
        None, {name.removesuffix("_FILE") if name in files else name: value for name, value in service.environ.items()}
    )
    assert all(name.startswith("STOCKTAKE_") for name in service.environ)
    assert settings.health.file is not None
    assert {f"/run/secrets/{name}" for name in service.given["secrets"]} == {service.environ[name] for name in files}


@pytest.mark.parametrize("service", OURS, ids=lambda one: one.name)
def test_its_commands_and_health_checks_are_the_programs(service: Service) -> None:
    for program, command, *arguments in filter(None, (service.command, service.probe)):
        assert program == "stocktake"
        parser(command).parse_args([command, *arguments])


def test_every_role_is_asked_for_its_own_health() -> None:
    roles = {"consumer": "consume", "writer": "write", "service": "serve"}
    for name, command in roles.items():
        assert SERVICES[name].command == ["stocktake", command]
        assert SERVICES[name].probe == ["stocktake", "health", "--role", name, "--ready"]


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda one: one.name)
def test_none_has_capabilities_or_can_get_more_rights(service: Service) -> None:
    assert service.given["cap_drop"] == ["ALL"]
    assert service.given["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service.given
    assert "cap_add" not in service.given
    assert service.given.get("user", str(USER)).split(":")[0] not in ("0", "root")


def test_all_but_the_brokers_image_have_a_root_that_cannot_be_written() -> None:
    # The broker's image writes its settings into its own folders when it starts.
    assert {name for name, one in SERVICES.items() if not one.given.get("read_only")} == {"kafka", "topics"}


def test_images_are_pinned_to_versions_that_the_tests_know() -> None:
    images = {one.given["image"] for one in SERVICES.values()}
    assert all(re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+", image) for image in images)
    assert f"apache/kafka:{kafka_version()}" in images
    assert f"stocktake:{__version__}" in images


def test_ports_are_published_on_loopback_alone() -> None:
    published = [port for one in SERVICES.values() for port in one.given.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert all("network_mode" not in one.given for one in SERVICES.values())


def test_what_listens_beyond_loopback_asks_for_tokens() -> None:
    settings = settings_of("service")
    assert settings.http.tokens_file is not None
    assert f":{settings.http.listen[1]}" in SERVICES["service"].given["ports"][0]


def test_the_writers_folder_is_a_volume_that_the_others_only_read() -> None:
    folder = SERVICES["writer"].environ["STOCKTAKE_INVENTORY__DIR"]
    assert SERVICES["writer"].given["volumes"] == [f"inventories:{folder}"]
    for name in ("service", "cli"):
        assert f"inventories:{folder}:ro" in SERVICES[name].given["volumes"]


def test_volumes_and_secrets_are_declared_and_folders_for_volumes_are_in_the_image() -> None:
    mounts = [mount.split(":") for one in SERVICES.values() for mount in one.given.get("volumes", [])]
    assert {name for name, *_ in mounts} == document()["volumes"].keys()
    assert document()["secrets"].keys() == {name for one in SERVICES.values() for name in one.given.get("secrets", [])}
    built = (ROOT / "Containerfile").read_text(encoding="utf-8")
    for _, place, *_ in (mount for one in OURS for mount in (m.split(":") for m in one.given.get("volumes", []))):
        assert place in built


def test_the_brokers_cluster_id_is_as_kafka_wants_it() -> None:
    """Base64 for URLs, without padding, of 16 bytes, and not beginning with what a command line takes for an option."""
    given = SERVICES["kafka"].environ["CLUSTER_ID"]
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", given)
    assert len(urlsafe_b64decode(given + "==")) == 16


def test_the_grace_period_exceeds_the_shutdown_deadline() -> None:
    for name in ("consumer", "writer", "service"):
        environ = {k: v for k, v in SERVICES[name].environ.items() if not k.endswith("PASSWORD_FILE")}
        assert (
            int(SERVICES[name].given["stop_grace_period"].rstrip("s")) > load(None, environ).consumer.shutdown_timeout
        )


def test_the_topic_that_is_made_is_the_one_that_is_followed_and_keeps_what_it_is_sent() -> None:
    made = dict(word.removeprefix("--").split("=", 1) for word in SERVICES["topics"].command if "=" in word)
    assert list(settings_of("consumer").repositories[0].topics) == [made["topic"]]
    assert "--config=cleanup.policy=delete" in SERVICES["topics"].command


def test_valkey_never_evicts_keeps_each_write_and_asks_for_the_password() -> None:
    script = SERVICES["valkey"].command[-1]
    for text in (
        "--maxmemory-policy noeviction",
        "--appendonly yes",
        'requirepass "$(cat /run/secrets/redis_password)"',
    ):
        assert text in script
