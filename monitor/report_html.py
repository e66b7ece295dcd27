"""The sign-off report of a cutover as one HTML file for people: no script, nothing from outside, fit to be printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, Final
from zoneinfo import ZoneInfo

from monitor.gate import Condition
from monitor.report import OpenStudy, Report, rules_json
from monitor.tally import Line
from monitor.words import PLACES, duration
from state.comparison import OPEN, Place
from state.times import parse_time, to_datetime, to_iso

SHOWN: Final = 10_000  # open studies that are listed; a browser takes no more with ease

_STYLE: Final = """
:root { color-scheme: light dark; --line: #bbb; --head: #eee; --bad: #a40000; --good: #00602b; }
@media (prefers-color-scheme: dark) { :root { --line: #555; --head: #2a2a2a; --bad: #ff9d94; --good: #7fd6a2; } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1rem; }
caption { text-align: left; padding: .3rem 0; }
th, td { border: 1px solid var(--line); padding: .25rem .5rem; text-align: left; vertical-align: top; }
thead th { background: var(--head); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.w, code { overflow-wrap: anywhere; } td.s { white-space: nowrap; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
@page { size: A4 landscape; margin: 14mm; }
@media print {
  :root { color-scheme: light; --line: #999; --head: #eee; --bad: #a40000; --good: #00602b; }
  body { font-size: 9pt; max-width: none; margin: 0; padding: 0; color: #000; background: #fff; }
  thead { display: table-header-group; } tr { break-inside: avoid; } h2 { break-after: avoid; }
}
"""
_OTHERS: Final = tuple(place for place in PLACES if place not in (*OPEN, Place.IN_SYNC, Place.OPEN_COMPARED_ANEW))
_OPEN: Final = tuple(place for place in OPEN if place is not Place.OPEN_COMPARED_ANEW)
_SCOPE: Final = {
    "study_date_from": "Study Date from",
    "study_date_to": "Study Date to",
    "updated_from": "last updated from",
    "ignored_modalities": "studies of these modalities alone are out of scope",
    "attributes": "attributes that must agree",
    "id": "id of these rules",
}


def html_parts(of: Report, studies: Iterable[OpenStudy], shown: int = SHOWN) -> Iterator[str]:
    """The file, in parts. Of the open studies the first ``shown`` are listed, the others counted."""
    zone = ZoneInfo(of.zone)
    title = escape(f"Cutover from {of.rules.source} to {of.rules.target}")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n"
    yield f"<p>{_moment(of.figures.now, zone)} ({escape(of.zone)}), {escape(to_iso(of.figures.now))} in UTC; "
    yield f"{escape(of.software)}</p>\n</header>\n"
    yield from _gate(of)
    yield from _counts(of)
    yield from _exceptions(of, studies, zone, shown)
    yield from _inventories(of)
    yield from _rules(of)
    yield "</main>\n</body>\n</html>\n"


def _gate(of: Report) -> Iterator[str]:
    met = '<strong class="good">met</strong>' if of.gate.met else '<strong class="bad">not met</strong>'
    yield f"<section>\n<h2>Gate</h2>\n<p>The gate is {met}.</p>\n"
    yield from _table("Each condition", ("condition", "met", "found", "wanted"), map(_condition, of.gate.conditions))
    yield "</section>\n"


def _condition(one: Condition) -> Sequence[str]:
    mark = '<td class="s good">met</td>' if one.met else '<td class="s bad">not met</td>'
    return _first(one.name.replace("_", " ")), mark, _long(one.figure), _long(one.wanted)


def _counts(of: Report) -> Iterator[str]:
    tally = of.tally
    yield "<section>\n<h2>Studies</h2>\n"
    rows = [(_first(PLACES[place]), _number(tally.all.places.get(place, 0))) for place in Place if place is not _ANEW]
    if tally.all.places.get(_ANEW):
        rows.append((_first("to be compared anew, open before"), _number(tally.all.places[_ANEW])))
    rows += [
        (_first("live and in scope at the source"), _number(tally.all.source)),
        (_first("live and in scope at the target"), _number(tally.all.target)),
        (_first("open"), _number(tally.all.open)),
    ]
    yield from _table("By place", ("place", "studies"), rows)
    for what, lines in (("modality", tally.modalities), ("year of study", tally.years)):
        heads = (what, "source", "target", "in sync", *(PLACES[place] for place in (*_OPEN, *_OTHERS)))
        caption = f"By {what}: live studies in scope on both sides, and where they stand"
        yield from _table(caption, heads, (_line(line) for line in (*lines, tally.all)))
    yield "</section>\n"


_ANEW: Final = Place.OPEN_COMPARED_ANEW


def _line(line: Line) -> Sequence[str]:
    places = (Place.IN_SYNC, *_OPEN, *_OTHERS)
    counts = [
        line.places.get(place, 0) + (line.places.get(_ANEW, 0) if place is Place.COMPARED_ANEW else 0)
        for place in places
    ]
    return _first(line.value), *map(_number, (line.source, line.target, *counts))


def _exceptions(of: Report, studies: Iterable[OpenStudy], zone: ZoneInfo, shown: int) -> Iterator[str]:
    figures = of.figures
    yield "<section>\n<h2>Exceptions</h2>\n<p>"
    yield f"{figures.standing.open:,} studies are open, {figures.standing.acknowledged:,} of them acknowledged. "
    yield f"{figures.exceptions:,} are so for longer than {duration(figures.policy.grace)}, "
    yield f"{figures.unseen:,} of these not acknowledged.</p>\n"
    listed = 0

    def rows() -> Iterator[Sequence[str]]:
        nonlocal listed
        for listed, study in enumerate(studies, start=1):
            if listed <= shown:
                yield _study(study, zone)

    heads = ("Study Instance UID", "place", "reasons", "modality", "year", "open since", "acknowledged")
    yield from _table("Studies that are open, the longest first", heads, rows())
    if listed > shown:
        yield f"<p>{listed - shown:,} more are not listed here; the JSON report has all of them.</p>\n"
    if listed != figures.standing.open:
        yield f"<p>{listed:,} were open when they were listed: events came after they had been counted.</p>\n"
    yield "</section>\n"


def _study(study: OpenStudy, zone: ZoneInfo) -> Sequence[str]:
    since = "" if study.since is None else _moment(study.since, zone)
    seen = study.acknowledged
    note = "no" if seen is None else f"{seen.name}, {_moment(seen.time, zone)}: {seen.note}"
    return (
        f'<th scope="row"><code>{escape(study.study_instance_uid)}</code></th>',
        _cell(PLACES[Place[study.place.upper()]]),
        _cell("; ".join(study.reasons)),
        _short(study.modality),
        _short(study.year),
        _cell(since + (" (on its way)" if study.on_its_way else "")),
        _long(note),
    )


def _inventories(of: Report) -> Iterator[str]:
    yield "<section>\n<h2>Inventories</h2>\n"
    for side, head in zip(("source", "target"), of.heads, strict=True):
        name = of.rules.source if side == "source" else of.rules.target
        if head is None:
            yield f"<p>There is no inventory of the {side}, {escape(name)}.</p>\n"
        else:
            yield from _table(f"The head of the {side}, {name}", ("what", "value"), _head(head))
            caption = f"All that it stands for, itself last: {len(head['members']):,} inventories"
            yield from _table(
                caption, ("SOP Instance UID", "sequence", "records", "file"), map(_member, head["members"])
            )
    yield "<h3>To compare them again</h3>\n"
    yield "<p>In the folder of the inventories (<code>inventory.dir</code>), with the settings <code>cutover.*</code> "
    yield f"below: <code>{escape(of.command)}</code></p>\n</section>\n"


def _head(head: dict[str, Any]) -> Iterator[Sequence[str]]:
    begin = head["scope_begin"] or "(open)"
    content = to_datetime(parse_time(head["watermark"]))
    for label, value in (
        ("SOP Instance UID (0008,0018)", head["sop_instance_uid"]),
        ("sequence, kind", f"{head['sequence']:,}, {head['kind']}"),
        ("level (0008,0403), status (0008,0426)", f"{head['level']}, {head['status']}"),
        ("cut", f"{head['cut']:,}"),
        ("Content Date and Time (0008,0023), (0008,0033)", f"{content:%Y-%m-%d %H:%M:%S.%f} UTC"),
        ("scope", f"{begin} to {head['scope_end']}"),
        ("study records, with what it incorporates", f"{head['own_records']:,}, {head['total_records']:,}"),
        ("file", head["file"]),
        ("bytes", f"{head['bytes']:,}"),
        ("SHA-256", head["sha256"]),
        ("software", head["software"]),
    ):
        yield _first(label), _long(str(value))


def _member(member: dict[str, Any]) -> Sequence[str]:
    uid, file = escape(member["sop_instance_uid"]), member["file"]
    numbers = _number(member["sequence"]), _number(member["total_records"])
    return f'<th scope="row"><code>{uid}</code></th>', *numbers, _long(file)


def _rules(of: Report) -> Iterator[str]:
    yield "<section>\n<h2>Rules</h2>\n"
    yield "<p>The live instances of each study must be the same, by SOP Instance UID, and so must the numbers of "
    yield "series and instances, and the attributes named here, whatever their case, blanks and trailing carets.</p>\n"
    rows = (
        (_first(_SCOPE.get(name, name.replace("_", " "))), _long(_told(value)))
        for name, value in rules_json(of.rules).items()
    )
    yield from _table("What is compared, and of which studies", ("rule", "value"), rows)
    yield "</section>\n"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return f"{value['entries']:,} entries mapped, SHA-256 {value['sha256']}" if value["entries"] else "none mapped"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "open" if value in (None, "") else str(value)


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>"
    yield "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    yield "</tr></thead>\n<tbody>\n"
    for row in rows:
        yield f"<tr>{''.join(row)}</tr>\n"
    yield "</tbody>\n</table>\n"


def _first(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _cell(text: str) -> str:
    return f"<td>{escape(text)}</td>"


def _long(text: str) -> str:
    """One that may hold long words."""
    return f'<td class="w">{escape(text)}</td>'


def _short(text: str) -> str:
    return f'<td class="s">{escape(text)}</td>'


def _number(number: int) -> str:
    return f'<td class="n">{number:,}</td>'


def _moment(moment: int, zone: ZoneInfo) -> str:
    return f"{to_datetime(moment, zone):%Y-%m-%d %H:%M:%S%z}"
