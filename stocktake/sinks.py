"""The sinks of the settings, opened, and their deliveries as threads beside the writer."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import copy_context
from functools import partial
from threading import Event as Flag
from threading import Thread

from consumers.policy import KafkaPolicy
from state.chain import Lease
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository
from writers.delivery import Delivery
from writers.files import InventoryFolder
from writers.policy import SinkPolicy
from writers.sinks.sink import Sink


def open_sink(policy: SinkPolicy, kafka: KafkaPolicy) -> Sink:
    """What the scheme of the sink's URL names.

    Raises:
        SinkError: it cannot be used, or not now.
    """
    # What a receiver needs is loaded with the first delivery: most writers have no sink of most kinds.
    match policy.scheme:
        case "dicom" | "dicoms":
            from writers.sinks.dicom import DicomSink

            return DicomSink(policy)
        case "http" | "https":
            from writers.sinks.dicomweb import DicomWebSink

            return DicomWebSink(policy)
        case "kafka":
            from stocktake.news import NewsSink

            return NewsSink(policy, kafka)
        case _:
            from writers.sinks.storage import StorageSink

            return StorageSink(policy)


def deliveries(settings: Settings, opened: OpenRepository, lease: Lease, stop: Flag) -> list[Delivery]:
    """A delivery for each sink of the repository."""
    folder = InventoryFolder(settings.inventory.dir, opened.policy.name)
    return [
        Delivery(policy, partial(open_sink, policy, settings.kafka), folder, opened.connection, lease, stop)
        for policy in settings.sinks_of(opened.policy.name)
    ]


def start_deliveries(some: Sequence[Delivery]) -> list[Thread]:
    """Run each in a thread. Daemons: a receiver that does not answer must not keep the program from ending."""
    # In copies of this context: their lines of the log are from where this one's are.
    threads = [
        Thread(target=copy_context().run, args=(one.run,), name=f"deliver-{one.name}", daemon=True) for one in some
    ]
    for thread in threads:
        thread.start()
    return threads
