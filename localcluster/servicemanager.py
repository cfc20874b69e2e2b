"""A stand-in for SAP Service Manager, which is not available here: an HTTP server that counts what is left "in SAP".

It answers as the facts say for the calls of the operand and of reclaim: tokens that expire, queries in pages,
deletions at once or as operations to be polled, refusals in Service Manager's words. How it does can be changed while
it runs, and every call is counted.
"""

import asyncio
import re
import ssl
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import web

from localcluster.misbehaviour import Fault, Handler
from localcluster.started import ThreadedServer

BINDING_CREDENTIALS: Final = {"user": "stand-in-binding-user-Hb3", "password": "stand-in-binding-password-Wm2"}
"""Values that tests look for where they must not be; so are those of `credentials` and `admin_credentials`."""
CLUSTER_ID: Final = "stand-in-cluster-Ty6"
CLIENTS: Final = {
    "operand": ("stand-in-client-identity-Kx7", "stand-in-client-secret-Qz9"),
    "admin": ("stand-in-admin-identity-Vf4", "stand-in-admin-secret-Jd5"),
}
"""Client id and secret: of plan service-operator-access for the operand, of plan subaccount-admin for reclaim."""
PAGE: Final = 50
TERM: Final = re.compile(r"([\w/]+) eq '((?:[^']|'')*)'")

Record = dict[str, Any]


