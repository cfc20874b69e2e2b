"""The steps of a deletion that need no budget: take the operand away, let service objects go, remove what is left."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
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
    from workflows.calls import Overdue, long, stop, until_done
    from workflows.deletion_account import DeletionAccount
    from workflows.failures import (
        is_held_by_us,
        is_lost_mandate,
        is_news,
        nobody_tried,
        removed_until,
        said,
        was_cancelled,
    )
    from workflows.reclaim import start_reclaim
    from workflows.waiting import until

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
        before = self.abandoned.removed
        self.abandoned = await self._step(SoftDeleteActivities.soft_delete_service_objects, limit, limit, text)
        self.abandoned.removed += before
        if total := self.abandoned.abandoned_total:
            first = ", ".join(f"{entry.kind} {entry.namespace}/{entry.name}" for entry in self.abandoned.abandoned[:3])
            where = f"ConfigMap {ABANDONED} names all"
            if why := self.abandoned.not_listed:
                where = f"Events in namespace default name all, for ConfigMap {ABANDONED} cannot be written: {why}"
            message = f"{total} service objects may live on in SAP BTP: {first}; {where}"
            await self._account.record_event("ServiceObjectsAbandoned", message, warning=True)
            await start_reclaim(self._mandate, limits.reclaim_for)
        if self.abandoned.kept:
            await self._account.say(Reason.SOFT_DELETING, f"cannot be let go: {'; '.join(self.abandoned.kept)}")

    async def remove_resources(self, limits: Limits) -> None:
        """Everything else that the chart installed. What somebody made, or restored, since soft delete is let go."""
        text = "removing everything that the chart installed"
        limit, before = limits.delete_request_timeout, Removed()
        try:
            gone = await self._step(TeardownActivities.remove_resources, limit, ATTEMPT, text)
        except FailureError as error:
            if not is_held_by_us(error):
                raise
            before = removed_until(error)
            await self.let_go(limits)
            gone = await self._step(TeardownActivities.remove_resources, limit, ATTEMPT, text, may_let_go=False)
        self.removed += gone.at_least(before)
        self.passed_over += gone.passed_over
        if self.passed_over:
            await self._account.record_event("LeftAlone", "; ".join(self.passed_over), warning=True)

    async def _step(
        self, method: Step[T], limit: timedelta, attempt: timedelta, text: str, may_let_go: bool = True
    ) -> T:
        """A step with a limit, reported on the CR if it is slow. A limit that nobody could use is granted again."""
        input = TeardownInput(mandate=self._mandate, because=self._account.because, may_let_go=may_let_go)
        deadline = workflow.now() + limit
        while True:
            running: workflow.ActivityHandle[T] = workflow.start_activity_method(
                method, input, **long(deadline - workflow.now(), attempt, text)
            )
            try:
                await self._wait_for(running, deadline, text if not input.told else "")
                return await running
            except asyncio.CancelledError:
                await stop(running)
                raise
            except FailureError as error:
                if not running.done():
                    await stop(running)
                    raise
                if is_news(error):
                    input = input.model_copy(update={"told": said(error), "removed": removed_until(error)})
                    await self._tell(f"{text}: {input.told}")
                    if deadline <= workflow.now():  # while nobody was there to report it
                        deadline = workflow.now() + limit
                    continue
                if not nobody_tried(error, deadline, limit):
                    raise
            except Overdue:
                pass  # paused, or a server that keeps no deadline
            # This waits until somebody can.
            await self._tell(f"{text}: nobody could work on it; it begins again")
            deadline = workflow.now() + limit

    async def _wait_for(self, running: workflow.ActivityHandle[Any], deadline: datetime, text: str) -> None:
        """Until it is done or overdue; what is slow is reported on the CR, unless it says more already."""
        if not await until(running.done, SLOW):
            if text:
                await self._tell(text)
            await until_done(running, deadline, disturbed=lambda: False)

    async def _tell(self, text: str) -> None:
        """Report a step on the CR. A report that is refused stops nothing."""
        try:
            await self._account.say_more(text)
        except FailureError as error:
            if was_cancelled(error) or is_lost_mandate(error):
                raise
            workflow.logger.warning("progress cannot be reported on the CR: %s", said(error))
