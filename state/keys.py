"""Every Redis key, its type and what it holds. No other module spells a key.

Study keys carry the hash tag ``{shard}``, so all that one script touches lies in one slot of a cluster; the same study
of two repositories shares a shard. Per-repository keys carry ``{repository}``.

========================================  ======  ==================================================================
key                                       type    holds
========================================  ======  ==================================================================
``st:{s}:<repo>:study:<uid>``             hash    one study record; fields in :mod:`state.packing`
``st:{s}:<repo>:updated``                 zset    Study Instance UID by Study Update DateTime (UTC microseconds)
``st:{s}:<repo>:changed``                 zset    Study Instance UID by the generation that owes it (oldest stays)
``st:{s}:<repo>:generation``              string  the cut that will cover what is applied now (absent: 1)
``st:{s}:<repo>:start``                   string  the chain's start in UTC microseconds, once it is fixed
``st:{s}:<repo>:cut``                     string  the latest cut's moment in UTC microseconds
``st:{s}:<repo>:offsets``                 hash    ``<topic id>:<partition>`` -> last Kafka offset applied here
``st:{s}:<repo>:anchors``                 hash    ``<topic id>:<partition>`` -> see :mod:`state.anchors`
``st:{s}:<repo>:patients``                zset    studies of the shard's *patients*: digest, Study Instance UID
``st:{s}:<repo>:news``                    zset    what patient events told of them (:mod:`state.patients`)
``st:{s}:<repo>:patients:anew``           zset    the same, while schema 2 is made of 1 (:mod:`state.schema_2`)
``st:{s}:<repo>:news:anew``               zset    likewise
``st:{s}:<repo>:owed``                    hash    what is owed a look at the archive -> token (:mod:`state.debts`)
``st:{s}:<repo>:owed_due``                zset    the same by when it arose, or is to be tried again (UTC microseconds)
``st:{s}:<repo>:owed_tries``              hash    the same -> tries that failed (JSON)
``st:{s}:<repo>:named``                   hash    an archive's own id of something -> Study Instance UID
``st:{s}:<repo>:seen``                    hash    study -> what a bridge that polls saw of it last (:mod:`state.seen`)
``st:{s}:<a>~<b>:compared``               hash    of a pair, study -> place and both summaries (:mod:`state.comparison`)
``st:{s}:<a>~<b>:counts``                 hash    studies by place, by place and group, by place and day of update
``st:{s}:<a>~<b>:flow``                   hash    ``arrived``, ``settled``; what was compared anew; lags by hour
``st:{s}:<a>~<b>:acknowledged``           hash    study -> who acknowledged that it is not settled, when, with what note
``st:{s}:<a>~<b>:uncompared:<side>``      set     studies here that the pair knows by another UID, not compared yet
``st:{s}:<a>~<b>:place:<P>``              zset    studies of one place, by since when (UTC microseconds)
``st:{<a>~<b>}:history:<seconds>``        zset    of a pair, a row of figures for each minute or hour
``st:{<repo>}:topics``                    hash    topic -> {"id", "partitions", "looked"} as consumers saw it last
``st:{<repo>}:watermarks``                hash    ``<topic id>:<partition>`` -> {"watermark", "offset", "asked", ...}
``st:{<repo>}:chain``                     hash    ``head`` (manifest), ``cut`` (last n), ``begun`` (when), ``imported``
``st:{<repo>}:plan``                      string  the inventory being produced (JSON)
``st:{<repo>}:lease``                     string  the writer's fencing token; expires
``st:{<repo>}:requests``                  hash    inventories asked for and answered (:mod:`state.requests`)
``st:{<repo>}:sinks``                     hash    sink -> how far it is (:mod:`state.deliveries`)
``st:{<repo>}:fence``                     string  counter of fencing tokens handed out
``st:{<repo>}:positions``                 hash    bridge or crawl -> where it stands (JSON, :mod:`state.positions`)
``st:{<repo>}:verified``                  string  the inventory that was verified last (JSON)
``st:{<repo>}:settings``                  hash    what must not change: schema, shards, level
``st:{<repo>}:dead_letters``              hash    ``stopped`` (why), once the limit was passed
``st:{<repo>}:counters``                  hash    events by action, dead letters, clamps, ... (for operators)
========================================  ======  ==================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

LISTED_PLACES: Final = "MIDXRqQO"  # places of which the studies are listed (state/lua/place.lua)


def shard_of(study_instance_uid: str, shards: int) -> int:
    """The shard that holds a study: CRC-32 of its UID modulo the number of shards, the same on every machine."""
    return crc32(study_instance_uid.encode("ascii")) % shards


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The keys of one shard of one repository."""

    repository: str
    shard: int

    def _key(self, name: str) -> str:
        return f"st:{{{self.shard}}}:{self.repository}:{name}"

    def study(self, study_instance_uid: str) -> str:
        return self._key("study:" + study_instance_uid)

    @property
    def updated(self) -> str:
        return self._key("updated")

    @property
    def changed(self) -> str:
        return self._key("changed")

    @property
    def generation(self) -> str:
        return self._key("generation")

    @property
    def start(self) -> str:
        return self._key("start")

    @property
    def cut(self) -> str:
        return self._key("cut")

    @property
    def offsets(self) -> str:
        return self._key("offsets")

    @property
    def anchors(self) -> str:
        return self._key("anchors")

    @property
    def patients(self) -> str:
        return self._key("patients")

    @property
    def news(self) -> str:
        return self._key("news")

    @property
    def patients_anew(self) -> str:
        return self._key("patients:anew")

    @property
    def news_anew(self) -> str:
        return self._key("news:anew")

    @property
    def owed(self) -> str:
        return self._key("owed")

    @property
    def owed_due(self) -> str:
        return self._key("owed_due")

    @property
    def owed_tries(self) -> str:
        return self._key("owed_tries")

    @property
    def named(self) -> str:
        return self._key("named")

    @property
    def seen(self) -> str:
        return self._key("seen")


