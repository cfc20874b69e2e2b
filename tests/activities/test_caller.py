"""Who asks for an activity: whoever reaches Temporal can schedule one, or take the workflow id of a CR."""

import dataclasses
import uuid
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.edge import OF_ONE_TYPE
from activities.hard_delete import HardDeleteActivities
from activities.reclaim import ReclaimActivities
from activities.responsibility import ResponsibilityActivities
from activities.resync import ResyncActivities
from activities.soft_delete import SoftDeleteActivities
from activities.teardown import TeardownActivities
from dispatch.names import workflow_id
from dispatch.nudger import Nudger
from kube.client import Kube
from kube.resources import BTP_OPERATORS, DEPLOYMENTS
from localcluster.client import Person
from models.deprovision import HardDeleteInput, TeardownInput
from models.limits import Limits, OperandTeardown
from models.mandate import Mandate
from models.names import (
    DEPROVISION_WORKFLOW,
    FINALIZER,
    KYMA_NAMESPACE,
    OPERAND_DEPLOYMENT,
    PROVISION_WORKFLOW,
    RECLAIM_WORKFLOW,
    RESYNC_SCHEDULE,
    RESYNC_WORKFLOW,
)
from models.operators import OperatorRef
from models.reclaim import ReclaimEnd, RoundInput
from models.resync import ResyncInput
from tests.acting import in_a, letting_go, provision
from tests.activities.steps import Steps


def called_by(workflow: str, workflow_type: str) -> ActivityEnvironment:
    environment = in_a(workflow_type)
    environment.info = dataclasses.replace(environment.info, workflow_id=workflow)
    return environment


@pytest.mark.parametrize(
    "whose", ["another workflow", "another CR's workflow", "another type under the CR's id", "provisioning"]
)
async def test_an_activity_that_another_workflow_asks_for_destroys_nothing(
    whose: str,
    steps: Steps,
    kube: Kube,
    worker: Kube,
    person: Person,
    ref: OperatorRef,
    mandate: Mandate,
    credentials: dict[str, str],
) -> None:
    await provision(ResponsibilityActivities(worker).add_finalizer, mandate)
    await steps.apply(mandate)
    person.delete_operator(ref.name)
    queue = ActivityEnvironment().info.task_queue
    other = mandate.model_copy(update={"ref": ref.model_copy(update={"uid": str(uuid.uuid4())})})
    environment = {
        "another workflow": called_by("mine", DEPROVISION_WORKFLOW),
        "another CR's workflow": called_by(workflow_id(other, queue), DEPROVISION_WORKFLOW),
        "another type under the CR's id": called_by(workflow_id(mandate, queue), RESYNC_WORKFLOW),
        "provisioning": called_by(workflow_id(mandate, queue), PROVISION_WORKFLOW),
    }[whose]
    step = TeardownInput(mandate=mandate)
    deletion = [
        (TeardownActivities(worker).remove_resources, step),
        (TeardownActivities(worker).remove_operand, step),
        (SoftDeleteActivities(worker).soft_delete_service_objects, step),
        (HardDeleteActivities(worker).hard_delete_service_objects, HardDeleteInput(mandate=mandate)),
        (ResponsibilityActivities(worker).assess_deletion, mandate),
    ]
    anybody = [(ResponsibilityActivities(worker).remove_finalizer, letting_go(mandate))]
    for method, input in deletion if whose == "provisioning" else [*deletion, *anybody]:
        with pytest.raises(ApplicationError, match="belongs to workflow") as refused:
            await environment.run(method, input)  # type: ignore[arg-type]
        assert refused.value.non_retryable
    assert await kube.find(DEPLOYMENTS, OPERAND_DEPLOYMENT, KYMA_NAMESPACE)
    assert FINALIZER in (await kube.get(BTP_OPERATORS, ref.name, ref.namespace))["metadata"]["finalizers"]


