"""What may happen to writers, sinks, looks and bridges, and the alerts that must fire then, and no others."""

from __future__ import annotations

from typing import Final

from tests.alert_deployment import END, HEALTHY, Course, Scenario, always, grows, since


def _in_hand(begin: float, end: float) -> dict[str, Course]:
    """An inventory is in hand from minute ``begin`` until it is published at ``end``; the next comes a minute later."""
    cut, head = grows(begin, 1), grows(begin, 12)
    return {
        "stocktake_cut_age_seconds": lambda minute: (
            cut if begin <= minute < end else HEALTHY["stocktake_cut_age_seconds"]
        )(minute),
        "stocktake_head_age_seconds": lambda minute: (
            head if begin <= minute <= end else HEALTHY["stocktake_head_age_seconds"]
        )(minute),
    }


WRITERS: Final = (
    Scenario("no writer runs", {"stocktake_writer_leads": since(10, 0, 1)}, {"StocktakeNobodyLeads": (15, END)}),
    Scenario(
        "another writer leads after four minutes",
        {"stocktake_writer_leads": since(10, 0, 1, 14)},
        near=("StocktakeNobodyLeads",),
    ),
    Scenario(
        "the writer leads, and writes nothing",
        {"stocktake_head_age_seconds": grows(10, 12)},
        {"StocktakeNoInventory": (31, END)},
    ),
    Scenario(
        "the writer leaves three inventories out",
        {"stocktake_head_age_seconds": grows(10, 12, until=26)},
        near=("StocktakeNoInventory",),
    ),
    Scenario(
        "an inventory each hour",
        {
            "stocktake_head_age_seconds": lambda minute: 12 + 60 * (minute % 60),
            "stocktake_inventory_interval_seconds": always(3600),
        },
        near=("StocktakeNoInventory",),
        minutes=90,
    ),
    Scenario(
        "nothing changes, and empty inventories are not written",
        {
            "stocktake_head_age_seconds": grows(10, 12),
            "stocktake_inventory_write_empty": always(0),
            "stocktake_backlog_studies": always(0),
        },
        near=("StocktakeNoInventory",),
        minutes=150,
    ),
    Scenario(
        "something changes, and the writer that writes no empty inventories does not notice",
        {
            "stocktake_head_age_seconds": grows(10, 12),
            "stocktake_inventory_write_empty": always(0),
            "stocktake_backlog_studies": since(60, 3, 0),
        },
        {"StocktakeNoInventory": (125, END)},
        minutes=150,
    ),
    Scenario(
        "the first inventory does not come",
        {"stocktake_head_sequence": always(0), "stocktake_head_age_seconds": always(None)},
        {"StocktakeNoFirstInventory": (120, END)},
        minutes=150,
    ),
    Scenario(
        "the first inventory comes after an hour",
        {
            "stocktake_head_sequence": since(60, 1, 0),
            "stocktake_head_age_seconds": lambda minute: None if minute < 60 else 12 + 60 * (minute % 5),
        },
        near=("StocktakeNoFirstInventory",),
        minutes=150,
    ),
    Scenario(
        "there is nothing to be in the first inventory",
        {
            "stocktake_head_sequence": always(0),
            "stocktake_head_age_seconds": always(None),
            "stocktake_inventory_write_empty": always(0),
            "stocktake_backlog_studies": always(0),
        },
        near=("StocktakeNoFirstInventory",),
        minutes=150,
    ),
    Scenario(
        "an inventory does not get done",
        {"stocktake_cut_age_seconds": grows(10, 1), "stocktake_head_age_seconds": grows(10, 12)},
        {"StocktakeNoInventory": (75, END), "StocktakeCutStuck": (75, END)},
        minutes=90,
    ),
    Scenario(
        "a baseline takes 57 minutes, with an inventory every five",
        _in_hand(10, 67),
        near=("StocktakeNoInventory", "StocktakeCutStuck"),
        minutes=100,
    ),
    Scenario(
        "a baseline takes 80 minutes, with an inventory every five",
        _in_hand(10, 90),
        {"StocktakeNoInventory": (75, 90), "StocktakeCutStuck": (75, 89)},
        minutes=100,
    ),
    Scenario(
        "an inventory fails and is begun anew every ten minutes",
        {
            "stocktake_cut_age_seconds": lambda minute: 1 + 60 * (minute % 10),
            "stocktake_head_age_seconds": grows(10, 12),
        },
        {"StocktakeNoInventory": (35, END)},
        minutes=90,
    ),
    Scenario(
        "a baseline takes two hours, with an inventory each hour",
        {
            "stocktake_cut_age_seconds": grows(10, 1, until=130),
            "stocktake_head_age_seconds": grows(10, 12, until=130),
            "stocktake_inventory_interval_seconds": always(3600),
        },
        near=("StocktakeCutStuck",),
        minutes=150,
    ),
    Scenario(
        "a study is passed over",
        {"stocktake_oldest_debt_cuts": since(10, 4, 1)},
        {"StocktakeDebtPassedOver": (20, END)},
    ),
    Scenario(
        "a study waits for three cuts",
        {"stocktake_oldest_debt_cuts": since(10, 3, 1)},
        near=("StocktakeDebtPassedOver",),
    ),
    Scenario(
        "a sink takes nothing",
        {"stocktake_sink_trouble_seconds": grows(10, 1)},
        {"StocktakeSinkTrouble": (75, END)},
        minutes=90,
    ),
    Scenario(
        "a sink takes nothing for an hour",
        {"stocktake_sink_trouble_seconds": grows(10, 1, until=70)},
        near=("StocktakeSinkTrouble",),
        minutes=90,
    ),
    Scenario(
        "a verification finds errors",
        {"stocktake_verified_findings": since(10, 2, 0)},
        {"StocktakeChainFaulty": (11, END)},
    ),
    Scenario(
        "a verification finds nothing", {"stocktake_verified_findings": always(0)}, near=("StocktakeChainFaulty",)
    ),
    Scenario(
        "nobody verifies any more",
        {"stocktake_verified_age_seconds": lambda minute: 690_960 + 60 * minute},
        {"StocktakeNotVerified": (1448, END)},
        minutes=1600,
        step=4,
    ),
    Scenario(
        "nobody has ever verified",
        {"stocktake_verified_age_seconds": always(None), "stocktake_verified_findings": always(None)},
        {"StocktakeNotVerified": (1440, END)},
        minutes=1600,
        step=4,
    ),
    Scenario(
        "somebody verifies every week",
        {"stocktake_verified_age_seconds": lambda minute: 60 * minute if minute < 1000 else 604_800},
        near=("StocktakeNotVerified",),
        minutes=1600,
        step=4,
    ),
)

