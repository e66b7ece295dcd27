"""What an imported archive and the events on top of it come to, by the oracle's rules and no code of the program's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from state.attributes import Level
from state.values import Item
from tests.foreign.archive import Record, Series, Values, prevailing, study_uid
from tests.foreign.changes import BEGUN, Message, updated
from tests.oracle.events import News, Patient, Told, patient_of, read_all
from tests.oracle.patients import Saying, own_words
from tests.oracle.study import Instance, LifeEnd, Removal, State, Study
from tests.oracle.study import Series as KnownSeries


class Truth:
    """An archive of so many studies as its Inventory told of it, and all messages since, in their order."""

    def __init__(self, studies: int) -> None:
        self._studies = studies
        self._told: defaultdict[str, list[tuple[Told, int]]] = defaultdict(list)
        self._news: defaultdict[Patient, list[News]] = defaultdict(list)

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            for told in read_all(message.event, message.timestamp):
                if isinstance(told, News):
                    self._news[told.of].append(told)
                else:
                    self._told[told.study_uid].append((told, message.timestamp))

    def states(self) -> Iterator[tuple[str, State]]:
        """Each study as an inventory must show it, at level INSTANCE; the chain's beginning is open."""
        for number in range(self._studies):
            record = prevailing(number)
            yield record.uid, self._state(record.uid, imported(record), updated(record))
        known = {study_uid(number) for number in range(self._studies)}
        for uid in self._told.keys() - known:
            yield uid, self._state(uid, Study(), None)

    def _state(self, uid: str, study: Study, until: int | None) -> State:
        for told, timestamp in self._told.get(uid, ()):
            # What was told before the Inventory was begun, of the time up to the record's, is in the record.
            if until is None or told.time > until or timestamp > BEGUN:
                study.apply(told)
        words = {tag: word.value for tag, word in own_words(study.sayings).items()}
        return study.effective(Level.INSTANCE, None, self._news.get(patient_of(words), ()))


def imported(record: Record) -> Study:
    """A study of which all is known that its record says, and nothing else."""
    time = updated(record)
    attributes = _read(record.values)
    study = Study(
        time=time,
        announced_series=int(str(attributes.pop("00201206"))),
        announced_instances=int(str(attributes.pop("00201208"))),
        attributes=attributes,
        sayings=[Saying(time, True, attributes)],
    )
    for series in record.series:
        study.series[series.uid] = _series(series, time)
        for one in series.instances:
            removal = Removal(time, {}) if one.removed else None
            study.instances[one.uid] = Instance(series.uid, _read(one.values), removal)
    if record.removed:
        study.removal, study.ended = Removal(time, {**record.reason}), LifeEnd(time, time)
    return study


def _series(series: Series, time: int) -> KnownSeries:
    known = KnownSeries(_read(series.values), newest=time, stored=True)
    if series.removed:
        known.removal, known.ended = Removal(time, {}), LifeEnd(time, time)
    return known


def _read(values: Values) -> Item:
    return {tag: value.read for tag, value in values.items()}
