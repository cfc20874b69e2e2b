"""Two hundred BtpOperators, made, changed and deleted at random while requests fail and workers are killed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar
from urllib.error import HTTPError

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from localcluster.client import CREDENTIALS, OPERATORS
from localcluster.faults import Fault
from models.operators import Operator, responsible
from tests.chaos.stage import Stage, stage

pytestmark = pytest.mark.load

CROWD = 200
NAMESPACES = ("kyma-system", "team-a", "team-b")
FAULTS = {
    "429": Fault(status=429, retry_after="1", chance=0.3),
    "500": Fault(status=500, chance=0.3),
    "cut off": Fault(reset=True, chance=0.3),
    "answer lost": Fault(lose_answer=True, chance=0.2),
    "watches cut off": Fault(watch=True, truncate=True, chance=0.5),
}


class Crowd(RuleBasedStateMachine):
    """What people and bad luck do; `teardown` says what has to be true when it is over."""

    stage: ClassVar[Stage]
    done: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.made = 0
        self.person = self.stage.scene.person

    @initialize()
    def a_crowd(self) -> None:
        self.person.put_secret(CREDENTIALS)
        for namespace in NAMESPACES:
            self.person.ensure_namespace(namespace)
        self.make(CROWD - 20)

    # One rule for everything: of several, hypothesis leaves some out of each run.
    @rule(
        action=st.sampled_from(["make", "change", "change", "delete", "the responsible", "fault", "calm", "kill"]),
        which=st.integers(0, CROWD),
        count=st.integers(1, 10),
        fault=st.sampled_from(sorted(FAULTS)),
    )
    def something_happens(self, action: str, which: int, count: int, fault: str) -> None:
        self.done[action] += 1
        environment, operators = self.stage.environment, self.operators()
        some = (operators * 2)[which % max(len(operators), 1) :][:count]
        if action == "make":
            self.make(count)
        elif action == "change":
            for operator in some:
                self.change(operator, f"{which}")
        elif action == "delete":
            for operator in some:
                self.person.delete_operator(operator.ref.name, operator.ref.namespace)
        elif action == "the responsible" and (oldest := responsible(operators)):
            self.person.delete_operator(oldest.ref.name, oldest.ref.namespace)
        elif action == "fault":
            environment.proxy.faults[:] = [FAULTS[fault]]
        elif action == "calm":
            environment.proxy.faults.clear()
        elif action == "kill":
            worker = environment.workers[0]
            assert worker.process is not None
            worker.process.kill()
            worker.start()

    def make(self, count: int) -> None:
        for _ in range(min(count, CROWD - self.made)):
            self.made += 1
            self.person.create_operator(f"cr-{self.made}", NAMESPACES[self.made % 3])

    def change(self, operator: Operator, value: str) -> None:
        path = f"{OPERATORS}/namespaces/{operator.ref.namespace}/btpoperators/{operator.ref.name}"
        body = {"metadata": {"labels": {"changed": value}}}
        with suppress(HTTPError):
            self.stage.environment.cluster.request("PATCH", path, body, "application/merge-patch+json")

    def teardown(self) -> None:
        self.stage.environment.proxy.faults.clear()
        self.stage.settle()
        self.stage.resync()  # spares that name a CR that is gone are corrected then
        self.stage.scene.until(self.is_in_order, "every CR to say how it stands", 100)
        self.stage.settle()
        assert self.is_in_order()
        assert self.stage.failed() == []
        for operator in self.operators():
            self.person.delete_operator(operator.ref.name, operator.ref.namespace)
        self.stage.scene.until(lambda: not self.operators(), "all CRs to be gone", 100)
        self.stage.settle()
        assert self.person.managed_objects() == []

    def objects(self) -> list[dict[str, Any]]:
        return list((self.person.get(f"{OPERATORS}/btpoperators") or {})["items"])

    def operators(self) -> list[Operator]:
        return [Operator.from_object(obj) for obj in self.objects()]

    def is_in_order(self) -> bool:
        """Exactly one is responsible and Ready; each other says which one is, and holds no finalizer."""
        operators = self.operators()
        oldest = responsible(operators)
        for operator in operators:
            condition = ((operator.status or {}).get("conditions") or [{}])[0]
            state, reason = (operator.status or {}).get("state"), condition.get("reason")
            if operator.deleting:
                return False
            if oldest and operator.ref == oldest.ref:
                if (state, reason) != ("Ready", "ReconcileSucceeded"):
                    return False
            elif (
                (state, reason) != ("Error", "OlderCRExists")
                or str(oldest and oldest.ref) not in condition["message"]
                or operator.holds_finalizer
            ):
                return False
        return True


@pytest.fixture(scope="module")
def crowded() -> Iterator[Stage]:
    with stage(triggers=2) as started:
        yield started


@pytest.mark.timeout(600)
def test_of_many_crs_exactly_one_is_ready_and_each_other_says_why_not(crowded: Stage) -> None:
    Crowd.stage = crowded
    run_state_machine_as_test(
        Crowd,
        settings=settings(
            max_examples=3,
            stateful_step_count=60,
            phases=[Phase.generate],
        ),
    )
    print(Crowd.done)
    assert len(Crowd.done) == 7, Crowd.done  # everything has happened
