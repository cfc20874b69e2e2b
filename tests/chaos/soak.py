"""`make soak`: an hour in which one CR is created, used, changed and deleted in a loop while small things go wrong.

Each step meets one trouble, chosen at random, of its kind one that was not met yet: a fault in requests, a process or a
server in trouble for some seconds, a rotation, or what other people and controllers do. Each step has to reach its end
all the same, and nothing may be abandoned. Ends with status 1 otherwise.

Arguments: `minutes=60`, `seed=N` for the same choices again, `kinds=others,server` for some troubles only. Writes its
table into docs/reliability.md, that of some troubles to stdout.
"""

import contextlib
import random
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from localcluster import misbehaviour
from localcluster.binaries import ensure_all
from localcluster.controlplane import CHECKOUT
from localcluster.environment import Environment, Manager
from localcluster.faults import Fault
from localcluster.servicemanager import ServiceManager
from models.names import WEBHOOK_CERT_SECRET
from tests.chaos import degraded
from tests.chaos.faults import FAULTS
from tests.chaos.others import Others
from tests.chaos.rotations import Rotations
from tests.chaos.stage import FAILURES, Stage

PAGE: Final = CHECKOUT / "docs" / "reliability.md"
PATIENCE: Final = 240.0
"""Seconds after which a step counts as stuck: a watch that hears nothing is noticed after a minute."""
PAIRS: Final = {"team-a": 2, "team-b": 1}
MEMORY: Final = {"worker": 512.0, "trigger": 256.0}
"""MiB: the limits in chart/btp-manager/values.yaml."""
SOCKETS: Final = 64
LEFT_ALONE: Final = (".services.cloud.sap.com", f"/{WEBHOOK_CERT_SECRET}")
"""Ends of paths that nobody deletes here: of definitions, which would take all along, and of what no watch follows."""
GROWTH: Final = 1.1
"""What the last quarter of a run may hold of the quarter before the middle; asked of runs of 40 cycles and more."""
REQUESTS: Final = {
    **{name: make for name, make in FAULTS.items() if "longer" not in name},
    "every request takes 0.2 s longer": lambda: [Fault(latency=0.2)],
    "every other watch says nothing": lambda: [Fault(watch=True, silent=True, chance=0.5)],
    "every other watch is told nothing, and ends in order": lambda: [Fault(watch=True, deaf=True, chance=0.5)],
    "every other watch goes back to an old version": lambda: [Fault(watch=True, rewind=True, chance=0.5)],
}
BROKER: Final[Mapping[str, Callable[[], misbehaviour.Fault]]] = {
    "Service Manager answers 429": partial(misbehaviour.throttled, "1", times=2),
    "Service Manager answers 502": partial(misbehaviour.bad_gateway, times=2),
    "Service Manager's answer to a deletion is lost": partial(misbehaviour.lost_answer, "DELETE"),
}
PROCESSES: Final = {
    "frozen": degraded.frozen,
    "slow to and from Temporal": degraded.temporal_slow,
    "without an answer from Temporal": degraded.temporal_silent,
    "cut off from Temporal": degraded.temporal_cut,
    "without an answer from the API server": degraded.api_server_silent,
    "cut off from the API server": degraded.api_server_cut,
}

KINDS: Final = ("requests", "broker", "process", "all", "killed", "server", "rotation", "others")


@dataclass
class Figures:
    """What the observed worker and trigger held at the end of a cycle. Memory in MiB."""

    minute: float
    memory: dict[str, float]
    sockets: dict[str, int]


