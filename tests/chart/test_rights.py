"""The doctor asks for no right that the manager's chart does not grant: both say what worker and trigger need."""

import subprocess
from typing import Any

import yaml

from btpctl.rights import Right, needed, needed_by_trigger
from localcluster.environment import MANAGER_CHART, RELEASE
from models.names import KYMA_NAMESPACE
from operand.rendering import ChartRenderer
from tests.conftest import OPERAND_CHART

VALUES: dict[str, Any] = {
    "cluster": {"id": "c"},
    "manager": {"secret": {"data": {}}, "webhook": {"caBundle": "Zm9v"}},
}


def roles_of(process: str) -> list[dict[str, Any]]:
    command = ["helm", "template", RELEASE, str(MANAGER_CHART), "--namespace", KYMA_NAMESPACE]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    objects = [obj for obj in yaml.safe_load_all(rendered) if obj]
    return [
        obj
        for obj in objects
        if obj["kind"] in ("ClusterRole", "Role") and obj["metadata"]["name"].startswith(f"{RELEASE}-{process}")
    ]


def grants(role: dict[str, Any], right: Right) -> bool:
    """What RBAC's authorizer would say."""
    resource, verb, namespace, name = right
    if role["kind"] == "Role" and role["metadata"]["namespace"] != namespace:
        return False
    return any(
        resource.group in rule["apiGroups"]
        and resource.plural in rule["resources"]
        and verb in rule["verbs"]
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for rule in role["rules"]
    )


async def test_every_right_that_the_doctor_asks_for_is_granted_to_the_worker() -> None:
    objects = await ChartRenderer(OPERAND_CHART, rbac=False).render(VALUES)
    roles, rights = roles_of("worker"), needed(objects)
    assert len(roles) > 1 and len(rights) > 40
    missing = [right for right in rights if not any(grants(role, right) for role in roles)]
    assert missing == []


async def test_a_right_that_nobody_grants_is_noticed() -> None:
    objects = await ChartRenderer(OPERAND_CHART, rbac=True).render(VALUES)
    roles = roles_of("worker")
    assert [right for right in needed(objects) if not any(grants(role, right) for role in roles)]


def test_every_right_that_the_doctor_asks_for_is_granted_to_the_trigger() -> None:
    roles, rights = roles_of("trigger"), needed_by_trigger()
    assert len(roles) > 1 and len(rights) > 30
    assert [right for right in rights if not any(grants(role, right) for role in roles)] == []
