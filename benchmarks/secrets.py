"""`make bench-secrets`: who removes the Secrets of bindings in soft delete, we or the garbage collector (decision 21).

Argument: how many Secrets (default 500). Both sides let go of as many owners, which a finalizer holds; ConfigMaps
stand for the bindings. "we" reads and deletes each Secret first; "garbage collector" lets the owners go and looks
until each Secret is gone. kube-controller-manager runs with its default limits, and with ten times those, as it does
in the tests.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from prometheus_client import REGISTRY

from benchmarks.sides import commit_in, numbers_in
from kube.answers import Object
from kube.client import Kube
from kube.finalizers import taking_off
from kube.resources import CONFIG_MAPS, SECRETS
from kube.side_by_side import side_by_side
from localcluster.binaries import ensure_all
from localcluster.controlplane import ControlPlane
from models.names import OPERAND_FINALIZER

NAMESPACE: Final = "default"
AT_ONCE: Final = 32
"""Objects side by side, as in soft delete."""
LOOK_AGAIN: Final = 0.5
"""Seconds between two looks at a Secret that the garbage collector has not removed."""
LIMITS: Final = {"its default limits": 1, "ten times those": 10}


async def we(kube: Kube, owners: list[Object]) -> None:
    """Read each Secret, delete it by its uid, then let its owner go."""

    async def remove(owner: Object) -> None:
        name = owner["metadata"]["name"]
        secret = await kube.find(SECRETS, name, NAMESPACE, metadata_only=True)
        assert secret is not None
        await kube.delete(SECRETS, name, NAMESPACE, uid=secret["metadata"]["uid"])

    await side_by_side(remove, owners, AT_ONCE)
    await let_go(kube, owners)


async def garbage_collector(kube: Kube, owners: list[Object]) -> None:
    """Let each owner go, then look at each Secret until it is gone."""

    async def look(name: str) -> str:
        return name if await kube.find(SECRETS, name, NAMESPACE, metadata_only=True) else ""

    await let_go(kube, owners)
    left = [owner["metadata"]["name"] for owner in owners]
    while left:
        # While the last one is there, the others are not worth a look: these are the fewest requests possible.
        while await look(left[-1]):
            await asyncio.sleep(LOOK_AGAIN)
        left = [name for name in await side_by_side(look, left, AT_ONCE) if name]


SIDES: Final[Mapping[str, Callable[[Kube, list[Object]], Awaitable[None]]]] = {
    "we": we,
    "garbage collector": garbage_collector,
}


async def let_go(kube: Kube, owners: list[Object]) -> None:
    async def take_off(owner: Object) -> None:
        meta = owner["metadata"]
        await kube.json_patch(CONFIG_MAPS, meta["name"], NAMESPACE, taking_off(OPERAND_FINALIZER, meta))

    await side_by_side(take_off, owners, AT_ONCE)


async def seeded(kube: Kube, prefix: str, count: int) -> list[Object]:
    """Owners that are being deleted and held, each with a Secret of its name."""

    async def make(number: int) -> Object:
        meta = {"name": f"{prefix}-{number}", "namespace": NAMESPACE, "finalizers": [OPERAND_FINALIZER]}
        owner = await kube.create(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta})
        name, uid = owner["metadata"]["name"], owner["metadata"]["uid"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "controller": True}
        owned = {"name": name, "namespace": NAMESPACE, "ownerReferences": [reference]}
        await kube.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": owned})
        await kube.delete(CONFIG_MAPS, name, NAMESPACE, uid=uid)
        return owner

    return await side_by_side(make, range(count), AT_ONCE)


def sent() -> float:
    """Requests of this process so far."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "btp_kube_requests_total"
    )


async def measure(name: str, count: int) -> None:
    kube = await Kube.from_environment()
    try:
        owners = await seeded(kube, name.replace(" ", "-"), count)
        await asyncio.sleep(5)  # the garbage collector hears of them
        requests, began = sent(), time.monotonic()
        await SIDES[name](kube, owners)
        took = time.monotonic() - began
        print(
            f"  {name}: {count} Secrets and their owners gone after {took:.1f} s, "
            f"{(sent() - requests) / count:.2f} requests for each pair of them",
            flush=True,
        )
    finally:
        await kube.close()


def main() -> int:
    if commit_in(sys.argv[1:]):
        print("bench-secrets takes a number of Secrets or nothing", file=sys.stderr)
        return 2
    count = next(iter(numbers_in(sys.argv[1:])), 500)
    ensure_all()
    for limits, times in LIMITS.items():
        print(f"kube-controller-manager with {limits}", flush=True)
        with ControlPlane(controllers_limit=times) as cluster:
            os.environ["KUBECONFIG"] = str(cluster.kubeconfig())
            for name in SIDES:
                asyncio.run(measure(name, count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
