"""Puts back what the operand has lost while its CR is being deleted: nobody else does so then, and it has to delete."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.chart import ChartActivities
    from models.deprovision import Remaining
    from models.mandate import Mandate
    from models.provision import ChartInput
    from workflows.calls import Overdue, long, until_done
    from workflows.failures import is_lost_mandate, said, was_cancelled

RESTORING: Final = timedelta(minutes=1)
"""For restoring the operand: hard delete begins then in any case, and names what stands in its way."""


class Restoration:
    """What one run knows of whether the operand works, and does about it."""

    def __init__(self, mandate: Mandate, is_disturbed: Callable[[], bool]) -> None:
        self._mandate = mandate
        self._is_disturbed = is_disturbed
        self._operand_stays = False
        self._stands = False
        """Whether the operand was seen to work, and nothing has happened since that makes one doubt it."""
        self.told = ""
        """What came of the last one, for the end of a message."""

    @property
    def is_due(self) -> bool:
        """Whether it comes before the next attempt to delete anything."""
        return self._operand_stays and not self._stands

    def begin(self, left: Remaining, operand_stays: bool) -> None:
        """Hard delete begins, with what was counted just now."""
        self._operand_stays = operand_stays
        self._stands = not left.unknown and not left.operand_trouble

    def doubt(self) -> None:
        """Something has happened that makes one doubt that the operand works."""
        self._stands = False

    def is_called_for(self, left: Remaining, before: Remaining | None, in_time: bool) -> bool:
        """Where the operand is lost, or where nothing goes although it seems to work: something of it may be missing.

        The latter only in time, for it takes the time of an attempt, and the deadline asks for a real one before it.
        """
        is_stuck = self._stands and left == before and in_time
        return self._operand_stays and (left.operand_lost or is_stuck)

    async def run(self, left: timedelta = RESTORING) -> bool:
        """Restore the operand, or tell why it cannot be. False if disturbed."""
        restoring = workflow.start_activity_method(
            ChartActivities.restore_operand,
            ChartInput(mandate=self._mandate),
            # Inside the budget of hard delete, which it is a part of.
            **long(min(RESTORING, left), RESTORING, "see that the operand stands, which has to delete"),
        )
        try:
            if not await until_done(restoring, workflow.now() + RESTORING, self._is_disturbed):
                return False
            restored = await restoring
        except Overdue as overdue:
            self.told = f"; the operand cannot be restored: {overdue}"
        except FailureError as error:
            if was_cancelled(error) or is_lost_mandate(error):
                raise
            self.told = f"; the operand cannot be restored: {said(error)}"
        else:
            self.told = f"; the operand was restored: {', '.join(restored.written)}" if restored.written else ""
        return True
