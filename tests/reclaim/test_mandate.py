"""What a round may delete: what this cluster abandoned, and nothing else, whatever the report says."""

from typing import Any

import pytest

from kube.client import Kube
from kube.errors import KubeError
from kube.resources import CONFIG_MAPS, SECRETS, SERVICE_INSTANCES
from localcluster.servicemanager import CLUSTER_ID
from models.names import ABANDONED_CONFIGMAP, KYMA_NAMESPACE, RECLAIM_SECRET
from models.reclaim import Outcome, RoundInput, digest_of
from operand import living, reclaim
from operand.living import LivingObjects, look_at_living_objects
from operand.service_manager import ServiceManager
from tests.acting import as_its_reclaim
from tests.reclaim.conftest import Stage

NOBODY = "00000000-0000-4000-8000-000000000000"


async def test_an_object_whose_id_was_never_known_is_found_by_cluster_namespace_and_name(stage: Stage) -> None:
    wanted = stage.sap.put("service_instances", "team-a", "unknown")
    others = {
        stage.sap.put("service_instances", "team-a", "unknown", "another-cluster"),
        stage.sap.put("service_instances", "team-b", "unknown"),
        stage.sap.put("service_instances", "team-a", "another"),
    }
    await stage.report(
        stage.abandon("ServiceInstance", "unknown", sap_id=""),
        stage.abandon("ServiceInstance", "never-made", sap_id=""),
    )
    done = await stage.round()
    assert done.counts == {Outcome.RECLAIMED: 1, Outcome.ABSENT: 1}
    assert stage.sap.deleted() == {wanted} and set(stage.sap.instances) == others


async def test_of_several_objects_that_may_be_meant_none_is_touched(stage: Stage) -> None:
    for _ in range(2):
        stage.sap.put("service_instances", "team-a", "twice")
    await stage.report(stage.abandon("ServiceInstance", "twice", sap_id=""))
    assert (await stage.round()).counts == {Outcome.NOT_OURS: 1}
    assert stage.sap.deleted() == set()
    assert await stage.why() == {"twice": "not ours: 2 objects have that namespace and name"}


async def test_nothing_of_another_cluster_platform_namespace_or_name_is_touched_whatever_the_report_says(
    stage: Stage,
) -> None:
    """The report is edited: its lines have ids of objects that were never this cluster's abandoned ones."""
    put = stage.sap.put
    no_labels: dict[str, Any] = {"labels": {}, "context": {"platform": "cloudfoundry"}}
    theirs = {
        "other-cluster": put("service_instances", "team-a", "other-cluster", "another-cluster"),
        "other-namespace": put("service_instances", "team-b", "other-namespace"),
        "other-name": put("service_instances", "team-a", "production"),
        "no-labels": put("service_instances", "team-a", "no-labels", **no_labels),
        "two-clusters": put("service_instances", "team-a", "two-clusters", context={"clusterid": "another-cluster"}),
        "other-platform": put("service_instances", "team-a", "other-platform", context={"platform": "cloudfoundry"}),
    }
    await stage.report(*(stage.abandon("ServiceInstance", name, sap_id=theirs[name]) for name in theirs))
    done = await stage.round()
    assert done.counts == {Outcome.NOT_OURS: 6} and done.to_try_again == 0
    assert stage.sap.deleted() == set() and set(stage.sap.instances) == set(theirs.values())
    why = await stage.why()
    assert "of this cluster" in why["other-cluster"] and "of this cluster" in why["two-clusters"]
    assert "of this namespace" in why["other-namespace"] and "of this name" in why["other-name"]
    assert "another platform" in why["other-platform"]


async def test_a_line_that_was_edited_into_a_path_or_a_query_is_no_order(stage: Stage) -> None:
    there = stage.sap.put("service_instances", "team-a", "a")
    good = stage.abandon("ServiceInstance", "good", sap_id=NOBODY)
    await stage.report(
        stage.abandon("ServiceInstance", "path", sap_id=f"x/../{there}"),
        stage.abandon("ServiceInstance", "a' or _k8sname eq 'a", sap_id=""),
        {**good, "name": ["a"]},
        {**good, "kind": "Secret"},
        {**good, "kind": ["ServiceInstance"]},
        {**good, "kind": {}},
        "note: I have deleted the others myself",
        "[" * 5000,
        good,
    )
    done = await stage.round()
    assert done.counts == {Outcome.NOT_OURS: 2, Outcome.ABSENT: 1}
    assert stage.sap.deleted() == set()
    found = await stage.kube.get(CONFIG_MAPS, ABANDONED_CONFIGMAP, KYMA_NAMESPACE)
    left = found["data"]["objects.jsonl"]
    assert "note: I have deleted the others myself" in left and '"Secret"' in left and '["a"]' in left


