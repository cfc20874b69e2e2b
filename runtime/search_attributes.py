"""Our search attributes in the namespace: a convenience, without which everything works but filtered lists."""

from typing import Final

import structlog
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from dispatch.search_attributes import SEARCH_ATTRIBUTES

REFUSALS: Final = (
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNIMPLEMENTED,
    RPCStatusCode.INVALID_ARGUMENT,
    RPCStatusCode.FAILED_PRECONDITION,
    RPCStatusCode.RESOURCE_EXHAUSTED,
)
"""Answers that will be the same at the next try: no right, no such service, no room."""
log = structlog.get_logger(__name__)


_WARNED: Final[set[str]] = set()
"""Namespaces of which this process has said that they lack them: they are asked again now and then."""


async def have_search_attributes(client: Client) -> bool:
    """Register what is missing, and say whether all are there; if not, with one warning that has the command to type.

    Raises:
        RPCError: Temporal is away.
    """
    missing = await _missing(client)
    if not missing:
        return True
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes=dict.fromkeys(missing, IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD),
            )
        )
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return True  # another process was faster
        if error.status not in REFUSALS:
            raise
        if client.namespace in _WARNED:
            return False
        _WARNED.add(client.namespace)
        log.warning(
            "workflows cannot be listed by state, namespace or name; everything else works",
            error=error.message,
            command=command(client.namespace, missing),
            then="restart worker and trigger",
        )
        return False
    log.info("registered search attributes", names=missing)
    return True


def command(namespace: str, names: list[str]) -> str:
    """What a person with the right to it types."""
    each = " ".join(f"--name {name} --type Keyword" for name in names)
    return f"temporal operator search-attribute create --namespace {namespace} {each}"


async def _missing(client: Client) -> list[str]:
    """The names that are not registered. Who may not list them can still find out by using them."""
    names = [key.name for key in SEARCH_ATTRIBUTES]
    try:
        request = ListSearchAttributesRequest(namespace=client.namespace)
        listed = await client.operator_service.list_search_attributes(request)
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        return [name for name in names if not await _is_known(client, name)]
    return [name for name in names if name not in listed.custom_attributes]


async def _is_known(client: Client, name: str) -> bool:
    try:
        await client.count_workflows(f"{name} = 'any'")
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        return False
    return True
