"""The connections to one cluster: made anew when credentials or trust change, and never to another cluster."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from kube.answers import decoded, is_object
from kube.credentials import Access, access_from_environment
from kube.errors import KubeError, Unavailable
from kube.request import CONNECT_SECONDS, Request, Session
from kube.resources import NAMESPACES

CLUSTER: Final = "kube-system"
"""The Namespace that lives as long as its cluster: its uid says which cluster this is."""
LOOKED_AT_EVERY: Final = 5.0
"""Seconds between two looks at whether credentials have changed, and between two tries to renew refused ones."""
LONGEST_LOAD: Final = 20.0
"""Seconds that a credential plugin may take."""
log = structlog.get_logger(__name__)


class Connections:
    """Those with the newest access that could be read."""

    def __init__(self, access: Access, load: Callable[[str], Awaitable[Access]] | None = None) -> None:
        """Args:
        load: brings the access anew when it may have changed, given the token that was refused, if one was; None: it
            stays what it is.
        """
        self._session = Session(access)
        self._load = load
        self._renewing = asyncio.Lock()
        self._looked = self._tried = time.monotonic()
        self._refused = False
        self._cluster = ""
        self.host = access.host
        self.astray = ""
        """Where the configuration leads now, in words, if it is not the cluster that this process began with."""

    @classmethod
    async def from_environment(cls, context: str = "") -> "Connections":
        """Raises:
        ValueError: no usable configuration was found.
        """
        access = await access_from_environment(context)
        # What somebody makes the current context later is theirs.
        return cls(access, partial(access_from_environment, access.context))

    @property
    def last(self) -> Session:
        """The session of the last request."""
        return self._session

    def stay_with(self, uid: str) -> None:
        """Know the cluster by the uid of its Namespace kube-system. The first one counts, for as long as this lives."""
        self._cluster = self._cluster or uid

    async def close(self) -> None:
        await self._session.access.api.close()

    async def current(self) -> Session:
        """The session to use now, with a look at whether its credentials have changed where the last one is old."""
        if time.monotonic() - self._looked >= LOOKED_AT_EVERY and not self._renewing.locked():
            async with self._renewing:
                self._looked = time.monotonic()
                if self._session.access.is_outdated():
                    await self._renew()
                else:
                    self.astray = ""  # whoever changed the configuration has changed it back
        return self._session

    async def renewed_after(self, refused: Session) -> bool:
        """Whether there are other credentials than those that were refused; asked for anew, not too often."""
        async with self._renewing:
            if self._session is refused and time.monotonic() - self._tried >= LOOKED_AT_EVERY:
                await self._renew(refused.access.token)
        return self._session is not refused

    async def _renew(self, refused: str = "") -> None:
        """Read the access again, and use it from now on if it has changed. What cannot be read leaves the old one."""
        if self._load is None:
            return
        self._tried = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_LOAD):
                access = await self._load(refused)
        except (ValueError, TimeoutError) as error:
            if not self._refused:  # one line for a state, not for each try
                log.warning("credentials for the API server cannot be read again", error=str(error)[:300])
            self._refused = True
            return
        self._refused = False
        old = self._session
        if access.digest == old.access.digest:
            # Nothing new: later files and a later end count all the same.
            await access.api.close()
            old.access = replace(access, api=old.access.api)
            self.astray = ""
            return
        new = Session(access)
        if doubt := await self._elsewhere(new):
            if doubt != self.astray:
                log.error("staying with the cluster of the start", cluster=self.host, error=doubt)
            self.astray = doubt
            await access.api.close()
            return
        self.astray = ""
        self._session, self.host, old.retired = new, access.host, True
        log.info("read credentials for the API server again", cluster=access.host)
        await old.close_if_idle()

    async def _elsewhere(self, new: Session) -> str:
        """Why these connections must not take the place of the old ones: they lead to another cluster, or may.

        All that this process knows, and has promised, is of one cluster.
        """
        if not self._cluster:
            return ""
        path, accept = NAMESPACES.path(None, CLUSTER), "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
        request = Request("get", NAMESPACES, "GET", path, accept=accept, seconds=CONNECT_SECONDS)
        where = f"the configuration leads to {new.access.host} now"
        try:
            async with new.send(request) as response:
                found = decoded(await response.read())
            if not is_object(found):
                raise Unavailable("the answer is not an object of the API", status=200)
        except KubeError as error:
            if new.access.host == self.host:
                return ""  # new credentials for the old address: nobody has named another cluster
            return f"{where}, and whether that is the same cluster is not to be found out: {error}"
        if found["metadata"]["uid"] == self._cluster:
            return ""
        return f"{where}, which is another cluster; this process stays with the one it began with until a restart"
