"""The program's reading of the standard's table is the same as an independent one."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from state.attributes import DERIVED, Attribute, Level, inventory_module, item_attributes, recordable
from tests.standard_table import INSTANCES, SERIES, STUDIES, Row, TagPath, children, standard_rows

PATHS = {Level.STUDY: STUDIES, Level.SERIES: SERIES, Level.INSTANCE: INSTANCES}


def flat(table: Mapping[str, Attribute], parent: TagPath = ()) -> dict[TagPath, Row]:
    found = {}
    for tag, one in table.items():
        assert tag == one.tag
        found[(*parent, tag)] = Row(one.keyword, one.vr, one.vm, one.type)
        found |= flat(one.children, (*parent, tag))
    return found


def test_every_row_stands_at_its_path_with_its_vr_vm_and_type() -> None:
    found = flat(inventory_module())
    assert found == standard_rows()
    assert len(found) == 1397


@pytest.mark.parametrize(("level", "count"), [(Level.STUDY, 41), (Level.SERIES, 18), (Level.INSTANCE, 30)])
def test_an_item_of_each_level_may_hold_what_the_table_says(level: Level, count: int) -> None:
    assert item_attributes(level).keys() == children(PATHS[level]).keys()
    assert len(item_attributes(level)) == count


@pytest.mark.parametrize("level", [Level.STUDY, Level.SERIES, Level.INSTANCE])
def test_what_is_derived_is_not_recorded(level: Level) -> None:
    assert recordable(level).keys() == item_attributes(level).keys() - DERIVED


def test_only_sequences_have_attributes_below_them() -> None:
    assert {row.vr for path, row in standard_rows().items() if children(path)} == {"SQ"}


def test_patients_have_no_items_in_an_inventory() -> None:
    with pytest.raises(ValueError, match="no Items of level PATIENT"):
        item_attributes(Level.PATIENT)
