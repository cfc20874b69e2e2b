"""What the command line makes of answers and of no answers, and how it looks on paper."""

import asyncio
import io
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from typer.testing import CliRunner

from btpctl import show
from btpctl.__main__ import app
from btpctl.errors import CommandError, NoAnswer, NoRight, answered, of_kubernetes, of_temporal
from btpctl.overview import Overview, with_workflow
from kube.errors import Unavailable, error_from
from worker.task_queue import workers

UID = "2f0c6a3e-9d1b-4c59-8e57-0a6f3ad1c2b4"
LONG = "1 ServiceInstance left: team-a/database is refused by the broker, which says that it has subscriptions " * 3


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (RPCStatusCode.UNAVAILABLE, NoAnswer, 3),
        (RPCStatusCode.DEADLINE_EXCEEDED, NoAnswer, 3),
        (RPCStatusCode.PERMISSION_DENIED, NoRight, 4),
        (RPCStatusCode.UNAUTHENTICATED, NoRight, 4),
        (RPCStatusCode.NOT_FOUND, CommandError, 2),
        (RPCStatusCode.INVALID_ARGUMENT, CommandError, 2),
    ],
)
def test_each_error_of_temporal_is_told_as_what_it_is(
    status: RPCStatusCode, kind: type[CommandError], code: int
) -> None:
    error = of_temporal(RPCError("said \x1b[31mso", status, b""), "Temporal")
    assert type(error) is kind and error.status == code
    assert "said [31mso" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (RPCStatusCode.PERMISSION_DENIED, NoRight, "does not let you do this"),
        (RPCStatusCode.UNAVAILABLE, NoAnswer, "cannot be reached"),
        (RPCStatusCode.FAILED_PRECONDITION, NoAnswer, "no worker answered"),
    ],
)
async def test_a_query_that_is_refused_is_not_one_that_no_worker_answers(
    status: RPCStatusCode, kind: type[CommandError], said: str
) -> None:
    async def describe() -> Any:
        raw = SimpleNamespace(pending_activities=[], pending_workflow_task=SimpleNamespace(attempt=0))
        running = WorkflowExecutionStatus.RUNNING
        return SimpleNamespace(status=running, workflow_type="DeprovisionWorkflow", raw_description=raw)

    async def query(*_: object, **__: object) -> Any:
        raise RPCError("no", status, b"")

    handle: Any = SimpleNamespace(describe=describe, query=query)
    overview = Overview("kyma-system/btpoperator", "Deleting", "HardDeleting", "", 90, True, "id")
    seen, trouble = await with_workflow(overview, handle, 1)
    assert type(trouble) is kind and said in str(trouble) and seen.workflow == "DeprovisionWorkflow"


@pytest.mark.parametrize(("status", "kind"), [(401, NoRight), (403, NoRight), (422, CommandError), (503, NoAnswer)])
def test_each_error_of_the_api_server_is_told_as_what_it_is(status: int, kind: type[CommandError]) -> None:
    assert type(of_kubernetes(error_from(status, {}, "list btpoperators"), "the cluster")) is kind
    assert type(of_kubernetes(Unavailable("connection refused"), "the cluster")) is NoAnswer


async def test_nobody_is_waited_for_longer_than_was_said() -> None:
    with pytest.raises(NoAnswer, match=r"Temporal did not answer within 0\.01 s"):
        await answered(asyncio.sleep(60), "Temporal", 0.01)


async def test_only_who_asked_for_work_lately_is_a_worker() -> None:
    """Temporal names a poller for five minutes after its last poll."""

    def poller(identity: str, seconds: int) -> Any:
        seen = datetime.now(UTC) - timedelta(seconds=seconds)
        return SimpleNamespace(identity=identity, last_access_time=SimpleNamespace(ToDatetime=lambda tzinfo: seen))

    async def describe(_: object) -> Any:
        return SimpleNamespace(pollers=[poller("dead", 95), poller("alive", 60), poller("alive", 5)])

    client: Any = SimpleNamespace(namespace="default", workflow_service=SimpleNamespace(describe_task_queue=describe))
    assert await workers(client, "queue") == ["alive"]


def printed(width: int | None, blocks: list[show.Block]) -> list[str]:
    out = io.StringIO()
    show.write(Console(file=out, force_terminal=width is not None, width=width), blocks)
    return re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).splitlines()


def test_a_terminal_gets_no_line_that_is_wider_and_no_id_that_is_cut() -> None:
    identity = f"btpoperator/kyma-system/btpoperator/{UID}"
    overview = Overview("kyma-system/btpoperator", "Deleting", "HardDeleting", LONG, 90, True, identity)
    lines = printed(80, show.standings([overview]))
    assert max(map(len, lines)) <= 80 and identity in [line.strip() for line in lines]
    narrow = printed(40, show.standings([overview]))
    assert identity in [line.strip() for line in narrow], "an id stays whole even where it is wider than the terminal"


def test_a_pipe_gets_each_fact_on_one_line_without_orders_to_a_terminal() -> None:
    overview = Overview("kyma-system/btpoperator", "Deleting", "HardDeleting", LONG, 90, True, "id")
    lines = printed(None, show.standings([overview, overview]))
    assert lines[:2] == ["kyma-system/btpoperator  Deleting/HardDeleting  1m30s old", f"  {LONG.strip()}"]
    assert len(lines) == 6


@pytest.mark.parametrize(
    "arguments",
    [
        ["soft-delete", "--yes"],
        ["release", "--by", "alice"],
        ["hold", "--by", " ", "--why", "ticket"],
        ["extend", "--by", "alice", "--why", "x", "--minutes", "1441"],
    ],
)
def test_who_and_why_are_asked_for_where_they_are_recorded(arguments: list[str]) -> None:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == 2 and re.search("--by|--why|--minutes", ended.output)


@pytest.mark.parametrize(
    "command", sorted(each.name or each.callback.__name__ for each in app.registered_commands if each.callback)
)
def test_every_command_takes_the_shared_options(command: str) -> None:
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    for option in (
        "--context",
        "--kubeconfig",
        "--namespace",
        "--temporal-address",
        "--temporal-namespace",
        "--timeout",
    ):
        assert option in said
