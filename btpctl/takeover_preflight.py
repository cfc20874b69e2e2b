"""What this cluster looks like before it is taken over from the Go manager, and what a person has to do first."""

from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from btpctl.deletions import pending_deletions
from btpctl.go_settings import helm_values, told, translate
from kube.answers import Object, pod_spec
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import (
    BTP_OPERATORS,
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CONFIG_MAPS,
    DEPLOYMENTS,
    PRIORITY_CLASSES,
    SECRETS,
    SERVICE_BINDINGS,
    SERVICE_INSTANCES,
    Resource,
)
from models.conditions import ready_condition
from models.credentials import verdict
from models.names import (
    CREDENTIALS_SECRET,
    GO_MANAGER_DEPLOYMENT,
    GO_MANAGER_SETTINGS,
    KYMA_NAMESPACE,
    MANAGED_SELECTOR,
    OPERAND_DEPLOYMENT,
)
from models.operators import Operator, responsible
from models.text import plain
from operand.other_manager import other_manager
from operand.ownership import is_ours
from operand.service_objects import first_few

KYMAS: Final = Resource("operator.kyma-project.io", "v1beta2", "Kyma", "kymas")
MODULE: Final = "btp-operator"
REGISTRY: Final = "ghcr.io/sap/"
"""Where the operand's image of our chart is."""


@dataclass
class Takeover:
    """What was seen. Nothing was changed."""

    manager: str
    operators: list[str]
    service_objects: str
    deletions: str
    settings: list[str]
    values: dict[str, Any]
    leftovers: list[str]
    first: list[str] = field(default_factory=list)
    """What a person has to do before a worker is started, in this order."""
    then: str = ""
    """What a worker would do."""
    lacks_priority_class: bool = False


async def look(kube: Kube) -> Takeover:
    """Everything that matters for a takeover.

    Raises:
        KubeError: the API server does not say.
    """
    deployment = await kube.find(DEPLOYMENTS, GO_MANAGER_DEPLOYMENT, KYMA_NAMESPACE)
    config = await kube.find(CONFIG_MAPS, GO_MANAGER_SETTINGS, KYMA_NAMESPACE)
    running = await other_manager(kube)
    operators = await _operators(kube)
    one = responsible(operators)
    none_carried_out, deletions = await pending_deletions(kube)
    translations = translate(told(config, deployment))
    secret = verdict(await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE))
    seen = Takeover(
        manager=_manager(running, deployment),
        operators=[_standing(each, one) for each in operators],
        service_objects=await _counted(kube),
        deletions=deletions,
        settings=[
            *(_setting(each.key, each.value, each.becomes, each.as_value, each.why) for each in translations),
            *await _other_image(kube),
        ],
        values=helm_values(translations),
        leftovers=await _leftovers(kube),
        lacks_priority_class=await kube.find(PRIORITY_CLASSES, KYMA_NAMESPACE) is None,
    )
    if not none_carried_out:
        seen.first.append(f"a deletion would be carried out: {deletions}. Wait for its end under the Go manager")
    if secret:
        seen.first.append(secret[1])
    for each in translations:
        if each.stands_in_the_way:
            seen.first.append(f"{each.key}: {each.value} cannot be kept ({each.why}); undo it under the Go manager")
    if seen.lacks_priority_class:
        seen.first.append(f"make PriorityClass {KYMA_NAMESPACE}, which the operand's pods name: `--prepare` does")
    if await _is_managed_by_kyma(kube):
        seen.first.append(
            f"set `managed: false` for module {MODULE} in the Kyma resource and wait until it is Unmanaged: "
            "Kyma would start the Go manager again"
        )
    if running:
        seen.first.append(
            f"stop the Go manager: kubectl -n {KYMA_NAMESPACE} scale deployment/{GO_MANAGER_DEPLOYMENT} --replicas=0"
        )
    seen.then = _outcome(one)
    return seen


