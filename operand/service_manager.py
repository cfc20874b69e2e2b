"""SAP Service Manager's API, as far as deleting needs it: look at an object, search, delete, ask how far that is.

Everything that comes back is another's word: read with bounds on size and time, redirects are not followed, and of an
answer that is no object nothing but its description travels on, shortened.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from kube.fence import ALLOWED, FencedRequest
from models.text import plain
from operand.addresses import PublicAddresses
from operand.reclaim_credentials import ReclaimCredentials
from operand.sap_answers import (
    Answer,
    Operation,
    SapObject,
    ServiceManagerAway,
    ServiceManagerRefused,
    description_of,
    failure_of,
    object_of,
    read_answer,
)

SECONDS: Final = 30.0
"""For one call, all of it."""
CONNECT_SECONDS: Final = 5.0
MOST_PAGES: Final = 20
TOKEN_LEFT: Final = 60.0
"""Seconds before its end at which a token is renewed; one that lives shorter than two of these, half-way."""
LONGEST_TOKEN: Final = 24 * 3600
"""Seconds; Service Manager's live for half as long."""
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


class Kind(StrEnum):
    """The kinds of objects, as paths name them."""

    BINDING = "service_bindings"
    INSTANCE = "service_instances"


def is_name(text: str) -> bool:
    """Whether it is a name of Kubernetes: only such a one gets into a query."""
    return bool(_NAME.fullmatch(text))


