"""Why a command cannot be done, in few classes: each is one sentence, and an exit status that scripts can rely on."""

import asyncio
from collections.abc import Awaitable
from typing import ClassVar, Final, TypeVar

from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, TemporalError
from temporalio.service import RPCError, RPCStatusCode

from kube.errors import KubeError
from models.text import plain
from runtime.payloads import INVALID

T = TypeVar("T")
LONGEST: Final = 400
"""Characters kept of what a server says."""
NO_RIGHT: Final = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)
SILENT: Final = (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
IN_WORDS: Final = (
    ("onnection refused", "connection refused"),
    ("ConnectionRefused", "connection refused"),
    ("dns error", "its name is not known here"),
    ("InvalidCertificate", "its certificate is not trusted"),
    ("imed out", "no answer"),
    ("deadline", "no answer"),
)
"""What the SDK's core writes about a connection that failed, in a form made for its developers, and what it means."""


class CommandError(Exception):
    """The command makes no sense as it was given, or not now; the message is one sentence with the next step."""

    status: ClassVar = 2


class NoAnswer(CommandError):
    """The cluster, Temporal or a worker cannot be reached, or did not answer in time."""

    status: ClassVar = 3


class NoRight(CommandError):
    """Whoever runs this may not do it."""

    status: ClassVar = 4


async def answered(work: Awaitable[T], who: str, seconds: float) -> T:
    """What is answered by `who`, within so many seconds.

    Raises:
        CommandError: it was not, for the reason that its class and its sentence say.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise NoAnswer(f"{who} did not answer within {seconds:g} s") from error
    except KubeError as error:
        raise of_kubernetes(error, who) from error
    except RPCError as error:
        raise of_temporal(error, who) from error


def of_kubernetes(error: KubeError, who: str) -> CommandError:
    """What the API server, or the way to it, said."""
    said = plain(error, LONGEST)
    if error.status in (401, 403):
        return NoRight(f"{who} does not let you do this: {said}")
    if not error.status or error.status == 429 or error.status >= 500:
        return NoAnswer(f"{who} cannot be reached: {said}")
    return CommandError(f"{who} refuses: {said}")


def of_temporal(error: RPCError, who: str) -> CommandError:
    """What the Temporal server, or the way to it, said."""
    said = plain(error.message, LONGEST)
    if error.status in NO_RIGHT:
        return NoRight(f"{who} does not let you do this: {said}")
    if error.status in SILENT:
        return NoAnswer(f"{who} cannot be reached: {in_words(said)}")
    return CommandError(f"{who} refuses: {said} ({error.status.name})")


def of_workflow(error: TemporalError) -> CommandError:
    """What came in place of a workflow's answer: from the server, from its worker, or from an answer unread here."""
    if isinstance(error, RPCError):
        return of_temporal(error, "Temporal")
    if isinstance(error, WorkflowUpdateFailedError):
        error = error.cause if isinstance(error.cause, TemporalError) else error
    said = plain(getattr(error, "message", "") or error, LONGEST)
    if isinstance(error, ApplicationError) and error.type == INVALID:
        return CommandError(f"give this command the worker's BTP_PAYLOAD_KEY: {said}")
    if isinstance(error, WorkflowQueryFailedError):
        return CommandError(f"the workflow cannot answer: {said}; `btpctl doctor` says whether it is ours")
    return CommandError(said)


def in_words(said: str) -> str:
    """The same for people, where it is known what it means."""
    return next((words for part, words in IN_WORDS if part in said), said)
