"""Where the settings came from, and what in them seldom is meant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from state.address import parse_redis_url
from stocktake.doctor.finding import Examined, Finding, Reporter
from stocktake.setting_table import PREFIX
from stocktake.settings import TEST_PREFIX

_REPORT: Final = Reporter("settings")
_LOOPBACK: Final = ("127.", "localhost", "[::1]", "::1")


def check(examined: Examined) -> Iterator[Finding]:
    """That they are valid is known: the program would not have come so far."""
    settings = examined.settings
    names = sorted(one for one in examined.environ if one.startswith(PREFIX) and not one.startswith(TEST_PREFIX))
    file = "no file" if examined.config is None else str(examined.config)
    yield _REPORT.ok("origin", f"{file}, and {len(names)} variables{': ' if names else ''}{', '.join(names)}")
    yield _REPORT.ok("repositories", ", ".join(examined.repositories))
    if not settings.kafka.uses_tls and not all(map(_is_here, settings.kafka.bootstrap_servers)):
        yield _REPORT.warn(
            "kafka",
            f"kafka.security_protocol is {settings.kafka.security_protocol}: patients' data cross the network in clear",
            "set SSL or SASL_SSL",
        )
    url = parse_redis_url(settings.redis.url)
    if not url.tls and not all(_is_here(one.host) or not one.port for one in url.addresses):
        yield _REPORT.warn(
            "redis",
            "redis.url is without TLS: patients' data cross the network in clear",
            "set a URL that begins with rediss://",
        )
    if settings.kafka.session_timeout < 3 * settings.consumer.watermark_interval:
        yield _REPORT.warn(
            "session",
            f"kafka.session_timeout ({settings.kafka.session_timeout:g} s) is short beside consumer.watermark_interval",
            "a slow turn may cost a consumer its partitions: make it longer",
        )


def _is_here(address: str) -> bool:
    return address.startswith(_LOOPBACK)
