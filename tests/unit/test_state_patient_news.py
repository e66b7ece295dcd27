"""What news of a patient lays over a study: the rules of docs/decisions/0010, one by one and plainly stated."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from state.patient_news import NOTHING, LaidOver, News, Patient, lay_over, patient_of
from state.values import Item

NAME: Final = "00100010"
ID: Final = "00100020"
ISSUER: Final = "00100021"
BIRTH_DATE: Final = "00100030"
SEX: Final = "00100040"

DOE: Final = Patient("P1", "")
ROE: Final = Patient("P2", "")
POE: Final = Patient("P3", "")


def identity(patient: Patient, **others: str) -> Item:
    tags = {"name": NAME, "birth_date": BIRTH_DATE, "sex": SEX}
    return {ID: patient.patient_id, ISSUER: patient.issuer, **{tags[name]: value for name, value in others.items()}}


def study(patient: Patient = DOE, time: int = 10, **others: str) -> tuple[Item, dict[str, int]]:
    """What a study's own events say, all of it at one time."""
    attributes = identity(patient, **others)
    return attributes, dict.fromkeys(attributes, time)


def told(time: int, patient: Patient, *, prior: Patient | None = None, **others: str) -> dict[Patient, list[News]]:
    """The news of one PATIENT event, by the patients under which it is kept."""
    news = News.of(time, identity(patient, **others))
    return {one: [news] for one in (patient, prior) if one is not None}


def together(*events: dict[Patient, list[News]]) -> dict[Patient, list[News]]:
    found: dict[Patient, list[News]] = {}
    for event in events:
        for patient, news in event.items():
            found.setdefault(patient, []).extend(news)
    return found


def shown(own: tuple[Item, dict[str, int]], *events: dict[Patient, list[News]]) -> Item:
    attributes, said_at = own
    return attributes | lay_over(attributes, said_at, together(*events)).attributes


# --- whose a study is ----------------------------------------------------------------------------------------------


def test_a_patient_is_the_pair_of_id_and_issuer_and_an_absent_issuer_is_an_empty_one() -> None:
    assert patient_of({ID: "P1"}) == patient_of({ID: "P1", ISSUER: ""}) == Patient("P1", "")
    assert patient_of({ID: "P1", ISSUER: "X"}) == Patient("P1", "X")


def test_without_a_patient_id_there_is_no_patient() -> None:
    assert patient_of({}) is patient_of({ID: ""}) is patient_of({ISSUER: "X", NAME: "Doe^Jane"}) is None


def test_a_study_without_a_patient_keeps_what_it_says() -> None:
    assert lay_over({NAME: "Doe^Jane"}, {NAME: 1}, told(20, Patient("", ""), name="Roe^Jane")) == NOTHING


# --- one event -----------------------------------------------------------------------------------------------------


def test_newer_news_of_its_patient_is_laid_over_a_study() -> None:
    found = lay_over(*study(name="Doe^Jane", sex="F"), told(20, DOE, name="Roe^Jane"))
    assert found == LaidOver(identity(DOE, name="Roe^Jane"), 20)


def test_news_that_is_not_newer_than_the_study_changes_nothing() -> None:
    for time in (9, 10):
        assert lay_over(*study(name="Doe^Jane"), told(time, DOE, name="Roe^Jane")) == NOTHING


def test_news_of_another_patient_or_of_another_issuer_changes_nothing() -> None:
    for other in (ROE, Patient("P1", "X")):
        assert lay_over(*study(name="Doe^Jane"), told(20, other, name="Roe^Jane")) == NOTHING


def test_an_attribute_that_the_study_said_later_stays_and_one_said_at_the_same_time_too() -> None:
    attributes, said_at = study(name="Doe^Jane", sex="F", birth_date="19700101")
    said_at |= {NAME: 30, SEX: 20, BIRTH_DATE: 19}
    found = lay_over(attributes, said_at, told(20, DOE, name="Roe^Jane", sex="M", birth_date="19990101"))
    assert attributes | found.attributes == identity(DOE, name="Doe^Jane", sex="F", birth_date="19990101")


def test_what_news_does_not_mention_stays_as_the_study_says() -> None:
    assert shown(study(name="Doe^Jane", sex="F"), told(20, DOE, name="Roe^Jane"))[SEX] == "F"


def test_an_attribute_that_news_gives_empty_becomes_empty() -> None:
    assert shown(study(name="Doe^Jane"), told(20, DOE, name=""))[NAME] == ""


def test_an_attribute_that_the_study_never_said_is_laid_over_it_also_from_before_1970() -> None:
    attributes, said_at = study(time=-30)
    assert lay_over(attributes, said_at, told(-20, DOE, sex="F")).attributes[SEX] == "F"


def test_news_older_than_the_event_that_named_the_patient_last_is_not_looked_at() -> None:
    """Whether that event said the Patient ID or its issuer: the pair is who the patient is."""
    for later in (ID, ISSUER):
        attributes, said_at = study(name="Doe^Jane")
        assert lay_over(attributes, said_at | {later: 30}, told(20, DOE, name="Roe^Jane")) == NOTHING


# --- several -------------------------------------------------------------------------------------------------------


def test_each_attribute_is_as_the_latest_news_that_mentions_it_says() -> None:
    events = (
        told(20, DOE, name="Roe^Jane", sex="M"),
        told(30, DOE, name="Poe^Jane"),
        told(40, DOE, birth_date="19700101"),
    )
    attributes, said_at = study(name="Doe^Jane")
    found = lay_over(attributes, said_at, together(*events))
    assert found == LaidOver(identity(DOE, name="Poe^Jane", sex="M", birth_date="19700101"), 40)


