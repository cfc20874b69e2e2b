"""What the CR and Temporal's UI say of one run of provisioning, to its end."""

from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.status import StatusActivities
    from activities.trust import TrustActivities
    from models.conditions import Reason
    from models.mandate import Mandate
    from models.provision import ProvisionOutcome, ProvisionResult
    from models.status import EventInput, Finding, ProgressReport
    from models.text import code
    from workflows.calls import quick, set_status
    from workflows.failures import was_cancelled

NOT_TRUSTED: Final = "TokenURLNotTrusted"
"""Reason of an Event, which alerts and scripts may match."""


class ProvisionAccount:
    """Whoever works on it says here how it stands."""

    def __init__(self, mandate: Mandate) -> None:
        self._mandate = mandate
        self.passes = 0
        """How often this run has looked at everything."""
        self.progress = ProgressReport()

    async def say(self, reason: Reason, message: str) -> None:
        """Write it to the CR."""
        self.progress = ProgressReport(reason=reason, message=message)
        self.show(f"**{reason.value}**: {code(message)}")
        await set_status(self._mandate, Finding(reason=reason, message=message))

    def show(self, markdown: str) -> None:
        """Show it in Temporal's UI alone."""
        workflow.set_current_details(f"Look {self.passes} at BtpOperator `{self._mandate.ref}`\n\n{markdown}")

    async def ready(self) -> ProvisionResult:
        """Say that the operand is ready, and what makes it useless all the same."""
        said = "the operand is installed and ready"
        doubt = await self._doubt()
        await self.say(Reason.RECONCILE_SUCCEEDED, f"{said}, but {doubt}" if doubt else said)
        if doubt:
            event = EventInput(mandate=self._mandate, reason=NOT_TRUSTED, message=doubt, warning=True)
            await quick(StatusActivities.record_event, event)
        return ProvisionResult(outcome=ProvisionOutcome.READY, reason=Reason.RECONCILE_SUCCEEDED)

    async def not_ready(self, finding: Finding) -> ProvisionResult:
        """Say why the operand is not ready."""
        await self.say(finding.reason, finding.message)
        return ProvisionResult(outcome=ProvisionOutcome.NOT_READY, reason=finding.reason, message=finding.message)

    async def _doubt(self) -> str:
        """What makes the operand useless although it is ready; a look that fails is none."""
        try:
            return await quick(TrustActivities.check_token_url, self._mandate)
        except FailureError as error:
            if was_cancelled(error):
                raise
            return ""
