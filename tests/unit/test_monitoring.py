"""Alert rules and dashboard: valid PromQL, each explained in the runbook."""

import json
from typing import Any

import promql_parser
import pytest
import yaml

from localcluster.controlplane import CHECKOUT
from localcluster.environment import CHART

RULES = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def metrics(expression: str) -> set[str]:
    """The names of the metrics in an expression."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        selector = getattr(node, "vector_selector", None) or node
        if isinstance(selector, promql_parser.VectorSelector):
            found.add(str(selector.name))
        for part in ("expr", "lhs", "rhs"):
            if (child := getattr(node, part, None)) is not None:
                visit(child)
        for child in getattr(node, "args", None) or []:
            visit(child)

    visit(promql_parser.parse(expression))
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_promql_over_our_metrics(expression: str) -> None:
    assert metrics(expression) and all(name.startswith("btp_") for name in metrics(expression))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_is_so_and_the_runbook_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"]
    assert f"`{rule['alert']}`" in (CHECKOUT / "docs" / "operations.md").read_text()
