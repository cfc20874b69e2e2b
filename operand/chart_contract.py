"""What a chart has to do with the values it is given; one that does something else is refused before it is applied.

A chart of the same operand with other values renders as well: with empty credentials, which would replace good ones.
"""

from collections.abc import Iterator, Sequence

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


def broken_terms(objects: Sequence[Object], credentials: Credentials, ca: str) -> list[str]:
    """What the rendered objects lack of what they were given; names of keys, never a value."""
    return list(_broken_terms(objects, credentials, ca))


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


def _find(objects: Sequence[Object], kind: Resource, name: str, namespace: str) -> Object:
    """The data of that object; empty if it is not rendered."""
    wanted = (kind, name, namespace)
    for obj in objects:
        if (chart_kind(obj), obj["metadata"]["name"], obj["metadata"].get("namespace")) == wanted:
            return obj.get("data") or {}
    return {}
