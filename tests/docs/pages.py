"""What is tried of every page, and why not more. A page or a block without a decision here fails the tests.

A page with a *walk* has its blocks executed by it (tests/docs/walks.py), but those that are only ``parsed``, named by
how they begin. A page without one has all its blocks parsed: syntax of the shell, commands and options of `stocktake`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Page:
    """One page. ``walk`` names the function that executes it; ``why`` says why there is none, or what it leaves out."""

    why: str = ""
    walk: str = ""
    ci: bool = True  # whether the tests walk it, or only who calls `python -m tests.docs`
    parsed: Mapping[str, str] = field(default_factory=dict)


_NONE: Final = Page(why="shows no commands")
_ELSEWHERE: Final = (
    "its archive is a product that is not here; looks, bridges and crawls are walked in docs/archives.md"
)
_ENGINE: Final = "takes a container engine; the services are executed by tests/integration/test_compose_services.py"
_CLUSTER: Final = "takes a cluster; what it runs is rendered and executed by tests/cluster"
_RUNBOOK: Final = "executed step by step by tests/integration/test_recovery.py"
_LONG_RUNBOOK: Final = "executed there with STOCKTAKE_TEST_RECOVERY=all, and by `python -m tests.recovery`"
_PACKAGES: Final = "takes packages from an index; `python -m tests.docs readme` executes it"

PAGES: Final[Mapping[str, Page]] = {
    "README.md": Page(
        walk="readme",
        ci=False,
        parsed={"make demo": "the demo is a test of its own, and `make test` is what runs this"},
    ),
    "docs/architecture.md": _NONE,
    "docs/archives.md": Page(walk="archives", why="of `bridge orthanc`, Orthanc has tests of its own"),
    "docs/archives/azure.md": Page(why=_ELSEWHERE),
    "docs/archives/dcm4chee.md": Page(why=_ELSEWHERE),
    "docs/archives/dicomweb.md": Page(why=_ELSEWHERE),
    "docs/archives/google.md": Page(why=_ELSEWHERE),
    "docs/archives/healthimaging.md": Page(why=_ELSEWHERE),
    "docs/archives/orthanc.md": Page(why="Orthanc has tests of its own, tests/integration/test_orthanc_bridge.py"),
    "docs/commands.md": Page(why="examples of each command; the pages that explain them execute them"),
    "docs/concepts.md": _NONE,
    "docs/conformance.md": _NONE,
    "docs/cutover.md": Page(walk="cutover"),
    "docs/doctor.md": Page(why="tests/integration/test_doctor.py runs it, on servers that are well and that are not"),
    "docs/events.md": Page(walk="events", why="its examples, which are JSON, are published and applied"),
    "docs/http.md": Page(walk="http"),
    "docs/inventories.md": Page(walk="inventories"),
    "docs/metrics.md": _NONE,
    "docs/operations.md": Page(walk="operations", why="also the commands within its sentences"),
    "docs/performance.md": Page(why="measuring takes 20 minutes; tests/unit/test_benchmarks.py runs its parts"),
    "docs/quick-start.md": Page(
        walk="quick_start",
        parsed={
            "python3 -m venv": _PACKAGES,
            "cd deploy": _ENGINE,
            "docker compose": _ENGINE,
            "kubectl": _CLUSTER,
            "curl": _ENGINE,
        },
    ),
    "docs/image.md": Page(why="takes an engine; `python -m tests.image` builds the image and runs it"),
    "docs/runbook.md": Page(why=f"looks at a cluster by night: {_CLUSTER}"),
    "docs/runbook/inventory-volume-lost.md": Page(why=_RUNBOOK),
    "docs/runbook/outage.md": Page(why=_LONG_RUNBOOK),
    "docs/runbook/partitions.md": Page(why=_LONG_RUNBOOK),
    "docs/runbook/redis-backup.md": Page(why=_LONG_RUNBOOK),
    "docs/runbook/redis-lost.md": Page(why=_RUNBOOK),
    "docs/runbook/upgrade.md": Page(why="takes a cluster; tests/cluster rolls the roles, test_migration.py migrates"),
    "docs/security.md": Page(why="takes a cluster or a machine of your own"),
    "docs/sizing.md": _NONE,
    "docs/sinks.md": Page(walk="sinks", why="a folder in place of its bucket"),
    "docs/soak.md": _NONE,
    "docs/verify.md": Page(walk="verify"),
    "helm/README.md": Page(why=_CLUSTER),
    "helm/quickstart.md": Page(why=_CLUSTER),
}
