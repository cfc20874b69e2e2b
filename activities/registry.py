"""The one list of activities, used by the worker and by the tests."""

from collections.abc import Callable
from typing import Any

from activities.chart import ChartActivities
from activities.hard_delete import HardDeleteActivities
from activities.readiness import ReadinessActivities
from activities.responsibility import ResponsibilityActivities
from activities.resync import ResyncActivities
from activities.service_objects import ServiceObjectActivities
from activities.soft_delete import SoftDeleteActivities
from activities.status import StatusActivities
from activities.teardown import TeardownActivities
from kube.client import Kube
from operand.rendering import ChartRenderer


def all_activities(kube: Kube, renderer: ChartRenderer, task_queue: str, listed: bool) -> list[Callable[..., Any]]:
    """Every activity, bound to its clients. `listed`: Temporal's namespace has our search attributes."""
    responsibility, chart = ResponsibilityActivities(kube), ChartActivities(kube, renderer)
    status, teardown = StatusActivities(kube), TeardownActivities(kube)
    return [
        responsibility.assess,
        responsibility.claim,
        responsibility.disclaim,
        responsibility.release_kind,
        status.set_status,
        status.warn,
        chart.survey,
        chart.apply_chart,
        chart.restore_operand,
        ReadinessActivities(kube).wait_ready,
        ServiceObjectActivities(kube).remaining,
        HardDeleteActivities(kube).hard_delete,
        SoftDeleteActivities(kube).soft_delete,
        teardown.remove_operand,
        teardown.remove_resources,
        ResyncActivities(kube, task_queue, listed).nudge_all,
    ]
