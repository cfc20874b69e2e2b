"""Renders the operand's chart with Helm. Values go in through a pipe: they hold credentials."""

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from kube.answers import Object
from kube.resources import SECRETS, chart_kind
from models.names import (
    APPLIED_HASH_ANNOTATION,
    KYMA_NAMESPACE,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MANAGED_SECRETS,
    OPERAND,
)
from operand.operand_values import SETTING, Values, merged

HELM_PATIENCE: Final = 30.0
"""Seconds after which Helm counts as stuck."""
EXAMPLE: Final[Values] = {
    "cluster": {"id": "example"},
    "manager": {"secret": {"data": {}}, "webhook": {"caBundle": "ZXhhbXBsZQ=="}},
}
"""What the manager gives at the least, for a chart that is rendered to see whether it renders."""


class RenderError(Exception):
    """The chart does not render. The message is Helm's and may quote values: scrub it before it travels."""


class ChartRenderer:
    """One chart, rendered only when its values changed."""

    def __init__(
        self,
        chart: Path,
        image: str = "",
        rbac: bool = True,
        helm: str = "helm",
        given: Mapping[str, Any] | None = None,
    ) -> None:
        """Args:
        image: instead of the chart's, if given.
        rbac: whether the chart makes the operand's roles and bindings.
        given: what a user sets of the chart's values (`read_operand_values`); what the manager sets comes above it.
        """
        self.chart = chart
        self.given: Values = dict(given or {})
        self._manager: dict[str, Any] = {"image": {"reference": image}} if image else {}
        if not rbac:
            self._manager["rbac"] = False
        self._helm = helm
        self._version = ""
        self._key = ""
        self._objects: list[Object] = []
        self._turn = asyncio.Lock()

    async def check(self) -> None:
        """Say at start, not at the first CR, that Helm or the chart is not there, or does not take what a user gave.

        Raises:
            ValueError: one sentence that names the setting.
        """
        if not shutil.which(self._helm):
            raise ValueError("helm was not found on PATH; install Helm 3 or 4")
        if not (self.chart / "Chart.yaml").is_file():
            raise ValueError(f"BTP_CHART_PATH: there is no chart in {self.chart}")
        if self.given:
            try:
                await self.render(EXAMPLE)
            except RenderError as error:
                raise ValueError(f"{SETTING}: {str(error)[:500]}") from error

    @property
    def wanted(self) -> Values:
        """What the rendered objects have to show besides a cluster's own values."""
        return merged(self.given, {"manager": self._manager})

    @property
    def version(self) -> str:
        """The chart's `version`, for people."""
        if not self._version:
            try:
                meta = yaml.safe_load((self.chart / "Chart.yaml").read_text())
                self._version = str(meta["version"])
            except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
                raise RenderError(f"Chart.yaml cannot be read: {error}") from error
        return self._version

    async def render(self, values: dict[str, Any]) -> list[Object]:
        """The chart's objects, labelled as ours and carrying the digest of what is applied.

        Raises:
            RenderError: Helm refused, or rendered something that cannot be applied.
        """
        values = merged(self.given, merged(values, {"manager": self._manager}))
        text = json.dumps(values, sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        async with self._turn:
            if key != self._key:
                self._objects = prepare(await self._helm_template(text))
                self._key = key
            return self._objects

    async def _helm_template(self, values: str) -> str:
        with tempfile.TemporaryDirectory() as home:  # Helm looks for settings and plugins there; find none
            process = await asyncio.create_subprocess_exec(
                self._helm,
                "template",
                OPERAND,
                str(self.chart),
                "--namespace",
                KYMA_NAMESPACE,
                "--include-crds",
                "--values",
                "-",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={"PATH": os.environ.get("PATH", ""), "HOME": home},
            )
            try:
                async with asyncio.timeout(HELM_PATIENCE):
                    output, errors = await process.communicate(values.encode())
            except TimeoutError as error:
                raise RenderError(f"helm did not finish within {HELM_PATIENCE:.0f} s") from error
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if process.returncode:
            raise RenderError(" ".join(errors.decode(errors="replace").split()) or f"helm exited {process.returncode}")
        return output.decode()


def prepare(rendered: str) -> list[Object]:
    """Split Helm's output into objects of kinds we know, each labelled and with its digest.

    Raises:
        RenderError: the output is not YAML, or an object is of no known kind.
    """
    try:
        objects = [obj for obj in yaml.load_all(rendered, Loader=_Loader) if obj]
        for obj in objects:
            if not isinstance(obj, dict):
                raise ValueError(f"the chart renders a {type(obj).__name__} where an object should be")
            resource = chart_kind(obj)
            meta = obj["metadata"]
            for where, fields in ((meta, ("labels", "annotations")), (obj, ("data", "stringData"))):
                for field in fields:
                    if not isinstance(where.get(field) or {}, dict):
                        raise ValueError(
                            f"the chart renders {resource.kind} {meta['name']} with {field} that is no map"
                        )
            if not isinstance(meta.get("namespace", ""), str):
                raise ValueError(f"the chart renders {resource.kind} {meta['name']} with a namespace that is no text")
            if resource is SECRETS and meta["name"] not in MANAGED_SECRETS:
                known = ", ".join(MANAGED_SECRETS)
                raise ValueError(
                    f"the chart renders a Secret {meta['name']}, which would be lost sight of; known: {known}"
                )
            if resource.namespaced:
                meta.setdefault("namespace", KYMA_NAMESPACE)
            else:
                meta.pop("namespace", None)
            meta["labels"] = {**(meta.get("labels") or {}), MANAGED_BY_LABEL: MANAGED_BY}
            meta["annotations"] = {**(meta.get("annotations") or {}), APPLIED_HASH_ANNOTATION: applied_hash(obj)}
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise RenderError(str(error)) from error
    if not objects:
        raise RenderError("the chart renders nothing")
    return objects


def applied_hash(obj: Object) -> str:
    """A digest of the rendered object. Secret values are left out: a digest of a weak secret gives it away."""
    if obj.get("kind") == "Secret":
        obj = {**obj, "data": sorted(obj.get("data") or {}), "stringData": sorted(obj.get("stringData") or {})}
    return hashlib.sha256(json.dumps(obj, sort_keys=True, default=str).encode()).hexdigest()[:16]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """libyaml where the wheel has it: ten times faster on the CRDs."""
