"""What Stocktake is measured against: the consumer that one writes first, one event and one transaction at a time.

It is correct within its limits: study, index and offset change together or not at all, and a restart goes on after
the last offset applied. It knows store events only, and removals, validation and watermarks not at all.
"""

from __future__ import annotations

from typing import Any, Final

import orjson
from kafka import KafkaConsumer, TopicPartition
from redis import Redis, WatchError

from state.times import parse_time

STUDIES: Final = "naive:studies"  # zset: Study Instance UID by Study Update DateTime
OFFSETS: Final = "naive:offsets"  # hash: <topic>:<partition> -> last offset applied

_INSTANCE_TAGS: Final = frozenset({"00080016", "00080018", "00200013", "00280010", "00280011", "00280100"})


class NaiveConsumer:
    """Applies the events of some partitions to Redis."""

    def __init__(self, consumer: KafkaConsumer, client: Redis, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._client = client
        consumer.assign(partitions)
        for one in partitions:
            last: Any = client.hget(OFFSETS, f"{one.topic}:{one.partition}")
            consumer.seek(one, 0 if last is None else int(last) + 1)

    def run_once(self) -> int:
        """Poll once and apply what came; how many events that were."""
        polled = self._consumer.poll(timeout_ms=500)
        for records in polled.values():
            for record in records:
                self._apply(record)
        return sum(map(len, polled.values()))

    def _apply(self, record: Any) -> None:
        event = orjson.loads(record.value)
        dataset = event["dataset"]
        uid = dataset["0020000D"]["Value"][0]
        key = f"naive:study:{uid}"
        instance = {tag: element for tag, element in dataset.items() if tag in _INSTANCE_TAGS}
        field = f"instance:{instance['00080018']['Value'][0]}" if event["level"] == "INSTANCE" else None
        wanted = ["study", "updated"] if field is None else ["study", "updated", field]
        pipe: Any
        with self._client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch(key)
                    found = pipe.hmget(key, wanted)
                    study = orjson.loads(found[0] or b"{}")
                    study |= {tag: element for tag, element in dataset.items() if tag not in _INSTANCE_TAGS}
                    updated = max(parse_time(event["time"]), int(found[1] or 0))
                    values = {"study": orjson.dumps(study), "updated": updated}
                    if field is not None:
                        values[field] = orjson.dumps(orjson.loads(found[2] or b"{}") | instance)
                    pipe.multi()
                    pipe.hset(key, mapping=values)
                    pipe.zadd(STUDIES, {uid: updated})
                    pipe.hset(OFFSETS, f"{record.topic}:{record.partition}", record.offset)
                    pipe.execute()
                except WatchError:
                    continue
                return
