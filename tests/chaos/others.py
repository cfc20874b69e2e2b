"""What other people and controllers do to the manager's objects while it works, each for a few seconds or once."""

import contextlib
import random
import urllib.error
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from dispatch.names import default_task_queue, schedule_id
from kube.resources import NAMESPACES, SECRETS
from models.names import CA_SECRET, KYMA_NAMESPACE
from tests.chaos.rotations import Rotations
from tests.cluster import encoded
from tests.e2e.deletion import Scene
from tests.e2e.test_rivals import Rival

MERGE = "application/merge-patch+json"
POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BINDINGS = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
POLICY = {
    "metadata": {"name": "soak"},
    "spec": {
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}
            ]
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": 'Object{metadata: Object.metadata{labels: {"theirs": "yes"}}}'},
            }
        ],
    },
}
Doing = Callable[[], contextlib.AbstractContextManager[object]]


class Others:
    """Everybody else in one environment."""

    def __init__(self, scene: Scene, rotations: Rotations, chance: random.Random) -> None:
        self._scene, self._rotations, self._chance = scene, rotations, chance
        self._cluster, self._temporal = scene.environment.cluster, scene.environment.temporal
        uid = self._cluster.request("GET", NAMESPACES.path(None, "kube-system"))["metadata"]["uid"]
        self._schedule = ("--schedule-id", schedule_id(default_task_queue(uid)))

    def doings(self) -> Mapping[str, Doing]:
        """What they do, by name; what has an end has it when the block is left."""
        return {
            "the CA's Secret deleted": partial(self._once, self._delete_ca),
            "the CA's Secret broken": partial(self._once, self._break_ca),
            "an object without managedFields": partial(self._once, self._forget_fields),
            "a mutating policy for Deployments on, then off": self._policy,
            "a rival that changes the webhooks' caBundle back": partial(Rival, self._scene.environment),
            "another cluster_id for a while": self._cluster_id,
            "the Schedule paused": self._paused,
            "the Schedule deleted": partial(self._once, partial(self._schedule_cli, "delete")),
        }

    @contextlib.contextmanager
    def _once(self, act: Callable[[], object]) -> Iterator[None]:
        with contextlib.suppress(urllib.error.HTTPError):  # it is not there now
            act()
        yield

    def _delete_ca(self) -> None:
        self._scene.person.delete(SECRETS.path(KYMA_NAMESPACE, CA_SECRET))

    def _break_ca(self) -> None:
        path = SECRETS.path(KYMA_NAMESPACE, CA_SECRET)
        self._cluster.request("PATCH", path, {"data": encoded({"ca.crt": "no certificate"})}, MERGE)

    def _forget_fields(self) -> None:
        if paths := self._scene.person.managed_paths():
            self._cluster.request("PATCH", self._chance.choice(paths), {"metadata": {"managedFields": [{}]}}, MERGE)

    @contextlib.contextmanager
    def _policy(self) -> Iterator[None]:
        self._cluster.request("POST", POLICIES, POLICY)
        self._cluster.request("POST", BINDINGS, {"metadata": {"name": "soak"}, "spec": {"policyName": "soak"}})
        try:
            yield
        finally:
            for path in (BINDINGS, POLICIES):
                self._cluster.request("DELETE", f"{path}/soak")

    @contextlib.contextmanager
    def _cluster_id(self) -> Iterator[None]:
        with self._rotations.with_value("cluster_id", "another-cluster"):
            yield

    @contextlib.contextmanager
    def _paused(self) -> Iterator[None]:
        self._schedule_cli("toggle", "--pause", "--reason", "soak")
        try:
            yield
        finally:
            self._schedule_cli("toggle", "--unpause", "--reason", "soak")

    def _schedule_cli(self, verb: str, *arguments: str) -> None:
        self._temporal.cli("schedule", verb, *self._schedule, *arguments)
