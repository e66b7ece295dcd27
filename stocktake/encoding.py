"""What a process that encodes studies for a writer does first; a module of its own, for little is loaded there."""

from __future__ import annotations

from stocktake.logs import LogPolicy, log_to_stderr, log_unforeseen
from stocktake.memory import prepare_memory


def prepare_encoder(policy: LogPolicy, repository: str) -> None:
    """Log as the writer does, and deal with memory as a process that reads very many studies should."""
    log_to_stderr(policy, "writer", repositories=[repository])
    log_unforeseen()
    prepare_memory()
