"""Which API server is spoken to: the one that is trusted, by the right way, and never another cluster's."""

import asyncio
from pathlib import Path

import pytest
import yaml

from kube import connections
from kube.client import Kube
from kube.errors import Unavailable
from kube.resources import NAMESPACES
from localcluster.processes import free_port
from runtime.contacts import api_server
from tests.runtime.authority import Authority
from tests.runtime.login import Login, a_server, connected, looks


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
