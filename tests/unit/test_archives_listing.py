"""All studies of an archive listed: none passed over, whatever a server makes of limits, offsets and dates."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count

import pytest

from consumers.archives.archive import ArchiveRefused
from consumers.archives.client import ArchiveClient
from consumers.archives.listing import Listing
from consumers.archives.qido import Pages, Search
from tests.servers.fake_dicomweb import FakeArchive, archive_policy, element, instance, run_archive


@pytest.fixture
def served() -> Iterator[FakeArchive]:
    with run_archive(FakeArchive()) as archive:
        yield archive


@pytest.fixture
def search(served: FakeArchive) -> Iterator[Search]:
    client = ArchiveClient(archive_policy(served.url))
    yield Search(client)
    client.close()


def add(served: FakeArchive, number: int, day: str | None = "20240501", *, first: bool = False) -> str:
    uid = f"1.2.{number}"
    served.add(instance(uid, f"{uid}.1", f"{uid}.1.1", day), first=first)
    return uid


def spread(served: FakeArchive, studies: int, days: int) -> set[str]:
    """So many studies on days up to so many before the first of June 2024."""
    chance = random.Random(7)
    last = date(2024, 6, 1)
    return {add(served, one, f"{last - timedelta(days=chance.randrange(days)):%Y%m%d}") for one in range(studies)}


def listed(search: Search, size: int, begin: str = "") -> list[str]:
    listing = Listing(search)
    found: list[str] = []
    place: str | None = begin
    while place is not None:
        uids, place = listing.page(place, size)
        found += uids
    return found


@pytest.mark.parametrize("cap", [None, 1, 2, 5, 13])
@pytest.mark.parametrize("days", [1, 9, 3000])
def test_every_study_is_listed_once(served: FakeArchive, search: Search, days: int, cap: int | None) -> None:
    studies = spread(served, 40, days)
    served.cap = cap
    found = listed(search, 10)
    assert set(found) == studies
    assert len(found) == len(studies)


def test_an_archive_without_studies_has_an_end(search: Search) -> None:
    assert listed(search, 10) == []


def test_a_small_archive_costs_few_requests(served: FakeArchive, search: Search) -> None:
    spread(served, 50, 3000)
    assert len(listed(search, 100)) == 50
    assert len(served.requests) == 5  # whether it searches by dates; an answer and its end, dated and undated


@pytest.mark.parametrize("day", [None, "", "00010101", "21500101"])
def test_a_study_without_a_date_to_search_for_is_listed(served: FakeArchive, search: Search, day: str | None) -> None:
    studies = spread(served, 30, 300)
    studies.add(add(served, 99, day))
    found = listed(search, 7)
    assert set(found) == studies
    assert len(found) == len(studies)


@pytest.mark.parametrize("day", ["2024.05.01", "20249999"])
def test_a_study_whose_date_is_none_is_listed_even_if_a_search_finds_it(
    served: FakeArchive, search: Search, day: str
) -> None:
    studies = spread(served, 30, 300)
    studies.add(add(served, 99, day))
    assert set(listed(search, 7)) == studies


def test_a_server_that_knows_no_dates_is_read_in_pages(served: FakeArchive, search: Search) -> None:
    studies = {add(served, number) for number in range(9)}
    for uid in studies:
        served.extra[uid] = {"00080020": element("DA")}
    served.ignores_dates = True
    assert set(listed(search, 4)) == studies


def test_a_server_that_does_not_search_by_dates_is_read_in_pages(served: FakeArchive, search: Search) -> None:
    studies = spread(served, 40, 3000)
    served.ignores_dates, served.cap = True, 7
    found = listed(search, 10)
    assert set(found) == studies
    assert len(found) == len(studies)


@pytest.mark.parametrize("ignores_dates", [False, True])
def test_a_server_that_ignores_offset_is_refused_and_not_read_for_ever(
    served: FakeArchive, search: Search, ignores_dates: bool
) -> None:
    spread(served, 40, 1)
    served.ignores_offset, served.ignores_dates, served.cap = True, ignores_dates, 10
    with pytest.raises(ArchiveRefused, match="offset"):
        listed(search, 20)


def test_a_list_goes_on_at_its_place_after_a_restart(served: FakeArchive, search: Search) -> None:
    studies = spread(served, 40, 300)
    studies.add(add(served, 99, None))
    listing = Listing(search)
    place: str | None = ""
    found: set[str] = set()
    while place is not None:
        uids, place = Listing(search).page(place, 6)
        found |= {*uids}
    assert found == studies
    assert listing.page("undated:0", 6)[0] == ["1.2.99"]


@pytest.mark.parametrize("place", ["x", "20240101", "20249901+3", "undated:-1", "orthanc:1"])
def test_a_place_of_another_archive_is_refused(search: Search, place: str) -> None:
    with pytest.raises(ArchiveRefused, match="from the first"):
        Listing(search).page(place, 10)


@pytest.mark.parametrize("days", [1, 30])
@pytest.mark.parametrize("ignores_dates", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_none_that_stays_is_passed_over_while_others_come_and_go(
    served: FakeArchive, search: Search, seed: int, ignores_dates: bool, days: int
) -> None:
    staying = spread(served, 60, days)
    served.ignores_dates = ignores_dates
    leaving = [add(served, 1000 + number, "20240520", first=number % 2 == 0) for number in range(60)]
    chance, numbers = random.Random(seed), count(2000)

    def happen(path: str, query: str) -> None:
        for _ in range(chance.randrange(4)):
            if leaving and chance.random() < 0.6:
                served.remove(leaving.pop(chance.randrange(len(leaving))))
            else:
                leaving.append(add(served, next(numbers), first=chance.random() < 0.5))

    served.before_answer = happen
    assert staying <= set(listed(search, 10))


def test_rows_that_a_server_counts_and_does_not_give_hide_no_others(served: FakeArchive, search: Search) -> None:
    studies = spread(served, 40, 1)
    served.filtered = {f"1.2.{number}" for number in (3, 9, 10, 11, 25)}
    assert set(listed(search, 10)) == studies - served.filtered


def test_pages_hold_no_more_than_any_server_gives(served: FakeArchive, search: Search) -> None:
    add(served, 1)
    Pages(search, {}).page(0, 5000)
    assert "limit=200" in served.requests[-1]
