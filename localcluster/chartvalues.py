"""Makes docs/values.md from the comments in the chart's values.yaml, and the schema of `settings` from the settings.

`make values` writes both; a test compares.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from localcluster.controlplane import CHECKOUT
from operand.operand_values import OF_THE_MANAGER
from runtime.settings import TriggerSettings, WorkerSettings

VALUES: Final = CHECKOUT / "chart" / "btp-manager" / "values.yaml"
SCHEMA: Final = CHECKOUT / "chart" / "btp-manager" / "values.schema.json"
PAGE: Final = CHECKOUT / "docs" / "values.md"
OF_THE_CHART: Final = {
    "task_queue",
    "payload_key",
    "metrics_address",
    "health_address",
    "operand_rbac",
    "operand_values",
    "installation",
}
"""Settings that have a value of their own in the chart, or that its other objects rely on."""
DURATION: Final = r"^([0-9]+(\.[0-9]+)?(ms|d|h|m|s))+$"
_LINE: Final = re.compile(r"( *)([A-Za-z]+):(?: (.+))?$")
OPERAND_SCHEMA: Final = CHECKOUT / "chart" / "sap-btp-operator" / "values.schema.json"
_OPERAND: Final = re.compile(r'    "operand": \{.*?\n    \},\n', re.DOTALL)
_SETTINGS: Final = re.compile(r'    "settings": \{.*?\n    \},\n', re.DOTALL)
_HEAD: Final = """# Which values does the chart have?

Values of the chart [`chart/btp-manager`](../chart/btp-manager/README.md). This page is made from the comments in
`chart/btp-manager/values.yaml` (`make values`).

| Value | Default | Meaning |
|---|---|---|
"""


def values() -> Iterator[tuple[str, str, str]]:
    """Each value: its name with dots, its default as YAML, and what the comment above it, and above its group, says.

    A comment ends at an empty line that no key follows.
    """
    groups: list[str] = []
    comment: list[str] = []
    for line in VALUES.read_text().splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("# "))
        elif found := _LINE.match(line):
            indent, key, default = found.groups()
            groups[len(indent) // 2 :] = [key]
            yield ".".join(groups), default or "", " ".join(comment)
            comment = []
        elif not line.strip():
            comment = []
        else:
            raise ValueError(f"values.yaml: {line!r} is neither a comment nor a key with its value on one line")


def page() -> str:
    """docs/values.md."""
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in values() if text]
    return _HEAD + "\n".join(row.replace("|  |", "| |") for row in rows) + "\n"


def schema() -> str:
    """The chart's schema, with every setting that `settings`, and every value that `operand`, may have."""
    fields = {**WorkerSettings.model_fields, **TriggerSettings.model_fields}
    lines = [
        f'        "BTP_{name.upper()}": {json.dumps(_accepts(field))}'
        for name, field in sorted(fields.items())
        if name not in OF_THE_CHART
    ]
    head = '    "settings": {\n      "type": "object",\n      "additionalProperties": false,\n      "properties": {\n'
    text = head + ",\n".join(lines) + "\n      }\n    },\n"
    operand = textwrap.indent(f'"operand": {json.dumps(_operand(), indent=2)},\n', "    ")
    return _OPERAND.sub(lambda _: operand, _SETTINGS.sub(lambda _: text, SCHEMA.read_text(), count=1), count=1)


def _operand() -> dict[str, Any]:
    """The schema of the operand's values without those that the manager sets."""
    whole = json.loads(OPERAND_SCHEMA.read_text())
    allowed = _resolved({"type": "object", **_without(whole, "")}, whole["definitions"])
    assert isinstance(allowed, dict)
    return {key: allowed[key] for key in ("type", "additionalProperties", "properties")}


def _without(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """A map's schema without the manager's own values, and without demanding any."""
    if "properties" not in schema:
        return schema
    left = {
        name: _without(each, f"{place}{name}.")
        for name, each in schema["properties"].items()
        if f"{place}{name}" not in OF_THE_MANAGER and name != "global"
    }
    return {**{key: value for key, value in schema.items() if key != "required"}, "properties": left}


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its definitions in place of references to them."""
    if isinstance(schema, list):
        return [_resolved(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return definitions[reference.removeprefix("#/definitions/")]
    return {key: _resolved(value, definitions) for key, value in schema.items()}


def _accepts(field: FieldInfo) -> dict[str, Any]:
    kind = field.annotation
    if kind is timedelta:
        return {"type": "string", "pattern": DURATION}
    if kind is bool:
        return {"type": "boolean"}
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"enum": [each.value for each in kind]}
    return {"type": "integer"} if kind is int else {"type": "string"}


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    PAGE.write_text(page())
