"""What a person may ask of a deletion while hard delete runs, and what comes of it."""

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from models.deletion_record import Request
    from models.text import plain
    from workflows.deletion_account import DeletionAccount
    from workflows.failures import said, was_cancelled
    from workflows.hard_delete_phase import HardDelete


class Interventions:
    """The rules behind the workflow's updates. What checks changes nothing, and refuses with a ValueError."""

    def __init__(self, account: DeletionAccount, hard: HardDelete) -> None:
        self._account = account
        self._hard = hard

    def check_retry(self) -> None:
        self._check_running("nothing to retry")

    def retry(self) -> str:
        """Begin anew with everything that is left. Returns what is left."""
        self._hard.try_again()
        return self._account.progress.message

    def check_skip(self, requested_by: str) -> None:
        self._check_running("nothing to skip")
        if not plain(requested_by):
            raise ValueError("say who asks: the report names them")
        if len(requested_by) > 200:
            raise ValueError("a name of 200 characters at most, please")

    def skip(self, requested_by: str) -> str:
        """End hard delete. Returns what is left."""
        return f"soft delete begins; {self._hard.skip(plain(requested_by))}"

    def check_budget(self, request: Request) -> None:
        self._check_running("there is no budget to change")
        assert self._account.record is not None
        self._account.record.model_copy(deep=True).take(request, workflow.now())

    async def change_budget(self, request: Request, event: str) -> str:
        """It holds at once; the caller hears of it when the CR says it too, so that no later run forgets it."""
        assert self._account.record is not None
        done = self._account.record.take(request, workflow.now())
        self._hard.try_again()  # under the deadline of now
        try:
            await self._hard.report(self._account.record)
            await self._account.record_event(event, done)
        except FailureError as error:
            if was_cancelled(error):
                raise
            return f"{done}; but the CR does not say so: {said(error)}"
        return done

    def _check_running(self, otherwise: str) -> None:
        if not self._hard.is_running:
            raise ValueError(f"{otherwise}: hard delete is not running")