@pytest.mark.parametrize("workflow_type", [PROVISION_WORKFLOW, RESYNC_WORKFLOW, "Mine"])
async def test_no_workflow_but_a_reclaim_asks_for_reclaim_and_none_but_a_resync_for_a_resync(
    worker: Kube, workflow_type: str
) -> None:
    cluster, environment = await worker.cluster_uid(), in_a(workflow_type)
    reclaim, resync = ReclaimActivities(worker), ResyncActivities(worker, "queue", listed=False)
    asked = [
        (reclaim.reclaim_round, RoundInput(cluster=cluster)),
        (reclaim.end_reclaim, ReclaimEnd(cluster=cluster, message="all is gone", left=0)),
        *([(resync.nudge_operators, ResyncInput(cluster=cluster))] if workflow_type != RESYNC_WORKFLOW else []),
    ]
    for method, input in asked:
        with pytest.raises(ApplicationError, match=f"{method.__name__} belongs to workflow") as refused:
            await environment.run(method, input)  # type: ignore[arg-type]
        assert refused.value.non_retryable


async def test_a_reclaim_and_a_resync_work_under_their_own_ids_only(worker: Kube, mandate: Mandate) -> None:
    queue, cluster = ActivityEnvironment().info.task_queue, mandate.cluster
    own, all_of_it, shown = f"{workflow_id(mandate, queue)}/reclaim", f"{queue}/reclaim/all", f"{queue}/reclaim/shown-1"
    another = workflow_id(Mandate(cluster=cluster, ref=mandate.ref.model_copy(update={"uid": "another"})), queue)
    end = ReclaimEnd(cluster=cluster, message="all is gone", left=0)
    reclaim, resync = ReclaimActivities(worker), ResyncActivities(worker, queue, listed=False)
    of_a_cr = RoundInput(cluster=cluster, ref=mandate.ref)
    strangers: dict[Any, tuple[Any, list[str]]] = {
        reclaim.reclaim_round: (
            of_a_cr,
            [f"{another}/reclaim", all_of_it, workflow_id(mandate, queue), f"{own}/x", shown],
        ),
        reclaim.end_reclaim: (end, [workflow_id(mandate, queue), shown, "/reclaim", f"{queue}/btpoperator//reclaim"]),
        resync.nudge_operators: (
            ResyncInput(cluster=cluster),
            [f"{RESYNC_SCHEDULE}/{queue}", f"{RESYNC_SCHEDULE}/another-2026-01-01T00:00:00Z", "mine"],
        ),
    }
    for method, (input, ids) in strangers.items():
        for identity in ids:
            with pytest.raises(ApplicationError, match=f"{method.__name__} belongs to workflow") as refused:
                await called_by(identity, OF_ONE_TYPE[method.__name__]).run(method, input)
            assert refused.value.non_retryable
    for identity in (all_of_it, own):
        await called_by(identity, RECLAIM_WORKFLOW).run(reclaim.end_reclaim, end)
    of_all, only_shown = RoundInput(cluster=cluster), RoundInput(cluster=cluster, ref=mandate.ref, only_show=True)
    for identity, scope in ((all_of_it, of_all), (shown, only_shown), (own, of_a_cr)):
        done = await called_by(identity, RECLAIM_WORKFLOW).run(reclaim.reclaim_round, scope)
        assert "Secret" in done.trouble  # none is there


async def test_a_workflow_that_took_the_id_of_a_cr_is_named_while_it_runs(
    temporal: Client, task_queue: str, mandate: Mandate
) -> None:
    nudger = Nudger(temporal, task_queue, mandate.cluster, Limits(), OperandTeardown.AUTO)
    assert await nudger.squatter(mandate.ref) == ""
    identity = workflow_id(mandate, task_queue)
    squatter = await temporal.start_workflow("Squatter", id=identity, task_queue="elsewhere")
    said = await nudger.squatter(mandate.ref)
    assert said.startswith(f"workflow {identity} is a 'Squatter' on task queue 'elsewhere'") and said.endswith("end it")
    await squatter.terminate()
    assert await nudger.squatter(mandate.ref) == ""
    await nudger.nudge(mandate.ref, False)
    assert await nudger.squatter(mandate.ref) == "", "the CR's own workflow is none"
    await temporal.get_workflow_handle(identity).terminate()
