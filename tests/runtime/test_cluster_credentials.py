"""Credentials for the API server are read again when they change, end or are refused; its trust too."""

import asyncio
import base64
import contextlib
import datetime
import json
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.config import incluster_config

from kube import connections, credentials
from kube.client import Kube
from kube.errors import KubeError, Unavailable
from kube.resources import NAMESPACES, Resource
from localcluster.controlplane import ControlPlane
from localcluster.processes import free_port
from runtime.contacts import api_server
from tests.runtime.authority import Authority, server_context

ACCOUNT = "refreshed"
ACCOUNTS = Resource("", "v1", "ServiceAccount", "serviceaccounts", namespaced=True)
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


@pytest.fixture(autouse=True)
def looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOOKED_AT_EVERY", 0.2)


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


@pytest.fixture
def login(control_plane: ControlPlane, tmp_path: Path) -> Login:
    binding = {
        "metadata": {"name": ACCOUNT},
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}],
    }
    with contextlib.suppress(OSError):
        control_plane.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    return Login(control_plane, tmp_path)


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


async def refused(kube: Kube, file: Path) -> None:
    """Put a token of nobody into the file, and see it used."""
    await asyncio.to_thread(file.write_text, "nobody")
    await asyncio.sleep(connections.LOOKED_AT_EVERY)
    with pytest.raises(Unavailable, match="Unauthorized"):
        await kube.get(NAMESPACES, "default")


