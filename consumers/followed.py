"""The topics that a repository follows, kept up with what each look finds: gone, made anew, with more partitions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from consumers.errors import TopicUnusable
from consumers.look import Seen
from consumers.topics import Topic

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Change:
    """Whether any topic is another one than before, and whether any has more partitions."""

    anew: bool
    grown: bool


class FollowedTopics:
    """Topics by name, as they were seen last. One that is missing is still among them, as it was."""

    def __init__(self, topics: Sequence[Topic], patience: float, monotonic: Callable[[], float]) -> None:
        self._patience = patience
        self._monotonic = monotonic
        self._missing: dict[str, float] = {}  # since when
        self.by_name = {topic.name: topic for topic in topics}

    @property
    def missing(self) -> bool:
        return bool(self._missing)

    def see(self, seen: Mapping[str, Seen | None]) -> Change:
        """Compare with a look, say what has changed, and follow that.

        Raises:
            TopicUnusable: a topic has been gone for longer than ``patience`` seconds.
        """
        anew = grown = False
        for name, topic in self.by_name.items():
            found = seen.get(name)
            if found is None:
                self._note_missing(name)
                continue
            returned = self._missing.pop(name, None) is not None
            if found.id != topic.id:
                log.warning(
                    "topic %s was deleted and made anew (id %s, before %s); reading the new one from its beginning",
                    *(name, found.id, topic.id),
                    extra={"topic": name},
                )
                self.by_name[name] = Topic(name, found.id, found.partitions, compacted=False)
                anew = True
                continue
            if returned:
                log.warning("topic %s is there again", name, extra={"topic": name})
            if found.partitions > topic.partitions:
                told = (name, found.partitions, topic.partitions)
                log.warning("topic %s has %d partitions now, %d before", *told, extra={"topic": name})
                self.by_name[name] = replace(topic, partitions=found.partitions)
                grown = True
        return Change(anew, grown)

    def _note_missing(self, name: str) -> None:
        now = self._monotonic()
        if name not in self._missing:
            text = "topic %s is gone; waiting for it, %g seconds at most"
            log.warning(text, name, self._patience, extra={"topic": name})
            self._missing[name] = now
        elif now - self._missing[name] >= self._patience:
            raise TopicUnusable(f"topic {name} was deleted and nobody has made it anew; create it, then start again")

    def see_compacted(self, compacted: frozenset[str]) -> None:
        """Follow which topics are compacted."""
        for name, topic in self.by_name.items():
            if topic.compacted != (name in compacted):
                how = "is" if name in compacted else "is no longer"
                log.warning("topic %s %s compacted now", name, how, extra={"topic": name})
                self.by_name[name] = replace(topic, compacted=name in compacted)
