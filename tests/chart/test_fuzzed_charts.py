"""Whatever somebody writes into a chart, it renders or is refused in words: no traceback."""

import asyncio
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from localcluster.client import CREDENTIALS
from models.names import MANAGED_BY, MANAGED_BY_LABEL
from operand.credentials import Credentials
from operand.rendering import ChartRenderer, RenderError, prepare
from tests.cluster import encoded
from tests.conftest import OPERAND_CHART

VALUES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just([]) | st.just({}) | st.just([{}])
)
PIECES = st.sampled_from(
    [
        "---",
        "kind: Secret",
        "kind: ConfigMap",
        "apiVersion: v1",
        "metadata:",
        "  name: a",
        "  name: [a]",
        "  name: ''",
        "metadata: a",
        "metadata: {name: a, labels: b}",
        "metadata: {name: sap-btp-service-operator}",
        "- a",
        "a: &b *b",
        "data: x",
        "data: {k: 1}",
        "!!python/object:os.system x",
        "kind: {}",
        "\x00",
        "{",
        "kind: List",
        "stringData: []",
        "  labels: [1]",
        "  annotations: x",
        "  annotations: {a: 1}",
        "  namespace: {}",
        "? [x]",
        "2026-01-01: y",
    ]
)


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=8))
def test_whatever_helm_prints_is_labelled_as_ours_or_refused(lines: list[str]) -> None:
    try:
        objects = prepare("\n".join(lines))
    except RenderError as error:
        assert str(error)
        return
    for obj in objects:
        assert obj["metadata"]["labels"][MANAGED_BY_LABEL] == MANAGED_BY
        assert isinstance(obj["metadata"]["name"], str)


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for key, value in values.items():
        found += leaves(value, (*path, key)) if isinstance(value, dict) and value else [(*path, key)]
    return found


def test_a_chart_with_any_value_renders_or_is_refused(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    defaults = yaml.safe_load((OPERAND_CHART / "values.yaml").read_text())
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(st.dictionaries(st.sampled_from(leaves(defaults)), VALUES, min_size=1, max_size=2))
    def check(changes: dict[tuple[str, ...], object]) -> None:
        values = yaml.safe_load((OPERAND_CHART / "values.yaml").read_text())
        for path, value in changes.items():
            place = values
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
        (chart / "values.yaml").write_text(yaml.safe_dump(values))
        given_values = Credentials({"data": encoded(CREDENTIALS)}).values()
        given_values["manager"]["webhook"] = {"caBundle": "Zm9v"}
        try:
            asyncio.run(ChartRenderer(chart).render(given_values))
            outcomes["rendered"] += 1
        except RenderError as error:
            assert str(error) and "Traceback" not in str(error)
            outcomes["refused"] += 1

    check()
    assert outcomes["rendered"] and outcomes["refused"], outcomes
