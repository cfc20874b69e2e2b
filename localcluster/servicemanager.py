"""A stand-in for SAP Service Manager, which cannot be had: an HTTP server that keeps count of what is left "in SAP".

It answers as the facts say it does for the calls the operand makes, above all: an instance that still has bindings is
refused with 400. Latency and refusals can be set while it runs.
"""

import asyncio
import time
import uuid
from typing import Any, Final

from aiohttp import web

from localcluster.started import ThreadedServer

TOKEN: Final = "stand-in-token"
BINDING_CREDENTIALS: Final = {"user": "stand-in-binding-user-Hb3", "password": "stand-in-binding-password-Wm2"}
"""Values that tests look for where they must not be; so are those of `credentials`."""


class ServiceManager(ThreadedServer):
    """What there is in SAP, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__("service-manager")
        self.instances: dict[str, dict[str, Any]] = {}
        self.bindings: dict[str, dict[str, Any]] = {}
        self.latency = 0.0
        """Seconds that every create and delete takes."""
        self.refused: set[str] = set()
        """Names of instances and bindings whose deletion the broker refuses."""
        self.refusals_for_bindings = 0
        """How often an instance was to be deleted that still had bindings."""
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def credentials(self) -> dict[str, str]:
        """What Secret sap-btp-manager has to hold for the operand to get here."""
        return {
            "clientid": "stand-in-client-identity-Kx7",
            "clientsecret": "stand-in-client-secret-Qz9",
            "sm_url": self.url,
            "tokenurl": self.url,
            "cluster_id": "stand-in-cluster-Ty6",
        }

    def forget(self) -> None:
        """Start over with nothing in it."""
        self.instances.clear()
        self.bindings.clear()
        self.refused.clear()
        self.latency, self.refusals_for_bindings = 0.0, 0

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_post("/oauth/token", self._token)
        for plural in ("service_instances", "service_bindings"):
            app.router.add_post(f"/v1/{plural}", self._create)
            app.router.add_delete(f"/v1/{plural}/{{id}}", self._delete)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def _cleanup(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    def _kept(self, request: web.Request) -> dict[str, dict[str, Any]]:
        return self.bindings if "service_bindings" in request.path else self.instances

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        known = self.credentials()
        if (form.get("client_id"), form.get("client_secret")) != (known["clientid"], known["clientsecret"]):
            return web.json_response({"error": "unauthorized"}, status=401)
        return web.json_response({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})

    async def _create(self, request: web.Request) -> web.Response:
        if denied := _unauthorized(request):
            return denied
        body = await request.json()
        await asyncio.sleep(self.latency)
        made = {**body, "id": str(uuid.uuid4()), "ready": True, "created": time.time()}
        if "service_bindings" in request.path:
            made["credentials"] = BINDING_CREDENTIALS
        kept = self._kept(request)
        # The operand asks whether Service Manager has the object already before it creates one; here that is one call.
        found = next((other for other in kept.values() if other["labels"] == made["labels"]), None)
        if found is None:
            kept[made["id"]] = made
        return web.json_response(found or made, status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        if denied := _unauthorized(request):
            return denied
        await asyncio.sleep(self.latency)
        kept, identity = self._kept(request), request.match_info["id"]
        if identity not in kept:
            return web.json_response({"error": "NotFound", "description": "not found"}, status=404)
        if kept[identity]["name"] in self.refused:
            text = "the broker refuses: there are active subscriptions"
            return web.json_response({"error": "BrokerError", "description": text}, status=502)
        if kept is self.instances:
            bound = sum(binding["service_instance_id"] == identity for binding in self.bindings.values())
            if bound:
                self.refusals_for_bindings += 1
                text = f"could not delete instance due to {bound} existing bindings"
                return web.json_response({"error": "BadRequest", "description": text}, status=400)
        del kept[identity]
        return web.json_response({})


def _unauthorized(request: web.Request) -> web.Response | None:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return web.json_response({"error": "Unauthorized", "description": "no token"}, status=401)
    return None
