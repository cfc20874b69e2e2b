"""Plays a story while something goes wrong, and tells how it ended and how much later than undisturbed."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client as Temporal
from temporalio.client import WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter

from localcluster.environment import Environment
from localcluster.faults import Fault
from localcluster.servicemanager import ServiceManager
from models.conditions import Reason
from models.deprovision import DeprovisionResult, ReleaseKind
from tests.chaos.stories import Story, end_state, tidy
from tests.e2e.deletion import Scene

PATIENCE = 150.0
"""Seconds after which a story counts as stuck."""
SETTINGS = {"BTP_READY_TIMEOUT": "90s", "BTP_LAST_ATTEMPT": "20s", "BTP_DELETE_REQUEST_TIMEOUT": "5m"}
"""Of the processes, where a story says nothing else."""
FAILURES = {Reason.PROVISIONING_FAILED.value, Reason.RESOURCE_REMOVAL_FAILED.value}


@dataclass
class Outcome:
    """How a story ended."""

    state: dict[str, Any]
    seconds: float
    killed: int = 0
    writes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    """Workflows that failed since the story began."""
    last_words: str = ""
    """The write after which the worker was killed."""
    untrue: set[str] = field(default_factory=set)
    """Reasons that the CR gave and that were not so: nothing failed but the means to look."""


class Stage:
    """One environment, used for many stories."""

    def __init__(self, environment: Environment, sap: ServiceManager) -> None:
        self.environment = environment
        self.scene = Scene(environment, sap)
        self._undisturbed: dict[str, Outcome] = {}
        self._settings: Mapping[str, str] = {}

    def undisturbed(self, story: Story) -> Outcome:
        """The run that all others are compared with."""
        if story.name not in self._undisturbed:
            self._undisturbed[story.name] = self.play(story)
        return self._undisturbed[story.name]

    def play(
        self,
        story: Story,
        faults: Callable[[], list[Fault]] = list,
        kill_after: int | None = None,
        meanwhile: Callable[[Environment], None] | None = None,
        before: Callable[[Environment], None] | None = None,
        afterwards: Callable[[], None] | None = None,
    ) -> Outcome:
        """Play a story: with faults, or killing the worker after so many writes, or doing something meanwhile.

        `before` is called when everything is prepared, `afterwards` when the story is over and its end is written down.
        """
        proxy, worker = self.environment.proxy, self.environment.workers[0]
        proxy.clear()
        self._set(story.settings)
        story.prepare(self.scene)
        self.settle()
        proxy.clear()
        outcome = Outcome({}, 0.0)

        def count(writes: int) -> None:
            if writes == kill_after and worker.process is not None:
                worker.process.kill()
                outcome.killed += 1
                outcome.last_words = proxy.writes[-1]

        proxy.on_write = count
        proxy.faults += faults()
        if before:
            before(self.environment)
        began, since = time.monotonic(), time.time()
        before_it = {self.scene.reason()}  # true: of two stories the operand is dead, and a look may have met that
        story.begin(self.scene)
        if meanwhile:
            meanwhile(self.environment)
        deadline = time.monotonic() + PATIENCE
        while not story.is_over(self.scene):
            if time.monotonic() > deadline:
                raise AssertionError(f"{story.name} is stuck: {self.scene.person.status('btpoperator')}")
            outcome.untrue |= {self.scene.reason()} & FAILURES - before_it
            self.revive()
            time.sleep(0.02)
        outcome.seconds = time.monotonic() - began
        proxy.faults.clear()
        self.settle()
        outcome.writes = list(proxy.writes)
        proxy.clear()
        outcome.state = end_state(self.scene) | {"results": asyncio.run(self._results(since))}
        outcome.failed = asyncio.run(self._failed(since))
        if afterwards:
            afterwards()
        tidy(self.scene)
        self.settle()
        return outcome

    def _set(self, settings: Mapping[str, str]) -> None:
        """Have the processes run with these settings of a story: they begin anew where they change."""
        if settings == self._settings:
            return
        self._settings = settings
        managers = self.environment.workers + self.environment.triggers
        for manager in managers:
            manager.stop()
            manager.environment |= {**SETTINGS, **settings}
            manager.start()
        for manager in managers:
            manager.wait_ready()

    def revive(self) -> None:
        """Start every process again that is dead."""
        for manager in self.environment.workers + self.environment.triggers:
            if manager.process is not None and not manager.process.alive:
                manager.start()

    def settle(self) -> None:
        """Wait until no workflow runs: what is left of a story is over."""
        deadline = time.monotonic() + PATIENCE
        while asyncio.run(self._running()):
            assert time.monotonic() < deadline, "workflows go on running"
            self.revive()
            time.sleep(0.1)

    def resync(self) -> None:
        """What the Schedule does every 15 minutes."""
        asyncio.run(self._resync())

    async def _resync(self) -> None:
        await (await self._client()).get_schedule_handle(self.scene.schedule()).trigger()

    async def _running(self) -> int:
        with suppress(RuntimeError):
            client = await self._client()
            return (await client.count_workflows("ExecutionStatus = 'Running'")).count
        return 1

    def failed(self) -> list[str]:
        """Every workflow here that failed, so far."""
        return asyncio.run(self._failed(0.0))

    async def _failed(self, since: float) -> list[str]:
        """Workflows that ended otherwise than by completing or going on as another run."""
        status = WorkflowExecutionStatus
        fine = (status.RUNNING, status.COMPLETED, status.CONTINUED_AS_NEW)
        client = await self._client()
        return [
            f"{execution.id} {execution.status}"
            async for execution in client.list_workflows()
            if execution.start_time.timestamp() >= since and execution.status not in fine
        ]

    async def _results(self, since: float) -> list[tuple[str, int, int, int]]:
        """What the deletions since then say of themselves: mode, bindings, instances, abandoned."""
        client, said = await self._client(), []
        async for run in client.list_workflows(
            "WorkflowType = 'DeprovisionWorkflow' AND ExecutionStatus = 'Completed'"
        ):
            if run.start_time.timestamp() >= since:
                handle = client.get_workflow_handle(run.id, run_id=run.run_id, result_type=DeprovisionResult)
                result: DeprovisionResult = await handle.result()
                removed = result.removed
                if result.outcome is not ReleaseKind.DEPROVISION:
                    continue
                said.append((result.mode.value, removed.bindings, removed.instances, result.abandoned_total))
        return said

    async def _client(self) -> Temporal:
        return await Temporal.connect(self.environment.temporal.address, data_converter=pydantic_data_converter)


@contextmanager
def stage(workers: int = 1, triggers: int = 1, lines: bool = False) -> Iterator[Stage]:
    """An environment for stories, whose way to the API server can be disturbed; with `lines`, also that to Temporal."""
    with (
        ServiceManager() as sap,
        Environment(SETTINGS, workers=workers, triggers=triggers, faults=True, lines=lines) as environment,
    ):
        yield Stage(environment, sap)