ARCHIVES: Final = (
    Scenario(
        "more looks are owed than are made",
        {"stocktake_owed_looks": grows(0, 900, 10)},
        {"StocktakeLooksOwed": (71, END)},
        minutes=90,
    ),
    Scenario(
        "many looks are owed, and they become fewer",
        {"stocktake_owed_looks": grows(0, 9000, -10)},
        near=("StocktakeLooksOwed",),
        minutes=90,
    ),
    Scenario(
        "no look is made",
        {"stocktake_owed_looks": always(4), "stocktake_looks_total": always(100)},
        {"StocktakeLooksOwed": (61, END)},
        minutes=90,
    ),
    Scenario(
        "no look is owed, and none made",
        {"stocktake_owed_looks": always(0), "stocktake_looks_total": always(100)},
        near=("StocktakeLooksOwed",),
        minutes=90,
    ),
    Scenario("looks are given up", {"stocktake_given_up_looks": since(10, 2, 0)}, {"StocktakeLooksGivenUp": (25, END)}),
    Scenario(
        "looks are given up, and tried again at once",
        {"stocktake_given_up_looks": since(10, 2, 0, 24)},
        near=("StocktakeLooksGivenUp",),
    ),
    Scenario(
        "the bridge is gone", {"stocktake_heartbeat_age_seconds": grows(10, 3)}, {"StocktakeBridgeSilent": (15, END)}
    ),
    Scenario(
        "the bridge is replaced within four minutes",
        {"stocktake_heartbeat_age_seconds": grows(10, 3, until=14)},
        near=("StocktakeBridgeSilent",),
    ),
)
