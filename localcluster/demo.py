"""`make demo`: the whole story on a real control plane, told line by line from the CR's own status.

Exits with 1 as soon as a step does not come true.
"""

import sys
import time
import urllib.error
from collections.abc import Callable
from typing import Any, Final

from rich.console import Console

from localcluster.binaries import ensure_all
from localcluster.client import CREDENTIALS, Client
from localcluster.environment import Environment

PATIENCE: Final = 30.0
console = Console(highlight=False, soft_wrap=True)


class Story:
    """Narrates, and fails when what is told does not happen."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._began = time.monotonic()

    def heading(self, text: str) -> None:
        console.print(f"\n[bold]{text}[/bold]")

    def expect(self, name: str, state: str, reason: str, *words: str) -> float:
        """Follow a CR's status until it says so, printing every change. Returns the seconds it took."""
        started, last = time.monotonic(), None
        while True:
            status = self._client.status(name)
            if status != last and status is not None:
                self.line(f"{name}: [cyan]{status.state}/{status.reason}[/cyan] {status.message}")
                last = status
            if status and (status.state, status.reason) == (state, reason) and all(w in status.message for w in words):
                return time.monotonic() - started
            if time.monotonic() - started > PATIENCE:
                raise AssertionError(f"{name} did not become {state}/{reason} {' '.join(words)}; it is {status}")
            time.sleep(0.01)

    def eventually(self, true: Callable[[], Any], what: str) -> float:
        """Wait until something is so. Returns the seconds it took."""
        started = time.monotonic()
        while not true():
            if time.monotonic() - started > PATIENCE:
                raise AssertionError(f"{what}: did not happen within {PATIENCE:.0f} s")
            time.sleep(0.01)
        took = time.monotonic() - started
        self.line(f"{what} [green]({took:.2f} s)[/green]")
        return took

    def line(self, text: str) -> None:
        console.print(f"[dim]{time.monotonic() - self._began:6.2f} s[/dim]  {text}")


def tell(environment: Environment) -> None:
    """The story itself."""
    client = Client(environment.cluster)
    story = Story(client)

    story.heading("A BtpOperator, but no Secret sap-btp-manager")
    client.create_operator("btpoperator")
    story.expect("btpoperator", "Error", "MissingSecret", "kyma-system/sap-btp-manager")

    story.heading("A Secret that is not complete")
    client.put_secret({"clientid": "me", "clientsecret": "", "sm_url": "https://sm.example"})
    story.expect("btpoperator", "Error", "InvalidSecret", "missing keys: cluster_id, tokenurl", "values: clientsecret")

    story.heading("A good Secret")
    client.put_secret(CREDENTIALS)
    took = story.expect("btpoperator", "Ready", "ReconcileSucceeded")
    story.line(f"Ready [green]{took:.2f} s[/green] after the Secret was there")

    story.heading("A second BtpOperator")
    client.create_operator("another")
    story.expect("another", "Error", "OlderCRExists", "kyma-system/btpoperator")

    story.heading("Somebody deletes the operand's ClusterRole")
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/sap-btp-operator-manager-role"
    client.delete(role)
    story.eventually(lambda: client.get(role), "the ClusterRole is back")
    story.expect("btpoperator", "Ready", "ReconcileSucceeded")

    story.heading("kubectl delete btpoperator btpoperator: the next-oldest takes over")
    client.delete_operator("btpoperator")
    story.eventually(lambda: client.status("btpoperator") is None, "BtpOperator btpoperator is gone")
    story.expect("another", "Ready", "ReconcileSucceeded")

    story.heading("kubectl delete btpoperator another: nothing is left")
    client.delete_operator("another")
    story.eventually(lambda: client.status("another") is None, "BtpOperator another is gone")
    story.eventually(lambda: not client.managed_objects(), "everything the chart installed is gone")


def main() -> int:
    ensure_all()
    console.print("starting etcd, kube-apiserver, controllers, kwok, Temporal, worker and trigger ...")
    try:
        with Environment() as environment:
            try:
                tell(environment)
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
