"""The rules by which Hypothesis plays with a deployment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from state.attributes import Level
from tests.model.exchanges import Crash, Interruption, Mishap
from tests.model.world import CONSUMERS, EVERYTHING, PARTITIONS, SHARDS, Servers, World
from writers.produce import Producer

Act = tuple[str, Any]
Disturbance = tuple[int, Mishap, Act]

consumers = st.integers(0, CONSUMERS - 1)
partitions = st.integers(0, PARTITIONS - 1)
seeds = st.integers(0, 2**32 - 1)
some_shards = st.sets(st.integers(0, SHARDS - 1), min_size=1).map(sorted)
moments = st.integers(0, 2)
takes = st.tuples(*[st.sampled_from((0, 1, 2, 5))] * PARTITIONS)
poll_lists = st.lists(takes, min_size=1, max_size=3)
laters = st.sampled_from((0.0, 0.0, 1.0, 10.0))  # 1: progress is published, 10: shards are looked at
soon = st.sampled_from((0.0, 1.0, 10.0))
kinds = st.sampled_from(("next", "next", "next", "baseline", "rollup"))

# What somebody else does before an exchange.
acts = st.one_of(
    st.tuples(st.just("consume"), poll_lists),
    st.tuples(st.just("lose"), st.tuples(moments, some_shards, st.booleans())),
    st.tuples(st.just("lose and consume"), st.tuples(moments, some_shards, st.booleans())),
    st.tuples(st.just("replay"), st.tuples(partitions, st.integers(-1, 6))),
    st.tuples(st.just("publish"), st.tuples(seeds, st.integers(1, 3))),
    st.tuples(st.just("produce"), st.sampled_from(("next", "baseline"))),
)
nothing: Act = ("nothing", None)
mishaps = st.sampled_from([one for one in Mishap if one is not Mishap.OTHERS_FIRST])


def disturbances(exchanges: int) -> st.SearchStrategy[Disturbance | None]:
    """Nothing, or something at one of so many exchanges."""
    at = st.integers(0, exchanges - 1)
    others = st.tuples(at, st.just(Mishap.OTHERS_FIRST), acts)
    return st.one_of(st.none(), st.tuples(at, mishaps, st.just(nothing)), others)


class Deployed(RuleBasedStateMachine):
    """One example is one repository. Subclasses bind ``servers``."""

    servers: ClassVar[Servers]
    world: World

    @initialize(
        level=st.sampled_from((Level.INSTANCE, Level.INSTANCE, Level.SERIES, Level.STUDY)),
        fanout=st.sampled_from((2, 3, 8)),  # and how many records a file may hold
        origin=st.sampled_from(("unknown", "empty")),
        replays=st.booleans(),
    )
    def begin(self, level: Level, fanout: int, origin: str, replays: bool) -> None:
        records = {2: 1, 3: 2, 8: 1000}[fanout]
        self.world = World(self.servers, level, fanout, origin, records, replays=replays)

    # --- what the archive does ---------------------------------------------------------------------------------

    @rule(seed=seeds, count=st.integers(1, 8))
    def publish(self, seed: int, count: int) -> None:
        self.world.publish(seed, count)

    @rule(seconds=st.sampled_from((1, 6, 30)))
    def wait(self, seconds: int) -> None:
        self.world.wait(seconds)

    # --- what consumers do -------------------------------------------------------------------------------------

    @rule(who=consumers, polls=poll_lists, later=laters, disturbance=disturbances(12))
    def consume(self, who: int, polls: list[tuple[int, ...]], later: float, disturbance: Disturbance | None) -> None:
        self.world.consume(who, _polls(polls), later, self._interruption(disturbance, who))

    @rule(who=consumers)
    def restart(self, who: int) -> None:
        self.world.restart(who)

    @rule(partition=partitions, to=consumers, told=st.booleans())
    def move(self, partition: int, to: int, told: bool) -> None:
        self.world.move(partition, to, told=told)

    @rule()
    def settle_the_group(self) -> None:
        self.world.hand_out()

    @rule()
    def catch_up(self) -> None:
        self.world.apply_all()

    @rule(seed=seeds, count=st.integers(1, 8), who=consumers, at=st.integers(0, 9), later=soon)
    def race(self, seed: int, count: int, who: int, at: int, later: float) -> None:
        """One consumer has read, or done a part of its writing, when the other applies all that is new to it."""
        self.world.publish(seed, count)
        self._interleave(who, range(PARTITIONS), range(PARTITIONS), at, later)

    @rule(seed=seeds, who=consumers, at=st.integers(3, 7), later=soon, stored_first=st.booleans())
    def race_of_a_study_and_its_patients_news(
        self, seed: int, who: int, at: int, later: float, stored_first: bool
    ) -> None:
        """One consumer stores a study, the other has news of its patient; one of them comes between."""
        study, news = self.world.publish_rename(seed)
        first, second = (study, news) if stored_first else (news, study)
        if study != news:
            self.world.move(first, who, told=True)
            self.world.move(second, 1 - who, told=True)
        self._interleave(who, [first], [second], at, later)

    # --- what the server forgets, what operators do ------------------------------------------------------------

    @rule()
    def remember(self) -> None:
        self.world.remember()

    @rule(moment=moments, shards=some_shards, own=st.booleans())
    def lose(self, moment: int, shards: list[int], own: bool) -> None:
        self.world.lose(moment, shards, own=own)

    @rule(partition=partitions, last=st.integers(-1, 8))
    def replay(self, partition: int, last: int) -> None:
        self.world.replay(partition, last)

    # --- what writers do ---------------------------------------------------------------------------------------

    @rule(
        kind=kinds,
        force=st.sampled_from((False, False, False, True)),
        disturbance=disturbances(26),
    )
    def produce(self, kind: str, force: bool, disturbance: Disturbance | None) -> None:
        self.world.produce(kind, force=force, interruption=self._interruption(disturbance, None))

    @rule(seed=seeds, count=st.integers(1, 4), at=st.integers(0, 26), shards=some_shards, again=st.booleans())
    def produce_while_shards_fall(self, seed: int, count: int, at: int, shards: list[int], again: bool) -> None:
        """They lose what the watermark stands for; with ``again`` a consumer makes it good at once."""
        world = self.world
        world.remember()
        world.publish(seed, count)
        world.wait(6)
        world.apply_all()

        def fall() -> None:
            world.lose(0, shards)
            if again:
                world.apply_all()

        world.produce(interruption=Interruption(at, Mishap.OTHERS_FIRST, fall))

    @rule(at=st.sampled_from(("publish", "_write_json", "write_head")))
    def writer_dies_at_the_folder(self, at: str) -> None:
        def prepare(producer: Producer) -> None:
            setattr(producer.folder, at, crash)

        def crash(*given: object) -> None:
            raise Crash

        self.world.produce(prepare=prepare)

    # --- the end -----------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.finish()
            finally:
                self.world.close()

    def _interleave(self, who: int, first: Sequence[int], second: Sequence[int], at: int, later: float) -> None:
        """Before exchange ``at`` of a consumer that applies all of some partitions, the other does so with others.

        If both tell their progress ``later``, nobody has a reason to read the same again.
        """

        def act() -> None:
            self.world.consume(1 - who, [{}, dict.fromkeys(second, EVERYTHING)], 1.0)

        polls = [{}, dict.fromkeys(first, EVERYTHING)]
        self.world.consume(who, polls, interruption=Interruption(at, Mishap.OTHERS_FIRST, act))
        for one in (who, 1 - who):
            self.world.consume(one, [{}], later)

    def _interruption(self, disturbance: Disturbance | None, who: int | None) -> Interruption | None:
        if disturbance is None:
            return None
        at, mishap, act = disturbance
        return Interruption(at, mishap, self._others(act, who))

    def _others(self, act: Act, who: int | None) -> Callable[[], None]:
        """What somebody else does than consumer ``who`` (None: than the writer)."""
        name, given = act
        other = 0 if who is None else 1 - who

        def run() -> None:
            if name == "consume":
                self.world.consume(other, _polls(given), 1.0)
            elif name.startswith("lose"):
                moment, shards, own = given
                self.world.lose(moment, shards, own=own)
                if name == "lose and consume":
                    self.world.consume(other, _polls([(0, 0, 0), (9, 9, 9)]), 10.0)
            elif name == "replay":
                self.world.replay(*given)
            elif name == "publish":
                self.world.publish(*given)
            else:
                self.world.produce(given, writer=1)

        return run


def _polls(polls: list[tuple[int, ...]]) -> list[Mapping[int, int]]:
    return [dict(enumerate(poll)) for poll in polls]
