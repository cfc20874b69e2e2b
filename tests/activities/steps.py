"""The activities of provisioning, called as a worker would."""

from datetime import timedelta

from activities.chart import ChartActivities
from activities.readiness import ReadinessActivities
from activities.responsibility import ResponsibilityActivities
from activities.status import StatusActivities
from kube.client import Kube
from models.mandate import Mandate
from models.provision import Applied, ChartInput, ReadyInput, Survey
from operand.rendering import ChartRenderer
from tests.acting import provision


class Steps:
    """All of them, on one cluster."""

    def __init__(self, kube: Kube, renderer: ChartRenderer, place: str = "") -> None:
        self.responsibility = ResponsibilityActivities(kube)
        self.status = StatusActivities(kube)
        self.chart = ChartActivities(kube, renderer, place=place)
        self.readiness = ReadinessActivities(kube)

    async def apply(self, mandate: Mandate) -> Applied:
        return await provision(self.chart.apply_chart, ChartInput(mandate=mandate))

    async def check_drift(self, mandate: Mandate) -> Survey:
        return await provision(self.chart.check_drift, ChartInput(mandate=mandate))

    async def wait_ready(self, mandate: Mandate, seconds: float = 20, told: str | None = None) -> None:
        input = ReadyInput(mandate=mandate, timeout=timedelta(seconds=seconds), told=told)
        await provision(self.readiness.wait_until_ready, input)
