"""What the tests of the way to the API server share: somebody who logs in, and a server that is none of Kubernetes."""

import asyncio
import contextlib
import json
import stat
import sys
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from kube.client import Kube
from kube.errors import KubeError
from kube.resources import NAMESPACES
from localcluster.controlplane import ControlPlane
from tests.runtime.authority import server_context

ACCOUNT = "refreshed"
PLUGIN = """#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
with (folder / "runs").open("a") as runs:
    runs.write("x")
status = json.loads((folder / "status.json").read_text())
if not status:
    sys.exit("nobody is logged in")
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""


class Login:
    """What somebody who logs in has: a token of a ServiceAccount, good for as long as that account is there."""

    def __init__(self, cluster: ControlPlane, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.token = ""

    def renew(self) -> str:
        """From now on the API server refuses every earlier token."""
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        with contextlib.suppress(OSError):
            self.cluster.request("DELETE", f"{accounts}/{ACCOUNT}")
        self.cluster.request("POST", accounts, {"metadata": {"name": ACCOUNT}})
        answer = self.cluster.request("POST", f"{accounts}/{ACCOUNT}/token", {"spec": {"expirationSeconds": 600}})
        self.token = answer["status"]["token"]
        return self.token

    def kubeconfig(self, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> str:
        there = {"server": self.cluster.url, "certificate-authority": str(self.cluster.certificate)}
        config = {
            "clusters": [{"name": "there", "cluster": cluster or there}],
            "users": [{"name": "me", "user": user}],
            "contexts": [{"name": "now", "context": {"cluster": "there", "user": "me"}}],
            "current-context": "now",
        }
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    def plugin(self) -> dict[str, Any]:
        """A user of a kubeconfig whose token an exec plugin brings: the one that `says` says."""
        script = self.folder / "plugin"
        script.write_text(PLUGIN.format(python=sys.executable, folder=str(self.folder)))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(script)}}

    def says(self, **status: str) -> None:
        (self.folder / "status.json").write_text(json.dumps(status))

    @property
    def runs(self) -> int:
        return len((self.folder / "runs").read_text())


@contextlib.asynccontextmanager
async def connected(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    kube = await Kube.from_environment()
    try:
        yield kube
    finally:
        await kube.close()


async def looks(kube: Kube, seconds: float = 5.0) -> None:
    """Wait until the API server takes what we have."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await kube.get(NAMESPACES, "default")
                return
            except KubeError:
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def a_server(
    certificate: Path,
    port: int,
    clients: Path | None = None,
    tokens: list[str] | None = None,
    uid: str = "1",
    refused: Collection[str] = (),
) -> AsyncIterator[None]:
    """Answers everything with one Namespace; with `clients`, only to holders of a certificate of that CA."""

    async def answer(request: web.BaseRequest) -> web.Response:
        if tokens is not None:
            tokens.append(request.headers["Authorization"])
        if request.headers.get("Authorization") in refused:
            return web.json_response({"kind": "Status", "message": "Unauthorized"}, status=401)
        meta = {"name": "default", "uid": uid, "resourceVersion": "1", "creationTimestamp": "2020-01-01T00:00:00Z"}
        return web.json_response({"metadata": meta})

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=server_context(certificate, clients)).start()
    try:
        yield
    finally:
        await runner.cleanup()
        await asyncio.sleep(0.05)  # TLS says goodbye