@dataclass
class Soak:
    """One run. The first worker and the first trigger are never killed, so that what they hold can be judged."""

    stage: Stage
    rotations: Rotations
    chance: random.Random
    figures: list[Figures] = field(default_factory=list)
    troubles: dict[str, list[float]] = field(default_factory=dict)
    """How long the steps took that met each."""
    wrong: list[str] = field(default_factory=list)
    kinds: tuple[str, ...] = KINDS
    _missing: str = "/api"
    """The object of the operand that was deleted last."""

    def run(self, minutes: float) -> None:
        """Cycle until the time is over, or until something is wrong."""
        environment, began = self.stage.environment, time.monotonic()
        self._renewals = self.rotations.begin(self.stage.scene)
        self._others = Others(self.stage.scene, self.rotations, self.chance).doings()
        self._observed = {"worker": environment.workers[0], "trigger": environment.triggers[0]}
        pids = {name: _pid(manager) for name, manager in self._observed.items()}
        try:
            while time.monotonic() - began < minutes * 60:
                self._cycle()
                self._measure((time.monotonic() - began) / 60)
                assert pids == {name: _pid(manager) for name, manager in self._observed.items()}, "a process ended"
            self._judge_growth()
            assert self.figures, "the time was over before the first cycle"
        except (AssertionError, RuntimeError, OSError) as error:
            self.wrong.append(f"in cycle {len(self.figures) + 1}: {error}")

    def _cycle(self) -> None:
        scene, person = self.stage.scene, self.stage.scene.person
        self.rotations.put_secret()
        if scene.operand is None or not scene.operand.alive:
            scene.operand = self.stage.environment.start_operand()
        self._step("create", partial(person.create_operator, "btpoperator"), self._is_ready)
        self._step("use", self._use, self._is_used)
        self._step("change", self._change, lambda: self._is_ready() and self._is_restored())
        self._step("delete", partial(person.delete_operator, "btpoperator"), lambda: not scene.state())
        self.stage.settle()
        scene.nothing_left()
        assert not scene.reported(), f"abandoned: {scene.reported()}"
        assert not scene.sap.instances and not scene.sap.bindings, "left in SAP"
        assert not (failed := self.stage.failed()), failed

    def _step(self, name: str, act: Callable[[], object], is_over: Callable[[], bool]) -> None:
        began, scene = time.monotonic(), self.stage.scene
        trouble, disturb = self._trouble()
        seconds = self.chance.uniform(1, 6)
        with disturb(act, seconds):
            while not is_over():
                assert scene.reason() not in FAILURES, f"{name}, {trouble}: {self._stands()}"
                took = time.monotonic() - began
                assert took < PATIENCE, f"{name} is stuck, {trouble}: {self._stands()}"
                time.sleep(0.1)
        took = time.monotonic() - began
        self.troubles.setdefault(trouble, []).append(took)
        print(f"  {name}: {took:.1f} s, {trouble} ({seconds:.0f} s)", flush=True)

    def _one_of(self, names: Iterable[str]) -> str:
        """One that no step has met yet, as long as there is one."""
        known = sorted(names)
        return self.chance.choice([name for name in known if name not in self.troubles] or known)

    def _trouble(self) -> tuple[str, Callable[[Callable[[], object], float], contextlib.AbstractContextManager[None]]]:
        """One of all kinds, each as likely as the others; within a kind, one of its own."""
        environment, cluster = self.stage.environment, self.stage.environment.cluster
        managers = environment.workers + environment.triggers
        kind = self.chance.choice(self.kinds)
        if kind == "requests":
            name = self._one_of(REQUESTS)
            return name, partial(self._request_fault, REQUESTS[name])
        if kind == "broker":
            name = self._one_of(BROKER)
            return name, partial(self._broker_fault, BROKER[name])
        if kind in ("process", "all"):
            name = self.chance.choice(sorted(PROCESSES))
            struck = managers if kind == "all" else [self.chance.choice(managers)]
            who = "all processes" if kind == "all" else f"one {struck[0].module} of two"
            return f"{who} {name}", partial(self._afterwards, lambda: PROCESSES[name](environment, struck))
        if kind == "killed":
            killed = self.chance.choice([environment.workers[1], environment.triggers[1]])
            return f"one {killed.module} of two killed", partial(
                self._afterwards, lambda: degraded.dead(environment, [killed])
            )
        if kind == "server":
            servers = {
                "API server stopped": (cluster.stop_apiserver, cluster.start_apiserver),
                "API server frozen": (cluster.freeze_apiserver, cluster.thaw_apiserver),
                "Temporal stopped": (environment.temporal.stop, environment.temporal.start),
                "operand killed": (self._kill_operand, self._start_operand),
            }
            name = self._one_of(servers)
            return name, partial(self._afterwards, lambda: _between(*servers[name]))
        if kind == "others":
            name = self._one_of(self._others)
            return name, partial(self._afterwards, self._others[name])
        name = self._one_of(self._renewals)
        return name, partial(self._afterwards, lambda: _between(self._renewals[name], lambda: None))

    @contextlib.contextmanager
    def _request_fault(self, faults: Callable[[], list[Fault]], act: Callable[[], object], _: float) -> Iterator[None]:
        """From before the step until it is over."""
        self.stage.environment.proxy.faults += faults()
        self.stage.environment.proxy.hang_up()  # so that a fault of watches finds some
        act()
        try:
            yield
        finally:
            self.stage.environment.proxy.clear()

    @contextlib.contextmanager
    def _broker_fault(
        self, fault: Callable[[], misbehaviour.Fault], act: Callable[[], object], _: float
    ) -> Iterator[None]:
        self.stage.scene.sap.faults.append(fault())
        act()
        try:
            yield
        finally:
            self.stage.scene.sap.faults.clear()

    @contextlib.contextmanager
    def _afterwards(
        self,
        disturb: Callable[[], contextlib.AbstractContextManager[object]],
        act: Callable[[], object],
        seconds: float,
    ) -> Iterator[None]:
        """Some moment after the step began, for some seconds."""
        act()
        time.sleep(self.chance.uniform(0, 1.5))
        with disturb():
            time.sleep(seconds)
        yield

    def _use(self) -> None:
        scene, person = self.stage.scene, self.stage.scene.person
        for namespace, count in PAIRS.items():
            person.ensure_namespace(namespace)
            for number in range(count):
                name = f"{number}"
                scene.patiently(partial(person.create_instance, namespace, f"instance-{name}"))
                scene.patiently(partial(person.create_binding, namespace, f"binding-{name}", f"instance-{name}"))

    def _change(self) -> None:
        """Other values in the Secret, or an object of the operand gone."""
        person = self.stage.scene.person
        removable = [path for path in person.managed_paths() if not path.endswith(LEFT_ALONE)]
        self._missing = self.chance.choice(removable)
        if self.chance.random() < 0.5:
            self.rotations.secret()
        else:
            person.delete(self._missing)

    def _is_ready(self) -> bool:
        return self.stage.scene.state() == "Ready" and self.rotations.is_handed_on()

    def _is_restored(self) -> bool:
        return self.stage.scene.person.get(self._missing) is not None

    def _is_used(self) -> bool:
        sap, total = self.stage.scene.sap, sum(PAIRS.values())
        objects = self.stage.scene.person.service_objects()
        done = all((obj.get("status") or {}).get("ready") for obj in objects)
        return len(objects) == 2 * total and done and len(sap.instances) == len(sap.bindings) == total

    def _stands(self) -> str:
        handed_on = "handed on" if self.rotations.is_handed_on() else "not handed on"
        missing = "" if self._is_restored() else f", {self._missing} is missing"
        return f"the CR says {self.stage.scene.person.status('btpoperator')}, the Secret is {handed_on}{missing}"

    def _kill_operand(self) -> None:
        assert self.stage.scene.operand is not None
        self.stage.scene.operand.kill()

    def _start_operand(self) -> None:
        self.stage.scene.operand = self.stage.environment.start_operand()

    def _measure(self, minute: float) -> None:
        """Raises: AssertionError: a process holds too much, or is not ready though nothing is wrong any more."""
        for manager in self.stage.environment.workers + self.stage.environment.triggers:
            manager.wait_ready()
        memory = {name: _memory(_pid(manager)) for name, manager in self._observed.items()}
        sockets = {name: _sockets(_pid(manager)) for name, manager in self._observed.items()}
        self.figures.append(Figures(minute, memory, sockets))
        held = ", ".join(f"{name} {memory[name]:.0f} MiB, {sockets[name]} sockets" for name in self._observed)
        print(f"cycle {len(self.figures)}, minute {minute:.1f}: {held}", flush=True)
        for name in self._observed:
            assert memory[name] < MEMORY[name], f"{name} holds {memory[name]:.0f} MiB"
            assert sockets[name] < SOCKETS, f"{name} has {sockets[name]} sockets open"

    def _judge_growth(self) -> None:
        quarter = len(self.figures) // 4
        if quarter < 10:
            return
        for name in self._observed:
            before, after = (
                statistics.median(each.memory[name] for each in part)
                for part in (self.figures[quarter : 2 * quarter], self.figures[-quarter:])
            )
            assert after < GROWTH * before, f"{name} grew from {before:.0f} to {after:.0f} MiB"

    def table(self, seed: int) -> str:
        """Of what was held, by tenths of the run, and of what was met."""
        minutes = self.figures[-1].minute if self.figures else 0.0
        size = max(len(self.figures) // 10, 1)
        rows = ["| until minute | cycles | worker, MiB | its sockets | trigger, MiB | its sockets |", "|" + "---|" * 6]
        for begin in range(0, len(self.figures), size):
            part = self.figures[begin : begin + size]
            held = (
                f"{max(each.memory[name] for each in part):.0f} | {max(each.sockets[name] for each in part)}"
                for name in self._observed
            )
            rows.append(f"| {part[-1].minute:.0f} | {begin + len(part)} | {' | '.join(held)} |")
        rows += ["", "| trouble | steps that met it | longest step, s |", "|---|---|---|"]
        rows += [f"| {name} | {len(took)} | {max(took):.0f} |" for name, took in sorted(self.troubles.items())]
        end = "; ".join(self.wrong) or "every step ended as it has to"
        made = f"{datetime.now(UTC):%Y-%m-%d}, {minutes:.0f} minutes, seed {seed}: {end}."
        return "\n".join([*rows, "", f"`make soak`, {made}", ""])


@contextlib.contextmanager
def _between(begin: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    begin()
    try:
        yield
    finally:
        end()


def _pid(manager: Manager) -> int:
    assert manager.process is not None and manager.process.alive, f"{manager.name} ended"
    return manager.process.pid


def _memory(pid: int) -> float:
    """Resident, in MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def _sockets(pid: int) -> int:
    def target(link: Path) -> str:
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            return str(link.readlink())
        return ""

    return sum(target(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())


@contextlib.contextmanager
def soaking(seed: int) -> Iterator[Soak]:
    """Two workers and two triggers with the chart's rights; each with lines and files of its own."""
    with ServiceManager() as sap:
        environment = Environment(workers=2, triggers=2, faults=True, lines=True)
        rotations = Rotations(environment)
        with environment:
            yield Soak(Stage(environment, sap), rotations, random.Random(seed))


def main() -> int:
    given = dict(re.findall(r"^(minutes|seed|kinds)=([\d.,a-z]+)$", "\n".join(sys.argv[1:]), re.MULTILINE))
    if len(given) < len(sys.argv) - 1 or not set(given.get("kinds", KINDS[0]).split(",")) <= set(KINDS):
        print(
            f"soak takes minutes=N, seed=N and kinds={','.join(KINDS)}, not {' '.join(sys.argv[1:])}", file=sys.stderr
        )
        return 2
    seed = int(given.get("seed", time.time()))
    ensure_all()
    with soaking(seed) as soak:
        soak.kinds = tuple(given["kinds"].split(",")) if "kinds" in given else KINDS
        soak.run(float(given.get("minutes", 60)))
    section = re.compile(r"(?<=<!-- soak -->\n).*?(?=<!-- /soak -->)", re.DOTALL)
    if "kinds" in given:
        print(soak.table(seed), flush=True)  # the page has all kinds
    else:
        PAGE.write_text(section.sub(lambda _: soak.table(seed), PAGE.read_text(), count=1))
    print("\n".join(soak.wrong) or "every step ended as it has to", flush=True)
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
