"""Alert rules and dashboard: valid PromQL, each explained, and each alert fires when it should and only then."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from localcluster.binaries import binary
from localcluster.controlplane import CHECKOUT
from localcluster.environment import CHART

ALERTS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
RULES = ALERTS["groups"][0]["rules"]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERT_EXPRESSIONS = [rule["expr"] for rule in RULES]
EXPRESSIONS = ALERT_EXPRESSIONS + [target["expr"] for panel in PANELS for target in panel["targets"]]
CASES = Path(__file__).with_name("alerts.yaml")


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


def promtool(rules: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    """Prometheus' own unit test of these rules. Summaries are compared, descriptions are left out."""
    rules = json.loads(json.dumps(rules))
    for rule in rules["groups"][0]["rules"]:
        rule["annotations"].pop("description")
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    cases = yaml.safe_load(CASES.read_text()) | {"rule_files": ["rules.yaml"]}
    (folder / "cases.yaml").write_text(yaml.safe_dump(cases))
    command = [str(binary("promtool")), "test", "rules", "cases.yaml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_every_alert_fires_when_it_should_and_stays_silent_when_not(tmp_path: Path) -> None:
    done = promtool(ALERTS, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    for rule in RULES:
        outcomes = {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == rule["alert"]}
        assert outcomes == {True, False}, rule["alert"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_the_unit_test_of_the_rules_notices_an_alert_that_never_fires(rule: dict[str, Any], tmp_path: Path) -> None:
    broken = json.loads(json.dumps(ALERTS))
    for other in broken["groups"][0]["rules"]:
        if other["alert"] == rule["alert"]:
            other["expr"] = "vector(1) == 2"
    assert promtool(broken, tmp_path).returncode != 0
