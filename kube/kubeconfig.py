"""Reads a kubeconfig with the `kubernetes` package's loader, and does what that leaves out.

That is: of several files the first with a current context decides, as with kubectl; a user who is missing and a plugin
that brings nothing are errors; a token that is refused is not handed out again; the ends of certificates and of tokens
of gcloud count; and an issuer of OIDC tokens is verified as everybody else is.
"""

import contextlib
import datetime
import os
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml
from cryptography import x509
from kubernetes.aio.config import kube_config
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.openid import OpenIDRequestor

from kube.trust import trusting

FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
"""Keys of a kubeconfig that name files."""


@dataclass(frozen=True)
class Loaded:
    """What a configuration was filled from."""

    context: str
    expires: float
    """When what a plugin brought ends, in seconds since the epoch; infinity where nobody knows."""


def kubeconfigs() -> list[Path]:
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


def files_of(paths: list[Path]) -> Iterator[Path]:
    """The kubeconfig files and every file that they name, of whichever context."""
    for path in paths:
        yield path
        for entry in _entries(path, "clusters", "cluster") + _entries(path, "users", "user"):
            yield from (path.parent / str(entry[1][key]) for key in FILES if entry[1].get(key))


async def load(configuration: Any, paths: list[Path], context: str, refused: str) -> Loaded:
    """Fill a configuration of the package from these files.

    Args:
        context: empty for the current one.
        refused: a token that the API server does not take, though it may not have ended.

    Raises:
        Exception: whatever the package meets, and ValueError for what it does not see: there is no current context, the
            user is missing, a plugin brought nothing.
    """
    merged = kube_config.KubeConfigMerger(os.pathsep.join(map(str, paths)))
    loader = kube_config.KubeConfigLoader(
        merged.config,
        active_context=context or _current_context(paths),
        config_base_path=None,
        config_persister=lambda _: _keep(merged),
    )
    _check_user(loader, paths)
    _forget(loader, refused)
    _PLUGIN_ENDS.set(float("inf"))
    await loader.load_and_set(configuration)
    _check_credentials(loader, configuration, paths)
    return Loaded(str(loader.current_context["name"]), min(_PLUGIN_ENDS.get(), _end_by_gcloud(loader)))


def remove_temporary_files() -> None:
    """Certificates that are given as data become files for OpenSSL. Once it has read them, no key stays in one."""
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


def _parsed(kubeconfig: Path) -> dict[str, Any]:
    """Raises ValueError: it is no YAML. Where is said, and not what stands there, for that may be a token."""
    try:
        found = yaml.safe_load(kubeconfig.read_text())
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{kubeconfig} is no YAML{where}") from None
    if not isinstance(found, dict | None):
        raise ValueError(f"{kubeconfig} is no kubeconfig: no mapping")
    return found or {}


def _entries(kubeconfig: Path, plural: str, singular: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and contents of a kubeconfig's clusters or users."""
    found = _parsed(kubeconfig).get(plural) or []
    return [(str(each.get("name")), each.get(singular) or {}) for each in found]


def _current_context(paths: list[Path]) -> str:
    """The one of the first file that has one. The package takes the last: another cluster than kubectl would reach.

    https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/#merging-kubeconfig-files

    Raises:
        ValueError: no file has one.
    """
    for path in paths:
        if current := _parsed(path).get("current-context"):
            return str(current)
    raise ValueError(f"{', '.join(map(str, paths))}: no current-context; choose one with `kubectl config use-context`")


def _users(paths: list[Path]) -> dict[str, dict[str, Any]]:
    return dict(entry for path in reversed(paths) for entry in _entries(path, "users", "user"))


def _check_user(loader: Any, paths: list[Path]) -> None:
    """Raises ValueError: the context names a user who is in no file. The package would go on as nobody."""
    context = loader.current_context
    name = context["context"].get("user")
    if name and str(name) not in _users(paths):
        raise ValueError(f"there is no user {name}, whom context {context['name']} names")


def _check_credentials(loader: Any, configuration: Any, paths: list[Path]) -> None:
    """Notice that a plugin brought nothing: the package logs it and goes on as nobody.

    Raises:
        ValueError: it brought nothing.
    """
    name = loader.current_context["context"].get("user")
    by_plugin = {"exec", "auth-provider"} & _users(paths).get(str(name), {}).keys()
    if by_plugin and not configuration.api_key and not configuration.cert_file:
        raise ValueError(f"the credential plugin of user {name} brought neither a token nor a certificate")


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
