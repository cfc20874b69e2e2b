"""What may come from whoever reaches Temporal: it ends in words, and cannot undercut the worker's settings."""

import asyncio
import gc
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from localcluster.temporal import TemporalServer
from models.deprovision import DeletionMode
from models.limits import Bounds, Limits, OperandTeardown
from models.names import DEPROVISION_WORKFLOW, LOOK_AGAIN, PROVISION_WORKFLOW, RECLAIM_WORKFLOW, RESYNC_WORKFLOW
from runtime.connect import data_converter
from runtime.payloads import INVALID
from runtime.settings import WorkerSettings
from tests.workflows.world import MANDATE, World, an_input, serving
from workflows.deprovision import DeprovisionWorkflow

FOR = MANDATE.model_dump(mode="json")
LONG = "x" * 1_100_000
ABSURD: list[tuple[str, Any]] = [
    ("a negative budget", {"mandate": FOR, "limits": {"hard_delete_timeout": "-PT5M"}}),
    ("no budget", {"mandate": FOR, "limits": {"hard_delete_timeout": "PT0S"}}),
    ("a budget without end", {"mandate": FOR, "limits": {"hard_delete_timeout": "P999999999D"}}),
    ("a budget of years", {"mandate": FOR, "limits": {"hard_delete_timeout": "P3650D"}}),
    ("a budget that is no number", {"mandate": FOR, "limits": {"ready_timeout": "NaN"}}),
    ("another teardown", {"mandate": FOR, "operand_teardown": "\x1b[2Jnever"}),
    ("a name of a megabyte", {"mandate": {**FOR, "ref": {**FOR["ref"], "name": LONG}}}),
    ("a cluster of a megabyte", {"mandate": {**FOR, "cluster": LONG}}),
    ("a beginning without a time zone", {"mandate": FOR, "so_far": {"began": "2026-01-01T00:00:00"}}),
    ("counts of a megabyte", {"mandate": FOR, "so_far": {"removed": {"bindings": LONG}}}),
    ("a crowd of rivals", {"mandate": FOR, "so_far": {"rivalry": {"contests": [{"object": "a", "field": "b"}] * 21}}}),
    ("nothing", None),
    ("a number", 7),
    ("a list", []),
    ("a text", "look"),
    ("no JSON", RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{"))),
    ("nested without end", RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"[" * 100_000))),
    ("an unknown encoding", RawValue(Payload(metadata={"encoding": b"binary/else"}, data=b"?"))),
]


@pytest.fixture
async def ours(temporal_server: TemporalServer) -> Client:
    """A client as worker and trigger have it."""
    return await Client.connect(temporal_server.address, data_converter=data_converter(WorkerSettings()))


@pytest.fixture
async def stranger(temporal_server: TemporalServer) -> Client:
    return await Client.connect(temporal_server.address)


KNOWN = [PROVISION_WORKFLOW, DEPROVISION_WORKFLOW, RESYNC_WORKFLOW, RECLAIM_WORKFLOW]


@pytest.mark.parametrize("workflow", KNOWN)
async def test_an_absurd_input_ends_its_workflow_with_a_sentence(ours: Client, stranger: Client, workflow: str) -> None:
    async with serving(ours, World(instances=3)) as task_queue:

        async def end_of(what: str, argument: Any) -> str:
            handle = await stranger.start_workflow(
                workflow, argument, id=f"absurd/{uuid.uuid4()}", task_queue=task_queue
            )
            with pytest.raises(WorkflowFailureError) as failed:
                async with asyncio.timeout(20):
                    await handle.result()
            cause = failed.value.cause
            assert isinstance(cause, ApplicationError) and cause.type == INVALID, (what, cause)
            return cause.message

        said = dict(
            zip([what for what, _ in ABSURD], await asyncio.gather(*(end_of(*each) for each in ABSURD)), strict=True)
        )
    assert all(len(message) < 1_000 and message.isprintable() for message in said.values()), said
    if workflow in (PROVISION_WORKFLOW, DEPROVISION_WORKFLOW):
        assert "limits.hard_delete_timeout: Input should be greater than or equal to 1 second" in said["no budget"]
        assert "mandate.ref.name: String should have at most 253 characters" in said["a name of a megabyte"]


async def test_a_reclaim_takes_no_time_that_cannot_pass(ours: Client, stranger: Client) -> None:
    moment = "2026-01-01T00:00:00"
    so_far = {"ends": f"{moment}Z", "pause": "PT5S"}
    async with serving(ours, World()) as task_queue:
        for wrong in (
            {"reclaim_for": "P999999999D"},
            {"reclaim_for": "-P1D"},
            {"so_far": {**so_far, "ends": moment}},
            {"so_far": {**so_far, "pause": "P999999999D"}},
            {"cluster_digest": LONG},
        ):
            failed = await failure(stranger, RECLAIM_WORKFLOW, [{"cluster": MANDATE.cluster, **wrong}], task_queue)
            assert failed.type == INVALID, failed