class ServiceManager(ThreadedServer):
    """What there is in SAP, and what was asked of it.

    With `tls` by https, where a client certificate may stand for a secret.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        """Args:
        host: the address on which it listens.
        port: where it listens; 0: on one that is free.
        """
        super().__init__("service-manager")
        self._tls = tls
        self._host = host
        self.port = port or self.port
        self._runner: web.AppRunner | None = None
        self.instances: dict[str, Record] = {}
        self.bindings: dict[str, Record] = {}
        self.forget()

    def forget(self) -> None:
        """Start over with nothing in it, and answer well."""
        self.instances.clear()
        self.bindings.clear()
        self._operations: dict[str, Record] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self.latency = 0.0
        """Seconds that every create and delete takes."""
        self.poll_latency = 0.0
        """Seconds that every look at an operation takes."""
        self.asynchronous = 0.0
        """Seconds after which a deletion that was accepted is done; 0: deletions are done when they are answered."""
        self.refused: set[str] = set()
        """Names of instances and bindings whose deletion the broker refuses."""
        self.busy: set[str] = set()
        """Names of those that another operation is at work on."""
        self.token_seconds = 3600.0
        self.page = PAGE
        self.faults: list[Fault] = []
        """The first one that matches a request decides how it is answered."""
        self.refusals_for_bindings = 0
        """How often an instance was to be deleted that still had bindings."""
        self.calls: Counter[tuple[str, str, str]] = Counter()
        """How often each was asked, by method, kind (the path's word) and object; an operation's object is its id."""
        self.callers: Counter[str] = Counter()
        """How many calls came with whose credentials: a key of CLIENTS."""
        self._at_work: Counter[str] = Counter()
        self.side_by_side: Counter[str] = Counter()
        """How many creates and deletes of a kind were at work at one time, at most."""

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self._tls else f"http://{self._host}:{self.port}"

    def credentials(self) -> dict[str, str]:
        """What Secret sap-btp-manager has to hold for the operand to get here."""
        identity, secret = CLIENTS["operand"]
        known = {"clientid": identity, "clientsecret": secret, "sm_url": self.url, "tokenurl": self.url}
        return {**known, "cluster_id": CLUSTER_ID}

    def admin_credentials(self) -> dict[str, str]:
        """What Secret sap-btp-reclaim has to hold: a service key of plan subaccount-admin."""
        identity, secret = CLIENTS["admin"]
        return {"clientid": identity, "clientsecret": secret, "sm_url": self.url, "url": self.url}

    def put(self, kind: str, namespace: str, name: str, cluster_id: str = CLUSTER_ID, **fields: Any) -> str:
        """Have an object, as the operand of that cluster would have made it. Returns its id.

        Args:
            kind: service_instances or service_bindings.
            fields: further ones, or others than an operand's.
        """
        record = {"name": name, **of_cluster(cluster_id, namespace, name), **fields}
        return str(self._keep(kind, record)["id"])

    def revoke_tokens(self) -> None:
        """No token that was handed out is accepted any longer."""
        self._tokens.clear()

    def deleted(self) -> set[str]:
        """Ids of all objects whose deletion was asked for."""
        return {identity for method, kind, identity in self.calls if method == "DELETE" and kind != "operations"}

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._answer])
        app.router.add_post("/oauth/token", self._token)
        for plural in ("service_instances", "service_bindings"):
            app.router.add_post(f"/v1/{plural}", self._create)
            app.router.add_get(f"/v1/{plural}", self._list)
            app.router.add_get(f"/v1/{plural}/{{id}}", self._get)
            app.router.add_delete(f"/v1/{plural}/{{id}}", self._delete)
            app.router.add_get(f"/v1/{plural}/{{id}}/operations/{{operation}}", self._operation)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port, ssl_context=self._tls).start()

    async def _cleanup(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count the call, and answer as a fault says; only who has a token gets further."""
        kind = "operations" if "operation" in request.match_info else request.path.split("/")[2]
        self.calls[request.method, kind, request.match_info.get("id", "")] += 1
        fault = next((fault for fault in self.faults if fault.matches(request)), None)
        if fault is None:
            return await self._authorized(request, handler)
        fault.times -= 1
        return await fault.answer(request, lambda request: self._authorized(request, handler))

    async def _authorized(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/oauth/token":
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            caller, until = self._tokens.get(token, ("", 0.0))
            if time.monotonic() >= until:
                return _no(401, "Unauthorized", "no token, or one that has expired")
            self.callers[caller] += 1
        return await handler(request)

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        by_certificate = request.transport is not None and request.transport.get_extra_info("peercert")
        for caller, (identity, secret) in CLIENTS.items():
            if form.get("client_id") == identity and (form.get("client_secret") == secret or by_certificate):
                token = f"stand-in-token-{uuid.uuid4()}"
                self._tokens[token] = (caller, time.monotonic() + self.token_seconds)
                seconds = int(self.token_seconds)
                return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": seconds})
        return _no(401, "unauthorized", "bad credentials")

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._work(request)
        if "service_bindings" in request.path:
            body["credentials"] = BINDING_CREDENTIALS
        return web.json_response(self._keep(request.path.split("/")[2], body), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        """A page; without `token` the first. The next page's token comes with all but the last."""
        query = request.query
        found = [record for record in self._kept(request.path).values() if _matches(record, query)]
        begin = int(query.get("token") or 0)
        end = begin + min(self.page, int(query.get("max_items") or self.page))
        more = {"token": str(end)} if end < len(found) else {}
        return web.json_response({"num_items": len(found), "items": found[begin:end], **more})

    async def _get(self, request: web.Request) -> web.Response:
        record = self._kept(request.path).get(request.match_info["id"])
        return web.json_response(record) if record else _no(404, "NotFound", "could not find such an object")

    async def _operation(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.poll_latency)
        operation = self._operations.get(request.match_info["operation"])
        return web.json_response(operation) if operation else _no(404, "NotFound", "could not find such an operation")

    async def _delete(self, request: web.Request) -> web.Response:
        await self._work(request)
        kept, identity = self._kept(request.path), request.match_info["id"]
        record = kept.get(identity)
        if record is None:
            return _no(404, "NotFound", "could not find such an object")
        if refusal := self._refusal(record):
            return refusal
        if not self.asynchronous:
            if record["name"] in self.refused:
                return _no(502, "BrokerError", "the broker refuses: there are active subscriptions")
            del kept[identity]
            return web.json_response({})
        operation = {"id": str(uuid.uuid4()), "type": "delete", "state": "in progress", "resource_id": identity}
        record["last_operation"] = self._operations[operation["id"]] = operation
        self._loop.call_later(self.asynchronous, self._end_operation, kept, operation)
        return web.json_response({}, status=202, headers={"Location": f"{request.path}/operations/{operation['id']}"})

    async def _work(self, request: web.Request) -> None:
        kind = request.path.split("/")[2]
        self._at_work[kind] += 1
        self.side_by_side[kind] = max(self.side_by_side[kind], self._at_work[kind])
        try:
            await asyncio.sleep(self.latency)
        finally:
            self._at_work[kind] -= 1

    def _refusal(self, record: Record) -> web.Response | None:
        identity = record["id"]
        running = record.get("last_operation", {}).get("state") == "in progress"
        if running or record["name"] in self.busy:
            return _no(
                422, "ConcurrentOperationInProgress", "Another concurrent operation in progress for this resource"
            )
        bound = sum(binding.get("service_instance_id") == identity for binding in self.bindings.values())
        if bound:
            self.refusals_for_bindings += 1
            return _no(400, "BadRequest", f"could not delete instance due to {bound} existing bindings")
        if any(other.get("referenced_instance_id") == identity for other in self.instances.values()):
            return _no(400, "BadRequest", "could not delete the shared instance: other instances reference it")
        return None

    def _end_operation(self, kept: dict[str, Record], operation: Record) -> None:
        record = kept.get(operation["resource_id"])
        if record and record["name"] in self.refused:
            text = "the broker refuses: there are active subscriptions"
            operation |= {"state": "failed", "errors": {"error": "BrokerError", "description": text}}
            return
        kept.pop(operation["resource_id"], None)
        operation["state"] = "succeeded"

    def _kept(self, path: str) -> dict[str, Record]:
        return self.bindings if "service_bindings" in path else self.instances

    def _keep(self, kind: str, record: Record) -> Record:
        made = {**record, "id": str(uuid.uuid4()), "ready": True, "created": time.time()}
        made.setdefault("last_operation", {"type": "create", "state": "succeeded"})
        self._kept(kind)[made["id"]] = made
        return made


def of_cluster(cluster_id: str, namespace: str, name: str) -> Record:
    """Labels and context that an operand gives to what it makes."""
    return {
        "labels": {"_clusterid": [cluster_id], "_namespace": [namespace], "_k8sname": [name]},
        "context": {"clusterid": cluster_id, "namespace": namespace, "platform": "kubernetes"},
    }


def _matches(record: Record, query: Mapping[str, str]) -> bool:
    """Whether it has the fields and labels that the queries ask for, all joined by `and`."""

    def field(path: str) -> Any:
        value: Any = record
        for part in path.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    fields = all(field(key) == value for key, value in _terms(query.get("fieldQuery", "")))
    labels = record.get("labels") or {}
    return fields and all(value in labels.get(key, []) for key, value in _terms(query.get("labelQuery", "")))


def _terms(query: str) -> list[tuple[str, str]]:
    """The pairs of a query such as `name eq 'x' and context/clusterid eq 'c'`.

    Raises:
        HTTPBadRequest: it is none.
    """
    parts = query.split(" and ") if query else []
    found = [TERM.fullmatch(part.strip()) for part in parts]
    if not all(found):
        raise web.HTTPBadRequest(
            text='{"error": "BadRequest", "description": "the query cannot be read"}', content_type="application/json"
        )
    return [(match[1], match[2].replace("''", "'")) for match in found if match]


def _no(status: int, error: str, description: str) -> web.Response:
    return web.json_response({"error": error, "description": description}, status=status)
