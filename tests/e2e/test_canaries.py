"""No value of any Secret is seen outside, on any path: good, bad, refused, hard, soft, hastened by a person."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from dispatch.names import default_task_queue, workflow_id
from localcluster.environment import Environment
from localcluster.misbehaviour import Fault
from localcluster.servicemanager import BINDING_CREDENTIALS, ServiceManager
from models.names import RECLAIM_SECRET
from tests.conftest import OPERAND_CHART
from tests.e2e.canaries import Canaries, Watcher, histories, outside
from tests.e2e.deletion import Scene

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]
PRIVATE_KEY = "canary-Uo8-private-key"
QUOTES_ALL_VALUES = '{{ fail (printf "%v" .Values) }}'
IS_REFUSED = """apiVersion: v1
kind: ConfigMap
metadata:
  name: refused
  labels: {quoted: {{ index .Values.manager.secret.data "clientsecret" | b64dec | printf "!%s" | quote }}}
"""


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    chart = tmp_path / "chart"
    shutil.copytree(OPERAND_CHART, chart)
    (tmp_path / "tmp").mkdir()
    settings = {"BTP_CHART_PATH": str(chart), "TMPDIR": str(tmp_path / "tmp"), "BTP_HARD_DELETE_TIMEOUT": "2m"}
    with (
        ServiceManager() as sap,
        Environment(
            settings, administrator="its chart has objects of names that the shipped rights do not know"
        ) as environment,
    ):
        yield Scene(environment, sap)


async def test_no_value_of_a_secret_is_seen_outside_on_any_path(scene: Scene, tmp_path: Path) -> None:
    values = {**scene.sap.credentials(), "tls.key": PRIVATE_KEY}
    admin = scene.sap.admin_credentials()
    canaries = Canaries([*values.values(), *BINDING_CREDENTIALS.values(), *admin.values()])
    with Watcher(scene.environment.workers[0], tmp_path / "tmp") as watcher:
        provide(scene, values, tmp_path / "chart" / "templates" / "added.yaml")
        await remove(scene)
    commands = [content for content in watcher.seen if b"template" in content]
    assert commands, "Helm was not seen at work"
    assert [content for content in watcher.seen if canaries.found_in(content)] == []

    client = await Client.connect(scene.environment.temporal.address)
    recorded = await histories(client)
    assert any(b"skip_to_soft_delete" in history for history in recorded.values())
    assert any(b"does not render" in history and b"***" in history for history in recorded.values())
    assert [run for run, history in recorded.items() if canaries.found_in(history)] == []
    assert [place for place, content in outside(scene.environment) if canaries.found_in(content)] == []
    for path in ("events", "configmaps/sap-btp-abandoned"):
        seen = str(scene.person.get(f"/api/v1/namespaces/kyma-system/{path}")).encode()
        assert b"HardDeleting" in seen or b"binding-0" in seen
        assert canaries.found_in(seen) == []


def provide(scene: Scene, values: dict[str, str], added: Path) -> None:
    """Every way to Ready. A Secret that was not seen before has the chart rendered again."""
    person = scene.person
    person.create_operator("btpoperator")
    person.put_secret({**values, "tokenurl": ""})
    scene.until(lambda: scene.reason() == "InvalidSecret", "the empty value to be named")
    added.write_text(QUOTES_ALL_VALUES)
    person.put_secret(values)
    scene.until(lambda: scene.reason() == "PreparingInstallInfoFailed", "the chart not to render")
    added.write_text(IS_REFUSED)
    person.put_secret({**values, "other": "x"})
    scene.says("ChartInstallFailed", "***")
    added.unlink()
    person.put_secret({**values, "other": "y"})  # a retry may have rendered these values beside the refused object
    scene.until(lambda: scene.state() == "Ready", "the CR to be Ready")


async def remove(scene: Scene) -> None:
    """A deletion that waits for a dead operand until a person ends that."""
    person = scene.person
    scene.operand = scene.environment.start_operand()
    scene.make({"team-a": 2})
    scene.operand.kill()
    known = scene.sap.admin_credentials()
    person.put_secret(known, name=RECLAIM_SECRET)
    quoted = {"description": f"not for {known['clientid']} with {known['clientsecret']}"}
    scene.sap.faults = [Fault("DELETE", times=1000, status=400, body=quoted)]
    mandate = scene.mandate()
    person.delete_operator("btpoperator")
    scene.until(lambda: "soft delete follows in" in scene.message(), "the deletion to wait")
    client = await Client.connect(scene.environment.temporal.address, data_converter=pydantic_data_converter)
    deletion = client.get_workflow_handle(workflow_id(mandate, default_task_queue(mandate.cluster)))
    await deletion.execute_update("retry_now")
    await deletion.execute_update("skip_to_soft_delete", "alice")
    await asyncio.to_thread(scene.gone)
    assert len(scene.reported()) == 4
    scene.until(lambda: "***" in scene.reported()["team-a/binding-0"].get("reclaim", ""), "a reclaim to be refused")
