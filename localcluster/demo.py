"""`make demo`: the whole story on a real control plane, line by line from the CR's own status.

Exits with 1 as soon as a step does not come true.
"""

import json
import sys
import time
import urllib.error
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from rich.console import Console

from localcluster.binaries import ensure_all
from localcluster.client import Person
from localcluster.environment import Environment
from localcluster.misbehaviour import throttled
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE, RECLAIM_SECRET

PATIENCE: Final = 30.0
BUDGET: Final = 20
"""Seconds of hard delete in the demo."""
LEFT_ALONE: Final = 4
"""Seconds for which Service Manager throttles reclaim."""
REPORT: Final = f"/api/v1/namespaces/{KYMA_NAMESPACE}/configmaps/{ABANDONED_CONFIGMAP}"
console = Console(highlight=False, soft_wrap=True)


class Story:
    """Narrates, and fails when what it announces does not happen."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._began = time.monotonic()

    def heading(self, text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    def expect(self, name: str, state: str, reason: str, *words: str) -> float:
        """Follow a CR's status until it says so, printing every change. Returns the seconds it took."""
        started, last = time.monotonic(), None
        while True:
            status = self._person.status(name)
            if status != last and status is not None:
                self.line(f"{name}: [cyan]{status.state}/{status.reason}[/cyan] {status.message}")
                last = status
            if status and (status.state, status.reason) == (state, reason) and all(w in status.message for w in words):
                return time.monotonic() - started
            if time.monotonic() - started > PATIENCE:
                raise AssertionError(f"{name} did not become {state}/{reason} {' '.join(words)}; it is {status}")
            time.sleep(0.01)

    def expect_gone(self, name: str) -> None:
        """Follow a CR's status until the CR is gone, printing every change."""
        started, last = time.monotonic(), None
        while (status := self._person.status(name)) is not None:
            if status != last:
                self.line(f"{name}: [cyan]{status.state}/{status.reason}[/cyan] {status.message}")
                last = status
            if time.monotonic() - started > BUDGET + PATIENCE:
                raise AssertionError(f"{name} is still there and says {status}")
            time.sleep(0.01)
        self.line(f"BtpOperator {name} is gone [green]({time.monotonic() - started:.2f} s)[/green]")

    def check(self, true: bool, what: str) -> None:
        """Say what is so, or fail because it is not."""
        if not true:
            raise AssertionError(f"not so: {what}")
        self.line(what)

    def eventually(self, true: Callable[[], Any], what: str, quiet: bool = False) -> float:
        """Wait until something is so. Returns the seconds it took."""
        took = wait_until(true, what, seconds=PATIENCE, every=0.01)
        if not quiet:
            self.line(f"{what} [green]({took:.2f} s)[/green]")
        return took

    def line(self, text: str) -> None:
        console.print(f"[dim]{time.monotonic() - self._began:6.2f} s[/dim]  {text}")


