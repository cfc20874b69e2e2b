"""The steps of a deletion that need no budget: take the operand away, let service objects go, remove what is left."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.soft_delete import SoftDeleteActivities
    from activities.teardown import TeardownActivities
    from models.conditions import Reason
    from models.deprovision import Removed, SoftDeleteResult, TeardownInput
    from models.limits import Limits
    from models.mandate import Mandate
    from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE
    from workflows.calls import long, stop
    from workflows.deletion_account import DeletionAccount
    from workflows.failures import nobody_tried
    from workflows.reclaim import start_reclaim

T = TypeVar("T")
Step = Callable[[Any, TeardownInput], Coroutine[Any, Any, T]]
ABANDONED: Final = f"{KYMA_NAMESPACE}/{ABANDONED_CONFIGMAP}"
SLOW: Final = timedelta(seconds=3)
"""After which a step that usually takes less is reported on the CR."""
ATTEMPT: Final = timedelta(minutes=1)


class Removal:
    """One run's steps, and what they removed."""

    def __init__(self, mandate: Mandate, account: DeletionAccount) -> None:
        self._mandate = mandate
        self._account = account
        self.removed = Removed()
        self.passed_over: list[str] = []
        self.operand_gone = False
        self.abandoned = SoftDeleteResult()

    async def remove_operand(self, limits: Limits) -> None:
        """Once: afterwards nothing acts on service objects any more, and no webhook is called."""
        if self.operand_gone:
            return
        text = "removing the operand's webhooks and Deployment, and waiting until its pods have stopped"
        gone = await self._step(TeardownActivities.remove_operand, limits.delete_request_timeout, ATTEMPT, text)
        self.removed += gone
        self.passed_over += gone.passed_over
        self.operand_gone = True

    async def let_go(self, limits: Limits) -> None:
        """Soft delete, and what follows from something being abandoned."""
        limit = limits.delete_request_timeout * 4
        text = "letting go what is left of the service objects"
        self.abandoned = await self._step(SoftDeleteActivities.soft_delete_service_objects, limit, limit, text)
        if total := self.abandoned.abandoned_total:
            first = ", ".join(f"{entry.kind} {entry.namespace}/{entry.name}" for entry in self.abandoned.abandoned[:3])
            message = f"{total} service objects may live on in SAP BTP: {first}; ConfigMap {ABANDONED} names all"
            await self._account.record_event("ServiceObjectsAbandoned", message, warning=True)
            await start_reclaim(self._mandate, limits.reclaim_for)
        if self.abandoned.kept:
            await self._account.say(Reason.SOFT_DELETING, f"cannot be let go: {'; '.join(self.abandoned.kept)}")

    async def remove_resources(self, limits: Limits) -> None:
        """Everything else that the chart installed."""
        text = "removing everything that the chart installed"
        gone = await self._step(TeardownActivities.remove_resources, limits.delete_request_timeout, ATTEMPT, text)
        self.removed += gone
        self.passed_over += gone.passed_over
        if self.passed_over:
            await self._account.record_event("LeftAlone", "; ".join(self.passed_over), warning=True)

    async def _step(self, method: Step[T], limit: timedelta, attempt: timedelta, text: str) -> T:
        """A step with a limit, reported on the CR if it is slow. A limit that nobody could use is granted again."""
        while True:
            deadline = workflow.now() + limit
            running: workflow.ActivityHandle[T] = workflow.start_activity_method(
                method,
                TeardownInput(mandate=self._mandate, because=self._account.because),
                **long(limit, attempt, text),
            )
            try:
                await self._report_if_slow(running, text)
                return await running
            except asyncio.CancelledError:
                await stop(running)
                raise
            except FailureError as error:
                if not nobody_tried(error, deadline, limit):
                    raise
            # This waits until somebody can.
            await self._account.say_more(f"{text}: nobody could work on it; it begins again")

    async def _report_if_slow(self, running: workflow.ActivityHandle[Any], text: str) -> None:
        try:
            await workflow.wait_condition(running.done, timeout=SLOW)
        except TimeoutError:
            await self._account.say_more(text)
            await workflow.wait_condition(running.done)
