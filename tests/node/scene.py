"""What the stories on a real node share."""

import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from localcluster.apart import HOST
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT, STATE
from localcluster.processes import wait_until
from localcluster.realnode import TEMPORAL, TEMPORAL_PORT, RealNode
from localcluster.servicemanager import ServiceManager
from localcluster.shipped import RELEASE, helm
from localcluster.started import Started
from localcluster.temporal import TemporalServer
from localcluster.testnode import DIST
from localcluster.testsapart import ARCHIVES
from models.names import KYMA_NAMESPACE, OPERAND_POD_SELECTOR

FIGURES: dict[str, float] = {}
"""What took how many seconds; printed at the end."""
CR = "btpoperator"
PLAIN = "settings.BTP_ANY_ADDRESS=true"
"""The one value that is not the chart's default: the stand-in Service Manager speaks http."""
POSSIBLE = 120.0
"""Seconds that a step may take on a busy machine."""
DEPLOYMENTS = (f"{RELEASE}-worker", f"{RELEASE}-trigger", "sap-btp-operator-controller-manager")
PODS = f"/api/v1/namespaces/{KYMA_NAMESPACE}/pods"
NOTHING = {"metadata": {"name": "default-deny"}, "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}


def documented(beginning: str) -> list[str]:
    """The one command in docs/install.md that begins so, with the release of this run in place of dist/."""
    lines = (CHECKOUT / "docs" / "install.md").read_text().splitlines()
    (command,) = [line for line in lines if line.startswith(beginning)]
    return [word.replace(f"{DIST}/", f"{STATE / ARCHIVES / DIST}/") for word in shlex.split(command, comments=True)]


class Scene(Started):
    """A node with everything; each story leaves no CR."""

    def __init__(self, node: RealNode) -> None:
        self.node = node
        self.person = Person(node)
        self.temporal = TemporalServer(node.folder, ui=False, host=HOST, port=TEMPORAL_PORT)
        # The operand's NetworkPolicy lets it reach this port.
        self.sap = ServiceManager(host=HOST, port=443)
        self._stack = ExitStack()

    def _start(self) -> None:
        self._stack.callback(self.temporal.stop)
        self.temporal.start()
        self._stack.enter_context(self.sap)
        self.node.publish("temporal", "temporal-frontend", TEMPORAL, {"grpc": ("TCP", TEMPORAL_PORT)})
        self.node.request("POST", f"/apis/networking.k8s.io/v1/namespaces/{KYMA_NAMESPACE}/networkpolicies", NOTHING)
        began = time.monotonic()
        helm(self.node, *documented("helm install btp-manager dist/")[1:], "--set", PLAIN)
        self.until(self.installed, "two workers and two triggers to be ready")
        FIGURES["helm install until two workers and two triggers are ready"] = time.monotonic() - began

    def close(self) -> None:
        self._stack.close()

    def upgrade(self, *settings: str) -> None:
        """Another revision of the same chart, with these settings beside the usual one."""
        values = ",".join([PLAIN, *(f"settings.{setting}" for setting in settings)])
        (chart,) = (STATE / ARCHIVES / DIST).glob(f"{RELEASE}-*.tgz")
        helm(self.node, "upgrade", RELEASE, chart, "--set", values)

    def installed(self) -> bool:
        """Whether two workers and two triggers are ready, and no other pod of them is left."""
        pods = self.pods("worker") + self.pods("trigger")
        return len(pods) == 4 and all(_ready(pod) for pod in pods)

    def pods(self, process: str) -> list[dict[str, Any]]:
        """The pods of worker or trigger."""
        return self._pods(f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={process}")

    def operand_pods(self) -> list[dict[str, Any]]:
        return self._pods(OPERAND_POD_SELECTOR)

    def _pods(self, selector: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (self.person.get(f"{PODS}?labelSelector={selector}") or {})["items"]
        return found

    def doctor(self) -> str:
        """What `btpctl doctor` says in a worker's pod.

        Raises:
            RuntimeError: it found something; the message is what it says.
        """
        return self.node.kubectl(*documented("kubectl -n kyma-system exec")[1:])

    def ready(self) -> None:
        """A Ready CR, with nothing in SAP."""
        self.sap.forget()
        self.person.put_secret(self.sap.credentials())
        self.person.create_operator(CR)
        self.says("Ready", "ReconcileSucceeded")

    def make(self, count: int, namespace: str = "team") -> None:
        """So many instances with a binding each, and wait until SAP has them and their Secrets are there."""
        self.person.ensure_namespace(namespace)
        for number in range(count):
            self.until(partial(self._admitted, namespace, f"instance-{number}"), "an instance to be admitted")
            self.person.create_binding(namespace, f"binding-{number}", f"instance-{number}")
        secrets = [f"/api/v1/namespaces/{namespace}/secrets/binding-{number}" for number in range(count)]
        self.until(lambda: all(map(self.person.get, secrets)), "the bindings' Secrets to be there")
        assert len(self.sap.instances) == len(self.sap.bindings) == count

    def _admitted(self, namespace: str, name: str) -> bool:
        try:
            self.person.create_instance(namespace, name)
        except OSError:
            return False  # the operand's webhooks are not reached yet
        return True

    def half_deleted(self) -> None:
        """Three instances with a binding each, a slow Service Manager, and a deletion that has begun there."""
        self.ready()
        self.make(3)
        self.sap.latency = 2.0
        self.person.delete_operator(CR)
        self.until(lambda: len(self.sap.bindings) < 3, "the first binding to be deleted in SAP")

    def gone(self, seconds: float = POSSIBLE) -> None:
        """The CR goes, with nothing left in SAP or in the cluster, and nothing abandoned."""
        self.until(lambda: self.person.status(CR) is None, "the CR to be gone", seconds)
        assert not self.sap.instances and not self.sap.bindings
        assert self.person.service_objects() == [] and self.person.managed_objects() == []
        assert self.person.get(f"/api/v1/namespaces/{KYMA_NAMESPACE}/configmaps/sap-btp-abandoned") is None

    def says(self, state: str, reason: str, *words: str, seconds: float = POSSIBLE) -> None:
        """Wait until the CR says so."""

        def so() -> bool:
            status = self.person.status(CR)
            return (
                status is not None
                and (status.state, status.reason) == (state, reason)
                and all(word in status.message for word in words)
            )

        self.until(so, f"{state}/{reason} {words}", seconds)

    def until(self, true: Callable[[], Any], what: str, seconds: float = POSSIBLE) -> None:
        wait_until(true, lambda: f"{what} ({self._seen()})", seconds=seconds, every=0.1)

    def _seen(self) -> str:
        def ask(*words: str) -> str:
            try:
                return self.node.kubectl("-n", KYMA_NAMESPACE, *words)
            except RuntimeError as error:
                return str(error)

        pods = ask("get", "pods", "--no-headers")
        said = "\n".join(ask("logs", "--tail=5", f"deployment/{name}") for name in DEPLOYMENTS)
        return f"the CR says {self.person.status(CR)}; pods:\n{pods}\n{said}"


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions") or []
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