@dataclass(frozen=True, slots=True)
class PairKeys:
    """The keys of one shard of a pair of repositories that are compared, a source and a target."""

    source: str
    target: str
    shard: int

    def _key(self, name: str) -> str:
        return f"st:{{{self.shard}}}:{self.source}~{self.target}:{name}"

    @property
    def compared(self) -> str:
        return self._key("compared")

    @property
    def counts(self) -> str:
        return self._key("counts")

    @property
    def flow(self) -> str:
        return self._key("flow")

    @property
    def acknowledged(self) -> str:
        return self._key("acknowledged")

    def place(self, code: str) -> str:
        return self._key("place:" + code)

    def uncompared(self, side: str) -> str:
        return self._key("uncompared:" + side)

    @property
    def all(self) -> list[str]:
        """In the order in which the scripts want them."""
        places = [self.place(code) for code in LISTED_PLACES]
        return [self.compared, self.counts, self.flow, self.acknowledged, *places]


@dataclass(frozen=True, slots=True)
class HistoryKeys:
    """The keys that a pair of repositories has once, in one slot."""

    source: str
    target: str

    def of(self, step: int) -> str:
        return f"st:{{{self.source}~{self.target}}}:history:{step}"


@dataclass(frozen=True, slots=True)
class RepositoryKeys:
    """The keys that a repository has once, in one slot."""

    repository: str

    def _key(self, name: str) -> str:
        return f"st:{{{self.repository}}}:{name}"

    @property
    def topics(self) -> str:
        return self._key("topics")

    @property
    def watermarks(self) -> str:
        return self._key("watermarks")

    @property
    def chain(self) -> str:
        return self._key("chain")

    @property
    def plan(self) -> str:
        return self._key("plan")

    @property
    def lease(self) -> str:
        return self._key("lease")

    @property
    def fence(self) -> str:
        return self._key("fence")

    @property
    def requests(self) -> str:
        return self._key("requests")

    @property
    def sinks(self) -> str:
        return self._key("sinks")

    @property
    def positions(self) -> str:
        return self._key("positions")

    @property
    def verified(self) -> str:
        return self._key("verified")

    @property
    def settings(self) -> str:
        return self._key("settings")

    @property
    def dead_letters(self) -> str:
        return self._key("dead_letters")

    @property
    def counters(self) -> str:
        return self._key("counters")
