"""Damaged and hostile messages, made from samples of every format: each is told, skipped and counted, or refused.

``python -m tests.fuzz_formats [N] [--seed S]`` decodes N of them (100,000 if not said) and says what became of them.
The same N and seed make the same messages. A message that breaks the rules is written out, to be made a test of.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from time import perf_counter
from typing import Any, Final

import orjson

from consumers.counts import Counts
from consumers.events import BadEvent, Event, Heartbeat, Look, PatientEvent, Settle, Told
from consumers.intake import Format
from consumers.policy import FORMATS
from state.attributes import Level
from state.times import MICROSECONDS, parse_time
from state.vr import is_uid
from tests.samples import NOW, Headers, Sample, new_format, samples

CANARIES: Final = ("Zaphod", "ZB-42-CANARY")  # the patient of the samples: no reason may name it
_EARLIEST: Final = parse_time("1900-01-01T00:00:00Z")
_REFERENCE: Final = re.compile(r"orthanc:[0-9a-f]{8}(-[0-9a-f]{8}){4}|imageset:[0-9a-z]{32}/[0-9a-z]{32}")


# --- damage --------------------------------------------------------------------------------------------------------

_HOSTILE: Final = tuple(
    orjson.Fragment(text)
    for text in (
        *(b"null", b"true", b"0", b"-1", b"3", b"1e400", b"-0.0", b"9" * 400, b"NaN", b"Infinity", b"[]", b"{}", b'""'),
        *(
            b'"\\ud800"',
            b'"\\u0000"',
            b'"\xff"',
            b'"\xed\xa0\x80"',
            b'"' + b"1" * 65 + b'"',
            b'"1..2"',
            b'"x"',
            b'["1"]',
        ),
        *(
            b'{"a":1}',
            b'"2026-09-21T10:00:00Z"',
            b'"0000-00-00T99:99:99Z"',
            b'"Mon, 99 Foo 2026 99:99:99 XYZ"',
            b'"' * 3,
        ),
        *(b"[" * 90 + b"]" * 90, b"[" * 3000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 3000 + b"]" * 3000),
        *(b'"' + b"A" * 3000 + b'"', b'"1.2.3"', b'"2.25.101"', b'"create"', b'"delete"', b'"deleted"', b'"Deleted"'),
    )
)


def _nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each place in a JSON value: what holds it, and its key or index."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in members:
        yield value, key
        yield from _nodes(inside)


def _damage_json(value: bytes, random: Random) -> bytes:
    try:
        root = [orjson.loads(value)]
    except orjson.JSONDecodeError:
        return value
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        holder, key = random.choice([*_nodes(root)])
        match random.randrange(6):
            case 0 | 1 | 2:
                holder[key] = random.choice(_HOSTILE)
            case 3 if holder is not root:
                del holder[key]
            case 4:
                other, place = random.choice([*_nodes(root)])
                if not isinstance(other[place], dict | list):
                    holder[key] = other[place]
            case 5 if isinstance(holder, dict):
                holder[random.choice([*holder]).swapcase()] = holder[key] if not _holds(holder[key]) else None
    return orjson.dumps(root)[1:-1]


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)


def _wrap(value: bytes, random: Random) -> bytes:
    """The message within something that may be around it, and deeper than is taken."""
    for _ in range(random.choice((1, 1, 2, 5, 40))):
        value = random.choice(
            (
                b"[" + value + b"]",
                b"[" + value + b"," + value + b"]",
                b'{"specversion":"1.0","type":"a","data":' + value + b"}",
                b'{"specVersion":"1.0","type":"Microsoft.HealthcareApis.DicomImageDeleted","data":' + value + b"}",
                b'{"schema":null,"payload":' + value + b"}",
                b'{"message":' + value + b',"subscription":""}',
            )
        )
        if len(value) > 200_000:
            break
    return value


def _flip(value: bytes, random: Random) -> bytes:
    damaged = bytearray(value)
    for _ in range(random.choice((1, 1, 2, 8))):
        if damaged:
            damaged[random.randrange(len(damaged))] = random.choice((random.randrange(256), *b'"{}[]:,\\0 '))
    return bytes(damaged)


def _cut(value: bytes, random: Random) -> bytes:
    return value[: random.randrange(len(value) + 1)]


def _drop(value: bytes, random: Random) -> bytes:
    begin, end = sorted(random.randrange(len(value) + 1) for _ in range(2))
    return value[:begin] + value[min(end, begin + 40) :]


def _splice(value: bytes, random: Random) -> bytes:
    other = random.choice([*samples().values()]).value
    return value[: random.randrange(len(value) + 1)] + other[random.randrange(len(other) + 1) :]


_DAMAGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    *(_damage_json, _damage_json, _damage_json, _damage_json, _damage_json),
    *(_wrap, _flip, _cut, _drop, _splice),
)
_HEADERS: Final = (
    *("ce_specversion", "ce_type", "ce_time", "content-type", "action", "studyInstanceUID", "seriesInstanceUID"),
    *("sopInstanceUID", "lastUpdatedTime", "modality"),
)
_HEADER_VALUES: Final = (
    *(None, b"", b"1.0", b"0.3", b"\xff\xfe", b"StoreInstances", b"DeleteInstances", b"1.2.3", b"x" * 1000),
    *(b"application/cloudevents+json", b"Microsoft.HealthcareApis.DicomImageUpdated", b"2026-09-21T10:00:00Z", b"CT"),
)


def damaged(sample: Sample, random: Random) -> tuple[bytes, Headers]:
    """A sample's value and headers with some damage, to one of them or both."""
    value, headers = sample.value, [*sample.headers]
    if (headers and random.random() < 0.4) or random.random() < 0.05:
        for _ in range(random.choice((1, 2))):
            if headers and random.random() < 0.6:
                place = random.randrange(len(headers))
                headers[place] = (headers[place][0], random.choice(_HEADER_VALUES))
            elif headers and random.random() < 0.3:
                del headers[random.randrange(len(headers))]
            else:
                headers.append((random.choice(_HEADERS), random.choice(_HEADER_VALUES)))
        if random.random() < 0.5:
            return value, headers
    return random.choice(_DAMAGES)(value, random), headers


