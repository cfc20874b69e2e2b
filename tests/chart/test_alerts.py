"""Each alert fires when it should and only then: Prometheus' own unit test of the rules."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.binaries import binary
from localcluster.shipped import MANAGER_CHART

pytestmark = pytest.mark.long

ALERTS = yaml.safe_load((MANAGER_CHART / "files" / "alerts.yaml").read_text())
RULES = ALERTS["groups"][0]["rules"]
CASES = Path(__file__).with_name("alerts.yaml")


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
