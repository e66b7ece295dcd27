"""Where the slots of a cluster are: by a node's own words, and which node to believe."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from state.address import Address
from state.dialer import Command
from state.slot_map import SlotMap, slot_of

ASKED = Address("asked", 7000)


def info(epoch: int = 6, state: str = "ok") -> bytes:
    return f"cluster_state:{state}\r\ncluster_slots_assigned:16384\r\ncluster_current_epoch:{epoch}\r\n".encode()


def slots(*names: str) -> list[Any]:
    """Three ranges, each with a primary and a replica, named after ``names``."""
    bounds = [(0, 5460), (5461, 10922), (10923, 16383)]
    return [
        [first, last, [f"h-{name}".encode(), 7000, name.encode()], [b"h-r" + name.encode(), 7001, b"r" + name.encode()]]
        for (first, last), name in zip(bounds, names, strict=False)
    ]


def test_a_map_tells_of_each_slot_its_primary() -> None:
    found = SlotMap.read(ASKED, info(), slots("b", "a", "c"))
    assert found.owners[0] == found.owners[5460] == Address("h-b", 7000)
    assert found.owners[5461] == Address("h-a", 7000)
    assert found.owners[16383] == Address("h-c", 7000)
    assert list(found.primaries) == ["a", "b", "c"]
    assert set(found.replicas) == {Address(f"h-r{name}", 7001) for name in "abc"}
    assert (found.epoch, found.whole) == (6, True)


def test_a_slot_that_nobody_has_has_no_owner() -> None:
    found = SlotMap.read(ASKED, info(state="fail"), slots("a", "b"))
    assert found.owners[16383] is None
    assert not found.whole


@pytest.mark.parametrize("told", [None, b"", b"?"])
def test_a_node_that_does_not_know_its_name_is_where_it_was_asked(told: bytes | None) -> None:
    found = SlotMap.read(ASKED, info(), [[0, 16383, [told, 7005, b"a", []]]])
    assert found.owners[0] == Address("asked", 7005)


def test_a_node_that_missed_a_change_is_not_believed() -> None:
    before, after = SlotMap.read(ASKED, info(6), slots("a", "b", "c")), SlotMap.read(ASKED, info(7), slots("a", "b"))
    assert after.supersedes(before)
    assert before.supersedes(before)
    assert not before.supersedes(after)


def test_a_cluster_that_was_made_anew_is_believed_whatever_its_epoch() -> None:
    old, new = SlotMap.read(ASKED, info(90), slots("a", "b", "c")), SlotMap.read(ASKED, info(3), slots("d", "e", "f"))
    assert new.supersedes(old)


@given(st.text(max_size=12))
def test_the_slot_of_a_key_is_the_one_that_servers_compute(key: str) -> None:
    assert slot_of(("GET", key)) == key_slot(key.encode())


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_a_hash_tag_alone_decides_the_slot(before: str, tag: str, after: str) -> None:
    key = f"{before}{{{tag}}}{after}"
    assert slot_of(("GET", key)) == key_slot(key.encode())


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("HSET", "st:{3}:r:x", "a", "b"), "3"),
        (("EVALSHA", "sha", 2, "st:{4}:r:x", "st:{4}:r:y", "arg"), "4"),
        (("GET", b"st:{5}:r:x"), "5"),
        (("TIME",), None),
        (("INFO", "memory"), None),
        (("SCRIPT", "LOAD", "return 1"), None),
    ],
)
def test_the_first_key_of_a_command_decides_its_slot(command: Command, key: str | None) -> None:
    assert slot_of(command) == (None if key is None else key_slot(key.encode()))
