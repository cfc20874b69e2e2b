"""When an applied object counts as ready: the kstatus rules per kind, as pure functions.

Source of the rules: kstatus (sigs.k8s.io/cli-utils, pkg/kstatus), stricter where it is known to pass too early:
a webhook Service needs a ready endpoint, and every webhook must trust our CA.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kube.answers import ReadObject
from kube.resources import (
    CUSTOM_RESOURCE_DEFINITIONS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    VALIDATING_WEBHOOKS,
    Resource,
)


def unready(resource: Resource, obj: ReadObject) -> str | None:
    """Why the object is not ready, in words that name what it waits for; None if it is ready."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "is being deleted"
    observed = status.get("observedGeneration")
    if observed is not None and observed != meta.get("generation"):
        return f"generation {meta.get('generation')} is not observed yet"
    rule = _RULES.get(resource)
    return rule(obj) if rule else None  # configuration and RBAC are ready once they exist


def untrusted_webhooks(configuration: ReadObject, ca_bundle: str) -> str | None:
    """Which webhooks of a configuration do not trust exactly our CA; None if all do."""
    wrong = [
        webhook.get("name", "?")
        for webhook in configuration.get("webhooks") or []
        if not _same(webhook.get("clientConfig", {}).get("caBundle"), ca_bundle)
    ]
    return f"does not trust our CA: {', '.join(wrong)}" if wrong else None


def webhook_names(configuration: ReadObject) -> list[str]:
    """What the API server calls the webhooks of a configuration."""
    return [str(webhook.get("name", "?")) for webhook in configuration.get("webhooks") or []]


def has_ready_endpoint(slices: Sequence[ReadObject]) -> bool:
    """Whether any address behind a Service can be called (EndpointSlice conditions, discovery.k8s.io/v1)."""
    return any(
        endpoint.get("addresses") and (endpoint.get("conditions") or {}).get("ready") is not False
        for piece in slices
        for endpoint in piece.get("endpoints") or []
    )


def pod_trouble(pods: Sequence[ReadObject]) -> str | None:
    """Why pods do not become ready, in the words of the scheduler or the kubelet.

    The newest pod comes first: after a change the old ones say nothing about it. Those that end come last.
    """
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    for pod in sorted(newest_first, key=lambda pod: bool(pod["metadata"].get("deletionTimestamp"))):
        status = pod.get("status") or {}
        for container in (status.get("initContainerStatuses") or []) + (status.get("containerStatuses") or []):
            waiting = (container.get("state") or {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"pod {pod['metadata']['name']}: {waiting['reason']} {waiting.get('message', '')}".strip()
        scheduled = _condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"pod {pod['metadata']['name']}: {scheduled.get('reason')}: {scheduled.get('message', '')}"
    return None


def _deployment(obj: ReadObject) -> str | None:
    wanted = obj["spec"].get("replicas", 1)
    status = obj.get("status") or {}
    progressing = _condition(obj, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        return f"made no progress in time: {progressing.get('message', '')}"
    failure = _condition(obj, "ReplicaFailure")
    if failure.get("status") == "True":
        return f"cannot create pods: {failure.get('message', '')}"
    if "observedGeneration" not in status:
        return "is not observed by its controller yet"
    paused = ", and is paused (spec.paused), so that nothing changes that" if obj["spec"].get("paused") else ""
    trouble = _rollout(obj, wanted, status)
    return f"{trouble}{paused}" if trouble else None


def _rollout(obj: ReadObject, wanted: int, status: Mapping[str, Any]) -> str | None:
    progressing = _condition(obj, "Progressing")
    total, updated = status.get("replicas", 0), status.get("updatedReplicas", 0)
    available, ready = status.get("availableReplicas", 0), status.get("readyReplicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods are of the new version"
    if total > updated:
        return f"{total - updated} old pods are still there"
    if available < updated or ready < wanted:
        return f"{min(available, ready)} of {wanted} pods are available"
    if progressing and progressing.get("reason") not in ("NewReplicaSetAvailable", "DeploymentPaused"):
        return "the new pods are not counted as available yet"
    if _condition(obj, "Available").get("status") != "True":
        return f"is not available: {_condition(obj, 'Available').get('message', '')}"
    return None


def _crd(obj: ReadObject) -> str | None:
    names, established = _condition(obj, "NamesAccepted"), _condition(obj, "Established")
    if names.get("status") == "False":
        return f"its names are taken: {names.get('message', '')}"
    return None if established.get("status") == "True" else "is not served yet"


def _webhooks(obj: ReadObject) -> str | None:
    wrong = [
        webhook.get("name", "?")
        for webhook in obj.get("webhooks") or []
        if not _pem(webhook.get("clientConfig", {}).get("caBundle"))
    ]
    return f"has no usable caBundle: {', '.join(wrong)}" if wrong else None


def _pem(bundle: str | None) -> bytes:
    try:
        return base64.b64decode(bundle or "", validate=True).strip()
    except binascii.Error:
        return b""


def _same(left: str | None, right: str) -> bool:
    return bool(_pem(left)) and _pem(left) == _pem(right)


def _condition(obj: ReadObject, kind: str) -> Mapping[str, Any]:
    conditions = (obj.get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), {})


_RULES: Final[Mapping[Resource, Callable[[ReadObject], str | None]]] = {
    DEPLOYMENTS: _deployment,
    CUSTOM_RESOURCE_DEFINITIONS: _crd,
    MUTATING_WEBHOOKS: _webhooks,
    VALIDATING_WEBHOOKS: _webhooks,
}
