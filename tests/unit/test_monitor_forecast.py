"""When a simulated migration will have caught up, as its rows of every minute tell it, and how long studies lag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from monitor.forecast import WINDOW, Forecast, Outlook, forecast
from monitor.lags import Lags, lags_of
from state.history import MINUTE, Row
from state.pair import BUCKETS, milliseconds

BACKLOG = 60_000  # studies that are missing when the migration begins
BEGIN = 1_790_000_000 // MINUTE * MINUTE

Rate = Callable[[int], tuple[int, int]]  # of a minute: studies that arrive, studies that are settled


def row(time: int, arrived: int, settled: int) -> Row:
    left = arrived - settled
    return Row(time, arrived, settled, settled, left, 0, 0, 0, 0, None, None, None, None)


def migration(rate: Rate, most: int = 100_000) -> list[Row]:
    """The rows of a migration until nothing is open, or of so many minutes."""
    rows = [row(BEGIN, BACKLOG, 0)]
    while rows[-1].open and len(rows) < most:
        arrived, settled = rate(len(rows))
        last = rows[-1]
        total = last.arrived + arrived
        rows.append(row(last.time + MINUTE, total, min(total, last.settled + settled)))
    return rows


def at(rows: list[Row], number: int) -> Forecast:
    return forecast(rows[:number], rows[number])


def steady(minute: int) -> tuple[int, int]:
    rng = Random(minute)
    return rng.randint(8, 12), rng.randint(90, 130)


def bursty(minute: int) -> tuple[int, int]:
    """Everything comes in the first quarter of an hour, and is moved in batches of twenty minutes with pauses."""
    return 40 if minute % 60 < 15 else 0, 240 if minute % 30 < 20 else 0


def losing(minute: int) -> tuple[int, int]:
    return Random(minute).randint(90, 110), 60


def test_half_way_a_steady_migration_is_told_to_within_a_quarter() -> None:
    rows = migration(steady)
    for number in (len(rows) // 2, len(rows) // 4, len(rows) * 3 // 4):
        found = at(rows, number)
        left = rows[-1].time - rows[number].time
        assert found.outlook is Outlook.EXPECTED
        assert found.seconds == pytest.approx(left, rel=0.25)
        assert found.window == WINDOW


def test_half_way_a_bursty_migration_is_told_to_within_a_quarter() -> None:
    """The window is as long as what repeats itself: whenever one looks, it holds as many bursts as pauses."""
    rows = migration(bursty)
    half = len(rows) // 2
    for number in range(half, half + 60):
        found = at(rows, number)
        assert found.seconds == pytest.approx(rows[-1].time - rows[number].time, rel=0.25)


def test_a_migration_that_stalls_is_never_done_once_the_window_holds_nothing_else() -> None:
    def stalling(minute: int) -> tuple[int, int]:
        return 10, 110 if minute < 200 else 0

    rows = migration(stalling, 400)
    assert at(rows, 199).outlook is Outlook.EXPECTED
    slower = [at(rows, number).seconds or 0 for number in range(200, 250)]
    assert slower == sorted(slower)
    assert at(rows, 270).outlook is Outlook.NEVER
    assert at(rows, 270).seconds is None


def test_a_migration_that_stalls_without_news_is_never_done_either() -> None:
    rows = migration(lambda minute: (0, 110 if minute < 200 else 0), 400)
    assert at(rows, 399).outlook is Outlook.NEVER
    assert at(rows, 399).net_per_hour == 0


def test_a_migration_that_loses_ground_is_never_done() -> None:
    rows = migration(losing, 600)
    for number in (10, 300, 599):
        found = at(rows, number)
        assert (found.outlook, found.seconds) == (Outlook.NEVER, None)
        assert found.net_per_hour is not None
        assert found.net_per_hour < 0


def test_when_nothing_is_open_it_is_done() -> None:
    rows = migration(steady)
    found = at(rows, len(rows) - 1)
    assert (found.outlook, found.seconds) == (Outlook.DONE, None)
    assert found.settled_per_hour is not None
    assert found.settled_per_hour > 0
    assert forecast([], row(BEGIN, 5, 5)).outlook is Outlook.DONE


def test_what_too_few_rows_tell_is_not_told() -> None:
    rows = migration(steady)
    assert at(rows, 0).outlook is Outlook.UNKNOWN
    assert at(rows, 1).outlook is Outlook.UNKNOWN
    assert at(rows, 1).net_per_hour is None
    assert at(rows, 2).outlook is Outlook.EXPECTED


def test_rows_from_before_the_window_do_not_count() -> None:
    rows = migration(lambda minute: (10, 110 if minute < 100 else 20))
    assert at(rows, 100).settled_per_hour == 110 * 60 - 90
    assert at(rows, 160).settled_per_hour == 20 * 60
    assert at(rows, 160).arrived_per_hour == 10 * 60


def test_minutes_that_nobody_kept_do_not_change_the_rates() -> None:
    rows = migration(lambda minute: (10, 110))
    found = forecast(rows[100:110] + rows[150:155], rows[155])
    assert found.net_per_hour == 100 * 60
    assert found.window == 55 * MINUTE


# --- lags ------------------------------------------------------------------------------------------------------


def bucket_of(lag: float) -> int:
    """The bucket that a lag (milliseconds) is counted in."""
    return next(bucket for bucket in range(1000) if lag < milliseconds(bucket))


def test_percentiles_are_at_most_a_tenth_too_high() -> None:
    rng = Random(3)
    lags = sorted(rng.lognormvariate(9, 2) + 1 for _ in range(5000))
    found = lags_of(Counter((7, bucket_of(lag)) for lag in lags), (7,))
    assert found.settled == 5000
    for share, told in ((0.5, found.p50), (0.95, found.p95), (0.99, found.p99)):
        assert told is not None
        true = lags[round(5000 * share) - 1] / 1000
        assert true <= told <= true * 1.1


def test_hours_that_are_not_asked_for_do_not_count() -> None:
    lags = Counter({(5, 8 * BUCKETS): 100, (6, 16 * BUCKETS): 1})
    assert lags_of(lags, (6,)) == Lags(1, *(milliseconds(16 * BUCKETS) / 1000,) * 3)
    assert lags_of(lags, (8, 9)) == Lags(0, None, None, None)
    assert lags_of(lags, (5, 6)).settled == 101
    assert lags_of(lags, (5, 6)).p99 == milliseconds(8 * BUCKETS) / 1000
