"""A pod: its containers, volumes and probes, from its start to its end, as the kubelet looks after it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stocktake.embedded import free_ports
from stocktake.first_process import ENDED
from tests.cluster.container import Command, Container, Given, environment, expanded
from tests.cluster.probes import Kind, Probe, Standings
from tests.cluster.sandbox import Mount, Sandbox, User
from tests.oracle.events import Json

_BACKOFF: Final = (0.5, 8.0)  # seconds before a container is started again: the first time, and at most
_PROBES: Final[Mapping[Kind, str]] = {
    "startup": "startupProbe",
    "liveness": "livenessProbe",
    "readiness": "readinessProbe",
}


@dataclass
class Running:
    """A container and what is known of it. ``again``: when it is to be started again, in monotonic seconds."""

    container: Container
    probes: dict[Kind, Probe]
    once: bool
    standings: Standings
    pre_stop: Sequence[str] = ()
    before_end: Command | None = None  # the preStop command, once it is begun
    asked: dict[Kind, tuple[Command, float]] = field(default_factory=dict)
    told_to_end: bool = False
    judged: bool = False  # how it ended
    again: float | None = None
    restarts: int = 0

    @property
    def runs(self) -> bool:
        return self.container.exit_code is None and self.again is None

    @property
    def ready(self) -> bool:
        return self.runs and self.standings.ready


@dataclass(frozen=True, slots=True)
class Place:
    """Where pods run: a folder for what is theirs, and the folder that a claim of some name stands for."""

    folder: Path
    claim: Callable[[str], Path]
    given: Given


class Pod:
    """Made and started; :meth:`tick` looks after it. ``faults`` are what should not have been.

    ``once``: its containers are to end by themselves, with 0. Moments are monotonic seconds: ``ready_at`` is when it
    was ready first, ``told_at`` when it was told to end, ``gone_at`` when its last process had ended.
    """

    def __init__(self, name: str, template: Json, revision: str, place: Place, *, once: bool = False) -> None:
        self.name = name
        self.revision = revision
        self.faults: list[str] = []
        self.made_at = time.monotonic()
        self.ready_at: float | None = None
        self.told_at: float | None = None
        self.gone_at: float | None = None
        self._spec = spec = template["spec"]
        self._grace = spec.get("terminationGracePeriodSeconds", 30)
        self._folder = place.folder / name
        self._folder.mkdir(parents=True)
        pod = {"metadata": {"namespace": "default", **template["metadata"], "name": name}, "spec": spec}
        assert not spec.get("initContainers"), "init containers are not known here"
        assert spec["securityContext"]["runAsNonRoot"], "no pod runs as root"
        context = spec["securityContext"]
        self._user = User(context["runAsUser"], context["runAsGroup"], context["fsGroup"])
        self._volumes = {volume["name"]: self._volume(volume, place) for volume in spec.get("volumes", [])}
        self.ports = {port: free_ports(1)[0] for one in spec["containers"] for port in _ports(one)}
        self.containers = [self._running(one, pod, place.given, once) for one in spec["containers"]]
        for one in self.containers:
            one.container.start()

    # --- what others see ----------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether all containers are ready. As in a cluster, a pod may be ready while it ends."""
        return all(one.ready for one in self.containers)

    @property
    def ending(self) -> bool:
        return self.told_at is not None

    @property
    def gone(self) -> bool:
        return self.gone_at is not None

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(one.restarts for one in self.containers)

    def ask_all(self) -> None:
        """Forget what the probes said, and have those of a container that has started asked now."""
        now = time.monotonic()
        for one in self.containers:
            _forget_commands(one)
            later: dict[Kind, Probe] = {kind: probe for kind, probe in one.probes.items() if kind != "startup"}
            one.standings = Standings(later, now)

    def asked_all(self) -> bool:
        """Whether each probe has answered since, and well."""
        return all(one.standings.all_well for one in self.containers)

    def log(self) -> str:
        """All that its containers have printed."""
        return "".join(one.container.log() for one in self.containers)

    # --- what is done to it -------------------------------------------------------------------------------------

    def end(self) -> None:
        """SIGTERM after what is to be done before, and SIGKILL to what runs on after the grace period: a fault."""
        if self.told_at is None:
            self.told_at = time.monotonic()
            for one in self.containers:
                _forget_commands(one)
            self.tick()

    def kill(self) -> None:
        """End all of it at once."""
        for one in self.containers:
            _forget_commands(one)
            one.container.kill()
        self.gone_at = self.gone_at or time.monotonic()

    def tick(self) -> None:
        """Look at its processes and probes, and do what is due."""
        if self.gone:
            return
        now = time.monotonic()
        for one in self.containers:
            if self.ending:
                self._see_off(one, now)
            else:
                self._tend(one, now)
        if self.ready_at is None and not self.ending and self.ready:
            self.ready_at = now
        finished = all(one.container.exit_code is not None for one in self.containers)
        if finished and (self.ending or all(one.once for one in self.containers)):
            for one in self.containers:
                _forget_commands(one)
            self.gone_at = now

    def _see_off(self, one: Running, now: float) -> None:
        assert self.told_at is not None
        if one.container.exit_code is None:
            if not one.told_to_end and self._prepared(one, now):
                one.told_to_end = one.container.signal(signal.SIGTERM)
            if now > self.told_at + self._grace:
                self._fault(one, f"did not end within {self._grace} s of being told to and was killed")
                one.container.kill()
        elif one.told_to_end and not one.judged and now <= self.told_at + self._grace:
            one.judged = True
            orderly = {0} if self.ready_at is not None else {0, ENDED}  # it may not have begun yet
            if one.container.exit_code not in orderly:
                self._fault(one, f"ended with {one.container.exit_code} after SIGTERM")

    def _prepared(self, one: Running, now: float) -> bool:
        """Whether its preStop command is done, which is begun first. One that fails is a fault."""
        if not one.pre_stop:
            return True
        if one.before_end is None:
            one.before_end = one.container.run(one.pre_stop, self._grace)
            return False
        if (well := one.before_end.done(now)) is None:
            return False
        if not well:
            self._fault(one, f"its preStop command failed: {one.before_end.said()!r}")
        one.before_end.close()
        one.before_end, one.pre_stop = None, ()
        return True

    def _tend(self, one: Running, now: float) -> None:
        code = one.container.exit_code
        if one.again is not None:
            if now >= one.again:
                one.again = None
                one.standings = Standings(one.probes, now)
                one.container.start()
        elif code is None:
            self._ask(one, now)
        elif not one.once:
            self._fault(one, f"ended by itself with {code}")
            self._start_later(one, now)
        elif code != 0 and not one.judged:
            one.judged = True
            self._fault(one, f"ended with {code}")

    def _ask(self, one: Running, now: float) -> None:
        """Take the answers of probes that are there, and ask the probes that are due."""
        for kind, (command, asked) in list(one.asked.items()):
            if (well := command.done(now)) is not None:
                del one.asked[kind]
                one.standings.note(kind, well, asked)
                if not well and kind == "liveness" and not command.cut_off:
                    self._fault(one, f"the liveness probe said {command.said()!r}")
                command.close()
        for kind, probe in one.standings.due(now):
            if kind not in one.asked and (begun := one.container.run(probe.command, probe.timeout)) is not None:
                one.asked[kind] = begun, now
        if (kind_given_up := one.standings.given_up) is not None:
            self._fault(one, f"is started again, since its {kind_given_up} probe failed too often")
            one.container.kill()
            self._start_later(one, now)

    def _start_later(self, one: Running, now: float) -> None:
        _forget_commands(one)
        first, most = _BACKOFF
        one.again = now + min(first * 2**one.restarts, most)
        one.restarts += 1

    def _fault(self, one: Running, what: str) -> None:
        self.faults.append(f"{self.name}, container {one.container.name}: {what}; its last words: {_last(one)}")

    # --- how it is made -----------------------------------------------------------------------------------------

    def _running(self, spec: Json, pod: Json, given: Given, once: bool) -> Running:
        security = spec["securityContext"]
        assert security["readOnlyRootFilesystem"], "no container has a root that can be written"
        assert not security["allowPrivilegeEscalation"]
        mounts = tuple(
            Mount(*self._mounted(mount), mount.get("readOnly", False)) for mount in spec.get("volumeMounts", [])
        )
        root = self._folder / f"root-{spec['name']}"
        root.mkdir()
        sandbox = Sandbox(root, self.name, self._user, mounts)
        for volume in self._volumes.values():
            sandbox.give(volume)
        variables = {name: self._moved(value) for name, value in environment(spec, pod, given).items()}
        argv = [expanded(word, variables) for word in (*spec["command"], *spec.get("args", []))]
        log_file = self._folder / f"{spec['name']}.log"
        probes = {kind: Probe.of(spec[key]) for kind, key in _PROBES.items() if key in spec}
        container = Container(spec["name"], argv, variables, sandbox, log_file)
        pre_stop = spec.get("lifecycle", {}).get("preStop", {})
        assert pre_stop.keys() <= {"exec"}, f"only preStop commands are known here, not {pre_stop}"
        command = tuple(pre_stop.get("exec", {}).get("command", ()))
        return Running(container, probes, once, Standings(probes, time.monotonic()), command)

    def _volume(self, volume: Json, place: Place) -> Path:
        """The folder of this machine that a volume is."""
        if "persistentVolumeClaim" in volume:
            return place.claim(volume["persistentVolumeClaim"]["claimName"])
        folder = self._folder / f"volume-{volume['name']}"
        folder.mkdir()
        if "secret" in volume:
            secret = place.given.secrets[volume["secret"]["secretName"]]
            keys = {item["key"]: item["path"] for item in volume["secret"].get("items", [])} or {
                key: key for key in secret
            }
            for key, path in keys.items():
                file = folder / path
                file.write_text(secret[key], encoding="utf-8")
                file.chmod(volume["secret"].get("defaultMode", 0o644))
        elif "configMap" in volume:
            for key, value in place.given.config_maps[volume["configMap"]["name"]].items():
                (folder / key).write_text(value, encoding="utf-8")
        else:
            assert "emptyDir" in volume, f"a volume like {volume} is not known here"
        return folder

    def _mounted(self, mount: Json) -> tuple[Path, str]:
        assert "subPathExpr" not in mount
        return self._volumes[mount["name"]] / mount.get("subPath", ""), mount["mountPath"]

    def _moved(self, value: str) -> str:
        """A value with the pod's own port at its end: pods of one machine share its network, and so its ports."""
        host, colon, port = value.rpartition(":")
        if colon and port.isdecimal() and int(port) in self.ports:
            return f"{host}:{self.ports[int(port)]}"
        return value


def _ports(container: Json) -> Iterator[int]:
    for port in container.get("ports", []):
        yield port["containerPort"]


def _last(one: Running) -> str:
    lines = one.container.last_words().splitlines()
    return " | ".join(lines[-3:]) or "(none)"


def _forget_commands(one: Running) -> None:
    for command, _ in one.asked.values():
        command.kill()
        command.close()
    one.asked.clear()
    if one.before_end is not None:
        one.before_end.kill()
        one.before_end.close()
        one.before_end = None
