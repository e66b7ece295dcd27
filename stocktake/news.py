"""The message ``inventory.published`` on a Kafka topic: a CloudEvents 1.0 event, structured, keyed by repository."""

from __future__ import annotations

from typing import Any, Final

import orjson

from consumers.policy import KafkaPolicy
from consumers.publish import EventTooLarge, Publisher, PublishError, ensure_topic
from writers.manifest import Manifest
from writers.policy import SinkPolicy
from writers.sinks.sink import Parcel, SinkRefused, SinkUnreachable

TYPE: Final = "inventory.published"

_PARTITIONS: Final = 1  # of a topic made anew: inventories are few, and their order is worth more
_HEADERS: Final = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)


class NewsSink:
    """Tells a topic of each inventory, once it stands in its folder; other sinks may have it earlier or later."""

    def __init__(self, policy: SinkPolicy, kafka: KafkaPolicy) -> None:
        self._name = policy.name
        self._topic = topic_of(policy.url)
        self._kafka = kafka
        try:
            ensure_topic(kafka, self._topic, _PARTITIONS)
        except PublishError as error:
            raise SinkUnreachable(f"sinks.{self._name}: {error}") from error

    def deliver(self, parcel: Parcel) -> None:
        """See :class:`writers.sinks.sink.Sink`. Nothing is told of parts: they are no news of their own."""
        if parcel.is_part:
            return
        value = orjson.dumps(event(parcel.manifest))
        try:
            with Publisher(self._kafka, self._topic) as publisher:
                publisher.send(parcel.manifest.repository.encode(), value, headers=_HEADERS)
        except EventTooLarge as error:
            raise SinkRefused(f"sinks.{self._name}: the message on {parcel.name} {error}") from error
        except PublishError as error:
            raise SinkUnreachable(f"sinks.{self._name}: {error}") from error

    def close(self) -> None:
        """Nothing is held open between two messages."""


def topic_of(url: str) -> str:
    """The topic that ``kafka:TOPIC`` names."""
    return url.removeprefix("kafka:")


def event(manifest: Manifest) -> dict[str, Any]:
    """The event: its ``id`` is the SOP Instance UID, its ``data`` the manifest without the members of the tree."""
    data = manifest.to_json()
    del data["members"]
    return {
        "specversion": "1.0",
        "id": manifest.sop_instance_uid,
        "type": TYPE,
        "source": f"stocktake/{manifest.repository}",
        "subject": manifest.sop_instance_uid,
        "datacontenttype": "application/json",
        "data": data,
    }
