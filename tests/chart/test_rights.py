"""The manager's chart grants exactly the rights of the table that the doctor asks for (btpctl/rights.py)."""

import subprocess
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from btpctl.rights import Right, needed, needed_by_trigger, needed_for_credentials, needed_for_installation
from localcluster.shipped import MANAGER_CHART, RELEASE
from models.names import KYMA_NAMESPACE
from operand.rendering import ChartRenderer
from tests.chart.test_operand_chart import values
from tests.chart.test_operand_values import CA
from tests.conftest import OPERAND_CHART

Granted = tuple[str, str, str, str | None, str | None]
"""API group, resource, verb, namespace (None for all), name (None for all)."""


def roles_of(process: str, *settings: str) -> list[dict[str, Any]]:
    command = ["helm", "template", RELEASE, str(MANAGER_CHART), "--namespace", KYMA_NAMESPACE]
    command += [part for setting in settings for part in ("--set", setting)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [
        obj
        for obj in yaml.safe_load_all(rendered)
        if obj and obj["kind"] in ("ClusterRole", "Role") and obj["metadata"]["name"].startswith(f"{RELEASE}-{process}")
    ]


def granted(roles: list[dict[str, Any]]) -> set[Granted]:
    """Every right that these roles give, one by one."""
    return {
        (group, resource, verb, role["metadata"].get("namespace"), name)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames") or (None,)
    }


def table(rights: Iterable[Right]) -> set[Granted]:
    return {(resource.group, resource.plural, verb, namespace, name) for resource, verb, namespace, name in rights}


async def needed_with(rbac: bool) -> list[Right]:
    """With all that the operand's chart can render, certificates that a user gives included."""
    given = {"manager": {"customCACerts": [CA]}}
    objects = await ChartRenderer(OPERAND_CHART, rbac=rbac, given=given).render(values())
    return [*needed(objects), *needed_for_installation(f"{KYMA_NAMESPACE}/{RELEASE}-worker/template")]


async def test_the_chart_grants_the_worker_what_the_table_says_and_no_more() -> None:
    rights = await needed_with(rbac=False)
    assert len(rights) > 100
    assert granted(roles_of("worker")) == table(rights)


def test_the_chart_grants_the_trigger_what_the_table_says_and_no_more() -> None:
    assert granted(roles_of("trigger")) == table(needed_by_trigger())


async def test_each_further_namespace_for_credentials_costs_the_rights_to_one_secret_there() -> None:
    roles = roles_of("worker", "credentialsNamespaces={a,b}")
    further = [*needed_for_credentials("a"), *needed_for_credentials("b")]
    assert granted(roles) == table(await needed_with(rbac=False)) | table(further)


async def test_a_worker_that_makes_the_operands_roles_needs_rights_that_the_chart_does_not_grant() -> None:
    missing = table(await needed_with(rbac=True)) - granted(roles_of("worker"))
    assert {(resource, verb) for _, resource, verb, _, _ in missing} == {
        (resource, verb)
        for resource in ("clusterroles", "clusterrolebindings", "roles", "rolebindings")
        for verb in ("create", "patch")
    }


@pytest.mark.parametrize("process", ["worker", "trigger"])
def test_no_process_may_list_or_watch_secrets_whose_names_are_not_known(process: str) -> None:
    secrets = [right for right in granted(roles_of(process)) if right[1] == "secrets"]
    assert secrets and not [right for right in secrets if right[2] in ("list", "watch") and right[4] is None]