async def _operators(kube: Kube) -> list[Operator]:
    try:
        found = (await kube.list(BTP_OPERATORS)).items
    except NotFound:
        return []
    return sorted((Operator.from_object(obj) for obj in found), key=lambda each: each.created)


def _standing(operator: Operator, one: Operator | None) -> str:
    """One CR, whether it is responsible, and why."""
    condition = ready_condition(operator.status)
    state = str((operator.status or {}).get("state") or "no state")
    says = plain(f"{state}/{condition.get('reason')}" if condition else state, 200)
    facts = [f"since {operator.created:%Y-%m-%dT%H:%M:%SZ}", says]
    facts += ["being deleted"] if operator.deleting else []
    return f"{operator.ref} ({', '.join(facts)}): {_why(operator, one)}"


def _why(operator: Operator, one: Operator | None) -> str:
    assert one is not None
    if operator == one:
        if operator.holds_finalizer:
            return "responsible, as it holds the finalizer"
        return "responsible, as no BtpOperator holds the finalizer and it is the oldest"
    held = "; its finalizer is taken off" if operator.holds_finalizer else ""
    because = "holds the finalizer" if one.holds_finalizer else "is older"
    return f"not responsible: {one.ref} {because}{held}; it will say Error/OlderCRExists"


def _manager(running: str, deployment: Object | None) -> str:
    if running:
        return f"the Go manager runs: {running}"
    return "the Go manager is stopped" if deployment else "no Go manager is installed"


def _setting(key: str, value: str, becomes: str, as_value: str | bool, why: str) -> str:
    return f"{key}: {value} -> " + (f"{becomes}: {yaml.safe_dump(as_value).splitlines()[0]}" if becomes else why)


async def _other_image(kube: Kube) -> list[str]:
    """The operand's image, where it comes from another registry than ours."""
    found = await kube.find(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    containers = pod_spec(found or {}).get("containers") or []
    images = [plain(each.get("image"), 300) for each in containers if each.get("name") == "manager"]
    return [
        f"operand's image: {image} -> the chart's, from {REGISTRY}; where nodes cannot pull from there, set "
        "settings.BTP_OPERAND_IMAGE"
        for image in images
        if not image.startswith(REGISTRY)
    ]


async def _counted(kube: Kube) -> str:
    counts = []
    for resource in (SERVICE_INSTANCES, SERVICE_BINDINGS):
        page = await first_few(kube, resource, 1)
        number = len(page.items) + page.more if page else "none, the kind is unknown"
        counts.append(f"{resource.plural}: {number}")
    return ", ".join(counts)


async def _leftovers(kube: Kube) -> list[str]:
    """Rights that a Go manager made for the operand, and its ConfigMap."""
    found = []
    for resource in (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS):
        labelled = (await kube.list(resource, labels=MANAGED_SELECTOR, metadata_only=True)).items
        names = [resource.named(obj) for obj in labelled if is_ours(resource, obj)]
        found += [f"{name}: removed by the worker's first look" for name in names]
    if config := await kube.find(CONFIG_MAPS, GO_MANAGER_SETTINGS, KYMA_NAMESPACE, metadata_only=True):
        found.append(f"{CONFIG_MAPS.named(config)}: not read here; yours to delete when its settings are Helm values")
    return found


async def _is_managed_by_kyma(kube: Kube) -> bool:
    """Whether Kyma's lifecycle manager installs the Go manager, and would put it back."""
    try:
        kymas = (await kube.list(KYMAS)).items
    except NotFound:
        return False
    modules = [module for kyma in kymas for module in (kyma.get("spec") or {}).get("modules") or []]
    return any(module.get("name") == MODULE and module.get("managed", True) for module in modules)


def _outcome(one: Operator | None) -> str:
    if one is None:
        return "a worker has nothing to do: there is no BtpOperator"
    if one.deleting:
        return f"a worker goes on with the deletion of {one.ref}, as said above"
    return (
        f"a worker applies the operand's chart for {one.ref}: the operand restarts once; no ServiceInstance and no "
        "ServiceBinding is touched"
    )
