"""One request to the Kubernetes API, over the asyncio client of the `kubernetes` package: sent, counted, tried again.

The package brings configuration, authentication and TLS. Its typed models are left out: they cost far more CPU and
memory than the request itself, and this manager mostly hands objects through.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client as aio_client
from kubernetes.aio import config as aio_config
from prometheus_client import Counter

from kube.answers import Object, decoded, is_object
from kube.errors import Conflict, KubeError, Stale, Unavailable, error_from
from kube.resources import Resource

CONNECT_SECONDS: Final = 5
PAUSES: Final = (0.1, 0.5, 1.0)
"""Seconds before another try of the same request."""
LONGEST_WAIT: Final = 3.0
"""Seconds that a Retry-After may ask for to be waited right here; a longer one is left to whoever asked."""
TRIED_AGAIN: Final[Mapping[str, tuple[type[KubeError], ...]]] = {
    "get": (Unavailable,),
    "list": (Unavailable,),
    "apply": (Unavailable, Conflict),
    "patch": (Unavailable,),
    "delete": (Unavailable, Conflict),
    "deletecollection": (Conflict,),  # an operand's webhook that cannot be reached is not pressed
}
"""What is tried again, by verb: only requests of which a second one changes nothing."""
ANSWERED_BY_OBJECT: Final = ("get", "apply", "create", "patch")

REQUESTS: Final = Counter("btp_kube_requests", "Requests to the Kubernetes API", ("verb", "kind", "code"))
SECONDS: Final = Counter("btp_kube_request_seconds", "Time spent in requests, watches apart", ("verb",))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for. The verb is Kubernetes' own, as RBAC and audit logs have it, with `apply` for its patch."""

    verb: str
    resource: Resource
    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: Any = None
    accept: str = "application/json"
    content_type: str = "application/json"
    seconds: float = 30
    """How long it may take in all."""
    silence: float | None = None
    """How long nothing may be heard, in seconds."""
    allowed: Callable[[], bool] | None = None
    """Asked right before it is sent, each time: whether what it rests on still holds."""

    @property
    def doing(self) -> str:
        """For error messages, without host and API version."""
        return f"{self.verb} {self.path.partition(f'/{self.resource.version}/')[2]}"


class Transport:
    """The connection to one cluster's API."""

    def __init__(self, configuration: Any) -> None:
        configuration.client_side_validation = False
        self._api = aio_client.ApiClient(configuration)
        self._api.user_agent = "btp-manager"
        self.host = str(configuration.host)

    async def close(self) -> None:
        await self._api.close()

    async def ask(self, request: Request) -> Object:
        """The decoded answer; what passes by itself in a moment is tried again right here.

        Raises:
            KubeError: see kube.errors.
        """
        for pause in PAUSES if request.verb in TRIED_AGAIN else ():
            try:
                return await self._answer(request)
            except (Unavailable, Conflict) as error:
                if not isinstance(error, TRIED_AGAIN[request.verb]) or (error.retry_after or 0) > LONGEST_WAIT:
                    raise
                await asyncio.sleep(max(error.retry_after or 0, random.uniform(pause / 2, pause)))
        return await self._answer(request)

    async def _answer(self, request: Request) -> Object:
        async with self.send(request) as response:
            answer = decoded(await response.read())
        if not isinstance(answer, dict) or (request.verb in ANSWERED_BY_OBJECT and not is_object(answer)):
            what = f"{request.verb} {request.resource.plural}"
            raise Unavailable(f"{what}: the answer is not an object of the API", status=200)
        return answer

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send it once, count it, and turn every way it can fail into a KubeError."""
        headers = {
            "Accept": request.accept,
            "Content-Type": request.content_type,
            "User-Agent": self._api.user_agent,
        }
        url = self.host + request.path
        if query := {key: value for key, value in (request.query or {}).items() if value}:
            url += "?" + urlencode(query)
        timeout = aiohttp.ClientTimeout(total=request.seconds, sock_connect=CONNECT_SECONDS, sock_read=request.silence)
        code, began = "none", time.perf_counter()
        if request.allowed and not request.allowed():
            raise Stale(f"{request.doing}: not sent, the cluster has to be looked at again first")
        try:
            await self._api.update_params_for_auth(
                headers, [], ["BearerToken"], request.path, request.method, request.body
            )
            answer = await self._api.rest_client.request(
                request.method, url, headers=headers, body=request.body, _request_timeout=timeout
            )
            response: aiohttp.ClientResponse = answer.response
            async with response:
                code = str(response.status)
                if response.status >= 400:
                    details = decoded(await response.read())
                    raise error_from(response.status, details, request.doing, response.headers.get("Retry-After"))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError) as error:
            raise Unavailable(f"{request.doing}: {type(error).__name__} {error}".strip()) from error
        finally:
            REQUESTS.labels(request.verb, request.resource.kind, code).inc()
            if request.verb != "watch":
                SECONDS.labels(request.verb).inc(time.perf_counter() - began)


async def configuration_from_environment() -> Any:
    """The cluster that KUBECONFIG names, else the one this pod runs in, else ~/.kube/config.

    Raises:
        ValueError: no usable configuration was found.
    """
    configuration = aio_client.Configuration()
    _check_kubeconfig()
    in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG")
    try:
        if in_cluster:
            aio_config.load_incluster_config(client_configuration=configuration)
        else:
            await aio_config.load_kube_config(
                config_file=os.environ.get("KUBECONFIG"), client_configuration=configuration
            )
    except Exception as error:  # the package raises whatever its YAML reader meets
        raise ValueError(f"no usable Kubernetes configuration (KUBECONFIG): {error}") from error
    return configuration


def _check_kubeconfig() -> None:
    """Say so if it names no file: the package would print a line of its own and complain of a missing key."""
    files = os.environ.get("KUBECONFIG", "")
    if files and not any(Path(name).is_file() for name in files.split(os.pathsep)):
        raise ValueError(f"no usable Kubernetes configuration: there is no file {files} (KUBECONFIG)")
