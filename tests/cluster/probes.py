"""What comes of a container's probes, by the rules of the kubelet; when to ask again. Times are monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tests.oracle.events import Json

Kind = Literal["startup", "liveness", "readiness"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe as the template has it; only commands are known here."""

    command: tuple[str, ...]
    delay: float
    period: float
    timeout: float
    failures: int
    successes: int

    @classmethod
    def of(cls, spec: Json) -> Probe:
        """Raises AssertionError for a probe that is no command."""
        assert "exec" in spec, f"only probes that run a command are known here, not {spec}"
        return cls(
            command=tuple(spec["exec"]["command"]),
            delay=spec.get("initialDelaySeconds", 0),
            period=spec.get("periodSeconds", 10),
            timeout=spec.get("timeoutSeconds", 1),
            failures=spec.get("failureThreshold", 3),
            successes=spec.get("successThreshold", 1),
        )


class Standing:
    """The outcome of one probe since the container's start: None until enough answers agree."""

    def __init__(self, probe: Probe, now: float) -> None:
        self.probe = probe
        self.outcome: bool | None = None
        self.next = now + probe.delay
        self._last: bool | None = None
        self._in_a_row = 0

    def note(self, well: bool, asked: float) -> None:
        """Take an answer to what was asked at that moment."""
        self._in_a_row = self._in_a_row + 1 if well == self._last else 1
        self._last = well
        if self._in_a_row >= (self.probe.successes if well else self.probe.failures):
            self.outcome = well
        self.next = asked + self.probe.period


class Standings:
    """All probes of one container. It is *started* when its startup probe says so; the others wait for that."""

    def __init__(self, probes: dict[Kind, Probe], now: float) -> None:
        self._of: dict[Kind, Standing] = {kind: Standing(probe, now) for kind, probe in probes.items()}

    def due(self, now: float) -> list[tuple[Kind, Probe]]:
        """The probes to ask now."""
        kinds: tuple[Kind, ...] = ("liveness", "readiness") if self.started else ("startup",)
        return [(kind, self._of[kind].probe) for kind in kinds if kind in self._of and self._of[kind].next <= now]

    def note(self, kind: Kind, well: bool, asked: float) -> None:
        """Take an answer. With the first good one of the startup probe the readiness probe is due at once."""
        before = self.started
        self._of[kind].note(well, asked)
        if self.started and not before:
            for other in ("liveness", "readiness"):
                if other in self._of:
                    self._of[other].next = asked if other == "readiness" else asked + self._of[other].probe.period

    @property
    def started(self) -> bool:
        return "startup" not in self._of or self._of["startup"].outcome is True

    @property
    def ready(self) -> bool:
        """Whether the container counts as ready while it runs."""
        return self.started and ("readiness" not in self._of or self._of["readiness"].outcome is True)

    @property
    def all_well(self) -> bool:
        return all(one.outcome is True for one in self._of.values())

    @property
    def given_up(self) -> Kind | None:
        """The probe for which the container has to be started again, if there is one."""
        kinds: tuple[Kind, ...] = ("startup", "liveness")
        return next((kind for kind in kinds if kind in self._of and self._of[kind].outcome is False), None)
