"""The story of a reclaim, everything that was seen of it, and how it is judged.

A deletion with a dead operand abandons four instances with their bindings; the id of one instance was never known.
Service Manager may be asked to delete what the report named and nothing else; all of that has to be gone in the end,
and so has the report. Beside it lie objects of the same names, of another cluster and another namespace.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import yaml

from kube.resources import CONFIG_MAPS, CUSTOM_RESOURCE_DEFINITIONS, SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.controlplane import CHECKOUT
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE, RECLAIM_SECRET
from tests.chaos.degraded import QUIET
from tests.chaos.stage import Stage
from tests.chaos.stories import SOFT, Story
from tests.e2e.deletion import Scene

LATER: Final = 0.4
"""Seconds after which SAP has done a deletion that it accepted: so that it is asked how far it is."""
CRDS: Final = sorted((CHECKOUT / "chart" / "sap-btp-operator" / "crds").iterdir())
MERGE: Final = "application/merge-patch+json"
REPORT: Final = CONFIG_MAPS.path(KYMA_NAMESPACE, ABANDONED_CONFIGMAP)
UNKNOWN: Final = "team-b", "instance-1"
"""Namespace and name of the instance whose id the operand never wrote down."""
AGAIN: Final = {SERVICE_BINDINGS: ("team-a", "binding-0"), SERVICE_INSTANCES: ("team-a", "instance-0")}
"""What a user makes again."""
KINDS: Final = {"ServiceBinding": "service_bindings", "ServiceInstance": "service_instances"}

Named = tuple[str, str, str]
"""Kind, namespace and name of an object."""


class Account:
    """What the story is about, by id in SAP BTP, and what was seen of it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.scene = stage.scene
        self.sap = stage.scene.sap
        self._abandoned: dict[str, Named] = {}
        self._others: set[str] = set()
        self._living: set[str] = set()
        self._reported: set[tuple[Named, str]] = set()
        """Every object that the report ever named, each with the id that it gave."""

    def open(self) -> None:
        """Before the deletion begins."""
        self.sap.asynchronous = LATER
        for plural, kept in (("service_bindings", self.sap.bindings), ("service_instances", self.sap.instances)):
            for identity, record in kept.items():
                self._abandoned[identity] = plural, record["context"]["namespace"], record["name"]
        self._others = {
            self.sap.put("service_instances", "team-a", "instance-0", "another-cluster"),
            self.sap.put("service_instances", *UNKNOWN, "another-cluster"),
            self.sap.put("service_instances", "team-c", "instance-0"),
            self.sap.put("service_bindings", "team-a", "binding-0", "another-cluster"),
        }
        self._stage.environment.proxy.on_write = self._read_report

    def _read_report(self, _: int) -> None:
        """Each version of the report is read before its writer hears that it was written."""
        if not self._stage.environment.proxy.writes[-1].endswith(ABANDONED_CONFIGMAP):
            return
        for entry in self.scene.reported().values():
            self._reported.add(((KINDS[entry["kind"]], entry["namespace"], entry["name"]), entry.get("sap_id", "")))

    def _left(self) -> set[str]:
        return {*self.sap.instances, *self.sap.bindings} - self._others

    def is_settled(self) -> bool:
        """Whether the CR, all that it abandoned and the report are gone; what is in use again is none of it.

        Raises AssertionError if something was to be deleted that is not abandoned.
        """
        self._judge_deletions()
        gone = self.scene.person.status("btpoperator") is None
        return gone and self._left() == self._living and self.scene.person.get(REPORT) is None

    def judge(self) -> None:
        """Raises AssertionError: something else was deleted, or something was forgotten."""
        self._judge_deletions()
        assert {named for named, _ in self._reported} == set(self._abandoned.values()), "the report names others"
        assert self._left() == self._living, f"not gone, or gone although in use: {self._left() ^ self._living}"
        assert self.scene.person.get(REPORT) is None, "the report is still there"
        assert self._others <= {*self.sap.instances, *self.sap.bindings}, "another's objects are gone"

    def _judge_deletions(self) -> None:
        for identity in self.sap.deleted():
            assert identity in self._abandoned, f"{identity} was to be deleted, and is another's"
            assert identity not in self._living, f"{self._abandoned[identity]} was to be deleted, and is in use again"
            named = self._abandoned[identity]
            known = "" if named == ("service_instances", *UNKNOWN) else identity
            assert (named, known) in self._reported, f"{named} was to be deleted, and the report never named it"

    def make_again(self, *resources: Resource) -> None:
        """A user makes objects of the same names, and an operand adopts what SAP has under them."""
        cluster, person = self._stage.environment.cluster, self.scene.person
        for file in CRDS:
            cluster.request("POST", CUSTOM_RESOURCE_DEFINITIONS.path(), yaml.safe_load(file.read_text()))
        for resource in resources:
            namespace, name = AGAIN[resource]
            field = "bindingID" if resource is SERVICE_BINDINGS else "instanceID"
            named = KINDS[resource.kind], namespace, name
            (identity,) = (key for key, each in self._abandoned.items() if each == named)

            def make(resource: Resource = resource, namespace: str = namespace, name: str = name) -> None:
                if resource is SERVICE_BINDINGS:
                    person.create_binding(namespace, name, AGAIN[SERVICE_INSTANCES][1])
                else:
                    person.create_instance(namespace, name)

            self.scene.patiently(make)
            status = {"status": {"conditions": [], field: identity}}
            cluster.request("PATCH", f"{resource.path(namespace, name)}/status", status, MERGE)
            self._living.add(identity)

    def unmake(self) -> None:
        """Take away again what the user made, and its definitions."""
        if not self._living:
            return
        for file in CRDS:
            path = CUSTOM_RESOURCE_DEFINITIONS.path(name=yaml.safe_load(file.read_text())["metadata"]["name"])
            self.scene.person.delete(path)
            while self.scene.person.get(path) is not None:
                time.sleep(0.05)

    def story(self) -> Story:
        return replace(SOFT, name="reclaim", prepare=_prepare, is_over=lambda _: self.is_settled())

    def stays_as_it_is(self, end_trouble: Callable[[], None]) -> None:
        """End the trouble when all is over. Raises AssertionError if somebody deletes or writes something then."""
        proxy = self._stage.environment.proxy
        before = self._deletions()
        proxy.writes.clear()
        end_trouble()
        time.sleep(QUIET)
        assert self._deletions() == before, "something was to be deleted when all was over"
        writes = [write for write in proxy.writes if "/events" not in write and "/leases" not in write]
        assert writes == [], f"after the trouble: {writes}"

    def _deletions(self) -> dict[Any, int]:
        return {call: count for call, count in self.sap.calls.items() if call[0] == "DELETE"}


def _prepare(scene: Scene) -> None:
    """In use, then without an operand, which never wrote down the id of one instance."""
    SOFT.prepare(scene)
    status = {"status": {"instanceID": ""}}
    scene.environment.cluster.request("PATCH", f"{SERVICE_INSTANCES.path(*UNKNOWN)}/status", status, MERGE)
    scene.person.put_secret(scene.sap.admin_credentials(), name=RECLAIM_SECRET)
