"""The one list of activities, used by the worker and by the tests."""

from collections.abc import Callable
from typing import Any

from activities.chart import ChartActivities
from activities.confirmation import ConfirmationActivities
from activities.hard_delete import HardDeleteActivities
from activities.other_manager import OtherManagerActivities
from activities.readiness import ReadinessActivities
from activities.reclaim import ReclaimActivities
from activities.responsibility import ResponsibilityActivities
from activities.resync import ResyncActivities
from activities.service_objects import ServiceObjectActivities
from activities.soft_delete import SoftDeleteActivities
from activities.status import StatusActivities
from activities.teardown import TeardownActivities
from activities.trust import TrustActivities
from kube.client import Kube
from models.limits import Bounds
from operand.rendering import ChartRenderer


def all_activities(
    kube: Kube,
    renderer: ChartRenderer,
    task_queue: str,
    listed: bool,
    bounds: Bounds | None = None,
    any_address: bool = False,
    place: str = "",
) -> list[Callable[..., Any]]:
    """Every activity, bound to its clients.

    Args:
        listed: whether Temporal's namespace has our search attributes.
        bounds: what the worker's settings say about deletions; None: inputs are believed.
        any_address: let Secrets name http, and addresses that are not on the internet: for tests.
        place: the Deployment that the worker is of; empty if somebody started it by hand.
    """
    reclaim, chart = ReclaimActivities(kube, any_address), ChartActivities(kube, renderer, any_address, place)
    responsibility = ResponsibilityActivities(kube, bounds, any_address)
    status, teardown = StatusActivities(kube), TeardownActivities(kube)
    return [
        responsibility.assess_operator,
        responsibility.add_finalizer,
        responsibility.remove_finalizer,
        responsibility.assess_deletion,
        status.set_status,
        TrustActivities(kube, renderer, any_address).check_token_url,
        status.record_event,
        chart.check_drift,
        chart.apply_chart,
        chart.restore_operand,
        ReadinessActivities(kube).wait_until_ready,
        ServiceObjectActivities(kube).count_service_objects,
        ConfirmationActivities(kube).wait_for_another_count,
        OtherManagerActivities(kube).wait_until_alone,
        HardDeleteActivities(kube).hard_delete_service_objects,
        SoftDeleteActivities(kube).soft_delete_service_objects,
        teardown.remove_operand,
        teardown.remove_resources,
        reclaim.check_consent,
        reclaim.reclaim_round,
        reclaim.end_reclaim,
        ResyncActivities(kube, task_queue, listed).nudge_operators,
    ]
