"""What the probes say, asked of real processes beside servers that are away, silent, or refuse."""

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from localcluster.environment import Environment, Manager
from localcluster.faults import Fault
from localcluster.processes import probe, wait_until
from runtime import contacts
from runtime.contacts import Contact, RefusedError, said
from runtime.polls import LONGEST_SILENCE, Polls
from runtime.telemetry import PollCounts, SdkTelemetry

LIMIT = 15.0
"""Seconds after which /readyz has to know."""


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with Environment(faults=True) as started:
        yield started


def says(manager: Manager, *words: str) -> bool:
    status, text = manager.readiness()
    return status == 503 and all(word in text for word in words)


def notice(environment: Environment, *words: str) -> None:
    """Both say so within the limit, and ask for no restart."""
    both = (environment.workers[0], environment.triggers[0])
    wait_until(lambda: all(says(each, *words) for each in both), f"{words} on /readyz of both", seconds=LIMIT)
    for each in both:
        assert probe(f"http://127.0.0.1:{each.health}/healthz") == (200, "ok\n")


def recover(environment: Environment) -> None:
    for each in (environment.workers[0], environment.triggers[0]):
        each.wait_ready()


@pytest.mark.long
def test_temporal_that_says_nothing_is_named(environment: Environment) -> None:
    server = environment.temporal.process
    assert server is not None
    server.freeze()
    try:
        notice(environment, "Temporal at 127.0.0.1")
    finally:
        server.thaw()
    recover(environment)


def test_temporal_that_is_not_there_is_named(environment: Environment) -> None:
    environment.temporal.stop()
    try:
        notice(environment, "Temporal at 127.0.0.1")
    finally:
        environment.temporal.start()
    recover(environment)


@pytest.mark.long
def test_an_api_server_that_says_nothing_is_named(environment: Environment) -> None:
    environment.cluster.freeze_apiserver()
    try:
        notice(environment, "the API server at https://127.0.0.1", "no answer within 5 s")
    finally:
        environment.cluster.thaw_apiserver()
    recover(environment)


@pytest.mark.parametrize("fault", [Fault(reset=True), Fault(status=401)], ids=["reset", "401"])
def test_an_api_server_that_takes_no_requests_is_named(environment: Environment, fault: Fault) -> None:
    environment.proxy.add(fault)
    try:
        notice(environment, "the API server at https://127.0.0.1")
    finally:
        environment.proxy.clear()
    recover(environment)


def test_a_watch_that_is_refused_is_named_by_the_trigger_alone(environment: Environment) -> None:
    environment.proxy.add(Fault(path="clusterroles", status=403))
    environment.proxy.hang_up()
    try:
        trigger = environment.triggers[0]
        wait_until(lambda: says(trigger, "not following ClusterRole"), "the watch to be named", seconds=LIMIT)
        assert environment.workers[0].readiness() == (200, "ok\n")
    finally:
        environment.proxy.clear()
    recover(environment)


def test_a_worker_whose_event_loop_hangs_does_not_answer_at_all(environment: Environment) -> None:
    worker = environment.workers[0]
    assert worker.process is not None
    worker.process.freeze()
    try:
        assert probe(f"http://127.0.0.1:{worker.health}/healthz")[0] == 0
    finally:
        worker.process.thaw()


