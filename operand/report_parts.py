"""Where the report of abandoned objects lies: in ConfigMaps sap-btp-abandoned, sap-btp-abandoned-2, -3, ...

Each holds one JSON object a line. A reader stops at the first that is not there.
"""

import json
from collections.abc import AsyncIterator
from typing import Final

from kube.answers import Object
from kube.client import Kube
from kube.resources import CONFIG_MAPS
from models.names import (
    ABANDONED_CONFIGMAP,
    ABANDONED_COUNT_ANNOTATION,
    KYMA_NAMESPACE,
    RECLAIM_PENDING_ANNOTATION,
)
from models.reclaim import TRIED_AGAIN

MOST_PARTS: Final = 20
"""ConfigMaps that the manager may write; what does not fit is counted, and named in the log."""
KEY: Final = "objects.jsonl"


def part_name(number: int) -> str:
    """The name of a ConfigMap, counted from 1."""
    return ABANDONED_CONFIGMAP if number == 1 else f"{ABANDONED_CONFIGMAP}-{number}"


async def stored_parts(kube: Kube) -> AsyncIterator[Object]:
    """Every ConfigMap of the report.

    Raises:
        KubeError: one cannot be read.
    """
    for number in range(1, MOST_PARTS + 1):
        found = await kube.find(CONFIG_MAPS, part_name(number), KYMA_NAMESPACE)
        if found is None:
            return
        yield found


def text_of(part: Object) -> str:
    """The lines in a ConfigMap of the report."""
    return str((part.get("data") or {}).get(KEY, ""))


def notes(text: str) -> dict[str, str]:
    """What a ConfigMap says of its lines in annotations, for those who count objects and read no names."""
    lines = text.splitlines()
    tried_again = sum(map(_is_tried_again, lines))
    return {ABANDONED_COUNT_ANNOTATION: str(len(lines)), RECLAIM_PENDING_ANNOTATION: str(tried_again)}


def _is_tried_again(line: str) -> bool:
    """Whether reclaim left the object to a later round. A line may have been edited by anybody."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and str(found.get("reclaim", "")).partition(":")[0] in TRIED_AGAIN
