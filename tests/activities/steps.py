"""The activities of provisioning, called as a worker would."""

from datetime import timedelta

from temporalio.testing import ActivityEnvironment

from activities.chart import ChartActivities
from activities.readiness import ReadinessActivities
from activities.responsibility import ResponsibilityActivities
from activities.status import StatusActivities
from kube.client import Kube
from models.operators import OperatorRef
from models.provision import Applied, ChartInput, ReadyInput
from operand.rendering import ChartRenderer


class Steps:
    """All of them, on one cluster."""

    def __init__(self, kube: Kube, renderer: ChartRenderer) -> None:
        self.environment = ActivityEnvironment()
        self.responsibility = ResponsibilityActivities(kube)
        self.status = StatusActivities(kube)
        self.chart = ChartActivities(kube, renderer)
        self.readiness = ReadinessActivities(kube)

    async def apply(self, ref: OperatorRef) -> Applied:
        return await self.environment.run(self.chart.apply_chart, ChartInput(ref=ref))

    async def wait_ready(self, ref: OperatorRef, seconds: float = 20) -> None:
        await self.environment.run(self.readiness.wait_ready, ReadyInput(ref=ref, timeout=timedelta(seconds=seconds)))