def test_a_merge_makes_the_study_the_other_patients() -> None:
    found = shown(study(name="Doe^Jane"), told(20, ROE, prior=DOE, name="Roe^Jane"))
    assert found == identity(ROE, name="Roe^Jane")


def test_after_a_merge_the_news_of_the_other_patient_counts_and_that_of_the_first_no_more() -> None:
    merge = told(20, ROE, prior=DOE, name="Roe^Jane")
    assert shown(study(), merge, told(30, ROE, name="Roe^Mary"))[NAME] == "Roe^Mary"
    assert shown(study(), merge, told(30, DOE, name="Doe^Mary"))[NAME] == "Roe^Jane"


def test_news_that_the_other_patient_had_before_the_merge_does_not_count() -> None:
    assert SEX not in shown(study(), told(15, ROE, sex="M"), told(20, ROE, prior=DOE, name="Roe^Jane"))


def test_a_chain_of_merges_is_followed_and_so_is_its_way_back() -> None:
    chain = [told(20, ROE, prior=DOE), told(30, POE, prior=ROE), told(40, DOE, prior=POE, name="Doe^Again")]
    assert [patient_of(shown(study(), *chain[:count])) for count in range(4)] == [DOE, ROE, POE, DOE]
    assert shown(study(), *chain, told(50, DOE, sex="F")) == identity(DOE, name="Doe^Again", sex="F")


def test_merges_in_a_circle_at_one_time_come_to_an_end() -> None:
    circle = [told(20, ROE, prior=DOE), told(20, DOE, prior=ROE), told(20, POE, prior=DOE), told(20, DOE, prior=POE)]
    patients = {patient_of(shown(study(), *order)) for order in permutations(circle)}
    assert len(patients) == 1


def test_a_merge_into_a_patient_without_issuer_takes_the_issuer_away() -> None:
    found = shown(study(Patient("P1", "X")), told(20, ROE, prior=Patient("P1", "X")))
    assert patient_of(found) == ROE
    assert found[ISSUER] == ""


def test_the_time_is_that_of_the_latest_news_on_the_way_even_if_all_it_said_was_said_later() -> None:
    attributes, said_at = study(name="Doe^Jane")
    found = lay_over(attributes, said_at | {NAME: 99}, told(50, DOE, name="Roe^Jane"))
    assert found.time == 50
    assert NAME not in found.attributes


# --- any -----------------------------------------------------------------------------------------------------------

_patients = st.sampled_from([DOE, ROE, POE, Patient("P1", "X"), Patient("P2", "X")])
_times = st.integers(-2, 8)
_values = st.sampled_from(["", "a", "b", "c"])


@st.composite
def events(draw: st.DrawFn) -> list[tuple[Patient | None, News]]:
    """PATIENT events as they are kept: those of a merge under both patients."""
    found: list[tuple[Patient | None, News]] = []
    for _ in range(draw(st.integers(0, 7))):
        patient, prior = draw(_patients), draw(st.one_of(st.none(), _patients))
        others = draw(st.dictionaries(st.sampled_from([NAME, BIRTH_DATE, SEX]), _values))
        news = News.of(draw(_times), identity(patient) | others)
        found += {(one, news) for one in (patient, prior) if one is not None}
    return found


@st.composite
def studies(draw: st.DrawFn) -> tuple[Item, dict[str, int]]:
    attributes = draw(st.dictionaries(st.sampled_from([NAME, BIRTH_DATE, SEX]), _values))
    if draw(st.integers(0, 9)):
        attributes[ID] = draw(_patients).patient_id
    if draw(st.booleans()):
        attributes[ISSUER] = draw(st.sampled_from(["", "X"]))
    return {**attributes}, {tag: draw(_times) for tag in attributes}


def stated(attributes: Item, said_at: dict[str, int], kept: list[tuple[Patient | None, News]]) -> LaidOver:
    """The rules as plainly as can be: go through all news once, in the order of time and then of text, and note what
    is of whoever the study's patient is by then; then look for each attribute's latest word.
    """
    patient = patient_of(attributes)
    if patient is None:
        return LaidOver({}, 0)
    named = max(said_at[tag] for tag in (ID, ISSUER) if tag in said_at)
    counted: list[News] = []
    for owner, news in sorted(kept, key=lambda one: one[1]):
        if news.time > named and owner == patient and news not in counted:
            counted.append(news)
            patient = patient_of(news.attributes)
    laid: Item = {}
    for tag in (NAME, ID, ISSUER, BIRTH_DATE, SEX):
        words = [
            news for news in counted if tag in news.attributes and (tag not in said_at or news.time > said_at[tag])
        ]
        if words:
            laid[tag] = words[-1].attributes[tag]
    return LaidOver(laid, counted[-1].time if counted else 0)


@given(studies(), events(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_news_is_laid_over_any_study_as_the_rules_say_in_whatever_order_it_is_kept(
    own: tuple[Item, dict[str, int]], kept: list[tuple[Patient | None, News]], rng: Random
) -> None:
    attributes, said_at = own
    rng.shuffle(kept)
    news: dict[Patient, list[News]] = {}
    for owner, one in kept:
        assert owner is not None
        news.setdefault(owner, []).append(one)
    before = attributes.copy(), said_at.copy()
    assert lay_over(attributes, said_at, news) == stated(attributes, said_at, kept)
    assert (attributes, said_at) == before


@given(studies(), events())
@settings(max_examples=50, deadline=None)
def test_news_that_is_kept_twice_is_as_good_as_once(
    own: tuple[Item, dict[str, int]], kept: list[tuple[Patient | None, News]]
) -> None:
    once: dict[Patient, list[News]] = {}
    for owner, one in kept:
        assert owner is not None
        once.setdefault(owner, []).append(one)
    assert lay_over(*own, {owner: found * 2 for owner, found in once.items()}) == lay_over(*own, once)
