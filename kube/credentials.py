"""Where the API server is and what convinces it, read again whenever that may have changed.

The `kubernetes` package reads all of this once: tokens of exec plugins and OIDC, certificates, the cluster's CA. Here
its loader is run anew, so a process lives for longer than anything that it was given.
"""

import base64
import contextlib
import datetime
import hashlib
import ipaddress
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import yaml
from cryptography import x509
from kubernetes.aio import client as aio_client
from kubernetes.aio.config import incluster_config, kube_config
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.openid import OpenIDRequestor

from kube.fence import FencedRequest
from kube.trust import trusting

RENEWED_BEFORE: Final = 10.0
"""Seconds before a token's end at which a new one is asked for."""
FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Keys of a kubeconfig that name files."""


@dataclass(frozen=True)
class Access:
    """How to reach the API server, as it was read at one moment."""

    api: Any
    """The package's ApiClient. It has its own connections and its own trust."""
    host: str
    digest: str
    """Two that are equal would do the same."""
    files: Mapping[Path, bytes]
    """What was read, by file; a file that was not there is empty."""
    expires: float
    """When the token or the plugin's certificate ends, in seconds since the epoch; infinity where nobody knows."""
    context: str = ""
    """The context of the kubeconfig that it is of; empty in a pod."""

    @property
    def token(self) -> str:
        """What is sent as `Authorization`; empty where a certificate, or nothing, speaks for us."""
        return str(self.api.configuration.api_key.get("BearerToken", ""))

    def is_outdated(self) -> bool:
        """Whether a file has changed, or the token is about to end."""
        return time.time() > self.expires - RENEWED_BEFORE or any(
            _content(path) != before for path, before in self.files.items()
        )


def access_with(
    configuration: Any, files: Mapping[Path, bytes] | None = None, expires: float = float("inf"), *, pod: bool = False
) -> Access:
    """The access that a configuration of the package describes.

    Raises:
        OSError: a certificate or its key cannot be used (ssl.SSLError is one).
    """
    configuration.client_side_validation = False
    # The package makes its own TLS: this is its way to what kube.trust says.
    configuration.disable_strict_ssl_verification = True
    through_proxy = not pod and not _is_excepted(str(configuration.host), os.environ)
    configuration.client_session_kwargs = {"trust_env": through_proxy, "request_class": FencedRequest}
    api = aio_client.ApiClient(configuration)
    api.user_agent = "btp-manager"
    return Access(api, str(configuration.host), _digest(configuration), files or {}, expires)


async def access_from_environment(context: str = "", refused: str = "") -> Access:
    """The cluster that KUBECONFIG names, else the one this pod runs in, else ~/.kube/config.

    Args:
        context: of a kubeconfig, so it is never the pod's own cluster.
        refused: a token that the API server does not take, though it may not have ended.

    Raises:
        ValueError: no usable configuration was found, or the way to its credentials failed.
    """
    configuration = aio_client.Configuration()
    pod = "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG") and not context
    try:
        if pod:
            files = _contents(
                map(Path, (incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME))
            )
            incluster_config.load_incluster_config(configuration, try_refresh_token=False)
            return access_with(configuration, files, _end_of(configuration), pod=True)
        paths = _kubeconfigs()
        files = _contents(_read_by(paths))
        merged = kube_config.KubeConfigMerger(os.pathsep.join(map(str, paths)))
        loader = kube_config.KubeConfigLoader(
            merged.config,
            active_context=context or None,
            config_base_path=None,
            config_persister=lambda _: _keep(merged),
        )
        _forget(loader, refused)
        _PLUGIN_ENDS.set(float("inf"))
        await loader.load_and_set(configuration)
        _check_credentials(loader, configuration, paths)
        ends = min(_end_of(configuration), _PLUGIN_ENDS.get(), _end_by_gcloud(loader))
        access = access_with(configuration, files, ends)
        return replace(access, context=str(loader.current_context["name"]))
    except Exception as error:  # the package raises whatever its YAML reader meets
        raise ValueError(f"no usable Kubernetes configuration: {error}") from error
    finally:
        # Certificates that are given as data become files for OpenSSL, which has read them by now.
        kube_config._cleanup_temp_files()


class _Issuer(OpenIDRequestor):  # type: ignore[misc]  # the package is not followed
    """The package's own verifies an issuer's certificate only where the kubeconfig has a CA for it, and then fails."""

    def _get_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=trusting(self._ssl_ca_cert))


_PLUGIN_ENDS: ContextVar[float] = ContextVar("plugin_ends")
"""When what an exec plugin brought ends. The package notes that of tokens only, not of certificates."""


