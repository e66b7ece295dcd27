"""How an opened repository stands, for ``stocktake status`` and the HTTP service."""

from __future__ import annotations

from typing import Final

from consumers.policy import ConsumerPolicy
from monitor.partitions import BrokerPartitions, Patience
from monitor.policy import Pace
from monitor.status import Status, status
from state.chain import Chain
from state.deliveries import Deliveries
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository

_SILENT_INTERVALS: Final = 3  # in which a consumer that is well publishes at least once
_HICCUP: Final = 10.0  # seconds that a long batch, a rebalance or differing clocks may take beyond them


def standing(settings: Settings, opened: OpenRepository, ends: BrokerPartitions | None) -> Status:
    """The repository's status; ``ends`` is what the broker told of its topics, None if it did not.

    Raises:
        StateUnreachable: the state does not answer.
    """
    name = opened.policy.name
    return status(
        opened.repository,
        opened.studies,
        Chain(opened.connection, name),
        ends,
        opened.connection.now(),
        patience(settings.consumer),
        Deliveries(opened.connection, name),
        [sink.name for sink in settings.sinks_of(name)],
        opened.debts,
        opened.connection.memory(),
        Pace(settings.inventory.interval, settings.inventory.write_empty, settings.consumer.max_out_of_order),
    )


def patience(policy: ConsumerPolicy) -> Patience:
    """From when on a consumer's silence or a watermark's age is worth telling."""
    silent = _SILENT_INTERVALS * policy.watermark_interval + _HICCUP
    return Patience(silent=silent, behind=silent + policy.max_out_of_order)
