"""What brokers say of topics taken together, and which fetched records are known to be of which topic."""

from __future__ import annotations

import pytest
from kafka import TopicPartition

from consumers.errors import BrokerUnreachable
from consumers.look import Leader, Seen, Vouchers, agreed

ONE = TopicPartition("t", 0)
OTHER = TopicPartition("t", 1)
HERE: Leader = (1, 0)
THERE: Leader = (2, 1)


def test_brokers_that_say_the_same_agree() -> None:
    answer = {"t": Seen("a", 3), "u": None}
    assert agreed([answer, answer]) == answer


def test_of_one_topic_the_largest_number_of_partitions_counts() -> None:
    assert agreed([{"t": Seen("a", 3)}, {"t": Seen("a", 5)}, {"t": Seen("a", 4)}]) == {"t": Seen("a", 5)}


@pytest.mark.parametrize(
    ("first", "second"), [(Seen("a", 3), Seen("b", 3)), (Seen("a", 3), None), (None, Seen("a", 3))]
)
def test_while_one_broker_has_not_heard_of_a_change_nothing_is_known(first: Seen | None, second: Seen | None) -> None:
    with pytest.raises(BrokerUnreachable, match="topic t"):
        agreed([{"t": first}, {"t": second}])


def test_what_was_fetched_between_two_looks_is_vouched_for() -> None:
    vouchers = Vouchers()
    vouchers.look({ONE: HERE})
    vouchers.begin(ONE)
    vouchers.look({ONE: HERE})
    assert vouchers.vouch_for(ONE)
    vouchers.look({ONE: HERE})
    assert vouchers.vouch_for(ONE)


def test_nothing_is_vouched_for_before_a_look_after_it() -> None:
    vouchers = Vouchers()
    vouchers.look({ONE: HERE})
    vouchers.begin(ONE)
    assert not vouchers.vouch_for(ONE)
    assert not vouchers.vouch_for(OTHER)


@pytest.mark.parametrize("leader", [THERE, (1, 1)])
def test_another_broker_or_epoch_vouches_only_for_what_was_surely_fetched_after_it_was_asked(leader: Leader) -> None:
    vouchers = Vouchers()
    vouchers.look({ONE: HERE})
    vouchers.begin(ONE)
    vouchers.look({ONE: leader})
    assert not vouchers.vouch_for(ONE), "this may be the former broker's"
    vouchers.look({ONE: leader})
    assert not vouchers.vouch_for(ONE), "this may have been asked for before the broker was looked at"
    vouchers.look({ONE: leader})
    assert vouchers.vouch_for(ONE)


def test_a_partition_that_no_broker_led_at_a_look_begins_anew() -> None:
    vouchers = Vouchers()
    vouchers.look({ONE: HERE, OTHER: HERE})
    vouchers.begin(ONE)
    vouchers.look({OTHER: HERE})
    assert ONE not in vouchers
    vouchers.look({ONE: HERE, OTHER: HERE})
    assert ONE in vouchers
    assert not vouchers.vouch_for(ONE)
    assert vouchers.vouch_for(OTHER)