async def test_what_lives_in_the_cluster_again_is_not_touched_and_leaves_the_report(stage: Stage) -> None:
    adopted = stage.abandon("ServiceInstance", "adopted")
    renamed = stage.abandon("ServiceInstance", "renamed")
    binding = stage.abandon("ServiceBinding", "binding", instance=adopted["sap_id"])
    await stage.live("ServiceInstance", "adopted", adopted["sap_id"])
    await stage.live("ServiceInstance", "under-another-name", renamed["sap_id"].upper())
    await stage.live("ServiceBinding", "binding", binding["sap_id"])
    await stage.report(adopted, renamed, binding)
    done = await stage.round()
    assert done.counts == {Outcome.IN_USE: 3}
    assert stage.sap.deleted() == set() and await stage.lines() is None
    assert "in use again" in (await stage.events())["ReclaimInUse"]


async def test_what_a_soft_delete_has_written_down_and_not_yet_let_go_stays_in_the_report(stage: Stage) -> None:
    line = stage.abandon("ServiceInstance", "going")
    await stage.live("ServiceInstance", "going", line["sap_id"])
    there = await stage.kube.get(SERVICE_INSTANCES, "going", "team-a")
    await stage.report({**line, "uid": there["metadata"]["uid"]})
    done = await stage.round()
    assert done.counts == {Outcome.WAITING: 1} and done.told[0].why == "it is still in the cluster"
    (left,) = await stage.lines() or []
    assert left["name"] == "going" and stage.sap.deleted() == set()


async def test_what_may_be_taken_over_is_held_by_others_or_has_a_namesake_stays_reported(stage: Stage) -> None:
    names = ("being-created", "being-deleted", "namesake")
    await stage.report(*(stage.abandon("ServiceInstance", name) for name in names))
    await stage.live("ServiceInstance", "being-created")
    await stage.live("ServiceInstance", "being-deleted", finalizers=("example.com/theirs",))
    await stage.kube.delete(SERVICE_INSTANCES, "being-deleted", "team-a")
    await stage.live("ServiceInstance", "namesake", NOBODY)
    done = await stage.round()
    assert done.counts == {Outcome.WAITING: 2, Outcome.NOT_OURS: 1}
    assert stage.sap.deleted() == set()
    why = await stage.why()
    assert "may take it over" in why["being-created"] and "example.com/theirs" in why["being-deleted"]
    assert "another one in SAP BTP" in why["namesake"]


async def test_a_deletion_that_leaves_late_after_the_look_is_not_sent(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process is frozen, or the way to Service Manager slow, once all has been checked."""
    calls, late, on_time, now = 0, 0.0, ServiceManager.ready, living._now

    async def ready(manager: ServiceManager) -> None:
        nonlocal calls, late
        calls += 1
        late = (
            60.0 if calls > 2 else 0.0
        )  # the first for a look at the object, the second before the look at the cluster
        await on_time(manager)

    monkeypatch.setattr(ServiceManager, "ready", ready)
    monkeypatch.setattr(living, "_now", lambda: (now()[0] + late, now()[1] + late))
    await stage.report(stage.abandon("ServiceInstance", "kept"))
    assert (await stage.round()).counts == {Outcome.WAITING: 1}
    assert stage.sap.deleted() == set()
    assert await stage.why() == {"kept": "waiting: the look at the cluster was too old"}


async def test_a_look_counts_from_its_beginning_for_its_answer_may_be_old_when_it_is_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process is frozen after the API server has answered, and a user makes the object again meanwhile."""
    late, now = 0.0, living._now

    async def slow_look(kube: Kube) -> LivingObjects:
        nonlocal late
        seen = await look_at_living_objects(kube)
        late = 60.0
        return seen

    monkeypatch.setattr(reclaim, "look_at_living_objects", slow_look)
    monkeypatch.setattr(living, "_now", lambda: (now()[0] + late, now()[1] + late))
    await stage.report(stage.abandon("ServiceInstance", "kept"))
    assert (await stage.round()).counts == {Outcome.WAITING: 1}
    assert stage.sap.deleted() == set()


async def test_a_protected_instance_is_listed_and_left_alone(stage: Stage) -> None:
    protected = stage.abandon("ServiceInstance", "protected", protected=True)
    unknown = stage.abandon("ServiceInstance", "unknown", protected=None)
    await stage.report(protected, unknown)
    assert (await stage.round()).counts == {Outcome.PROTECTED: 2}
    assert stage.sap.deleted() == set()
    assert (await stage.round(ref=None)).counts == {Outcome.PROTECTED: 1, Outcome.RECLAIMED: 1}  # a person decided
    assert stage.sap.deleted() == {unknown["sap_id"]}
    assert await stage.why() == {"protected": "protected: preventDeletion"}


async def test_only_what_this_deletion_abandoned_is_touched(stage: Stage) -> None:
    mine, older = stage.abandon("ServiceInstance", "mine"), stage.abandon("ServiceInstance", "older", cr="another")
    await stage.report(older, mine)
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 1}
    assert stage.sap.deleted() == {mine["sap_id"]}
    assert await stage.lines() == [older]


