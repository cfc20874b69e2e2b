"""Somebody keeps changing a field of ours back: writes become rare, and the CR says who it is. Real processes."""

import contextlib
import threading
import time
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from kube.resources import VALIDATING_WEBHOOKS
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import wait_until
from tests.cluster import encoded

pytestmark = pytest.mark.long

HOOKS = VALIDATING_WEBHOOKS.path(name="sap-btp-operator-validating-webhook-configuration")
FIELD = "/webhooks/0/clientConfig/caBundle"


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment(settings={"BTP_READY_TIMEOUT": "15s"}) as started:
        yield started


class Rival:
    """Puts a caBundle of its own back whenever it sees another one, and counts how often that was."""

    def __init__(self, environment: Environment) -> None:
        self._cluster = environment.cluster
        self.met: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Rival":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        mine = encoded({"x": "-----BEGIN CERTIFICATE-----"})["x"]
        while not self._stop.wait(0.05):
            with contextlib.suppress(urllib.error.HTTPError):
                found: dict[str, Any] = self._cluster.request("GET", HOOKS)
                if found["webhooks"][0]["clientConfig"].get("caBundle") != mine:
                    change = [{"op": "replace", "path": FIELD, "value": mine}]
                    path, how = f"{HOOKS}?fieldManager=cainjector", "application/json-patch+json"
                    self._cluster.request("PATCH", path, change, how)
                    self.met.append(time.monotonic())


def test_a_rival_is_named_met_with_growing_pauses_and_becomes_an_error(environment: Environment) -> None:
    person = Person(environment.cluster)
    person.put_secret(CREDENTIALS)
    person.create_operator("btpoperator")

    def says(state: str, text: str = "") -> bool:
        status = person.status("btpoperator")
        return status is not None and status.state == state and text in status.message

    wait_until(lambda: says("Ready"), "the CR to be Ready", seconds=60)
    sentence = "clientConfig.caBundle is changed back by field manager 'cainjector'"
    with Rival(environment) as rival:
        wait_until(lambda: says("Processing", sentence), "the rival to be named", seconds=40)
        time.sleep(1)  # the rival may still be changing back the write after which it was named
        named = len(rival.met)
        wait_until(lambda: says("Error", sentence), "the error after ready_timeout", seconds=90)
        pauses = [late - early for early, late in zip(rival.met[named - 1 :], rival.met[named:], strict=False)]
        print(f"{named} rounds until named, then pauses of {[round(pause, 1) for pause in pauses]} s")
        assert named <= 5 and pauses and all(pause >= 9.5 for pause in pauses)
    person.delete_operator("btpoperator")
    wait_until(lambda: person.status("btpoperator") is None, "the CR to be gone without a pause", seconds=20)
