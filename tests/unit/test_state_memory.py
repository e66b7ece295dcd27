"""How full Redis is, from what servers say of themselves."""

from __future__ import annotations

from state.memory import Memory, fullest


def test_only_what_counts_against_the_limit_is_used() -> None:
    facts = {b"used_memory": b"1000", b"mem_not_counted_for_evict": b"100", b"maxmemory": b"2000"}
    assert Memory.of(facts) == Memory(900, 2000)
    assert Memory.of({b"used_memory": b"1000", b"maxmemory": b"0"}) == Memory(1000, None)


def test_the_fullest_server_is_the_one_that_refuses_writes_first() -> None:
    large, full, unlimited = Memory(800, 1000), Memory(95, 100), Memory(5000, None)
    assert fullest([large, full, unlimited]) == full
    assert fullest([unlimited, Memory(1, None)]) == unlimited