async def test_an_exec_plugin_runs_again_when_its_token_is_refused(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.says(token=login.renew())
    async with connected(login.kubeconfig(login.plugin()), monkeypatch) as kube:
        await looks(kube)
        await looks(kube)
        assert login.runs == 1
        login.says(token=login.renew())
        async with asyncio.timeout(20):  # the API server remembers a token for 10 s
            while login.runs < 2:
                await kube.get(NAMESPACES, "default")  # whoever asks does not see the refusal
                await asyncio.sleep(0.1)
    assert login.runs == 2


async def test_an_exec_plugin_runs_again_before_its_token_ends(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=credentials.RENEWED_BEFORE + 1)
    login.says(token=login.renew(), expirationTimestamp=soon.isoformat())
    async with connected(login.kubeconfig(login.plugin()), monkeypatch) as kube:
        await looks(kube)
        assert login.runs == 1
        login.says(token=login.token)
        await asyncio.sleep(1.3)
        await looks(kube)
        await asyncio.sleep(connections.LOOKED_AT_EVERY)
        await looks(kube)
    assert login.runs == 2


async def test_a_plugin_that_fails_is_named_at_the_start_and_waited_for_later(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    login.says()
    with pytest.raises(ValueError, match="credential plugin of user me brought neither"):
        async with connected(login.kubeconfig(login.plugin()), monkeypatch):
            pass
    login.says(token=login.renew())
    async with connected(login.kubeconfig(login.plugin()), monkeypatch) as kube:
        token = login.renew()
        login.says()
        await asyncio.sleep(connections.LOOKED_AT_EVERY)
        with pytest.raises(Unavailable, match="Unauthorized"):
            await kube.get(NAMESPACES, "default")
        login.says(token=token)
        await looks(kube)


async def test_a_token_file_is_read_again_when_it_changes_and_a_watch_goes_on_meanwhile(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = login.folder / "token"
    file.write_text(login.renew())
    async with connected(login.kubeconfig({"tokenFile": "token"}), monkeypatch) as kube:
        listing = await kube.list(NAMESPACES)
        version = listing.resource_version
        watch = kube.watch(NAMESPACES, resource_version=version, seconds=3, silence=10)
        assert (await anext(watch))["type"] == "OPENED"
        await refused(kube, file)
        file.write_text(login.token)
        await looks(kube)
        assert [event["type"] async for event in watch if event["type"] != "BOOKMARK"] == []


async def test_a_pod_reads_its_token_again_keeps_it_while_the_file_is_empty_and_uses_no_proxy(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = login.folder / "token"
    file.write_text(login.renew())
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", login.cluster.url.rpartition(":")[2])
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(file))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(login.cluster.certificate))
    kube = await Kube.from_environment()
    try:
        await kube.get(NAMESPACES, "default")
        file.write_text("")
        await asyncio.sleep(connections.LOOKED_AT_EVERY)
        await kube.get(NAMESPACES, "default")
        await refused(kube, file)
        file.write_text(login.token)
        await looks(kube)
    finally:
        await kube.close()


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
async def test_networks_in_no_proxy_are_honoured_for_the_api_servers_address(
    login: Login, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    config = login.kubeconfig({"token": login.renew()})
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    async with connected(config, monkeypatch) as kube:
        with pytest.raises(Unavailable):
            await kube.get(NAMESPACES, "default")
    monkeypatch.setenv(name, "10.0.0.0/8, 127.0.0.0/8")
    async with connected(config, monkeypatch) as kube:
        await kube.get(NAMESPACES, "default")


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


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Python does by itself since 3.13."""
    made = ssl.create_default_context

    def strictly(*args: Any, **options: Any) -> ssl.SSLContext:
        context = made(*args, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    with monkeypatch.context() as patch:
        patch.setattr(ssl, "create_default_context", strictly)
        yield


async def test_a_ca_without_key_identifiers_is_trusted_and_nothing_else_is_let_through(
    login: Login, monkeypatch: pytest.MonkeyPatch, strict: None
) -> None:
    ours, others, port = Authority(login.folder, "ours"), Authority(login.folder, "others"), free_port()
    there = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(ours.file)}
    config = login.kubeconfig({}, there)
    for certificate, accepted in (
        (ours.issue("good"), True),
        (ours.issue("elsewhere", address="127.0.0.2"), False),
        (ours.issue("expired", days=-1), False),
        (others.issue("foreign"), False),
    ):
        async with a_server(certificate, port), connected(config, monkeypatch) as kube:
            if accepted:
                await kube.get(NAMESPACES, "default")
            else:
                with pytest.raises(Unavailable, match=r"(?i)certificate"):
                    await kube.get(NAMESPACES, "default")


async def test_a_new_ca_and_a_new_client_certificate_are_used_without_a_restart(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, port = Authority(login.folder, "old"), Authority(login.folder, "new"), free_port()
    ca, client = login.folder / "ca.crt", login.folder / "client.pem"
    ca.write_bytes(old.file.read_bytes())
    client.write_bytes(old.issue("first").read_bytes())
    there = {"server": f"https://127.0.0.1:{port}", "certificate-authority": "ca.crt"}
    user = {"client-certificate": "client.pem", "client-key": "client.pem"}
    async with connected(login.kubeconfig(user, there), monkeypatch) as kube:
        async with a_server(old.issue("server"), port, old.file):
            await looks(kube)
        async with a_server(new.issue("server"), port, new.file):
            with pytest.raises(Unavailable):
                await kube.get(NAMESPACES, "default")
            ca.write_bytes(new.file.read_bytes())
            client.write_bytes(new.issue("second").read_bytes())
            await looks(kube)


async def test_no_private_key_stays_in_a_temporary_file(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = login.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    pair = base64.b64encode(Authority(login.folder, "ours").issue("me").read_bytes()).decode()
    config = login.kubeconfig({"client-certificate-data": pair, "client-key-data": pair})
    async with connected(config, monkeypatch):
        assert list(temporary.iterdir()) == []


def leads(login: Login, authority: Authority, *ports: int, current: int = 0) -> str:
    """A kubeconfig with one cluster and one context for each of the ports, named by their order."""
    path = Path(login.kubeconfig({"token": f"token-{current}"}))
    config = yaml.safe_load(path.read_text())
    trust = {"certificate-authority": str(authority.file)}
    config["clusters"] = [
        {"name": f"{i}", "cluster": {"server": f"https://127.0.0.1:{port}", **trust}} for i, port in enumerate(ports)
    ]
    config["contexts"] = [{"name": f"{i}", "context": {"cluster": f"{i}", "user": "me"}} for i, _ in enumerate(ports)]
    path.write_text(yaml.safe_dump(config | {"current-context": str(current)}))
    return str(path)


async def answered_by(kube: Kube) -> str:
    """The uid of the cluster that really answers, after whatever has changed was looked at."""
    await asyncio.sleep(connections.LOOKED_AT_EVERY)
    return str((await kube.get(NAMESPACES, "kube-system"))["metadata"]["uid"])


async def test_another_current_context_does_not_move_a_running_process_to_another_cluster(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, one, other, tokens = Authority(login.folder, "ours"), free_port(), free_port(), list[str]()
    certificate = authority.issue("server")
    async with (
        a_server(certificate, one, uid="one", tokens=tokens),
        a_server(certificate, other, uid="other"),
        connected(leads(login, authority, one, other), monkeypatch) as kube,
    ):
        # Nobody has asked yet which cluster it is: the context alone has to hold.
        leads(login, authority, one, other, current=1)
        assert await answered_by(kube) == "one"
        assert tokens[-1] == "Bearer token-1"  # what else the file says counts
        assert await kube.cluster_uid() == "one" and not kube.astray


async def test_a_context_that_leads_to_another_cluster_is_not_followed_and_said_until_it_leads_back(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, one, other = Authority(login.folder, "ours"), free_port(), free_port()
    certificate = authority.issue("server")
    async with (
        a_server(certificate, one, uid="one"),
        a_server(certificate, other, uid="other"),
        connected(leads(login, authority, one), monkeypatch) as kube,
    ):
        contact = api_server(kube)
        await kube.cluster_uid()
        leads(login, authority, other)
        for _ in range(3):
            assert await answered_by(kube) == "one"
        await contact.look()
        assert f"leads to https://127.0.0.1:{other} now, which is another cluster" in contact.trouble
        leads(login, authority, one)
        assert await answered_by(kube) == "one"
        await contact.look()
        assert not contact.trouble


async def test_a_new_address_is_used_once_it_says_that_it_is_the_same_cluster(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, one, new = Authority(login.folder, "ours"), free_port(), free_port()
    certificate = authority.issue("server")
    async with (
        a_server(certificate, one, uid="one"),
        connected(leads(login, authority, one), monkeypatch) as kube,
    ):
        await kube.cluster_uid()
        leads(login, authority, new)
        assert await answered_by(kube) == "one"
        assert "not to be found out" in kube.astray and kube.host.endswith(f":{one}")
        async with a_server(certificate, new, uid="one"):
            assert await answered_by(kube) == "one"
            assert not kube.astray and kube.host.endswith(f":{new}")


class Issuer:
    """An OIDC issuer whose tokens last a moment, and whose refresh tokens are good for one use each."""

    def __init__(self, certificate: Path) -> None:
        self._certificate, self.port, self.issued = certificate, free_port(), 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def refresh_token(self) -> str:
        return f"refresh-{self.issued}"

    def id_token(self, seconds: float) -> str:
        claims = json.dumps({"exp": int(datetime.datetime.now(datetime.UTC).timestamp() + seconds), "n": self.issued})
        return f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.c2ln"

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({"token_endpoint": f"{self.url}/token"})
        if dict(await request.post())["refresh_token"] != self.refresh_token:
            return web.Response(status=400)
        self.issued += 1
        token = self.id_token(credentials.RENEWED_BEFORE + 1)
        return web.json_response({"id_token": token, "refresh_token": self.refresh_token})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=server_context(self._certificate)).start()
        try:
            yield
        finally:
            await runner.cleanup()
            await asyncio.sleep(0.05)  # TLS says goodbye


def oidc(login: Login, issuer: Issuer, ca: Path | None, port: int, authority: Authority, seconds: float = -60) -> str:
    """A kubeconfig of somebody whose id token has ended, or ends in so many seconds."""
    config = {
        "client-id": "me",
        "client-secret": "mine",
        "idp-issuer-url": issuer.url,
        "id-token": issuer.id_token(seconds),
        "refresh-token": issuer.refresh_token,
    }
    if ca:
        config["idp-certificate-authority-data"] = base64.b64encode(ca.read_bytes()).decode()
    there = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority.file)}
    return login.kubeconfig({"auth-provider": {"name": "oidc", "config": config}}, there)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's
async def test_oidc_tokens_are_renewed_before_their_end_and_kept_for_the_next_renewal(
    login: Login, monkeypatch: pytest.MonkeyPatch, strict: None
) -> None:
    authority, port, tokens = Authority(login.folder, "ours"), free_port(), list[str]()
    issuer = Issuer(authority.issue("issuer"))
    config = oidc(login, issuer, authority.file, port, authority)
    async with (
        issuer.running(),
        a_server(authority.issue("server"), port, tokens=tokens),
        connected(config, monkeypatch) as kube,
        asyncio.timeout(15),
    ):
        while issuer.issued < 3:
            await kube.get(NAMESPACES, "default")
            await asyncio.sleep(0.1)
    assert len(set(tokens)) >= 2 and issuer.refresh_token in await asyncio.to_thread(Path(config).read_text)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's
async def test_an_issuer_whose_certificate_nobody_vouches_for_gets_no_refresh_token(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, port = Authority(login.folder, "ours"), free_port()
    issuer = Issuer(authority.issue("issuer"))
    async with issuer.running():
        with pytest.raises(ValueError, match=r"(?i)certificate"):
            async with connected(oidc(login, issuer, None, port, authority), monkeypatch):
                pass
    assert issuer.issued == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the package's
async def test_an_id_token_that_is_refused_before_its_end_is_renewed(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, port, tokens, refused = Authority(login.folder, "ours"), free_port(), list[str](), set[str]()
    issuer = Issuer(authority.issue("issuer"))
    config = oidc(login, issuer, authority.file, port, authority, seconds=3600)
    async with (
        issuer.running(),
        a_server(authority.issue("server"), port, tokens=tokens, refused=refused),
        connected(config, monkeypatch) as kube,
    ):
        await kube.get(NAMESPACES, "default")
        assert issuer.issued == 0
        refused.add(tokens[-1])
        await looks(kube)
    assert issuer.issued == 1


async def test_an_access_token_of_gcloud_that_is_refused_before_its_end_is_renewed(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, port = Authority(login.folder, "ours"), free_port()
    later = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
    script = login.folder / "gcloud"
    answer = {"credential": {"access_token": "second", "token_expiry": later}}
    script.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    provider = {"cmd-path": str(script), "cmd-args": "config", "access-token": "first", "expiry": later}
    there = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority.file)}
    config = login.kubeconfig({"auth-provider": {"name": "gcp", "config": provider}}, there)
    tokens = list[str]()
    async with (
        a_server(authority.issue("server"), port, tokens=tokens, refused={"Bearer first"}),
        connected(config, monkeypatch) as kube,
    ):
        await looks(kube)
    assert set(tokens) == {"Bearer first", "Bearer second"} and tokens[-1] == "Bearer second"


@pytest.mark.parametrize("by", ["the plugin's word", "the certificate"])
async def test_an_exec_plugin_runs_again_before_its_certificate_ends(
    login: Login, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    authority, port = Authority(login.folder, "ours"), free_port()
    moment = (credentials.RENEWED_BEFORE + 2) / 86400
    there = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(authority.file)}
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=moment)

    def brings(name: str, days: float, **more: str) -> None:
        pair = authority.issue(name, days=days).read_text()
        login.says(clientCertificateData=pair, clientKeyData=pair, **more)

    if by == "the certificate":
        brings("first", moment)
    else:
        brings("first", 1, expirationTimestamp=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
    async with (
        a_server(authority.issue("server"), port, authority.file),
        connected(login.kubeconfig(login.plugin(), there), monkeypatch) as kube,
    ):
        await looks(kube)
        assert login.runs == 1
        brings("second", 1)
        await asyncio.sleep(2.5)
        await looks(kube)
        await asyncio.sleep(connections.LOOKED_AT_EVERY)
        await looks(kube)
    assert login.runs == 2
