"""redis.url: what is taken, what is refused, and that no refusal shows any of it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.address import SENTINEL_PORT, Address, parse_redis_url


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("redis://redis:6379/0", [Address("redis", 6379)]),
        ("redis://redis", [Address("redis", 6379)]),
        ("rediss://a:1,b,[::1]:2", [Address("a", 1), Address("b", 6379), Address("::1", 2)]),
        ("redis://user:secret@a:1,b:2/7", [Address("a", 1), Address("b", 2)]),
        ("unix:///run/redis.sock", [Address("/run/redis.sock", 0)]),
    ],
)
def test_every_host_of_a_url_is_an_address(url: str, addresses: list[Address]) -> None:
    assert list(parse_redis_url(url).addresses) == addresses


def test_hosts_without_a_port_have_that_of_what_they_are() -> None:
    assert parse_redis_url("redis://s1,s2:1", SENTINEL_PORT).addresses == (Address("s1", 26379), Address("s2", 1))


def test_a_url_tells_user_password_database_and_tls() -> None:
    found = parse_redis_url("rediss://us%20er:p%2Fa%40s%3As@h:1/3")
    assert (found.username, found.password, found.database, found.tls) == ("us er", "p/a@s:s", 3, True)
    plain = parse_redis_url("redis://h")
    assert (plain.username, plain.password, plain.database, plain.tls) == ("", "", 0, False)


@pytest.mark.parametrize(
    "url",
    [
        "hunter2",
        "http://:hunter2@h/0",
        "redis://",
        "redis://:hunter2@/0",
        "redis://:hunter2/x@h/0",
        "redis://:hunter2#x@h/0",
        "redis://:hunter2@h,/0",
        "redis://:hunter2@h:port/0",
        "redis://:hunter2@h:65536/0",
        "redis://:hunter2@[::1/0",
        "redis://:hunter2@h/one",
        "redis://:hunter2@h/-1",
        "redis://h/0?password=hunter2",
        "rediss://h/0?ssl_cert_reqs=none",
        "rediss://h/0?ssl_check_hostname=false",
        "unix://hunter2/path",
        "unix://",
    ],
)
def test_anything_else_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"^a URL such as redis://HOST:6379/0") as refused:
        parse_redis_url(url)
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


@given(st.text(max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_redis_url("redis://" + text).addresses


@pytest.mark.parametrize(
    ("address", "text"),
    [(Address("h", 1), "h:1"), (Address("::1", 2), "[::1]:2"), (Address("/run/redis.sock", 0), "/run/redis.sock")],
)
def test_an_address_reads_as_in_a_url(address: Address, text: str) -> None:
    assert str(address) == text


def test_what_is_parsed_does_not_show_the_password_when_it_is_logged() -> None:
    assert "hunter2" not in repr(parse_redis_url("redis://user:hunter2@h"))