async def test_credentials_of_another_subaccount_strike_nothing_out(stage: Stage) -> None:
    """Whatever they are asked for, their Service Manager does not have it."""
    lines = [stage.abandon("ServiceInstance", f"i{number}") for number in range(3)]
    await stage.report(*lines)
    stage.person.put_secret({**stage.sap.credentials(), "tokenurl": "https://another.example.com"})
    kept, stage.sap.instances = dict(stage.sap.instances), {}
    done = await stage.round()
    assert done.counts == {Outcome.NOT_OURS: 3}
    assert all("subaccount" in why for why in (await stage.why()).values())
    stage.sap.instances = dict(list(kept.items())[:1])  # one object of this cluster is proof enough
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 1, Outcome.ABSENT: 2}


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (None, "does not exist"),
        ({"clientid": "a", "clientsecret": "", "url": "https://a.example.com"}, "clientsecret, sm_url"),
        ({"clientid": "a", "certificate": "b", "sm_url": "https://a.example.com"}, "certurl, key"),
        (
            {
                **dict.fromkeys(("certificate", "key"), "no-pem"),
                **dict.fromkeys(("sm_url", "certurl"), "https://a.example.com"),
                "clientid": "a",
            },
            "do not load",
        ),
    ],
)
async def test_a_secret_that_cannot_be_used_is_named_without_its_values(
    stage: Stage, secret: dict[str, str] | None, says: str
) -> None:
    await stage.report(stage.abandon("ServiceInstance", "i"))
    if secret is None:
        await stage.kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
    else:
        stage.person.put_secret(secret, name=RECLAIM_SECRET)
    done = await stage.round()
    assert says in done.trouble and RECLAIM_SECRET in done.trouble
    assert "example" not in done.trouble and "no-pem" not in done.trouble
    assert stage.sap.calls == {}


async def test_addresses_inside_of_the_cluster_are_not_called_unless_a_setting_says_so(stage: Stage) -> None:
    await stage.report(stage.abandon("ServiceInstance", "i"))
    input = {"cluster": await stage.kube.cluster_uid(), "cluster_digest": digest_of(CLUSTER_ID)}
    scope = RoundInput.model_validate(input)
    done = await as_its_reclaim(stage.environment, scope).run(stage.activities(False).reclaim_round, scope)
    assert "sm_url does not begin with https://" in done.trouble
    assert stage.sap.calls == {}


async def test_a_cluster_with_another_id_than_at_the_deletion_reclaims_nothing(stage: Stage) -> None:
    await stage.report(stage.abandon("ServiceInstance", "i"))
    assert "another id" in (await stage.round(cluster_digest=digest_of("former"))).trouble
    await stage.kube.delete(SECRETS, "sap-btp-manager", KYMA_NAMESPACE)
    assert "is not known" in (await stage.round(cluster_digest="")).trouble
    assert stage.sap.deleted() == set()
    assert (await stage.round()).counts == {Outcome.RECLAIMED: 1}  # the deletion had noted it


async def test_another_cluster_deletes_nothing(stage: Stage) -> None:
    await stage.report(stage.abandon("ServiceInstance", "i"))
    with pytest.raises(Exception, match="serves cluster"):
        await stage.round(cluster="another")
    assert stage.sap.calls == {}


async def test_without_an_answer_of_the_cluster_nothing_is_deleted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.report(stage.abandon("ServiceInstance", "i"))

    async def away(*_: object) -> None:
        raise KubeError("list serviceinstances: no answer")

    monkeypatch.setattr("operand.reclaim.look_at_living_objects", away)
    with pytest.raises(Exception, match="no answer"):
        await stage.round()
    assert stage.sap.deleted() == set()


async def test_a_person_who_takes_a_line_out_meanwhile_takes_the_order_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = stage.abandon("ServiceInstance", "first"), stage.abandon("ServiceInstance", "second")
    await stage.report(first, second)
    ready = ServiceManager.ready

    async def edited(self: ServiceManager) -> None:
        await stage.report(second)
        await ready(self)

    monkeypatch.setattr(ServiceManager, "ready", edited)
    await stage.round()
    assert stage.sap.deleted() == {second["sap_id"]}


@pytest.mark.parametrize("then", ["is gone", "is another one"])
async def test_a_person_who_takes_the_consent_back_meanwhile_has_nothing_more_deleted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """Secret sap-btp-reclaim is the consent. One that was made again may be for another subaccount."""
    await stage.report(*(stage.abandon("ServiceInstance", f"i{number}") for number in range(2 * reclaim.AT_ONCE)))
    delete = ServiceManager.delete

    async def withdrawn(self: ServiceManager, *arguments: object) -> str | None:
        answer = await delete(self, *arguments)  # type: ignore[arg-type]
        await stage.kube.delete(SECRETS, RECLAIM_SECRET, KYMA_NAMESPACE)
        if then == "is another one":
            stage.person.put_secret(stage.sap.admin_credentials(), name=RECLAIM_SECRET)
        return answer

    monkeypatch.setattr(ServiceManager, "delete", withdrawn)
    done = await stage.round()
    assert done.counts == {Outcome.RECLAIMED: reclaim.AT_ONCE, Outcome.WAITING: reclaim.AT_ONCE}
    assert len(stage.sap.deleted()) == reclaim.AT_ONCE
    assert set((await stage.why()).values()) == {f"waiting: {reclaim.NO_CONSENT}"}
    assert done.to_try_again == reclaim.AT_ONCE
