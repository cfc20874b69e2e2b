"""The whole thing on this machine: control plane, Temporal dev server, worker and trigger as real processes.

Every process gets a KUBECONFIG of the cluster started here, whatever the environment says: this software deletes
service instances, and must never do so in a cluster that somebody happens to have selected.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.faults import FaultProxy
from localcluster.lines import Line
from localcluster.processes import Process, free_port, probe, wait_until
from localcluster.shipped import Shipped
from localcluster.started import Started
from localcluster.temporal import TemporalServer

SETTINGS: Final = ("BTP_", "TEMPORAL_", "KUBE")


class Manager:
    """One worker or trigger process."""

    def __init__(self, name: str, module: str, environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.health, self.metrics = free_port(), free_port()
        self.module = module
        self._folder = folder
        self.environment = {
            **environment,
            "BTP_HEALTH_ADDRESS": f"127.0.0.1:{self.health}",
            "BTP_METRICS_ADDRESS": f"127.0.0.1:{self.metrics}",
        }
        self.process: Process | None = None
        self.to_temporal, self.to_api_server = Line(f"{name}-temporal"), Line(f"{name}-api-server")
        """Its ways to the servers, where its environment has lines."""

    def start(self) -> None:
        command = [sys.executable, "-m", self.module]
        self.process = Process(self.name, command, self._folder, self.environment)

    def readiness(self) -> tuple[int, str]:
        """What /readyz says: status and body."""
        return probe(f"http://127.0.0.1:{self.health}/readyz")

    def wait_ready(self) -> None:
        wait_until(lambda: self.readiness()[0] == 200, f"{self.name} to be ready", self.process)

    def stop(self) -> None:
        if self.process:
            self.process.stop()


class Environment(Started):
    """Everything together.

    `settings` are further BTP_* variables for worker and trigger. `temporal` is a server that runs already and is left
    running; without it, a dev server is started. With `faults`, both reach the API server through
    `proxy`, which can misbehave in every known way; with `lines` too, each has a way of its own to `proxy` and to
    Temporal. chart/btp-manager is installed by Helm, and both run with tokens of its ServiceAccounts and the settings
    that go with them; whoever needs them to be administrators says in `administrator` why. With `audit`, the API server
    writes down what they ask for.
    """

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        pod_delay: float = 0.0,
        workers: int = 1,
        triggers: int = 1,
        faults: bool = False,
        lines: bool = False,
        administrator: str = "",
        audit: bool = False,
        temporal: TemporalServer | None = None,
    ) -> None:
        self._stack = ExitStack()
        self.cluster = ControlPlane(pod_delay, audit)
        self.shipped = Shipped(self.cluster)
        self._administrator = administrator
        self.proxy = FaultProxy(self.cluster)
        self._faults = faults
        self._lines = lines
        self.temporal = temporal or TemporalServer(self.cluster.folder)
        self._own_temporal = temporal is None
        self._settings = settings or {}
        self.workers = [self._manager("worker", number) for number in range(workers)]
        self.triggers = [self._manager("trigger", number) for number in range(triggers)]

    def _start(self) -> None:
        self._stack.enter_context(self.cluster)
        with ThreadPoolExecutor(1) as meanwhile:
            installed = None if self._administrator else meanwhile.submit(self.shipped.install)
            if self._own_temporal:
                self._stack.callback(self.temporal.stop)
                self.temporal.start()
        if installed:
            installed.result()
        if self._faults:
            self._stack.enter_context(self.proxy)
        for manager in self.workers + self.triggers:
            if self._lines:
                self._lay_lines(manager)
            manager.environment |= self._identity(manager)
            self._stack.callback(manager.stop)
            manager.start()
        for manager in self.workers + self.triggers:
            manager.wait_ready()
        if not self._administrator:
            self.shipped.in_force()

    def close(self) -> None:
        self._stack.close()

    def _lay_lines(self, manager: Manager) -> None:
        manager.to_temporal.target = self.temporal.port
        manager.to_api_server.target = self.proxy.port
        for line in (manager.to_temporal, manager.to_api_server):
            self._stack.enter_context(line)
        manager.environment["TEMPORAL_ADDRESS"] = f"127.0.0.1:{manager.to_temporal.port}"

    def _identity(self, manager: Manager) -> dict[str, str]:
        via = self.proxy.url if self._faults else ""
        if self._lines:
            via = f"https://127.0.0.1:{manager.to_api_server.port}"
        if self._administrator:
            return {"KUBECONFIG": str(self.cluster.kubeconfig(f"btp-{manager.module}", via))}
        return {
            "KUBECONFIG": str(self.shipped.kubeconfig(manager.module, via)),
            "BTP_OPERAND_RBAC": "false",
            "BTP_INSTALLATION": self.shipped.installation(),
        }

    def start_operand(self, at_once: int = 1) -> Process:
        """The stand-in for the operand's binary; ends with the environment, or when somebody kills it.

        `at_once` objects of a kind are worked on side by side; the real operand works on one.
        """
        environment = {**self.workers[0].environment, "KUBECONFIG": str(self.cluster.kubeconfig())}
        environment["OPERAND_WEBHOOK_PORT"] = str(self.cluster.webhooks.operand_port)
        command = [sys.executable, "-m", "localcluster.operand", "--at-once", str(at_once)]
        self.cluster.webhooks.lead_to_operand()
        process = Process("operand", command, self.cluster.folder, environment)
        self._stack.callback(process.stop)
        return process

    def another(self, like: Manager, settings: dict[str, str]) -> Manager:
        """A further process like that one, with other settings; whoever starts it stops it."""
        environment = {**like.environment, **settings}
        return Manager(f"{like.name}-another", like.module, environment, self.cluster.folder)

    def _manager(self, module: str, number: int) -> Manager:
        name = module if number == 0 else f"{module}-{number + 1}"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        environment = {
            **inherited,
            "HOME": str(self.cluster.folder),
            "PATH": f"{binary('helm').parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONPATH": str(CHECKOUT),
            "TEMPORAL_ADDRESS": self.temporal.address,
            "BTP_LOG_FORMAT": "json",
            "BTP_ANY_ADDRESS": "true",  # the stand-in for SAP BTP is on this machine, and speaks http
            **self._settings,
        }
        return Manager(name, module, environment, self.cluster.folder)
