"""Alert rules and dashboard: valid PromQL over our metrics, and each is explained."""

import json
import re
from typing import Any

import promql_parser
import pytest
import yaml

from localcluster.controlplane import CHECKOUT
from localcluster.shipped import MANAGER_CHART

ALERTS = yaml.safe_load((MANAGER_CHART / "files" / "alerts.yaml").read_text())
RULES = ALERTS["groups"][0]["rules"]
DASHBOARD = json.loads((MANAGER_CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERT_EXPRESSIONS = [rule["expr"] for rule in RULES]
EXPRESSIONS = ALERT_EXPRESSIONS + [target["expr"] for panel in PANELS for target in panel["targets"]]


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
def test_every_expression_is_promql_over_metrics_of_ours_or_of_temporals_sdk(expression: str) -> None:
    names = metrics(expression)
    assert names and all(name.startswith(("btp_", "temporal_")) for name in names)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_temporals_metrics_are_those_of_our_processes(expression: str) -> None:
    """Other workers on the same Prometheus export metrics of the same names."""
    assert not re.search(r"temporal_\w+(?!\w|\{job=\"btp-manager\")", expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_what_is_so_and_its_page_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"] and rule["annotations"]["description"]
    assert f"\n## {rule['alert']}\n" in (CHECKOUT / "docs" / "alerts.md").read_text()


def test_every_panel_of_the_dashboard_says_what_it_shows() -> None:
    assert [panel["title"] for panel in PANELS if not panel.get("description")] == []


SOURCES = [
    path
    for folder in ("activities", "kube", "operand", "runtime", "trigger", "worker", "workflows")
    for path in sorted((CHECKOUT / folder).rglob("*.py"))
]
MADE = {name for path in SOURCES for name in re.findall(r'"(btp_[a-z_]+)"', path.read_text())}
SUFFIX = re.compile(r"_(total|bucket|count|sum)$")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_of_ours_in_an_expression_is_made_somewhere(expression: str) -> None:
    """That each is exported by running processes, and Temporal's too, tests/e2e/test_least_privilege.py shows."""
    ours = {name for name in metrics(expression) if name.startswith("btp_")}
    assert {name for name in ours if name not in MADE and SUFFIX.sub("", name) not in MADE} == set()


def test_grafana_finds_its_datasource_by_a_variable_and_every_panel_by_an_id_and_a_place_of_its_own() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    assert {panel["datasource"]["uid"] for panel in PANELS} == {f"${{{variable['name']}}}"}
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [
        (x, y)
        for at in (panel["gridPos"] for panel in every)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(places) == len(set(places)) and max(x for x, _ in places) < 24
