"""``stocktake diff --cutover``: two trees compared by the rules of the settings, printed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import orjson

from monitor.figures import name_of
from monitor.reasons import reasons
from monitor.report import rules_json
from monitor.tally import Line, Tally
from monitor.words import PLACES
from state.comparison import Place
from state.pair import Compared
from state.policy import ComparisonPolicy
from stocktake.compared_trees import TreeCounts, compare_trees
from stocktake.exits import Exit
from stocktake.progress import Progress
from stocktake.reading import bad_input, steps
from stocktake.settings import Settings, SettingsError
from writers.tree import load_tree


def compare_by_rules(args: argparse.Namespace, settings: Settings) -> Exit:
    """Compare ``args.a`` as the source with ``args.b`` as the target, and print it.

    Raises:
        SettingsError: no cutover is configured.
        CommandError: a tree cannot be read.
    """
    if settings.cutover is None:
        raise SettingsError("no cutover is configured; set cutover.source and cutover.target")
    rules = settings.cutover.rules
    counts = TreeCounts()
    with Progress("records read") as progress:
        for study in _compared(args, settings, rules, counts, steps(progress)):
            if args.json:
                _write(_study_json(study, rules))
            else:
                print(f"{name_of(study.place):<24}{study.study_instance_uid}  {'; '.join(_reasons(study, rules))}")
    tally = Tally.of(counts.groups)
    if args.json:
        read = {"in_source": counts.in_source, "in_target": counts.in_target, "left_out": counts.left_out}
        _write({"counts": tally.to_json(), "records": read, "rules": rules_json(rules)})
    else:
        sys.stdout.writelines(line + "\n" for line in _lines(tally, counts, rules))
    return Exit.FAULTS if counts.open or counts.left_out else Exit.DONE


def _compared(
    args: argparse.Namespace,
    settings: Settings,
    rules: ComparisonPolicy,
    counts: TreeCounts,
    step: Callable[[], None],
) -> Iterator[Compared]:
    zone_a, zone_b = (
        args.timezone or ZoneInfo(settings.repository(side).timezone) for side in (rules.source, rules.target)
    )
    with bad_input():
        source, target = load_tree(args.a, args.search, zone_a), load_tree(args.b, args.search, zone_b)
        yield from compare_trees(source, target, rules, (zone_a, zone_b), counts, step)


def _study_json(study: Compared, rules: ComparisonPolicy) -> dict[str, object]:
    return {
        "study_instance_uid": study.study_instance_uid,
        "place": name_of(study.place),
        "reasons": _reasons(study, rules),
    }


def _reasons(study: Compared, rules: ComparisonPolicy) -> list[str]:
    return list(reasons(study, rules.attributes))


def _lines(tally: Tally, counts: TreeCounts, rules: ComparisonPolicy) -> Iterator[str]:
    for place, count in tally.all.places.items():
        yield f"{count:>13,} {PLACES[place]}"
    yield f"{tally.all.source:>13,} live and in scope at the source"
    yield f"{tally.all.target:>13,} live and in scope at the target"
    if counts.left_out:
        yield f"{counts.left_out:>13,} records left out, whose Study Instance UID is none"
    for what, lines in (("modality", tally.modalities), ("year", tally.years)):
        yield f"{what:<12}{'source':>13}{'target':>13}{'in sync':>13}{'open':>13}"
        yield from map(_line, lines)
    yield f"{counts.open:,} studies open, by the rules {rules_json(rules)['id']}"


def _line(line: Line) -> str:
    in_sync = line.places.get(Place.IN_SYNC, 0)
    return f"{line.value:<12}{line.source:>13,}{line.target:>13,}{in_sync:>13,}{line.open:>13,}"


def _write(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
