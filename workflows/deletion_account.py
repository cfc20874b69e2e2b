"""What the CR, its Events and Temporal's UI say of one deletion; and the record of it that every later run goes by."""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.status import StatusActivities
    from models.conditions import Reason
    from models.deletion_record import DeletionRecord
    from models.mandate import Mandate
    from models.status import EventInput, Finding, ProgressReport
    from models.text import code
    from workflows.calls import quick, set_status


class DeletionAccount:
    """Whoever works on the deletion says here how it stands."""

    def __init__(self, mandate: Mandate) -> None:
        self._mandate = mandate
        self.record: DeletionRecord | None = None
        """What was decided about hard delete's budget; nothing before it begins."""
        self.budget_is_over = False
        """Whether hard delete has ended, and no message says any more when it will."""
        self.progress = ProgressReport()
        self._writing = asyncio.Lock()

    @property
    def soft_delete_began(self) -> bool:
        """Whether a run of this deletion has begun to let go."""
        return self.record is not None and self.record.soft_delete_began is not None

    @property
    def because(self) -> str:
        """Why service objects are let go, whichever run of this deletion began with it."""
        return self.record.because if self.record else ""

    async def say(self, reason: Reason, message: str) -> None:
        """Write it to the CR, by one hand at a time: what came first must not come to stand there last."""
        async with self._writing:
            await self._write(reason, message)

    async def say_hard_deleting(self, message: str) -> None:
        await self.say(Reason.HARD_DELETING, message)

    async def say_more(self, text: str) -> None:
        """Report a step under the reason that holds already."""
        await self.say(Reason.SOFT_DELETING if self.soft_delete_began else Reason.HARD_DELETING, text)

    async def record_event(self, reason: str, message: str, warning: bool = False) -> None:
        event = EventInput(mandate=self._mandate, reason=reason, message=message, warning=warning)
        await quick(StatusActivities.record_event, event)

    async def _write(self, reason: Reason, message: str) -> None:
        ends, hold = None, None
        if self.record and reason is Reason.HARD_DELETING and not self.budget_is_over:
            ends, hold = self.record.ends, self.record.held(workflow.now())
        until = hold.ends if hold else None
        self.progress = ProgressReport(reason=reason, message=message, budget_ends=ends, held_until=until)
        follows = f"\n\nSoft delete follows at the latest at {ends:%Y-%m-%d %H:%M:%S} UTC." if ends else ""
        ref = self._mandate.ref
        workflow.set_current_details(f"Removing BtpOperator `{ref}`\n\n**{reason.value}**: {code(message)}{follows}")
        await set_status(self._mandate, Finding(reason=reason, message=message), self.record)