def tell(environment: Environment, sap: ServiceManager) -> None:
    """The story itself."""
    person = Person(environment.cluster)
    story = Story(person)

    story.heading("A BtpOperator, but no Secret sap-btp-manager")
    person.create_operator("btpoperator")
    story.expect("btpoperator", "Error", "MissingSecret", "kyma-system/sap-btp-manager")

    story.heading("A Secret that is not complete")
    person.put_secret({"clientid": "me", "clientsecret": "", "sm_url": "https://sm.example"})
    story.expect("btpoperator", "Error", "InvalidSecret", "missing keys: cluster_id, tokenurl", "values: clientsecret")

    story.heading("A good Secret")
    person.put_secret(sap.credentials())
    took = story.expect("btpoperator", "Ready", "ReconcileSucceeded")
    story.line(f"Ready [green]{took:.2f} s[/green] after the Secret was there")

    story.heading("A second BtpOperator")
    person.create_operator("another")
    story.expect("another", "Error", "OlderCRExists", "kyma-system/btpoperator")

    story.heading("Somebody deletes the Service of the operand's webhooks")
    service = "/api/v1/namespaces/kyma-system/services/sap-btp-operator-webhook-service"
    person.delete(service)
    story.eventually(lambda: person.get(service), "the Service is back")
    story.expect("btpoperator", "Ready", "ReconcileSucceeded")

    story.heading("A team uses it: 4 ServiceInstances with a ServiceBinding each, in two namespaces")
    operand = environment.start_operand()
    use(story, person, sap)

    story.heading("kubectl delete btpoperator btpoperator: hard delete, and the next-oldest takes over")
    person.delete_operator("btpoperator")
    story.expect_gone("btpoperator")
    story.check(not sap.instances and not sap.bindings, "nothing is left in SAP Service Manager")
    story.expect("another", "Ready", "ReconcileSucceeded")

    story.heading(f"The same, but the operand dies: soft delete after the budget, here {BUDGET} s instead of 20 min")
    use(story, person, sap)
    operand.kill()
    story.line("the operand is killed; its webhooks stay registered")
    person.put_secret(sap.admin_credentials(), name=RECLAIM_SECRET)
    story.line(f"Secret {RECLAIM_SECRET} consents to deleting in SAP BTP what has to be abandoned")
    sap.faults = [throttled(str(LEFT_ALONE), path="/v1/")]
    person.delete_operator("another")
    story.expect_gone("another")
    found = person.get(REPORT)
    story.check(found is not None and found["data"]["total"] == "8", "ConfigMap sap-btp-abandoned names all 8, such as")
    for line in (found or {"data": {"objects.jsonl": ""}})["data"]["objects.jsonl"].splitlines()[::4]:
        entry = json.loads(line)
        story.line(f"  {entry['kind']} {entry['namespace']}/{entry['name']}, in SAP BTP {entry['sap_id']}")
    story.check(len(sap.instances) == len(sap.bindings) == 4, "they still live in SAP Service Manager")
    story.eventually(lambda: not person.managed_objects(), "everything the chart installed is gone")

    story.heading("Reclaim: the manager deletes in SAP BTP what it had to abandon, without CR and operand")
    story.line(f"Service Manager asks to be left alone for {LEFT_ALONE} s")
    story.eventually(lambda: not sap.instances and not sap.bindings, "nothing is left in SAP Service Manager")
    story.check(sap.refusals_for_bindings == 0, "bindings went before their instances: none was refused")
    story.eventually(lambda: person.get(REPORT) is None, "nothing is abandoned any more: the ConfigMap is gone")


def use(story: Story, person: Person, sap: ServiceManager) -> None:
    """Make instances and bindings, and wait until SAP has them and their Secrets are there."""
    for namespace in ("team-a", "team-b"):
        person.ensure_namespace(namespace)
        for name in ("database", "queue"):
            story.eventually(partial(admitted, person, namespace, name), "", quiet=True)
            person.create_binding(namespace, f"{name}-credentials", name)
    story.eventually(lambda: len(sap.instances) == len(sap.bindings) == 4, "SAP Service Manager has all of them")
    secret = "/api/v1/namespaces/team-b/secrets/queue-credentials"
    story.eventually(lambda: person.get(secret), "their Secrets with credentials are there")


def admitted(person: Person, namespace: str, name: str) -> bool:
    """Whether the instance could be made: the operand's webhooks take a moment to be there."""
    try:
        person.create_instance(namespace, name)
    except urllib.error.URLError:
        return False
    return True


def main() -> int:
    ensure_all()
    console.print("starting etcd, kube-apiserver, controllers, kwok, Temporal, worker and trigger ...")
    try:
        settings = {"BTP_HARD_DELETE_TIMEOUT": f"{BUDGET}s"}
        with ServiceManager() as sap, Environment(settings) as environment:
            try:
                tell(environment, sap)
            except (AssertionError, urllib.error.URLError) as error:
                console.print(f"[red]{error}[/red]")
                for manager in environment.workers + environment.triggers:
                    if manager.process:
                        console.print(f"--- {manager.name}\n{manager.process.tail()}", markup=False)
                return 1
    except RuntimeError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything was stopped")
        return 130
    console.print("\nthe story came true")
    return 0


if __name__ == "__main__":
    sys.exit(main())
