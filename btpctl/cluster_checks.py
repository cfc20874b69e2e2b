"""What the doctor asks of the cluster: each look says whether something is so, or what to do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from btpctl.check import Check
from btpctl.connections import kubernetes
from btpctl.errors import CommandError, answered
from btpctl.options import Options
from btpctl.rights import Right, not_allowed
from kube.client import Kube
from kube.errors import NotFound
from kube.resources import BTP_OPERATORS, CONFIG_MAPS, SECRETS, Resource
from models.credentials import verdict
from models.names import CREDENTIALS_SECRET, GO_MANAGER_SETTINGS, KYMA_NAMESPACE
from operand.other_manager import other_manager

GO_SETTINGS: Final = "settings of the Go manager"
Look = Callable[[Kube], Awaitable[tuple[bool, str]]]
"""Asks the cluster: whether something is so, and a sentence."""


async def check_cluster(options: Options, further: dict[str, Look]) -> list[Check]:
    """Whether it answers and knows BtpOperators, and the further looks by name; none stops the others."""

    async def check(kube: Kube, name: str, look: Look) -> Check:
        try:
            ok, text = await answered(look(kube), f"the cluster at {kube.host}", options.timeout)
        except CommandError as error:
            return Check(name, False, str(error))
        warns = name == GO_SETTINGS and not ok  # nothing fails for want of them
        return Check(name, ok or warns, text, warns)

    looks: dict[str, Look] = {"CustomResourceDefinition": _crd, **further}
    try:
        async with kubernetes(options) as kube:
            return await asyncio.gather(*(check(kube, name, look) for name, look in looks.items()))
    except CommandError as error:
        return [Check("cluster", False, str(error))]


async def _crd(kube: Kube) -> tuple[bool, str]:
    try:
        found = await kube.list(BTP_OPERATORS)
    except NotFound:
        return False, "BtpOperators are unknown; kubectl apply -f chart/btp-manager/crds/"
    return True, f"{len(found.items)} BtpOperators at {kube.host}"


async def alone(kube: Kube) -> tuple[bool, str]:
    """Whether no other manager runs."""
    if seen := await other_manager(kube):
        return False, f"the Go manager runs ({seen}): nothing is applied or deleted while it does; see docs/upgrade.md"
    return True, "none"


async def go_settings(kube: Kube) -> tuple[bool, str]:
    """Whether the Go manager left no ConfigMap. By a list, which a worker may ask for: the doctor has its rights."""
    named = f"metadata.name={GO_MANAGER_SETTINGS}"
    if not (await kube.list(CONFIG_MAPS, KYMA_NAMESPACE, fields=named, metadata_only=True)).items:
        return True, "none"
    means = "is not read here; `btpctl takeover` says which Helm values it becomes, then delete it"
    return False, f"ConfigMap {KYMA_NAMESPACE}/{GO_MANAGER_SETTINGS} {means}"


async def there(kube: Kube, resource: Resource, name: str) -> tuple[bool, str]:
    """Whether that object exists."""
    found = await kube.find(resource, name)
    return found is not None, name if found else f"{resource.kind} {name} does not exist; create it"


async def rights(who: str, wanted: list[Right], kube: Kube) -> tuple[bool, str]:
    """Whether whoever runs this has them all."""
    missing = await not_allowed(kube, wanted)
    if not missing:
        return True, f"all {len(wanted)} that {who} needs"
    shown = "; ".join(f"{verb} {resource.plural} {name or ''}".strip() for resource, verb, _, name in missing[:5])
    return False, f"{len(missing)} of {len(wanted)} are missing: {shown}; chart/btp-manager grants them to {who}"


async def secret(any_address: bool, kube: Kube) -> tuple[bool, str]:
    """Whether the Secret with the operand's credentials can be used."""
    trouble = verdict(await kube.find(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE), any_address=any_address)
    return trouble is None, trouble[1] if trouble else f"{KYMA_NAMESPACE}/{CREDENTIALS_SECRET} has every key"
