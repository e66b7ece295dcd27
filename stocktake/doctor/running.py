"""Runs the checks of all areas side by side, none of them for longer than it may."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Thread
from typing import Final, TypeAlias

from consumers.errors import ConsumerError
from state.errors import StateError
from stocktake.doctor.finding import Examined, Finding, Reporter
from writers.files import FolderUnusable

log = logging.getLogger(__name__)

Area: TypeAlias = "Callable[[Examined], Iterator[Finding]]"

PATIENCE: Final = 30.0  # seconds for all checks of one area


@dataclass
class _Running:
    """One area that is being looked at in its thread."""

    name: str
    area: Area
    found: list[Finding] = field(default_factory=list)
    done: bool = False

    def run(self, examined: Examined) -> None:
        report = Reporter(self.name)
        try:
            for finding in self.area(examined):
                self.found.append(finding)
        except (StateError, ConsumerError, FolderUnusable, OSError) as error:
            self.found.append(report.fail("reach", str(error)))
        except Exception as error:
            # A fault of ours in one check must not keep the others from being told. Its text may hold anything.
            log.debug("a check of %s failed", self.name, exc_info=True)
            self.found.append(
                report.fail("check", f"the check itself failed: {type(error).__name__}", "log.level DEBUG says where")
            )
        self.done = True


def examine(areas: Mapping[str, Area], examined: Examined, patience: float = PATIENCE) -> Iterator[Finding]:
    """What is found, area by area in their order. One that takes longer than ``patience`` seconds is told so."""
    running = [_Running(name, area) for name, area in areas.items()]
    # Daemons: a check that hangs must not keep the program from ending.
    threads = [Thread(target=one.run, args=(examined,), name=f"doctor-{one.name}", daemon=True) for one in running]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + patience
    for one, thread in zip(running, threads, strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        done = one.done
        yield from list(one.found)
        if not done:
            yield Reporter(one.name).fail("time", f"the checks have not ended within {patience:g} seconds")
