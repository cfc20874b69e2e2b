"""An upgrade and a rollback by Helm, with workers of both versions at work all the time. Real processes."""

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kube.resources import BTP_OPERATORS, CONFIG_MAPS
from localcluster.client import CREDENTIALS, Person
from localcluster.environment import Environment
from localcluster.processes import probe, wait_until
from localcluster.shipped import MANAGER_CHART, RELEASE, helm
from models.names import KYMA_NAMESPACE, OPERAND_CONFIG
from tests.conftest import OPERAND_CHART

LOOKS = 6
"""So many that both workers would have had one, where both took them."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_during_an_upgrade_the_newer_chart_holds_and_after_a_rollback_the_older_one(tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(OPERAND_CHART, newer)
    template = newer / "templates" / "configmap.yaml"
    template.write_text(f"{template.read_text().rstrip()}\n  CHART: newer\n")
    with Environment(workers=2) as environment:
        person, second = Person(environment.cluster), environment.workers[1]
        person.put_secret(CREDENTIALS)
        person.create_operator("btpoperator")
        wait_until(lambda: is_ready(person), "the CR to be Ready")
        assert config(person)["data"].get("CHART") is None

        helm(environment.cluster, "upgrade", RELEASE, MANAGER_CHART, "--reuse-values", "--set", "image.tag=newer")
        second.stop()
        second.environment |= {"BTP_CHART_PATH": str(newer), "BTP_INSTALLATION": environment.shipped.installation()}
        second.start()
        wait_until(lambda: config(person)["data"].get("CHART") == "newer", "the newer chart to be applied", seconds=120)
        stays(environment, person)

        helm(environment.cluster, "rollback", RELEASE, "1")
        look(environment, 0)
        wait_until(lambda: "CHART" not in config(person)["data"], "the older chart to be applied", seconds=120)
        stays(environment, person)


def stays(environment: Environment, person: Person) -> None:
    """Whoever looks changes nothing, neither at the operand nor at the CR."""
    wait_until(lambda: is_ready(person), "the CR to be Ready", seconds=120)
    before = config(person)["metadata"]["resourceVersion"], said(person)
    runs = looks_so_far(environment)
    for number in range(LOOKS):
        look(environment, number)
        wait_until(partial(has_looked, environment, runs + number + 1), "a look", seconds=120)
    assert (config(person)["metadata"]["resourceVersion"], said(person)) == before


def look(environment: Environment, number: int) -> None:
    patch = {"metadata": {"labels": {"example.com/look": str(number)}}}
    path = BTP_OPERATORS.path(KYMA_NAMESPACE, "btpoperator")
    environment.cluster.request("PATCH", path, patch, "application/merge-patch+json")


def has_looked(environment: Environment, times: int) -> bool:
    return looks_so_far(environment) >= times


def looks_so_far(environment: Environment) -> int:
    """Runs that have ended, by the workers' own count."""
    pages = [probe(f"http://127.0.0.1:{worker.metrics}/metrics")[1] for worker in environment.workers]
    lines = [line for page in pages for line in page.splitlines() if line.startswith("btp_reconcile_total{")]
    return sum(int(float(line.split()[-1])) for line in lines)


def is_ready(person: Person) -> bool:
    status = person.status("btpoperator")
    return status is not None and status.state == "Ready"


def said(person: Person) -> Any:
    return (person.get(BTP_OPERATORS.path(KYMA_NAMESPACE, "btpoperator")) or {})["status"]


def config(person: Person) -> dict[str, Any]:
    found = person.get(CONFIG_MAPS.path(KYMA_NAMESPACE, OPERAND_CONFIG))
    assert found is not None
    return found
