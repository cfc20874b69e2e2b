"""What goes wrong with a reclaim: its worker dies or freezes, or it is answered badly, at each kind of call.

`tests/chaos/reclaim_story.py` says what may be deleted then, and what has to be.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kube.resources import SERVICE_BINDINGS, SERVICE_INSTANCES, Resource
from localcluster.environment import Environment, Manager
from localcluster.faults import Fault as AtApiServer
from localcluster.misbehaviour import Fault, bad_gateway, lost_answer, throttled, unknown_route
from localcluster.servicemanager import ServiceManager
from models.names import ABANDONED_CONFIGMAP
from operand.living import FRESH
from tests.chaos.reclaim_story import Account
from tests.chaos.stage import PATIENCE, SETTINGS, Outcome, Stage


@dataclass(frozen=True)
class Call:
    """A kind of call of a reclaim, to Service Manager or to the API server; `after`: only behind that one."""

    method: str
    path: str
    query: str = ""
    to_sap: bool = True
    after: "Call | None" = None


LOOK: Final = Call("GET", "/v1/service_bindings/[^/]+$")
DELETE: Final = Call("DELETE", "/v1/service_bindings/")
TO_SAP: Final[Mapping[str, Call]] = {
    "token": Call("POST", "/oauth/token"),
    "look at a binding": LOOK,
    "search for an instance": Call("GET", "/v1/service_instances$", "labelQuery"),
    "DELETE of a binding": DELETE,
    "how far a binding is": Call("GET", "/v1/service_bindings/.*/operations/"),
    "DELETE of an instance": Call("DELETE", "/v1/service_instances/"),
    "how far an instance is": Call("GET", "/v1/service_instances/.*/operations/"),
}
REPORT: Final = f"/configmaps/{ABANDONED_CONFIGMAP}([?]|$)"
OF_REPORT: Final[Mapping[str, Call]] = {
    "write of the report": Call("PATCH", REPORT, to_sap=False, after=DELETE),
    "DELETE of the report": Call("DELETE", REPORT, to_sap=False, after=DELETE),
}
LIVING: Final = "/serviceinstances([?]|$)"
LOOK_FOR_BINDINGS: Final = Call("GET", LIVING, to_sap=False, after=LOOK)
LOOK_FOR_INSTANCES: Final = Call("GET", LIVING, to_sap=False, after=Call("GET", "/v1/service_instances/[^/]+$"))
TOKEN_FOR_DELETE: Final = Call("POST", "/oauth/token", after=LOOK_FOR_BINDINGS)
ANSWERS: Final[Mapping[str, Fault]] = {
    "it is carried out, its answer is lost": lost_answer(),
    "429, Retry-After 1": throttled("1"),
    "502": bad_gateway(),
    "404 of a router without a route": unknown_route(),
    "422, another operation is at work": Fault(status=422, body={"error": "Busy", "description": "in progress"}),
}
ANSWERS_OF_REPORT: Final[Mapping[str, Mapping[str, Any]]] = {
    "it is carried out, its answer is lost": {"lose_answer": True},
    "500": {"status": 500},
    "cut off": {"reset": True},
}


@dataclass(frozen=True)
class Trouble:
    """What happens at the first call of a kind, before the answer goes out."""

    call: Call
    fault: Fault = field(default_factory=Fault)
    """How Service Manager answers."""
    at_api_server: Mapping[str, Any] = field(default_factory=dict)
    """How the API server does."""
    token_seconds: float = 3600.0
    """How long a token is good."""
    disturb: Callable[[Manager], None] = lambda worker: None
    """What becomes of the first worker."""
    afterwards: Callable[[Account, Manager], None] = lambda account, worker: None
    """What happens in the world then."""
    after_deletion: bool = False
    """Reclaim, which begins before its deletion is over, gets its first token when the CR is gone."""
    alone: bool = False
    """The second worker rests until then, so that the first one makes the call."""
    returns: bool = False
    """The first worker is thawed when all is over, and may not do a thing then."""

    def arm(self, stage: Stage, happened: threading.Event) -> None:
        def disturb() -> None:
            self.disturb(stage.environment.workers[0])
            happened.set()

        stage.scene.sap.token_seconds = self.token_seconds
        if self.after_deletion:
            stage.scene.sap.faults.append(Fault("POST", "/oauth/token", then=stage.scene.gone))
        self._await(stage, self.call, disturb)

    def _await(self, stage: Stage, call: Call, then: Callable[[], None]) -> None:
        """Have this done at the call, once the calls were made that have to come before."""
        how = {} if call is not self.call else self.at_api_server
        fault = Fault() if call is not self.call else self.fault

        def wait() -> None:
            if call.to_sap:
                here = replace(fault, method=call.method, path=call.path, query=call.query, then=then)
                stage.scene.sap.faults.append(here)
            else:
                there = AtApiServer((call.method,), call.path, watch=False, times=1, then=then, **how)
                stage.environment.proxy.add(there)

        if call.after:
            self._await(stage, call.after, wait)
        else:
            wait()


def tell(stage: Stage, trouble: Trouble | None = None) -> Outcome:
    """Tell the story, with that trouble, and judge it.

    Raises:
        AssertionError: it is stuck, something was deleted that should not be, or something was forgotten.
    """
    account, happened = Account(stage), threading.Event()
    first, second = stage.environment.workers

    def before(_: Environment) -> None:
        account.open()
        if trouble:
            if trouble.alone:
                second.stop()
            trouble.arm(stage, happened)

    def meanwhile(_: Environment) -> None:
        if trouble:
            stage.scene.until(happened.is_set, "the call to be made", PATIENCE)
            trouble.afterwards(account, first)
            if trouble.alone:
                second.start()

    def afterwards() -> None:
        account.judge()
        if trouble and trouble.returns:
            account.stays_as_it_is(lambda: _thaw(first))
            first.wait_ready()
            account.judge()

    try:
        outcome = stage.play(account.story(), before=before, meanwhile=meanwhile, afterwards=afterwards)
    finally:
        _thaw(first)
        account.unmake()
    # A user may have made something again; `judge` has looked at these.
    outcome.state = {key: value for key, value in outcome.state.items() if key not in ("service objects", "in SAP")}
    return outcome


def _kill(worker: Manager) -> None:
    assert worker.process is not None
    worker.process.kill()


def _freeze(worker: Manager) -> None:
    assert worker.process is not None
    worker.process.freeze()


def _thaw(worker: Manager) -> None:
    if worker.process is not None and worker.process.alive:
        worker.process.thaw()


def _again(*resources: Resource, thawed: bool) -> Callable[[Account, Manager], None]:
    """A user makes these again while the first worker is frozen, and another one finishes, or it goes on by itself."""

    def make(account: Account, worker: Manager) -> None:
        account.make_again(*resources)
        if thawed:
            time.sleep(FRESH)
            _thaw(worker)

    return make


def _kills() -> Iterator[tuple[str, str, Trouble]]:
    for name, call in TO_SAP.items():
        undone = Fault(status=503)
        yield "worker killed (SIGKILL) before it is carried out", name, Trouble(call, undone, disturb=_kill, alone=True)
    for name, call in {**TO_SAP, **OF_REPORT}.items():
        yield "worker killed (SIGKILL) after it was carried out", name, Trouble(call, disturb=_kill, alone=True)


def _answers() -> Iterator[tuple[str, str, Trouble]]:
    for said, fault in ANSWERS.items():
        for name, call in TO_SAP.items():
            if fault.status != 422 or call.method == "DELETE":
                yield said, name, Trouble(call, fault)
    for said, how in ANSWERS_OF_REPORT.items():
        for name, call in OF_REPORT.items():
            yield f"{said}, at a write", name, Trouble(call, at_api_server=how)


def _freezes() -> Iterator[tuple[str, str, Trouble]]:
    for name, call in {**TO_SAP, **OF_REPORT}.items():
        frozen = Trouble(call, disturb=_freeze, alone=True, returns=True)
        yield "worker frozen until another one has finished", name, frozen
    again = {
        "look for living bindings": (LOOK_FOR_BINDINGS, (SERVICE_BINDINGS, SERVICE_INSTANCES)),
        "token between look and DELETE": (TOKEN_FOR_DELETE, (SERVICE_BINDINGS, SERVICE_INSTANCES)),
        "look for living instances": (LOOK_FOR_INSTANCES, (SERVICE_INSTANCES,)),
    }
    for thawed, said in ((False, "until another worker has finished"), (True, "and it goes on by itself")):
        for name, (call, resources) in again.items():
            made = _again(*resources, thawed=thawed)
            frozen = Trouble(
                call, disturb=_freeze, afterwards=made, after_deletion=True, alone=True, returns=not thawed
            )
            if call is TOKEN_FOR_DELETE:
                frozen = replace(frozen, token_seconds=0.9)  # so each call asks for another one
            yield f"worker frozen, the objects made again, {said}", name, frozen


TROUBLES: Final[tuple[tuple[str, str, Trouble], ...]] = (*_kills(), *_answers(), *_freezes())
"""What goes wrong, at which call, and how it is done."""


@contextmanager
def reclaim_stage() -> Iterator[Stage]:
    """Two workers and a trigger with the rights that the chart gives them."""
    with ServiceManager() as sap, Environment(SETTINGS, workers=2, faults=True) as environment:
        yield Stage(environment, sap)