@pytest.mark.filterwarnings("ignore:coroutine .*run_workflow. was never awaited")  # the SDK's, of a run without a run
async def test_a_type_that_nobody_knows_and_a_missing_input_end_in_words(ours: Client, stranger: Client) -> None:
    async with serving(ours, World()) as task_queue:
        arguments: list[Any]
        for arguments in ([], [{"a": 1}], ["a", "b"]):
            failed = await failure(stranger, "\x1b[2JWipeWorkflow", arguments, task_queue)
            assert failed.message.startswith("no workflow here is of type [2JWipeWorkflow; there are ProvisionWorkflow")
        for workflow in KNOWN:
            for arguments in ([], [{"mandate": FOR}, 7]):
                failed = await failure(stranger, workflow, arguments, task_queue)
                assert failed.message == f"{workflow} takes one input, and was started with {len(arguments)}"
    gc.collect()


async def failure(client: Client, workflow: str, arguments: list[Any], task_queue: str) -> ApplicationError:
    handle = await client.start_workflow(workflow, args=arguments, id=f"foreign/{uuid.uuid4()}", task_queue=task_queue)
    with pytest.raises(WorkflowFailureError) as failed:
        async with asyncio.timeout(20):
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.non_retryable
    return failed.value.cause


async def test_what_nobody_asked_for_changes_nothing(ours: Client, stranger: Client) -> None:
    async with serving(ours, world := World(instances=0)) as task_queue:
        argument = {"mandate": FOR, "soft_delete_now": True, "limits": {"patience": "none"}}
        handle = await stranger.start_workflow(
            DEPROVISION_WORKFLOW, argument, id=f"more/{uuid.uuid4()}", task_queue=task_queue
        )
        result: dict[str, Any] = await handle.result()
    assert result["mode"] == DeletionMode.HARD and "remove finalizer" in world.called


async def test_absurd_signals_and_updates_leave_a_deletion_as_it_is(ours: Client, stranger: Client) -> None:
    world = World(instances=3, let_hard_delete_end=asyncio.Event())
    async with serving(ours, world) as task_queue:
        handle = await ours.start_workflow(
            DeprovisionWorkflow.run, an_input(), id=f"signals/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.hard_deleting.wait()
        foreign = stranger.get_workflow_handle(handle.id)
        broken = RawValue(Payload(metadata={"encoding": b"binary/else"}, data=b"?"))
        await foreign.signal(LOOK_AGAIN, broken)
        await foreign.signal("no such signal", json.dumps(LONG))
        for update, arguments in (
            ("skip_to_soft_delete", [broken]),
            ("skip_to_soft_delete", [{"a": 1}]),
            ("skip_to_soft_delete", ["\x1b\u202e "]),
            ("skip_to_soft_delete", [LONG]),
            ("retry_now", [broken]),
        ):
            with pytest.raises(WorkflowUpdateFailedError):
                await foreign.execute_update(update, args=arguments)
        assert "3 ServiceInstances left" in (await handle.query(DeprovisionWorkflow.progress)).message
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        assert (await handle.result()).mode is DeletionMode.HARD


async def test_an_input_can_neither_shorten_the_workers_budget_nor_have_the_operand_go_first(ours: Client) -> None:
    world = World(instances=3, let_hard_delete_end=asyncio.Event(), bounds=Bounds())
    asked = an_input(OperandTeardown.FIRST, hard_delete_timeout=timedelta(seconds=1), last_attempt=timedelta(seconds=1))
    async with serving(ours, world) as task_queue:
        handle = await ours.start_workflow(
            DeprovisionWorkflow.run, asked, id=f"short/{uuid.uuid4()}", task_queue=task_queue
        )
        await world.hard_deleting.wait()
        progress = await handle.query(DeprovisionWorkflow.progress)
        description = await handle.describe()
        assert progress.budget_ends is not None
        assert progress.budget_ends - description.start_time > timedelta(minutes=19)
        assert "remove operand" not in world.called
        assert world.let_hard_delete_end
        world.let_hard_delete_end.set()
        assert (await handle.result()).mode is DeletionMode.HARD


def test_an_input_may_lengthen_what_the_workers_settings_say() -> None:
    bounds = Bounds(limits=Limits(hard_delete_timeout=timedelta(minutes=5)), operand_teardown=OperandTeardown.LAST)
    longer = Limits(hard_delete_timeout=timedelta(hours=1), ready_timeout=timedelta(seconds=1))
    assert bounds.bounded(longer).hard_delete_timeout == timedelta(hours=1)
    assert bounds.bounded(longer).ready_timeout == Limits().ready_timeout
    assert [bounds.teardown(each) for each in OperandTeardown] == ["last", "last", "auto"]
