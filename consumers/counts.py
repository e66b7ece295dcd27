"""The names of everything that is counted while events are consumed, and while the archive is asked."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

CountName: TypeAlias = Literal[
    "events_store",  # events applied, by action
    "events_update",
    "events_delete",
    "events_patient",
    "dead_letters",  # messages that were no events
    "empty_records",  # records without a value (tombstones of a compacted topic), skipped
    "messages_skipped",  # messages that are known to say nothing of an inventory (of jobs, storage classes, ..)
    "times_ahead",  # event times too far ahead of their record, replaced by the record's timestamp
    "times_absent",  # events without a time, given their record's timestamp
    "studies_late",  # studies changed by an event from before a cut that was already taken; in the next slice
    "times_raised",  # studies last updated before the chain's start, counted as updated then
    "values_repaired",  # values that broke their VR and were mended
    "values_emptied",  # values that broke their VR and were emptied
    "updates_unknown",  # updates of instances that no store named, so that their SOP Class is not known
    "answers",  # events that answer a look at the archive, applied
    "answers_outdated",  # the same, passed over: something newer had happened to the study
    "messages_lost",  # messages that Kafka removed before they were applied (consumer.lost_offsets = earliest)
    "topics_anew",  # topics that were deleted and made anew
    "batches",  # batches applied
    "apply_microseconds",  # time that took: reading, merging and writing, without polling and decoding
    "conflicts",  # shards read and merged again because another writer came between
]

LookCount: TypeAlias = Literal[
    "looks_found",  # looks at the archive that found what was owed
    "looks_absent",  # looks that found the archive without it
    "looks_failed",  # looks that failed and are tried again
    "looks_given_up",  # looks that were tried too often
]

Counts: TypeAlias = "Counter[CountName]"