@pytest.mark.long
@pytest.mark.parametrize("module", ["worker", "trigger"])
def test_a_real_process_whose_credentials_stay_refused_asks_to_be_restarted_and_one_beside_an_outage_does_not(
    environment: Environment, module: str
) -> None:
    like = (environment.workers if module == "worker" else environment.triggers)[0]
    process = environment.another(like, {"IMPATIENT": module, "IMPATIENT_AFTER": "4"})
    process.module = "tests.runtime.impatient"

    def healthz() -> tuple[int, str]:
        return probe(f"http://127.0.0.1:{process.health}/healthz")

    process.start()
    try:
        process.wait_ready()
        environment.proxy.add(Fault(reset=True))
        wait_until(lambda: says(process, "the API server at"), "the outage to be named", seconds=LIMIT)
        time.sleep(6)
        assert healthz() == (200, "ok\n")
        environment.proxy.clear()
        process.wait_ready()
        environment.proxy.add(Fault(status=401))
        wait_until(lambda: says(process, "(401)"), "the refusal to be named", seconds=LIMIT)
        assert healthz() == (200, "ok\n")
        wait_until(lambda: healthz()[0] == 503, "/healthz to fail", seconds=LIMIT)
        assert "the API server at https://127.0.0.1" in healthz()[1] and "(401)" in healthz()[1]
        environment.proxy.clear()
        wait_until(lambda: healthz()[0] == 200, "/healthz to be well again", seconds=LIMIT)
    finally:
        environment.proxy.clear()
        process.stop()
    recover(environment)


async def test_refused_credentials_make_liveness_fail_after_a_while_and_an_outage_never_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer: Exception | None = RefusedError("the token has ended")

    async def ask() -> None:
        if answer:
            raise answer

    monkeypatch.setattr(contacts, "REFUSED_FOR", 0.1)
    contact = Contact("somebody", ask)
    await contact.look()
    assert contact.trouble == "somebody: the token has ended" and not contact.refused_for_long
    await asyncio.sleep(0.2)
    await contact.look()
    assert said("", contact.refused_for_long) == "somebody: the token has ended"
    answer = ConnectionError("refused")
    await contact.look()
    await asyncio.sleep(0.2)
    await contact.look()
    assert contact.trouble == "somebody: refused" and not contact.refused_for_long
    answer = None
    await contact.look()
    assert not contact.trouble


async def test_who_does_not_answer_in_time_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contacts, "PATIENCE", 0.05)
    contact = Contact("somebody", asyncio.Event().wait)
    assert contact.trouble == "somebody: not asked yet"
    await contact.look()
    assert "no answer within" in contact.trouble


class Counters(SdkTelemetry):
    """The SDK's counters, as the test wants them."""

    def __init__(self) -> None:
        self.now = PollCounts(0, 0, 0)

    async def polls(self) -> PollCounts:
        return self.now


@pytest.mark.parametrize(
    ("before", "after", "silent"),
    [
        pytest.param(PollCounts(5, 0, 0), PollCounts(5, 0, 0), True, id="open, and no answer"),
        pytest.param(PollCounts(5, 0, 0), PollCounts(10, 0, 5), True, id="failed, and sent again"),
        pytest.param(PollCounts(5, 0, 5), PollCounts(10, 0, 10), True, id="failed, each one"),
        pytest.param(PollCounts(5, 0, 0), PollCounts(6, 1, 0), False, id="answered"),
        pytest.param(PollCounts(5, 5, 0), PollCounts(5, 5, 0), False, id="none is sent while every slot is taken"),
    ],
)
async def test_polls_that_get_no_answer_are_noticed(
    monkeypatch: pytest.MonkeyPatch, before: PollCounts, after: PollCounts, silent: bool
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    counters = Counters()
    polls = Polls(counters)
    counters.now = before
    await polls.ask()
    now += LONGEST_SILENCE + 1
    counters.now = after
    with pytest.raises(ConnectionError, match="no poll was answered") if silent else contextlib.nullcontext():
        await polls.ask()


async def test_the_counters_of_polls_are_read_from_what_the_sdk_really_writes(environment: Environment) -> None:
    """A worker polls from its start, and is not answered before it has work or a minute is over."""
    page = probe(f"http://127.0.0.1:{environment.workers[0].metrics}/metrics")[1]

    class Page(SdkTelemetry):
        def __init__(self) -> None:
            pass

        async def metrics(self) -> bytes:
            return page.encode()

    assert (await Page().polls()).open > 0
