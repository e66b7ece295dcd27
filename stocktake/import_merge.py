"""A record that newer events alone have made, completed by what an Inventory knew before them.

Consumers may have followed a topic before the Inventory is imported, or go on after a shard has lost its latest writes.
Then the state has of a study what the latest events told, and nothing of what came before. What comes out is what the
same events would have made of the Inventory's record, as far as the state still tells them: what was said later wins.
"""

from __future__ import annotations

from state.record import InstanceRecord, SeriesRecord, StudyRecord


def complete(held: StudyRecord, known: StudyRecord) -> bool:
    """Add to ``held``, of which every chunk must be held, what ``known`` says besides; whether that is anything.

    ``held`` is newer. One that came from an Inventory itself is complete.
    """
    if held.covered is not None:
        return False
    filled = _fill(held, known)
    if _came_back(held, known):
        added = False  # with what was stored since and nothing else
        for uid, series in held.series.items():
            if uid in known.series:
                added |= _fill_series(series, known.series[uid])
    else:
        added = _add(held, known)
    if filled or added:
        held.covered = known.covered
    return filled or added


def _came_back(held: StudyRecord, known: StudyRecord) -> bool:
    """Whether the study was removed after ``known``, or in it, and then stored anew in part."""
    if held.tombstone is not None:
        return False
    if held.ended is not None and held.ended.at > known.own_time:
        return True
    return known.tombstone is not None and any(series.stored for series in held.series.values())


def _fill(held: StudyRecord, known: StudyRecord) -> bool:
    """Take over attributes of the study that nothing was said of since."""
    missing = known.attributes.keys() - held.attributes.keys()
    said_before = {tag: time for tag, time in known.said_by_tag.items() if tag in missing}
    held.said_at = said_before | held.said_by_tag
    held.attributes = known.attributes | held.attributes
    return bool(missing)


def _add(held: StudyRecord, known: StudyRecord) -> bool:
    added = False
    if held.ended is None or held.ended.at <= known.own_time:
        # Nobody removed it since: it is removed, or is not, as it was.
        added = held.tombstone != known.tombstone
        held.tombstone, held.ended = known.tombstone, known.ended or held.ended
    if held.expected_series is None:
        held.expected_series = known.expected_series
    if held.expected_instances is None:
        held.expected_instances = known.expected_instances
    back: set[str] = set()
    for uid, series in known.series.items():
        mine = held.series.get(uid)
        if mine is None:
            held.series[uid] = SeriesRecord(
                series.attributes, series.tombstone, series.ended, series.updated, series.stored
            )
            added = True
            continue
        added |= _fill_series(mine, series)
        if mine.tombstone is None and (mine.ended is not None or (series.tombstone is not None and mine.stored)):
            back.add(uid)  # as a study does
        elif mine.ended is None:
            added |= mine.tombstone != series.tombstone or mine.stored != (mine.stored or series.stored)
            mine.tombstone, mine.ended = series.tombstone, series.ended
            mine.stored = mine.stored or series.stored
        else:
            mine.stored = mine.stored or series.stored
    for uid, instance in known.instances():
        if instance.series_instance_uid not in back:
            added |= _add_instance(held, uid, instance)
    return added


def _fill_series(held: SeriesRecord, known: SeriesRecord) -> bool:
    missing = known.attributes.keys() - held.attributes.keys()
    held.attributes = known.attributes | held.attributes
    return bool(missing)


def _add_instance(held: StudyRecord, sop_instance_uid: str, known: InstanceRecord) -> bool:
    before = held.instance(sop_instance_uid)
    if before is None:
        held.put_instance(sop_instance_uid, known)
        return True
    tombstone = before.tombstone
    if tombstone is None and not before.is_inventoried:
        tombstone = known.tombstone  # it was updated since, and not stored
    found = InstanceRecord(before.series_instance_uid, known.attributes | before.attributes, tombstone)
    if found == before:
        return False
    held.put_instance(sop_instance_uid, found)
    return True
