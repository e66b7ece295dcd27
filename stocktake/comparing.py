"""Everything compared anew when the rules of a cutover have changed, or when it has just been set up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event as Flag
from typing import Final

from state.comparison import Place
from state.errors import StateUnreachable
from state.pair import Pair, Recomparison
from stocktake.logs import log_about
from stocktake.settings import Settings
from stocktake.wiring import OpenRepository, comparison_of, open_repository

log = logging.getLogger(__name__)

_LOOK: Final = 1.0  # seconds between two looks at what is owed ...
_LOOKS: Final = 30  # ... and so many of them between two at whether all is to be compared anew
_PAGE: Final = 500


def compare_side(
    settings: Settings,
    opened: OpenRepository,
    step: Callable[[int], None] = lambda count: None,
    stop: Flag | None = None,
) -> int:
    """Compare a repository's studies in all shards where that was not done by the present rules; in how many.

    What was done stays done: a call that was ended by ``stop`` is gone on with by the next. ``step`` is told how many
    studies more are compared.

    Raises:
        StateUnreachable: the state does not answer; calling it again goes on.
    """
    comparison = comparison_of(settings, opened.policy.name)
    if comparison is None or settings.cutover is None:
        return 0
    pair = Pair(opened.connection, settings.cutover.rules, settings.state.shards)
    work = Recomparison(opened.connection, opened.studies, comparison)
    rules = comparison.rules
    for shard in [one for one, found in enumerate(pair.recompared(comparison.side, swept=False)) if found != rules]:
        if stop is not None and stop.is_set():
            return 0
        work.shard(shard, step)
    settle(work)
    shards = [one for one, found in enumerate(pair.recompared(comparison.side)) if found != rules]
    for shard in shards:
        work.sweep(shard)
    # Left by a consumer that still ran with other rules.
    for one in pair.page([Place.COMPARED_ANEW, Place.OPEN_COMPARED_ANEW], None, _PAGE):
        work.again(one.study_instance_uid)
    settle(work)
    return len(shards)


def settle(work: Recomparison) -> None:
    """Compare the studies that the pair knows by another UID, and that have changed."""
    while owed := work.owed():
        for uid in owed:
            work.settle(uid)


def keep_compared(settings: Settings, repository: str, stop: Flag) -> None:
    """Do so again and again until ``stop`` is set; beside the consumer, with a connection of its own."""
    log_about(role="consumer", repository=repository)
    opened = open_repository(settings, repository)
    comparison = comparison_of(settings, repository)
    looked = 0
    try:
        while comparison is not None and not stop.is_set():
            try:
                if looked == 0 and (shards := compare_side(settings, opened, stop=stop)):
                    log.info("repository %s: compared anew in %d shards", repository, shards)
                if settings.cutover is not None and settings.cutover.rules.study_uids:
                    settle(Recomparison(opened.connection, opened.studies, comparison))
            except StateUnreachable as error:
                log.warning("repository %s: comparing waits: %s", repository, error)
            looked = (looked + 1) % _LOOKS
            stop.wait(_LOOK)
    finally:
        opened.close()
