"""Places found without the state are those that its script finds; and all studies of a place can be read."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state.comparison import OPEN, SOURCE, TARGET, Place, Summary, place_of
from state.connection import ScriptCall
from state.keys import PairKeys, ShardKeys
from state.pair import Pair
from state.policy import ComparisonPolicy
from tests.harness import Deployment
from tests.oracle.adversary import BEGIN, CT
from tests.oracle.events import Json

RULES = ("0123abcd", "ffffffff")


@st.composite
def summaries(draw: st.DrawFn, side: str) -> str:
    """A summary as :meth:`state.comparison.Comparison.summary` writes it, of few values so that many agree."""
    live, in_scope = draw(st.booleans()), draw(st.sampled_from((True, True, False)))
    alone = ("M" if side == SOURCE else "X") if live else "B"
    instances = draw(st.sampled_from((0, 1, 2, 9, 10)))
    content = f"{draw(st.sampled_from(('0', 'ff', '1f')))}:{draw(st.sampled_from((0, 1, 10)))}:{instances}"
    hashes = draw(st.sampled_from(("", "11111111,", "11111111,22222222", ",22222222")))
    group = draw(st.sampled_from(("CT,2026@20260101", "none,none@20250101")))
    rules = draw(st.sampled_from((RULES[0], RULES[0], RULES[0], RULES[1])))
    return f"{alone if in_scope else 'O'}|{group}\t{rules}{live:d}{in_scope:d}|{content}|{hashes}\t{instances}"


def test_a_place_found_in_python_is_the_one_that_the_script_finds(redis_url: str, tmp_path: Path) -> None:
    names = [f"r{uuid4().hex[:8]}" for _ in range(2)]
    policy = ComparisonPolicy(names[0], names[1], ("PatientID", "StudyDate"), (), "", "", None, {}, {})
    deployment = Deployment(tmp_path, redis_url, names[0], STATE__SHARDS="1")
    connection = deployment.opened.connection
    pair = Pair(connection, policy, 1)
    keys = [*PairKeys(names[0], names[1], 0).all, PairKeys(names[0], names[1], 0).uncompared("s")]
    numbers = count(1)
    told = set()

    def tell(uid: str, side: str, summary: str) -> None:
        study = ShardKeys(names[side == TARGET], 0).study(uid)
        connection.send([("HSET", study, "rev", "1")])
        assert connection.call([ScriptCall("compare", [*keys, study], [side, uid, "1", summary])]) == [1]

    @settings(max_examples=600, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(summaries(SOURCE) | st.just(""), summaries(TARGET) | st.just(""), st.booleans())
    def check(source: str, target: str, source_first: bool) -> None:
        if not source and not target:
            return
        uid = f"1.2.{next(numbers)}"
        given = {SOURCE: source, TARGET: target}
        sides = [side for side in ((SOURCE, TARGET) if source_first else (TARGET, SOURCE)) if given[side]]
        for side in sides:
            tell(uid, side, given[side])
        first = {side: Summary.parse(given[side]) if side == sides[0] else None for side in given}
        was_open = len(sides) == 2 and place_of(first[SOURCE], first[TARGET]) in OPEN
        found = pair.study(uid)
        assert found is not None
        assert (found.source, found.target) == (Summary.parse(source), Summary.parse(target))
        assert found.place is place_of(found.source, found.target, was_open=was_open)
        told.add(found.place)

    try:
        check()
    finally:
        deployment.close()
    assert told == set(Place)


def test_a_study_that_neither_side_has_is_nowhere() -> None:
    with pytest.raises(ValueError, match="neither side"):
        place_of(None, None)


def test_studies_that_came_at_one_moment_are_all_listed(redis_url: str, tmp_path: Path) -> None:
    """A script gives all that it writes one moment: more of them than a page and what is read beyond it."""
    source, target = (f"r{uuid4().hex[:8]}" for _ in range(2))
    cutover = {"CUTOVER__SOURCE": source, "CUTOVER__TARGET": target, "STATE__SHARDS": "1"}
    others = {f"REPOSITORIES__{target.upper()}__TOPICS": "other"}
    deployment = Deployment(tmp_path, redis_url, source, **cutover, **others)
    try:
        wanted = {f"1.2.{number}" for number in range(1500)}
        deployment.apply([(_stored(uid), BEGIN) for uid in sorted(wanted)])
        assert deployment.settings.cutover is not None
        pair = Pair(deployment.opened.connection, deployment.settings.cutover.rules, 1)
        listed, after = [], None
        while page := pair.page(OPEN, after, 100):
            listed += [(one.since or 0, one.study_instance_uid) for one in page]
            after = listed[-1]
        assert len({since for since, _ in listed}) == 1
        assert listed == sorted(listed)
        assert {uid for _, uid in listed} == wanted
        assert len(listed) == len(wanted)
    finally:
        deployment.close()


def _stored(uid: str) -> Json:
    values = {"0020000D": uid, "0020000E": f"{uid}.1", "00080018": f"{uid}.1.1", "00080016": CT}
    dataset = {tag: {"vr": "UI", "Value": [value]} for tag, value in values.items()}
    return {"action": "store", "level": "INSTANCE", "time": "2026-09-21T14:13:20+00:00", "dataset": dataset}
