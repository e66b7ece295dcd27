"""``diff --state``: a tree held against the live state differs from it as from an inventory made of it now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from state.attributes import Level
from state.studies import ReadStudy, Studies
from stocktake.cli import main
from stocktake.exits import Exit
from tests.chains import Chain, ct
from tests.unit.inventories import inventory, removed, save, study
from writers.diff import Counts, StudyDifference, diff
from writers.manifest import Manifest
from writers.standalone import Range, write_standalone
from writers.state_diff import diff_with_state
from writers.tree import Tree, load_tree


@pytest.fixture
def chain(tmp_path: Path, redis_url: str, repository: str) -> Iterator[Chain]:
    made = Chain(tmp_path, redis_url, repository)
    yield made
    made.deployment.close()


def tree_of(chain: Chain, manifest: Manifest) -> Tree:
    return load_tree(chain.deployment.path(manifest))


def with_state(chain: Chain, tree: Tree, level: Level = Level.INSTANCE) -> tuple[list[StudyDifference], Counts]:
    counts = Counts()
    return list(diff_with_state(tree, chain.deployment.opened.studies, level, counts)), counts


def tell(chain: Chain, action: str, study: int, offset: int, **attributes: str) -> None:
    """An event of a whole study; ``attributes`` are LO values by tag."""
    event = ct(study, 1, chain.second)
    dataset = {"0020000D": event["dataset"]["0020000D"]}
    dataset |= {tag[1:]: {"vr": "LO", "Value": [value]} for tag, value in attributes.items()}
    event |= {"action": action, "level": "STUDY", "dataset": dataset}
    chain.deployment.apply([(event, chain.deployment.clock.now)], offset)


def test_a_tree_that_shows_the_state_does_not_differ_from_it(chain: Chain) -> None:
    for number in range(1, 6):
        chain.store(*range(number, number + 8))
        head = chain.produce()
    assert len(head.members) > 2
    assert with_state(chain, tree_of(chain, head)) == ([], Counts(in_a=12, in_b=12, same=12))


def test_what_changed_since_is_told_by_shard_and_uid(chain: Chain) -> None:
    chain.store(*range(1, 20))
    chain.produce()
    chain.store(*range(1, 10, 2))
    tree = tree_of(chain, chain.produce())
    chain.store(3, 4, 5, *range(20, 30))
    tell(chain, "update", 6, 1000, _00081030="Renamed")
    tell(chain, "delete", 7, 1001)
    found, counts = with_state(chain, tree)
    kinds = {int(one.study_instance_uid.rpartition(".")[2]): one.kind for one in found}
    assert kinds == dict.fromkeys((3, 4, 5, 6, 7), "different") | dict.fromkeys(range(20, 30), "extra")
    assert counts == Counts(in_a=19, in_b=29, same=14, extra=10, different=5, removed_in_one=1)
    shard_of = chain.deployment.opened.studies.shard_of
    places = [(shard_of(one.study_instance_uid), one.study_instance_uid) for one in found]
    assert places == sorted(places)
    by_uid = {one.study_instance_uid: one for one in found}
    assert by_uid["1.2.6"].attributes == ("StudyDescription",)
    assert by_uid["1.2.7"].removed_in_b is True
    assert by_uid["1.2.3"].instances.extra == 1
    assert by_uid["1.2.20"].removed_in_b is False


def test_it_is_what_a_baseline_made_now_differs_in(chain: Chain, tmp_path: Path) -> None:
    """Of a foreign tree too, whose order is another and which has studies that the state never heard of."""
    chain.store(*range(1, 12))
    tell(chain, "delete", 4, 1000)
    items = [
        study("1.2.9"),
        removed("1.2.4"),
        study("1.2.100"),
        study("1.2.5", parts=[]),
        study("1.2.101", StudyInstanceUID="no UID"),
        study("1.2.1"),
    ]
    tree = load_tree(save(tmp_path / "theirs.dcm", inventory("1.9.1", items)))
    found, counts = with_state(chain, tree)
    now = Counts()
    baseline = chain.deployment.produce("baseline")
    expected = list(diff(tree, load_tree(chain.deployment.path(baseline)), now))
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert counts == now
    assert (counts.missing, counts.extra, counts.different) == (2, 7, 4)


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES])
def test_a_tree_of_a_higher_level_is_compared_at_its_own(chain: Chain, tmp_path: Path, level: Level) -> None:
    chain.store(1, 2)
    opened = chain.deployment.opened
    policy = replace(chain.deployment.settings.inventory, level=level)
    output = tmp_path / "high.dcm"
    write_standalone(opened.studies, Range(None, None), chain.deployment.clock.now, output, policy, ZoneInfo("UTC"), "")
    tree = load_tree(output)
    assert with_state(chain, tree, level) == ([], Counts(in_a=2, in_b=2, same=2))
    chain.store(2)
    found, _ = with_state(chain, tree, level)
    assert [(one.study_instance_uid, one.attributes) for one in found] == [
        ("1.2.2", ("NumberOfStudyRelatedInstances",))
    ]


def test_each_study_of_the_state_is_read_once_while_a_consumer_is_at_work(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain.store(*range(1, 30))
    tree = tree_of(chain, chain.produce())
    chain.store(2, 40, 41)
    asked: list[str] = []
    read = Studies.read

    def noted(self: Studies, uids: Iterable[str], page: int = 100) -> Iterator[ReadStudy]:
        uids = list(uids)
        if not asked:
            chain.store(3, 50)  # just before the state is read for the first time
        asked.extend(uids)
        return read(self, uids, page)

    monkeypatch.setattr(Studies, "read", noted)
    found, counts = with_state(chain, tree)
    assert len(asked) == len(set(asked)) == counts.in_b == 32
    assert {one.study_instance_uid: one.kind for one in found} == {
        "1.2.2": "different",
        "1.2.3": "different",
        "1.2.40": "extra",
        "1.2.41": "extra",
        "1.2.50": "extra",
    }


def run(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argv: Sequence[object]
) -> tuple[int, str, str]:
    for name, value in chain.deployment.environ.items():
        monkeypatch.setenv(name, value)
    capsys.readouterr()
    code = main(["diff", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_tells_it_as_it_does_of_two_trees(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain.store(1, 2)
    chain.produce()
    folder = chain.deployment.folder
    code, out, _ = run(chain, monkeypatch, capsys, [folder, "--state"])
    assert (code, out) == (
        Exit.DONE,
        "in a: 2, in b: 2, same: 2, missing: 0, extra: 0, different: 0, removed in one: 0\n",
    )
    chain.store(2, 3)
    code, out, _ = run(chain, monkeypatch, capsys, ["--state", folder])
    assert code == Exit.FAULTS
    assert sorted(out.splitlines()[:2]) == [
        "different 1.2.2 attributes: NumberOfStudyRelatedInstances instances: 0 missing, 1 extra, 0 different",
        "extra     1.2.3",
    ]
    code, out, _ = run(chain, monkeypatch, capsys, [folder, "--state", "--json"])
    assert json.loads(out.splitlines()[-1])["counts"]["extra"] == 1


def test_a_tree_and_a_state_of_lower_level_are_not_compared(
    tmp_path: Path, redis_url: str, repository: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = Chain(tmp_path, redis_url, repository, INVENTORY__LEVEL="STUDY")
    path = save(tmp_path / "a.dcm", inventory("1.2.1", [study("1.5.1")]))
    code, _, err = run(chain, monkeypatch, capsys, [path, "--state"])
    chain.deployment.close()
    assert code == Exit.USAGE
    assert "INSTANCE" in err
    assert "STUDY" in err


@pytest.mark.parametrize("argv", [["a"], ["a", "b", "--state"]])
def test_one_tree_and_the_state_or_two_trees_are_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *argv]) == Exit.USAGE
    assert "--state" in capsys.readouterr().err
