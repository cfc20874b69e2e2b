"""Says in what a newer chart of the operand, as SAP publishes it, differs from `chart/sap-btp-operator`.

`make compare-upstream CHART=FOLDER`: both are rendered by Helm, and compared object by object: kinds, fields, rights,
and the schemas of the CRDs without their descriptions; then the values that only the other chart has. Nothing changes.
Status 1 says that there are differences, 2 that the other chart does not render.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from models.names import KYMA_NAMESPACE, OPERAND

OURS: Final = CHECKOUT / "chart" / "sap-btp-operator"
SILENT: Final = ("description", "creationTimestamp", "controller-gen.kubebuilder.io/version", "checksum/config")
"""Keys whose values say nothing about what the object does."""
NOTHING: Final = "nothing"
Objects = dict[tuple[str, str], Any]
Facts = dict[str, str]
"""What an object says, as places and values."""


class DoesNotRender(Exception):
    """`str()` is Helm's sentence."""


def rendered(chart: Path, values: Path | None = None) -> Objects:
    """The chart's objects by kind and name.

    Raises:
        DoesNotRender: Helm refuses it.
    """
    command = [str(binary("helm")), "template", OPERAND, str(chart), "--namespace", KYMA_NAMESPACE, "--include-crds"]
    # Ours has no values of its own for these; theirs has placeholders.
    command += ["--set", "cluster.id=example"] + (["--values", str(values)] if values else [])
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise DoesNotRender(" ".join(done.stderr.split()))
    objects = [obj for obj in yaml.safe_load_all(done.stdout) if obj]
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


def differences(ours: Objects, theirs: Objects) -> Iterator[str]:
    """One line for each difference, in the order of kinds and names."""
    for kind, name in sorted(ours.keys() | theirs.keys()):
        if (kind, name) not in theirs:
            yield f"{kind} {name}: only in ours"
        elif (kind, name) not in ours:
            yield f"{kind} {name}: only in theirs"
        else:
            mine, other = dict(facts(ours[kind, name])), dict(facts(theirs[kind, name]))
            for place in sorted(mine.keys() | other.keys()):
                if mine.get(place) != other.get(place):
                    said = f"ours {mine.get(place, NOTHING)}, theirs {other.get(place, NOTHING)}"
                    yield f"{kind} {name}: {place}: {said}"


def facts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every leaf with its place. The order of rights, of named entries and of plain words counts for nothing."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "rules" and _is_rights(inner):
                yield from ((f"{place}right {right}", "granted") for right in _rights(inner))
            elif key not in SILENT or isinstance(inner, Mapping):  # a property may have that name
                yield from facts(inner, f"{place}{key}.")
    elif isinstance(value, list) and all(isinstance(each, Mapping) and "name" in each for each in value):
        for each in value:
            yield from facts({key: inner for key, inner in each.items() if key != "name"}, f"{place}{each['name']}.")
            yield f"{place}{each['name']}", "there"
    elif isinstance(value, list) and not any(isinstance(each, Mapping | list) for each in value):
        yield from ((f"{place}{each}", "there") for each in value)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from facts(each, f"{place}{number}.")
    elif value is not None:
        yield place.rstrip("."), str(value)


def unknown_values(chart: Path) -> list[str]:
    """Values that their chart has and ours has not."""
    return sorted(_names(_values(chart)) - _names(_values(OURS)))


def _values(chart: Path) -> Any:
    file = chart / "values.yaml"
    return yaml.safe_load(file.read_text()) if file.is_file() else {}


def _names(values: Any, place: str = "") -> set[str]:
    if not isinstance(values, Mapping) or not values:
        return {place.rstrip(".")} if place else set()
    return {name for key, inner in values.items() for name in _names(inner, f"{place}{key}.")}


def _is_rights(rules: Any) -> bool:
    return isinstance(rules, list) and all(isinstance(rule, Mapping) and "verbs" in rule for rule in rules)


def _rights(rules: list[Any]) -> set[str]:
    return {
        f"to {verb} {resource}{f'.{group}' if group else ''}{f' named {name}' if name else ''}"
        for rule in rules
        for group in rule.get("apiGroups") or [""]
        for resource in rule.get("resources") or rule.get("nonResourceURLs") or []
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or [""]
    }


def main() -> int:
    """Compare, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chart", type=Path, help="the other chart's folder")
    parser.add_argument("--values", type=Path, help="values that the other chart needs in order to render")
    arguments = parser.parse_args()
    try:
        found = list(differences(rendered(OURS), rendered(arguments.chart, arguments.values)))
    except DoesNotRender as error:
        print(f"{arguments.chart} does not render: {error}", file=sys.stderr)
        return 2
    found += [f"value {name}: only in theirs" for name in unknown_values(arguments.chart)]
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
