"""The operand's pods in a removal: which may still act, and which only look as if, because their node is dead."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.errors import KubeError
from kube.resources import NODES, PODS
from models.names import KYMA_NAMESPACE, OPERAND_POD_SELECTOR

MARGIN: Final = timedelta(seconds=30)
"""After the end of a pod's grace period, within which a living node has ended it and said so."""
SOON: Final = timedelta(seconds=6)
"""Before the wait is given up: then a pod that should have ended is passed over, whatever its node says."""


class OperandPods:
    """Waits for them, and notes those that cannot be seen gone."""

    def __init__(self, kube: Kube, time_left: Callable[[], timedelta]) -> None:
        """Args:
        time_left: until the wait is given up, by the clock of whoever gives it up.
        """
        self._kube = kube
        self._time_left = time_left
        self.passed_over: list[str] = []
        """Pods that count as stopped although they are listed, and why."""

    async def running(self) -> list[str]:
        """The pods that may still act. A pod being deleted whose node is not there to end it is not one of them."""
        pods = (await self._kube.list(PODS, KYMA_NAMESPACE, labels=OPERAND_POD_SELECTOR)).items
        running, passed_over = [], []
        for pod in pods:
            if why := await self._why_stopped(pod):
                passed_over.append(f"{PODS.named(pod)}: {why}")
            else:
                running.append(PODS.named(pod))
        self.passed_over = sorted(passed_over)
        return sorted(running)

    async def _why_stopped(self, pod: Object) -> str:
        """Why a pod counts as stopped; empty if it may still run. Its deletionTimestamp is when its grace ends."""
        ends = pod["metadata"].get("deletionTimestamp")
        if not ends:
            return ""
        late = datetime.now(UTC) - datetime.fromisoformat(ends)
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        if late > MARGIN and (trouble := await self._node_trouble(node)):
            return f"its grace period is over and {trouble}"
        if late > timedelta() and self._time_left() < SOON:
            return "its grace period is over and it was not seen to end"
        return ""

    async def _node_trouble(self, name: str) -> str:
        """What is wrong with a node; empty if it is Ready, or cannot be looked at."""
        if not name:
            return ""
        try:
            node = await self._kube.find(NODES, name)
        except KubeError:
            return ""
        if node is None:
            return f"its node {name} is gone"
        conditions = (node.get("status") or {}).get("conditions") or []
        ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), "Unknown")
        return "" if ready == "True" else f"its node {name} is not Ready"
