"""Logs: one JSON object a line on a server, readable on a terminal. The workflow id is in every line that has one."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from temporalio import activity, workflow

from models.text import plain


def configure(log_format: str, log_level: str) -> None:
    """Send structlog and the standard library's loggers the same way, to stderr."""
    as_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_workflow,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[structlog.typing.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [_harmless, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=log_level.upper(), force=True)
    # A failed attempt is progress here and is shown where it belongs, on the CR and in the workflow. The SDK would add
    # a traceback for each.
    logging.getLogger("temporalio.activity").setLevel(logging.ERROR)


def _harmless(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """No text of others gives orders to a terminal. JSON needs none of this: it escapes whatever is not ASCII."""
    return {key: plain(value, 4_000) if isinstance(value, str) else value for key, value in event.items()}


def _add_workflow(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if activity.in_activity():
        info = activity.info()
        event.setdefault("workflow_id", info.workflow_id)
        event.setdefault("run_id", info.workflow_run_id)
        event.setdefault("attempt", info.attempt)
    elif workflow.in_workflow():
        event.setdefault("workflow_id", workflow.info().workflow_id)
        event.setdefault("run_id", workflow.info().run_id)
    return event
