"""What the CR's deletion asks for, looked at where nobody else acts and where a person has said yes if one has to."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, NoReturn

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.confirmation import ConfirmationActivities
    from activities.responsibility import ResponsibilityActivities
    from models.conditions import Reason
    from models.deprovision import ConfirmationInput, DeletionAssessment, ReleaseKind, Remaining
    from models.limits import DeletionPolicy
    from models.operator_input import OperatorInput
    from workflows.aside import stand_aside
    from workflows.calls import DEAD_AFTER, LOOKING, history_is_long, quick, stop
    from workflows.deletion_account import DeletionAccount
    from workflows.failures import is_lost_mandate
    from workflows.restoration import Restoration

NOT_CLEANED: Final = (
    "{left}; nothing is deleted until they are gone, or until the label "
    'force-delete: "true" on this BtpOperator asks for their deletion'
)


class Confirmation:
    """One run's looks and waits before anything is deleted."""

    def __init__(
        self,
        input: OperatorInput,
        account: DeletionAccount,
        remaining: Callable[[], Awaitable[Remaining]],
        restoration: Restoration,
        go_on_as_new: Callable[[], NoReturn],
    ) -> None:
        self._mandate = input.mandate
        self._policy = input.deletion
        self._account = account
        self._remaining = remaining
        self._restoration = restoration
        self._go_on_as_new = go_on_as_new
        self._changed = False

    def look_again(self) -> None:
        """Something changed, perhaps the CR itself."""
        self._changed = True

    async def assess(self) -> DeletionAssessment:
        """What the deletion asks for once no other manager runs, which would carry out or refuse it in its own way."""
        while True:
            asked = await quick(ResponsibilityActivities.assess_deletion, self._mandate)
            if not asked.aside:
                return asked
            self._changed = False
            await self._account.say(Reason.OTHER_MANAGER_RUNS, asked.aside)
            await stand_aside(self._mandate, news=lambda: self._changed)
            if history_is_long():
                self._go_on_as_new()

    def is_needed(self, asked: DeletionAssessment) -> bool:
        """A deletion that was refused once stays refused, whatever the policy; one that began is not stopped."""
        if asked.kind is not ReleaseKind.DEPROVISION or asked.record or asked.confirmed:
            return False
        policies = [self._policy, *([asked.bounds.deletion] if asked.bounds else [])]
        return asked.refused or DeletionPolicy.CONFIRM in policies

    async def wait(self, asked: DeletionAssessment) -> DeletionAssessment:
        """Until no service object is left, or a label asks to take them along. The operand stays, and works."""
        while asked.kind is ReleaseKind.DEPROVISION and not asked.confirmed:
            left = await self._remaining()
            if left.none:
                break
            await self._account.say(Reason.NOT_CLEANED, NOT_CLEANED.format(left=left))
            if left.operand_lost:
                await self._restoration.run()
            await self._another_count(left)
            if history_is_long():
                self._go_on_as_new()
            asked = await self.assess()
        return asked

    async def _another_count(self, left: Remaining) -> None:
        """Wait until there are more or fewer service objects, or something about the CR changed."""
        self._changed = False
        known = ConfirmationInput(mandate=self._mandate, bindings=left.bindings, instances=left.instances)
        counting = workflow.start_activity_method(
            ConfirmationActivities.wait_for_another_count,
            known,
            # Without a limit over all attempts: people may take months.
            start_to_close_timeout=timedelta(seconds=90),
            heartbeat_timeout=DEAD_AFTER,
            cancellation_type=LOOKING,
            summary="wait until service objects are gone, or their deletion is confirmed",
        )
        try:
            await workflow.wait_condition(lambda: counting.done() or self._changed or history_is_long())
        except asyncio.CancelledError:
            await stop(counting)
            raise
        if not counting.done():
            await stop(counting)
        elif (failed := counting.exception()) and is_lost_mandate(failed):
            raise failed
