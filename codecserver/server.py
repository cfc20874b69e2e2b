"""The HTTP side, as Temporal's UI and command line call it: POST /decode with payloads as JSON, and the same back.

There is no /encode: a payload is signed for one workflow, and those who ask there do not say for which.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from prometheus_client import Counter
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.service import RPCError

from codecserver.readers import OpenToAllError
from models.text import plain
from runtime.codec import EncryptionCodec
from runtime.payloads import REFUSED

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a request: two of the largest messages that Temporal hands out (4 MiB), in base64."""
PATIENCE: Final = 8.0
"""Seconds that Temporal has to say whether somebody may read."""
HEADERS: Final = "authorization, content-type, x-namespace"
REQUESTS: Final = Counter("btp_codec_requests", "Requests to decode payloads, by HTTP status.", ["status"])

MayRead = Callable[[str], Awaitable[bool]]


def application(codec: EncryptionCodec, may_read: MayRead, namespace: str, origins: frozenset[str]) -> web.Application:
    """Args:
    namespace: Temporal's; payloads of others are refused.
    origins: of the pages whose scripts a browser lets read the answers, such as https://temporal.example.com.
    """
    server = _Server(codec, may_read, namespace)
    app = web.Application(client_max_size=LARGEST, middlewares=[_counted, _of(origins)])
    app.router.add_post("/decode", server.decode)
    app.router.add_post("/encode", server.encode)
    return app


class _Server:
    def __init__(self, codec: EncryptionCodec, may_read: MayRead, namespace: str) -> None:
        self._codec, self._may_read, self._namespace = codec, may_read, namespace

    async def decode(self, request: web.Request) -> web.Response:
        await self._let_in(request)
        try:
            body = json.loads(await request.read())
            if not isinstance(body, dict):
                raise ValueError
            payloads = ParseDict(body, Payloads())
        except (ParseError, ValueError, RecursionError):
            raise _no(400, "the body is not a JSON object with a list `payloads`") from None
        shown = Payloads(payloads=[_readable(self._codec.shown(each)) for each in payloads.payloads])
        return web.json_response(MessageToDict(shown) or {"payloads": []})

    async def encode(self, request: web.Request) -> web.Response:
        await self._let_in(request)
        raise _no(501, "a payload is signed for one workflow, which this request does not name; btpctl can write one")

    async def _let_in(self, request: web.Request) -> None:
        """Raises web.HTTPException: not this one, or not now."""
        if (named := request.headers.get("X-Namespace", self._namespace)) != self._namespace:
            raise _no(404, f"this server reads namespace {self._namespace}, not {plain(named, 100)}")
        authorization = request.headers.get("Authorization", "")
        try:
            async with asyncio.timeout(PATIENCE):
                allowed = await self._may_read(authorization)
        except OpenToAllError:
            raise _no(
                403, "Temporal lets anybody read, so it cannot say who may read here: configure its authorizer"
            ) from None
        except (RPCError, RuntimeError, TimeoutError):  # a first connection fails with a RuntimeError
            raise _no(503, "Temporal does not say whether you may read the namespace; try again") from None
        if not authorization:
            raise _no(401, "no Authorization header: have the UI pass the access token, or use --codec-auth")
        if not allowed:
            raise _no(403, f"Temporal does not let you read namespace {self._namespace}")


def _readable(payload: Payload) -> Payload:
    """What was refused, as a text that UI and command line show."""
    if payload.metadata.get("encoding") != REFUSED:
        return payload
    why = f"cannot be read: {payload.data.decode(errors='replace')}"
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(why).encode())


def _no(status: int, why: str) -> web.HTTPException:
    """An answer that says why. The SDKs and the UI read JSON with a `message`."""
    kinds = {400: web.HTTPBadRequest, 401: web.HTTPUnauthorized, 403: web.HTTPForbidden, 404: web.HTTPNotFound}
    kind = kinds.get(status) or {501: web.HTTPNotImplemented, 503: web.HTTPServiceUnavailable}[status]
    return kind(text=json.dumps({"message": why}), content_type="application/json")


@web.middleware
async def _counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        answer = await handler(request)
    except web.HTTPException as refusal:
        REQUESTS.labels(refusal.status).inc()
        raise
    REQUESTS.labels(answer.status).inc()
    return answer


def _of(origins: frozenset[str]) -> Middleware:
    """What a browser asks for before its page may call another host (the Fetch standard's CORS protocol)."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin", "")
        headers = {"Vary": "Origin"}
        if origin in origins:
            headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            asked = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": HEADERS}
            return web.Response(status=204, headers=headers | (asked if origin in origins else {}))
        try:
            response = await handler(request)
        except web.HTTPException as refusal:
            refusal.headers.update(headers)
            raise
        response.headers.update(headers)
        return response

    return answer