# --- the rules -----------------------------------------------------------------------------------------------------


class RuleBroken(AssertionError):
    """A message was dropped without a word, raised another error, or came to what cannot be."""


def outcome(event_format: Format, counts: Counts, value: bytes, headers: Headers) -> str:
    """What became of a message: ``told``, ``skipped`` or ``bad``; raises RuleBroken."""
    skipped = counts["messages_skipped"]
    try:
        told = event_format.decode(value, NOW, b"key", headers)
    except BadEvent as error:
        reason = str(error)
        if counts["messages_skipped"] != skipped:
            raise RuleBroken("refused and counted as skipped") from error
        if not reason or len(reason) > 400 or any(canary in reason for canary in CANARIES):
            raise RuleBroken(f"a reason that is none, or names a value: {reason[:200]}") from error
        return "bad"
    except Exception as error:
        raise RuleBroken(f"{type(error).__name__} escaped: {str(error)[:200]}") from error
    if counts["messages_skipped"] != skipped + (not told):
        raise RuleBroken("what says nothing is counted once, and nothing else is")
    for one in told:
        _check(one)
    return "told" if told else "skipped"


def _check(told: Told) -> None:
    """Raises RuleBroken if an adapter has invented something."""
    if not _EARLIEST <= told.time <= NOW + 3600 * MICROSECONDS:
        raise RuleBroken("a time that cannot be")
    match told:
        case Event():
            for entity in told.entities:
                named = (told.study_instance_uid, entity.series_instance_uid, entity.sop_instance_uid)
                wanted = {Level.STUDY: 1, Level.SERIES: 2}.get(told.level, 3)
                if not all(is_uid(one) for one in named[:wanted]):
                    raise RuleBroken("an event without its UIDs")
        case Look(owed=owed) | Settle(owed=owed):
            if not is_uid(owed) and not _REFERENCE.fullmatch(owed) and not re.fullmatch(r"[a-z]+:[!-~]+", owed):
                raise RuleBroken("a look at nothing")
        case PatientEvent() | Heartbeat():
            pass


def run(number: int, seed: int) -> Counter[str]:
    """Decode so many damaged messages; how many came to what, by format and in all.

    Raises:
        RuleBroken: with the message and how to make it again.
    """
    random = Random(seed)
    counts: Counts = Counter()
    formats = {name: new_format(name, counts) for name in FORMATS}
    all_samples = [*samples().values()]
    found: Counter[str] = Counter()
    for turn in range(number):
        sample = random.choice(all_samples)
        own = sample.name.partition("/")[0]
        name = random.choice(("auto", "auto", own, random.choice(FORMATS)))
        event_format = formats[name]
        value, headers = damaged(sample, random)
        try:
            what = outcome(event_format, counts, value, headers)
        except RuleBroken as error:
            where = f"input {turn} of seed {seed}, from {sample.name}, format {name}"
            raise RuleBroken(f"{error} ({where}): {value[:2000]!r} headers {headers!r}") from error
        found[what] += 1
        found[f"{name} {what}"] += 1
    return found


def main(arguments: list[str]) -> int:
    """The command; 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_formats", description=__doc__)
    parser.add_argument("number", nargs="?", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    begin = perf_counter()
    try:
        found = run(options.number, options.seed)
    except RuleBroken as error:
        print(error, file=sys.stderr)
        return 1
    took = perf_counter() - begin
    print(f"{options.number} inputs, seed {options.seed}: {took:.1f} s, no rule broken")
    for what, count in sorted(found.items()):
        print(f"  {what:24}{count:>9}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
