"""What a chart has to do with the values it is given; one that does something else is refused before it is applied.

A chart of the same operand with other values renders as well: with empty credentials, which would replace good ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kube.answers import Object
from kube.readiness import untrusted_webhooks
from kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    SECRETS,
    VALIDATING_WEBHOOKS,
    Resource,
    chart_kind,
)
from models.names import KYMA_NAMESPACE, OPERAND_CONFIG, OPERAND_CREDENTIALS_SECRET, OPERAND_DEPLOYMENT
from operand.credentials import Credentials
from operand.operand_values import certificates_of

_TEMPLATE: Final = ("spec", "template")
_POD: Final = (*_TEMPLATE, "spec")
_CONTAINER: Final = (*_POD, "containers", 0)
PLACES: Final[Mapping[str, tuple[str | int, ...]]] = {
    "replica_count": ("spec", "replicas"),
    "labels": (*_TEMPLATE, "metadata", "labels"),
    "annotations": (*_TEMPLATE, "metadata", "annotations"),
    "imagePullSecrets": (*_POD, "imagePullSecrets"),
    "priorityClassName": (*_POD, "priorityClassName"),
    "nodeSelector": (*_POD, "nodeSelector"),
    "tolerations": (*_POD, "tolerations"),
    "affinity": (*_POD, "affinity"),
    "topologySpreadConstraints": (*_POD, "topologySpreadConstraints"),
    "cpu_limit": (*_CONTAINER, "resources", "limits", "cpu"),
    "memory_limit": (*_CONTAINER, "resources", "limits", "memory"),
    "req_cpu_limit": (*_CONTAINER, "resources", "requests", "cpu"),
    "req_memory_limit": (*_CONTAINER, "resources", "requests", "memory"),
}
"""Where the operand's Deployment has what a user sets below `manager`."""


def broken_terms(
    objects: Sequence[Object], credentials: Credentials, ca: str, given: Mapping[str, Any] | None = None
) -> list[str]:
    """What the rendered objects lack of what they were given; names of keys, never a value.

    Args:
        given: what a user set of the chart's values (`ChartRenderer.wanted`).
    """
    manager = (given or {}).get("manager") or {}
    return [*_broken_terms(objects, credentials, ca), *_unused(objects, manager, certificates_of(given or {}))]


def _broken_terms(objects: Sequence[Object], credentials: Credentials, ca: str) -> Iterator[str]:
    given = credentials.values()["manager"]["secret"]["data"]
    secret = _find(objects, SECRETS, OPERAND_CREDENTIALS_SECRET, credentials.namespace)
    if lost := sorted(key for key, value in given.items() if secret.get(key) != value):
        where = f"{credentials.namespace}/{OPERAND_CREDENTIALS_SECRET}"
        yield f"Secret {where} does not carry {', '.join(lost)} of manager.secret.data"
    config = _find(objects, CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    for key, value, source in (
        ("CLUSTER_ID", credentials.cluster_id, "cluster.id"),
        ("RELEASE_NAMESPACE", credentials.namespace, "manager.management_namespace"),
    ):
        if config.get(key) != value:
            yield f"ConfigMap {KYMA_NAMESPACE}/{OPERAND_CONFIG} does not say {source} as {key}"
    webhooks = [obj for obj in objects if chart_kind(obj) in (MUTATING_WEBHOOKS, VALIDATING_WEBHOOKS)]
    for obj in webhooks:
        if untrusted_webhooks(obj, ca):
            yield f"{chart_kind(obj).named(obj)} does not have manager.webhook.caBundle in each webhook"
    if not webhooks:
        yield "there is no webhook configuration"
    if not any(chart_kind(obj) is DEPLOYMENTS and obj["metadata"]["name"] == OPERAND_DEPLOYMENT for obj in objects):
        yield f"there is no Deployment {OPERAND_DEPLOYMENT}"


def _unused(objects: Sequence[Object], manager: Mapping[str, Any], certificates: list[str]) -> Iterator[str]:
    deployment = next((obj for obj in objects if chart_kind(obj) is DEPLOYMENTS), {})
    for name, place in PLACES.items():
        if (wanted := manager.get(name)) and not _is_or_holds(_at(deployment, place), wanted):
            yield f"Deployment {OPERAND_DEPLOYMENT} does not have manager.{name} as {'.'.join(map(str, place))}"
    image = str(_at(deployment, (*_CONTAINER, "image")))
    for name in ("reference", "sha", "tag", "repository"):
        if (part := (manager.get("image") or {}).get(name)) and str(part) not in image:
            yield f"Deployment {OPERAND_DEPLOYMENT} does not run manager.image.{name}"
        if part and name in ("reference", "sha"):
            break  # which win over what comes after
    config = _find(objects, CONFIG_MAPS, OPERAND_CONFIG, KYMA_NAMESPACE)
    limited = manager.get("enable_limited_cache")
    if limited is not None and config.get("ENABLE_LIMITED_CACHE") != str(limited).lower():
        yield f"ConfigMap {OPERAND_CONFIG} does not say manager.enable_limited_cache as ENABLE_LIMITED_CACHE"
    if certificates:
        mounted = "".join(
            "".join(map(str, _find(objects, CONFIG_MAPS, str(name), KYMA_NAMESPACE).values()))
            for volume in _at(deployment, (*_POD, "volumes")) or []
            if (name := _at(volume, ("configMap", "name")))
        )
        if not all(text.strip() in mounted for text in certificates):
            yield f"Deployment {OPERAND_DEPLOYMENT} does not mount manager.customCACerts"


def _is_or_holds(found: Any, wanted: Any) -> bool:
    """Whether it is that, or, of a map or a list, has all of that and perhaps more."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(found.get(key) == value for key, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and all(each in found for each in wanted)
    return str(found) == str(wanted)


def _at(obj: Any, place: Sequence[str | int]) -> Any:
    for part in place:
        if isinstance(part, int):
            obj = obj[part] if isinstance(obj, list) and len(obj) > part else None
        else:
            obj = obj.get(part) if isinstance(obj, Mapping) else None
    return obj


def _find(objects: Sequence[Object], kind: Resource, name: str, namespace: str) -> Object:
    """The data of that object; empty if it is not rendered."""
    wanted = (kind, name, namespace)
    for obj in objects:
        if (chart_kind(obj), obj["metadata"]["name"], obj["metadata"].get("namespace")) == wanted:
            return obj.get("data") or {}
    return {}