class ServiceManager:
    """One subaccount's Service Manager. Use `connected`."""

    def __init__(self, credentials: ReclaimCredentials, session: aiohttp.ClientSession) -> None:
        self._credentials = credentials
        self._session = session
        self._token, self._renew_at = "", 0.0
        self._renewing = asyncio.Lock()

    async def ready(self) -> None:
        """Have a token that is good for a while: the next call begins at once.

        Raises:
            ServiceManagerAway: none is to be had.
        """
        async with self._renewing:
            if time.monotonic() < self._renew_at:
                return
            known = self._credentials
            form = {"grant_type": "client_credentials", "client_id": known.client_id}
            if known.client_secret:
                form["client_secret"] = known.client_secret
            answer = await self._send("POST", known.token_url, "token", data=form)
            token = answer.body.get("access_token")
            if answer.status != 200 or not isinstance(token, str) or not token.isascii():
                raise ServiceManagerAway(self._sentence("token", answer), answer.retry_after)
            self._token = token
            seconds = answer.body.get("expires_in")
            # However long it is said to live: one that is not taken any more is asked for again.
            good_for = float(min(max(seconds, 0), LONGEST_TOKEN)) if isinstance(seconds, int | float) else 0.0
            self._renew_at = time.monotonic() + max(good_for - TOKEN_LEFT, good_for / 2)

    async def find(self, kind: Kind, identity: str) -> SapObject | None:
        """The object, or None if there is none of that id.

        Raises:
            ServiceManagerAway, ServiceManagerRefused: nothing is known about it.
        """
        answer = await self._ask("GET", f"/v1/{kind.value}/{identity}")
        return None if answer.status in (404, 410) else object_of(answer.body)

    async def search(self, kind: Kind, namespace: str, name: str) -> list[SapObject]:
        """All objects that an operand labelled with this namespace and name, of whichever cluster.

        Raises:
            ServiceManagerAway, ServiceManagerRefused: nothing is known about them.
        """
        found: list[SapObject] = []
        query = {"labelQuery": f"_namespace eq '{namespace}' and _k8sname eq '{name}'"}
        for _ in range(MOST_PAGES):
            answer = await self._ask("GET", f"/v1/{kind.value}", query)
            items = answer.body.get("items")
            if answer.status == 404 or not isinstance(items, list):
                raise ServiceManagerAway(f"search {kind.value}: the answer is not a list")
            found += [object_of(item) for item in items]
            token = answer.body.get("token")
            if not token or not items:
                return found
            query = {**query, "token": str(token)[:1000]}
        raise ServiceManagerAway(
            f"search {kind.value}: there are more than {MOST_PAGES} pages of that namespace and name"
        )

    async def delete(self, kind: Kind, identity: str, allowed: Callable[[], bool]) -> str | None:
        """Ask for an object's deletion, once. None if it is gone; else the operation's path, "" if it is not told.

        `allowed` is asked when the connection is ready, right before the request is written to it.

        Raises:
            NotSent: it said no.
            ServiceManagerRefused: it will not be deleted now.
            ServiceManagerAway: nobody knows whether it was.
        """
        path = f"/v1/{kind.value}/{identity}"
        fenced = ALLOWED.set(allowed)
        try:
            answer = await self._ask("DELETE", path)
        finally:
            ALLOWED.reset(fenced)
        return self._operation_path(answer.location, path) if answer.status == 202 else None

    async def operation(self, path: str) -> Operation:
        """How far a deletion is; `path` is what `delete` returned.

        Raises:
            ServiceManagerAway, ServiceManagerRefused: nobody knows.
        """
        answer = await self._ask("GET", path)
        if answer.status in (404, 410):
            return Operation(done=False, failure="Service Manager has forgotten the operation")
        state = answer.body.get("state")
        if state == "failed":
            return Operation(done=False, failure=self._credentials.scrub(failure_of(answer.body)))
        return Operation(done=state == "succeeded")

    def _operation_path(self, location: str, path: str) -> str:
        """Only an operation of that very object at that very host."""
        try:
            ours, theirs = urlsplit(self._credentials.sm_url), urlsplit(location)
        except ValueError:  # the other's: our own has been looked at
            return ""
        elsewhere = theirs.netloc and (theirs.scheme, theirs.netloc) != (ours.scheme, ours.netloc)
        given = theirs.path.removeprefix(ours.path) if ours.path and theirs.netloc else theirs.path
        own = re.fullmatch(rf"{re.escape(path)}/operations/[\w-]{{1,100}}", given)
        return given if own and not elsewhere else ""

    async def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Answer:
        await self.ready()
        headers = {"Authorization": f"Bearer {self._token}"}
        what = f"{method.lower()} {path.removeprefix('/v1/')}"
        answer = await self._send(method, self._credentials.sm_url + path, what, params=query, headers=headers)
        if answer.status == 401:
            self._renew_at = 0.0
        # A 404 is Service Manager's word only in its own form: any other web server has one, too.
        gone = answer.status == 410 or (answer.status == 404 and isinstance(answer.body.get("error"), str))
        if not answer.router_error and (answer.status in (200, 202) or gone):
            return answer
        away = answer.status in (401, 403, 404, 408, 429) or answer.status >= 500 or answer.status < 400
        error = ServiceManagerAway if away or answer.router_error else ServiceManagerRefused
        raise error(self._sentence(what, answer), answer.retry_after)

    async def _send(self, method: str, url: str, what: str, **options: Any) -> Answer:
        try:
            async with self._session.request(
                method, url, allow_redirects=False, middlewares=(_Once(),), **options
            ) as answer:
                return await read_answer(answer)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ServiceManagerAway(f"{what}: {_without_values(error)}") from error

    def _sentence(self, what: str, answer: Answer) -> str:
        said = self._credentials.scrub(description_of(answer.body)) or answer.router_error or "no description"
        return f"{what}: {plain(said)} ({answer.status})"


class _Once:
    """aiohttp sends a request again by itself where a connection breaks. A deletion goes out once for each look."""

    def __init__(self) -> None:
        self._sent = False

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if self._sent and request.method != "GET":
            raise TimeoutError  # told like an answer that did not come
        self._sent = True
        return await handler(request)


def _without_values(error: BaseException) -> str:
    """What went wrong, without addresses or headers that the error may quote."""
    if isinstance(error, TimeoutError | aiohttp.ServerTimeoutError):
        return "no answer"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate cannot be trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it cannot be reached"
    return (
        str(error) if isinstance(error, ValueError) and str(error) in ("too large", "no JSON object") else "no answer"
    )


@asynccontextmanager
async def connected(credentials: ReclaimCredentials) -> AsyncIterator[ServiceManager]:
    """Service Manager while the block runs. Proxies of the environment are not used."""
    resolver = aiohttp.ThreadedResolver() if credentials.any_address else PublicAddresses()
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=credentials.tls)
    timeout = aiohttp.ClientTimeout(total=SECONDS, sock_connect=CONNECT_SECONDS)
    headers = {"Accept": "application/json", "User-Agent": "btp-manager"}
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=timeout,
        headers=headers,
        cookie_jar=jar,
        trust_env=False,
        request_class=FencedRequest,
    ) as session:
        yield ServiceManager(credentials, session)
