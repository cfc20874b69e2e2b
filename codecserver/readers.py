"""Who may read: whoever Temporal itself lets read the namespace, asked with the authorization that the request brought.

So there is no second list of people. A Temporal that answers anybody cannot say who may read; nobody is answered then.
"""

import hashlib
import time
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

BELIEVED_FOR: Final = 10.0
"""Seconds for which an answer of Temporal's holds: a page of the UI sends many requests at once."""
MOST: Final = 1000
"""Answers that are kept."""
REFUSALS: Final = (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED)
NOBODY: Final = ""


class OpenToAllError(Exception):
    """Temporal lets anybody read the namespace."""


class Readers:
    """Asks Temporal, on the connection of a client that has no API key of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._answers: dict[bytes, tuple[float, bool]] = {}

    async def may(self, authorization: str) -> bool:
        """Whether the holder of this `Authorization` header may read the namespace.

        Raises:
            OpenToAllError: Temporal asks nobody for an authorization.
            RPCError: Temporal does not answer.
        """
        if await self._reads(NOBODY):
            raise OpenToAllError
        return bool(authorization) and await self._reads(authorization)

    async def _reads(self, authorization: str) -> bool:
        asked_with = hashlib.sha256(authorization.encode()).digest()
        asked, answer = self._answers.get(asked_with, (-BELIEVED_FOR, False))
        now = time.monotonic()
        if now - asked < BELIEVED_FOR:
            return answer
        answer = await self._ask(authorization)
        if len(self._answers) >= MOST:
            self._answers.clear()
        self._answers[asked_with] = (now, answer)
        return answer

    async def _ask(self, authorization: str) -> bool:
        request = DescribeNamespaceRequest(namespace=self._client.namespace)
        try:
            await self._client.workflow_service.describe_namespace(
                request, metadata={"authorization": authorization} if authorization else {}
            )
        except RPCError as error:
            if error.status in REFUSALS:
                return False
            raise
        return True
