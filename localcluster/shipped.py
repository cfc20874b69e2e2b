"""chart/btp-manager in a cluster, as it is shipped: what worker and trigger may do here is what they may do anywhere.

Helm installs it with no pod of its own: the processes run beside the cluster, with tokens of their ServiceAccounts.
"""

import subprocess
import urllib.error
from pathlib import Path
from typing import Final

from kube.resources import CONFIG_MAPS, DEPLOYMENTS, SERVICES
from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT, ControlPlane
from localcluster.processes import wait_until
from models.names import KYMA_NAMESPACE

RELEASE: Final = "btp-manager"
MANAGER_CHART: Final = CHECKOUT / "chart" / "btp-manager"
NO_PODS: Final = ("--set", "worker.replicas=0,trigger.replicas=0")
ACCOUNTS: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}/serviceaccounts"
POLICIES: Final = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
REFUSED: Final = "sap-btp-operator-webhook-service"
"""A Service that the worker may write by RBAC, but by the chart's policy not as one that is open at every node."""


def helm(cluster: ControlPlane, *arguments: str | Path) -> str:
    """Run Helm as the administrator who installs the manager. Returns what it printed.

    Raises:
        RuntimeError: it failed; the message is Helm's.
    """
    command = [str(part) for part in (binary("helm"), *arguments, "--namespace", KYMA_NAMESPACE)]
    environment = {"HOME": str(cluster.folder), "KUBECONFIG": str(cluster.kubeconfig()), "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


class Shipped:
    """The release `RELEASE` in a cluster."""

    def __init__(self, cluster: ControlPlane) -> None:
        self._cluster = cluster
        self._arguments: tuple[str, ...] = ()

    def install(self, *arguments: str) -> None:
        """Install the chart; with no pods, unless these arguments of Helm say otherwise."""
        helm(self._cluster, "install", RELEASE, MANAGER_CHART, *NO_PODS, *arguments)
        self._arguments = arguments

    def ensure(self, *arguments: str) -> None:
        """Have it installed with exactly these arguments, and in force."""
        if not self.is_there():
            self.install(*arguments)
        elif arguments != self._arguments:
            helm(self._cluster, "upgrade", RELEASE, MANAGER_CHART, "--reset-values", *NO_PODS, *arguments)
            self._arguments = arguments
            self._changes_in_force()
        else:
            return
        self.kubeconfig("worker")
        self.in_force()

    def remove(self) -> None:
        """Have it gone."""
        if self.is_there():
            helm(self._cluster, "uninstall", RELEASE, "--wait", "--no-hooks")

    def is_there(self) -> bool:
        try:
            self._cluster.request("GET", f"{ACCOUNTS}/{account('worker')}")
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
            return False
        return True

    def in_force(self) -> None:
        """Wait until the API server has taken notice of the roles and of the policy: a worker's token is tried."""
        wait_until(self._policy_refuses, "rights and policy of the chart to be in force")

    def kubeconfig(self, process: str, via: str = "") -> Path:
        """A kubeconfig file with a token of the ServiceAccount of `worker` or `trigger`."""
        return self._cluster.service_account(KYMA_NAMESPACE, account(process), via)

    def installation(self) -> str:
        """What the worker's Deployment tells its pods now."""
        found = self._cluster.request("GET", DEPLOYMENTS.path(KYMA_NAMESPACE, account("worker")))
        variables = found["spec"]["template"]["spec"]["containers"][0]["env"]
        return next(str(each["value"]) for each in variables if each["name"] == "BTP_INSTALLATION")

    def _changes_in_force(self) -> None:
        """Wait until the API server has taken notice of a policy that was made last, and so of all that came before.

        It learns of policies in the order in which they are written.
        """
        name = "notice-of-changes"
        rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]
        refusal = {"expression": f"object.metadata.name != '{name}'", "message": name}
        policy = {"matchConstraints": {"resourceRules": rules}, "validations": [refusal]}
        binding = {"policyName": name, "validationActions": ["Deny"]}
        for path, spec in ((f"{POLICIES}ies", policy), (f"{POLICIES}ybindings", binding)):
            self._cluster.request("POST", path, {"metadata": {"name": name}, "spec": spec})

        def noticed() -> bool:
            path = f"{CONFIG_MAPS.path(KYMA_NAMESPACE)}?dryRun=All"
            try:
                self._cluster.request("POST", path, {"metadata": {"name": name}})
            except urllib.error.HTTPError as error:
                return error.code == 422
            return False

        wait_until(noticed, "a changed policy of the chart to be in force")
        for path in (f"{POLICIES}ybindings/{name}", f"{POLICIES}ies/{name}"):
            self._cluster.request("DELETE", path)

    def _policy_refuses(self) -> bool:
        body = {
            "apiVersion": SERVICES.api_version,
            "kind": SERVICES.kind,
            "metadata": {"name": REFUSED},
            "spec": {"type": "NodePort", "ports": [{"name": "any", "port": 9}]},
        }
        path = f"{SERVICES.path(KYMA_NAMESPACE, REFUSED)}?dryRun=All&fieldManager=anybody&force=true"
        try:
            self._cluster.request("PATCH", path, body, "application/apply-patch+yaml", user=account("worker"))
        except urllib.error.HTTPError as error:
            return error.code == 422  # RBAC would say 403, and nobody else minds
        return False


def account(process: str) -> str:
    """The ServiceAccount of `worker` or `trigger`."""
    return f"{RELEASE}-{process}"
