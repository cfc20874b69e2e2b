"""What the CR and Temporal's UI say of one run of provisioning."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models.conditions import Reason
    from models.mandate import Mandate
    from models.status import Finding, ProgressReport
    from models.text import code
    from workflows.calls import set_status


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
