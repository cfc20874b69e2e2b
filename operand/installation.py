"""Which installation of the manager a worker belongs to, and whether a newer one has taken its place.

While workers of two versions run, each would see the other's chart as drift. The applied objects say which installation
wrote them; a worker leaves what a newer one wrote alone. Which one is newer is nobody's clock: it is the Deployment's
place in the API server's own order, and a worker whose Deployment asks for another template knows that it is over.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from kube.answers import Object
from kube.client import Kube
from kube.drift import looks_drifted
from kube.errors import NotFound
from kube.resources import DEPLOYMENTS
from models.names import INSTALLATION_ANNOTATION
from operand.errors import Failure

REVISION: Final = "deployment.kubernetes.io/revision"
"""Counted up by the Deployment's controller with each change of its template, a change back included."""
VARIABLE: Final = "BTP_INSTALLATION"
COUNTED: Final = re.compile(r"\d{1,9}", re.ASCII)
WRITTEN: Final = re.compile(r"(?:(\S+) revision (\d{1,9})|by hand), chart (.*)")


class Superseded(Failure):
    """A newer installation is there: the chart is for its workers to apply."""


@dataclass(frozen=True, order=True)
class Installation:
    """One version of the manager in one place. The later one is the greater one."""

    since: str = ""
    """When the worker's Deployment was made (RFC 3339, in UTC). Empty for a process that somebody started by hand:
    nobody knows when that was installed, so it is never newer."""
    revision: int = 0
    """Of that Deployment."""
    chart: str = field(default="", compare=False)
    """The version of the operand's chart, for people."""

    def __str__(self) -> str:
        return f"{f'{self.since} revision {self.revision}' if self.since else 'by hand'}, chart {self.chart}"

    @classmethod
    def of(cls, obj: Object | None) -> "Installation | None":
        """The one that wrote an object; None where nobody says, or in other words than ours."""
        annotations = ((obj or {}).get("metadata") or {}).get("annotations") or {}
        found = WRITTEN.fullmatch(str(annotations.get(INSTALLATION_ANNOTATION, "")))
        return cls(found[1] or "", int(found[2] or 0), found[3]) if found else None


class Installer:
    """Knows the own installation."""

    def __init__(self, kube: Kube, version: str, place: str) -> None:
        """Args:
        version: of the operand's chart.
        place: the Deployment that this process is of, and which of its templates: namespace/name/template. Empty for a
            process that somebody started by hand.
        """
        self._kube, self._version, self._place = kube, version, place

    async def own(self) -> Installation:
        """Asked anew each time: a Deployment may come back to a template that it had left.

        Raises:
            Superseded: the Deployment asks for another template now, or is gone.
        """
        if not self._place:
            return Installation(chart=self._version)
        namespace, name, template = self._place.split("/")
        try:
            deployment = await self._kube.get(DEPLOYMENTS, name, namespace)
        except NotFound:
            raise Superseded(f"Deployment {namespace}/{name}, which this worker is of, is gone") from None
        if template not in _templates(deployment):
            raise Superseded(f"Deployment {namespace}/{name} asks for another version than this worker's")
        meta = deployment["metadata"]
        revision = str((meta.get("annotations") or {}).get(REVISION, ""))
        return Installation(
            str(meta["creationTimestamp"]), int(revision) if COUNTED.fullmatch(revision) else 0, self._version
        )


def signed(wanted: Object, live: Object | None, own: Installation) -> Object:
    """What is wanted, with who wrote it: whoever wrote what stands there, if nothing about it has to change.

    Raises:
        Superseded: a newer installation wrote it.
    """
    wrote = Installation.of(live)
    if wrote and wrote > own:
        meta = wanted["metadata"]
        raise Superseded(
            f"{wanted['kind']} {meta['name']} was applied by a newer installation of the manager ({wrote}) than this "
            f"worker's ({own}); if its workers are gone, remove annotation {INSTALLATION_ANNOTATION} from it"
        )
    if wrote and not looks_drifted(as_kept := _with(wanted, str(wrote)), live):
        return as_kept
    return _with(wanted, str(own))


def _with(wanted: Object, text: str) -> Object:
    meta = wanted["metadata"]
    annotations = {**meta["annotations"], INSTALLATION_ANNOTATION: text}
    return {**wanted, "metadata": {**meta, "annotations": annotations}}


def _templates(deployment: Object) -> set[str]:
    """What its containers have for BTP_INSTALLATION now."""
    containers: list[dict[str, Any]] = deployment["spec"]["template"]["spec"].get("containers") or []
    variables = [each for container in containers for each in container.get("env") or []]
    return {str(each.get("value", "")).rpartition("/")[2] for each in variables if each["name"] == VARIABLE}
