"""How a story stands aside while another manager runs in the cluster."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.other_manager import OtherManagerActivities
    from models.mandate import Mandate
    from models.provision import ChartInput
    from workflows.calls import long, stop

LONGEST: Final = timedelta(minutes=15)
"""After which the CR is looked at again, whether or not anything was seen."""


async def stand_aside(mandate: Mandate, news: Callable[[], bool]) -> None:
    """Wait until the other manager is gone, there is news, or it was long enough. Whoever calls looks again then."""
    waiting = workflow.start_activity_method(
        OtherManagerActivities.wait_until_alone,
        ChartInput(mandate=mandate),
        **long(LONGEST, timedelta(minutes=1), "wait until the Go manager is stopped"),
    )
    try:
        await workflow.wait_condition(lambda: waiting.done() or news())
    finally:
        await stop(waiting)
