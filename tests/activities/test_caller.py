"""Who asks for an activity: whoever reaches Temporal can schedule one, or take the workflow id of a CR."""

import dataclasses
import uuid

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.responsibility import ResponsibilityActivities
from activities.teardown import TeardownActivities
from dispatch.names import workflow_id
from dispatch.nudger import Nudger
from kube.client import Kube
from kube.resources import BTP_OPERATORS, DEPLOYMENTS
from localcluster.client import Person
from models.deprovision import TeardownInput
from models.limits import Limits, OperandTeardown
from models.mandate import Mandate
from models.names import DEPROVISION_WORKFLOW, FINALIZER, KYMA_NAMESPACE, OPERAND_DEPLOYMENT, RESYNC_WORKFLOW
from models.operators import OperatorRef
from tests.acting import provision
from tests.activities.steps import Steps


def called_by(workflow: str, workflow_type: str) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, workflow_id=workflow, workflow_type=workflow_type)
    return environment


@pytest.mark.parametrize("whose", ["another workflow", "another CR's workflow", "another type under the CR's id"])
async def test_an_activity_that_another_workflow_asks_for_destroys_nothing(
    whose: str,
    steps: Steps,
    kube: Kube,
    person: Person,
    ref: OperatorRef,
    mandate: Mandate,
    credentials: dict[str, str],
) -> None:
    await provision(ResponsibilityActivities(kube).add_finalizer, mandate)
    await steps.apply(mandate)
    person.delete_operator(ref.name)
    queue = ActivityEnvironment().info.task_queue
    other = mandate.model_copy(update={"ref": ref.model_copy(update={"uid": str(uuid.uuid4())})})
    environment = {
        "another workflow": called_by("mine", DEPROVISION_WORKFLOW),
        "another CR's workflow": called_by(workflow_id(other, queue), DEPROVISION_WORKFLOW),
        "another type under the CR's id": called_by(workflow_id(mandate, queue), RESYNC_WORKFLOW),
    }[whose]
    for method, input in (
        (TeardownActivities(kube).remove_resources, TeardownInput(mandate=mandate)),
        (ResponsibilityActivities(kube).remove_finalizer, mandate),
    ):
        with pytest.raises(ApplicationError, match="belongs to workflow") as refused:
            await environment.run(method, input)  # type: ignore[arg-type]
        assert refused.value.non_retryable
    assert await kube.find(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    assert FINALIZER in (await kube.get(BTP_OPERATORS, ref.name, ref.namespace))["metadata"]["finalizers"]


async def test_a_workflow_that_took_the_id_of_a_cr_is_named_while_it_runs(
    temporal: Client, task_queue: str, mandate: Mandate
) -> None:
    nudger = Nudger(temporal, task_queue, mandate.cluster, Limits(), OperandTeardown.AUTO)
    assert await nudger.rival(mandate.ref) == ""
    identity = workflow_id(mandate, task_queue)
    squatter = await temporal.start_workflow("Squatter", id=identity, task_queue="elsewhere")
    said = await nudger.rival(mandate.ref)
    assert said.startswith(f"workflow {identity} is a 'Squatter' on task queue 'elsewhere'") and said.endswith("end it")
    await squatter.terminate()
    assert await nudger.rival(mandate.ref) == ""
    await nudger.nudge(mandate.ref, False)
    assert await nudger.rival(mandate.ref) == "", "the CR's own workflow is none"
    await temporal.get_workflow_handle(identity).terminate()
