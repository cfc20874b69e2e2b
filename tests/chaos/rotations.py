"""What is renewed while the manager runs: tokens, certificates and their authorities, and the values of Secrets."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from kube.resources import SECRETS
from localcluster.environment import Environment
from localcluster.shipped import RELEASE
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE, OPERAND_CREDENTIALS_SECRET, WEBHOOK_CERT_SECRET
from tests.e2e.deletion import Scene
from tests.runtime.authority import Authority, server_context


class Rotations:
    """An environment whose processes have files for everything that can be renewed.

    Made before the environment starts, for the way to Temporal is encrypted from the beginning; `begin` does the rest.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._folder = environment.cluster.folder / "rotated"
        self._folder.mkdir()
        self._numbers = itertools.count()
        authority = self._authority()
        self._temporal = server_context(authority.issue("temporal-server"), authority.file)
        self._temporal.set_alpn_protocols(["h2"])
        self._hand_out_temporal(authority)
        files = {"SERVER_CA_CERT": "temporal-ca.crt", "CLIENT_CERT": "client.crt", "CLIENT_KEY": "client.crt"}
        for manager in environment.workers + environment.triggers:
            manager.to_temporal.tls = self._temporal
            for name, file in files.items():
                manager.environment[f"TEMPORAL_TLS_{name}_PATH"] = str(self._folder / file)

    def begin(self, scene: Scene) -> Mapping[str, Callable[[], None]]:
        """Replace the kubeconfig of every process by one that names files. Returns what can be renewed, by name."""
        self._scene = scene
        self._secret = scene.sap.credentials()
        self.token()
        self.api_server()
        for manager in self._environment.workers + self._environment.triggers:
            config = {
                "clusters": [
                    {
                        "name": "there",
                        "cluster": {
                            "server": f"https://127.0.0.1:{manager.to_api_server.port}",
                            "certificate-authority": str(self._folder / "cluster-ca.crt"),
                        },
                    }
                ],
                "users": [{"name": "me", "user": {"tokenFile": str(self._folder / f"{manager.module}.token")}}],
                "contexts": [{"name": "now", "context": {"cluster": "there", "user": "me"}}],
                "current-context": "now",
            }
            path = self._folder / f"{manager.name}.kubeconfig"
            path.write_text(yaml.safe_dump(config))
            manager.environment["KUBECONFIG"] = str(path)
            scene.restart(manager)
        return {
            "new tokens for the API server, the old ones refused": self.token,
            "another authority and certificate of the API server": self.api_server,
            "another authority of Temporal, and certificates of both sides": self.temporal,
            "other values in Secret sap-btp-manager": self.secret,
            "Secret webhook-server-cert deleted": self.webhook,
        }

    def token(self) -> None:
        """The ServiceAccounts are made anew, so the API server refuses every token of before (within 10 s)."""
        cluster = self._environment.cluster
        accounts = f"/api/v1/namespaces/{KYMA_NAMESPACE}/serviceaccounts"
        for module in ("worker", "trigger"):
            name = f"{RELEASE}-{module}"
            cluster.request("DELETE", f"{accounts}/{name}")
            cluster.request("POST", accounts, {"metadata": {"name": name}})
            answer = cluster.request("POST", f"{accounts}/{name}/token", {"spec": {"expirationSeconds": 7200}})
            self._write(f"{module}.token", answer["status"]["token"].encode())

    def api_server(self) -> None:
        authority = self._authority()
        self._write("cluster-ca.crt", authority.file.read_bytes())
        self._environment.proxy.present(authority.issue("api-server"))
        self._reset("to_api_server")

    def temporal(self) -> None:
        authority = self._authority()
        self._temporal.load_cert_chain(authority.issue("temporal-server"))
        self._temporal.load_verify_locations(authority.file)
        self._hand_out_temporal(authority)
        self._reset("to_temporal")

    def secret(self) -> None:
        """Another address of the same Service Manager."""
        host = next(host for host in ("localhost", "127.0.0.1") if host not in self._secret["sm_url"])
        self._secret["sm_url"] = f"http://{host}:{self._scene.sap.port}"
        self.put_secret()

    @contextlib.contextmanager
    def with_value(self, key: str, value: str) -> Iterator[None]:
        """Another value in Secret sap-btp-manager for a while."""
        before, self._secret[key] = self._secret[key], value
        self.put_secret()
        try:
            yield
        finally:
            self._secret[key] = before
            self.put_secret()

    def put_secret(self) -> None:
        """Have Secret sap-btp-manager as it is to be now."""
        self._scene.person.put_secret(self._secret)

    def is_handed_on(self) -> bool:
        """Whether the operand has the values of Secret sap-btp-manager."""
        names = (CREDENTIALS_SECRET, OPERAND_CREDENTIALS_SECRET)
        found: list[Any] = [self._scene.person.get(SECRETS.path(KYMA_NAMESPACE, name)) for name in names]
        return all(found) and found[0]["data"]["sm_url"] == found[1]["data"]["sm_url"]

    def webhook(self) -> None:
        self._scene.person.delete(SECRETS.path(KYMA_NAMESPACE, WEBHOOK_CERT_SECRET))

    def _authority(self) -> Authority:
        return Authority(self._folder, f"authority-{next(self._numbers)}")

    def _hand_out_temporal(self, authority: Authority) -> None:
        self._write("temporal-ca.crt", authority.file.read_bytes())
        self._write("client.crt", authority.issue("client-of-temporal").read_bytes())

    def _write(self, name: str, content: bytes) -> None:
        """As a mounted Secret changes: at once."""
        new = self._folder / f"{name}.new"
        new.write_bytes(content)
        new.rename(self._folder / name)

    def _reset(self, line: str) -> None:
        for manager in self._environment.workers + self._environment.triggers:
            getattr(manager, line).reset()