class _Plugin(ExecProvider):  # type: ignore[misc]
    async def run(self, previous_response: Any = None) -> Any:
        status = await super().run(previous_response)
        _PLUGIN_ENDS.set(min(_time(status.get("expirationTimestamp")), _end_of_certificate(status)))
        return status


kube_config.OpenIDRequestor = _Issuer
kube_config.ExecProvider = _Plugin


def _provider(loader: Any) -> dict[str, Any]:
    """The settings of the user's auth provider, as the loader has them; empty where there is none."""
    user = loader._user.value if loader._user else {}
    return (user.get("auth-provider") or {}).get("config") or {}


def _forget(loader: Any, refused: str) -> None:
    """Have the loader ask for another token: it hands out the one in the kubeconfig until shortly before its end."""
    config = _provider(loader)
    for key in ("id-token", "access-token"):
        if refused and refused == f"Bearer {config.get(key)}":
            del config[key]


def _keep(merged: Any) -> None:
    """Write renewed OIDC tokens into the kubeconfig, as kubectl does: a refresh token may be good for one use only."""
    with contextlib.suppress(OSError):  # mounted read-only: the next renewal begins with the old one
        merged.save_changes()


def _kubeconfigs() -> list[Path]:
    """The files that KUBECONFIG names, or the one in the home folder; only those that are there.

    Raises:
        ValueError: none is. The package would print a line of its own and complain of a missing key.
    """
    named = os.environ.get("KUBECONFIG", "")
    wanted = [Path(name) for name in named.split(os.pathsep) if name] or [Path.home() / ".kube" / "config"]
    there = [path for path in wanted if path.is_file()]
    if not there and named:
        raise ValueError(f"there is no file {named} (KUBECONFIG)")
    if not there:
        raise ValueError(f"KUBECONFIG is not set, this is no pod, and there is no file {wanted[0]}")
    return there


def _read_by(kubeconfigs: list[Path]) -> Iterator[Path]:
    """The kubeconfig files and every file that they name, of whichever context."""
    for path in kubeconfigs:
        yield path
        for entry in _entries(path, "clusters", "cluster") + _entries(path, "users", "user"):
            yield from (path.parent / str(entry[1][key]) for key in FILES if entry[1].get(key))


def _entries(kubeconfig: Path, plural: str, singular: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and contents of a kubeconfig's clusters or users."""
    found = (yaml.safe_load(kubeconfig.read_text()) or {}).get(plural) or []
    return [(str(each.get("name")), each.get(singular) or {}) for each in found]


def _check_credentials(loader: Any, configuration: Any, kubeconfigs: list[Path]) -> None:
    """Notice that a plugin brought nothing: the package logs it and goes on as nobody.

    Raises:
        ValueError: it brought nothing.
    """
    name = loader.current_context["context"].get("user")
    users = dict(entry for path in reversed(kubeconfigs) for entry in _entries(path, "users", "user"))
    by_plugin = {"exec", "auth-provider"} & users.get(str(name), {}).keys()
    if by_plugin and not configuration.api_key and not configuration.cert_file:
        raise ValueError(f"the credential plugin of user {name} brought neither a token nor a certificate")


def _contents(paths: Iterator[Path]) -> dict[Path, bytes]:
    return {path: _content(path) for path in paths}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _end_of(configuration: Any) -> float:
    """When a token that is a JWT ends by its own words (RFC 7519, `exp`)."""
    token = str(configuration.api_key.get("BearerToken", ""))
    with contextlib.suppress(IndexError, ValueError, TypeError, KeyError):
        claims = token.split(".")[1]
        return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
    return float("inf")


def _end_of_certificate(status: Mapping[str, Any]) -> float:
    try:
        return x509.load_pem_x509_certificate(
            str(status["clientCertificateData"]).encode()
        ).not_valid_after_utc.timestamp()
    except (KeyError, ValueError):
        return float("inf")


def _end_by_gcloud(loader: Any) -> float:
    """When an access token ends that gcloud brought, which says nothing itself."""
    return _time(_provider(loader).get("expiry")) if loader.provider == "gcp" else float("inf")


def _time(text: object) -> float:
    try:
        moment = datetime.datetime.fromisoformat(str(text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    except ValueError:
        return float("inf")


def _digest(configuration: Any) -> str:
    files = [configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file]
    parts = [
        configuration.host,
        configuration.proxy,
        configuration.verify_ssl,
        configuration.tls_server_name,
        sorted(configuration.api_key.items()),
        *(_content(Path(name)) if name else b"" for name in files),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _is_excepted(url: str, environment: Mapping[str, str]) -> bool:
    """Whether the API server's address is in one of NO_PROXY's networks, of which Python's own rules know nothing."""
    try:
        address = ipaddress.ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return False
    for entry in (environment.get("no_proxy") or environment.get("NO_PROXY") or "").split(","):
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
    return False
