"""Moments are exact: what is written is read back, and no text gives a moment that it does not name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.times import _parse_any, from_datetime, parse_time, to_datetime, to_dt, to_iso

FIRST = from_datetime(datetime.min.replace(tzinfo=UTC))
LAST = from_datetime(datetime.max.replace(tzinfo=UTC))
SECOND = 1_000_000
HOUR = 3600 * SECOND

moments = st.integers(FIRST, LAST)
offsets = st.integers(-14 * 60, 14 * 60)


@given(moments)
def test_a_moment_written_as_dt_or_iso_is_read_back_to_the_microsecond(moment: int) -> None:
    assert parse_time(to_dt(moment)) == moment
    assert parse_time(to_iso(moment)) == moment
    assert from_datetime(to_datetime(moment)) == moment


@given(moments)
def test_a_dt_has_full_precision_and_an_offset(moment: int) -> None:
    text = to_dt(moment)
    assert len(text) == 26
    assert text.endswith("+0000")
    assert (text[:14] + text[15:21]).isdigit()


@given(
    st.sampled_from(("2026-11-21T10:15:00.123456+01:00", "20261121101500.123456+0100")),
    st.lists(st.tuples(st.integers(0, 31), st.sampled_from("0123456789+-.:TZWé٣ ")), max_size=3),
)
def test_times_as_most_write_them_are_read_like_any_other(text: str, changes: list[tuple[int, str]]) -> None:
    for at, letter in changes:
        text = text[:at] + letter + text[at + 1 :]
    try:
        expected = _parse_any(text, ZoneInfo("Europe/Berlin"))
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            parse_time(text, ZoneInfo("Europe/Berlin"))
    else:
        assert parse_time(text, ZoneInfo("Europe/Berlin")) == expected


@given(st.lists(moments, min_size=2, max_size=5))
def test_written_moments_sort_as_the_moments_do(found: list[int]) -> None:
    assert [to_dt(moment) for moment in sorted(found)] == sorted(to_dt(moment) for moment in found)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)), offsets)
def test_an_offset_is_the_difference_to_utc(local: datetime, minutes: int) -> None:
    aware = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = (local - datetime(1970, 1, 1)) // timedelta(microseconds=1) - minutes * 60 * SECOND
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    dt = f"{local.year:04}{local:%m%d%H%M%S.%f}{sign}{hours:02}{rest:02}"
    assert parse_time(dt) == parse_time(aware.isoformat()) == from_datetime(aware) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026", "2026-01-01T00:00:00Z"),
        ("202602", "2026-02-01T00:00:00Z"),
        ("20260203", "2026-02-03T00:00:00Z"),
        ("2026020304", "2026-02-03T04:00:00Z"),
        ("202602030405", "2026-02-03T04:05:00Z"),
        ("20260203040506.7", "2026-02-03T04:05:06.700000Z"),
        ("20260203+0100", "2026-02-02T23:00:00Z"),
        ("  20260203  ", "2026-02-03"),
        ("2026-02-03T04:05:06.7Z", "2026-02-03T04:05:06.700000+00:00"),
        ("20260203040560", "2026-02-03T04:05:59Z"),  # a leap second
    ],
)
def test_what_is_missing_means_the_first_moment_of_what_is_given(text: str, same: str) -> None:
    assert parse_time(text) == parse_time(same)


def test_digits_past_the_microsecond_are_cut() -> None:
    assert parse_time("2026-01-01T00:00:00.123456999Z") % SECOND == 123_456


def test_a_time_without_an_offset_is_in_the_zone_given() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_time("20260701120000", berlin) == parse_time("2026-07-01T10:00:00Z")
    assert parse_time("2026-01-01T12:00:00", berlin) == parse_time("2026-01-01T11:00:00Z")
    assert parse_time("2026-01-01T12:00:00+09:00", berlin) == parse_time("2026-01-01T03:00:00Z")


def test_the_years_1_to_9999_are_all_there_is() -> None:
    assert parse_time("0001-01-01T00:00:00Z") == FIRST
    assert parse_time("9999-12-31T23:59:59.999999Z") == LAST
    assert to_dt(FIRST) == "00010101000000.000000+0000"
    assert parse_time("9999-12-31T23:59:59-00:00") // SECOND == LAST // SECOND
    for text in ("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "00010101000000+0100", "00000101"):
        with pytest.raises(ValueError):  # noqa: PT011 -- the text differs; that it is refused counts
            parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1e9",
        "20261301",
        "20260230",
        "2026020325",
        "202602030460",
        "20260203040506.1234567",
        "20260203+2500",
        "2026-02-03T04:05:06+25:00",
        "２０２６",
        "0" * 65,
    ],
)
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_time(text)


@given(st.text(max_size=70) | st.from_regex(r"\A[0-9]{4,14}(\.[0-9]{1,6})?([+-][0-9]{4})?\Z"))
def test_any_text_is_a_moment_or_a_value_error(text: str) -> None:
    try:
        moment = parse_time(text)
    except ValueError:
        return
    assert FIRST <= moment <= LAST
