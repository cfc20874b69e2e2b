"""Where the API server is and what convinces it, read again whenever that may have changed.

The `kubernetes` package reads all of this once: tokens of exec plugins and OIDC, certificates, the cluster's CA. Here
its loader is run anew, so a process lives for longer than anything that it was given.
"""

import base64
import contextlib
import hashlib
import ipaddress
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from kubernetes.aio import client as aio_client
from kubernetes.aio.config import incluster_config

from kube.fence import FencedRequest
from kube.kubeconfig import files_of, kubeconfigs, load, remove_temporary_files

RENEWED_BEFORE: Final = 10.0
"""Seconds before a token's end at which a new one is asked for."""


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
            files_in_pod = (incluster_config.SERVICE_TOKEN_FILENAME, incluster_config.SERVICE_CERT_FILENAME)
            files = _contents(map(Path, files_in_pod))
            incluster_config.load_incluster_config(configuration, try_refresh_token=False)
            return access_with(configuration, files, _end_of(configuration), pod=True)
        paths = kubeconfigs()
        files = _contents(files_of(paths))
        loaded = await load(configuration, paths, context, refused)
        access = access_with(configuration, files, min(_end_of(configuration), loaded.expires))
        return replace(access, context=loaded.context)
    except Exception as error:  # the package raises whatever its YAML reader meets
        raise ValueError(f"no usable Kubernetes configuration: {error}") from error
    finally:
        remove_temporary_files()


def _contents(paths: Iterable[Path]) -> dict[Path, bytes]:
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
