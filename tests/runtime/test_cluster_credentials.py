"""Credentials for the API server are read again when they change, end or are refused."""

import asyncio
import base64
import contextlib
import datetime
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from kube import connections, credentials
from kube.client import Kube
from kube.errors import Unavailable
from kube.resources import NAMESPACES
from localcluster.processes import free_port
from tests.runtime.authority import Authority, server_context
from tests.runtime.login import Login, a_server, connected, looks


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


async def test_no_private_key_stays_in_a_temporary_file(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = login.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    pair = base64.b64encode(Authority(login.folder, "ours").issue("me").read_bytes()).decode()
    config = login.kubeconfig({"client-certificate-data": pair, "client-key-data": pair})
    async with connected(config, monkeypatch):
        assert list(temporary.iterdir()) == []


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
