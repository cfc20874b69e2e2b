"""Whatever stands in the Secret or in a CR, the answer is a condition with a name: no traceback, no value of it."""

import asyncio
import base64
import contextlib
from collections import Counter
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError

from activities.chart import ChartActivities
from activities.responsibility import ResponsibilityActivities
from activities.status import StatusActivities
from kube.answers import Object
from kube.errors import KubeError
from kube.resources import BTP_OPERATORS, SECRETS
from localcluster.client import CREDENTIALS, Person
from localcluster.controlplane import ControlPlane
from localcluster.shipped import Shipped
from models.conditions import Reason
from models.credentials import REQUIRED_KEYS
from models.mandate import Mandate
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE
from models.operators import Operator
from models.provision import Applied, ChartInput, Standing
from models.status import StatusInput
from operand.rendering import ChartRenderer
from tests.acting import deprovision, mandate_for, provision
from tests.cluster import connected, encoded
from tests.conftest import OPERAND_CHART
from tests.foreign import objects
from trigger.digests import OperatorDigest

NASTY = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\x00",
        "\ud7ff",
        "{{ .Values }}",
        "'",
        '"',
        "---\nkind: Secret",
        "!!python/object",
        "%s",
        "a: b",
        "x" * 300_000,
        "null",
        "true",
        "1e9",
        "0x10",
        "~",
        "- a",
        "&a *a",
        "\u202e",
        "é" * 1000,
    ]
)
NAMES = st.sampled_from([*REQUIRED_KEYS, "credentials_namespace", "tls.crt", "tls.key", "-", "a.b", "A_b"])


def test_any_secret_is_applied_or_refused_by_name(
    control_plane: ControlPlane, shipped: Shipped, mandate: Mandate
) -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(st.dictionaries(NAMES, NASTY, max_size=4), st.dictionaries(NAMES, st.binary(max_size=8), max_size=2))
    def check(texts: dict[str, str], binaries: dict[str, bytes]) -> None:
        values = {**CREDENTIALS, **texts}
        data = {**encoded(values), **{key: base64.b64encode(value).decode() for key, value in binaries.items()}}
        secrets = [value for value in values.values() if len(value.strip()) > 12]
        outcomes[asyncio.run(try_secret(control_plane, shipped, mandate, data, secrets))] += 1

    check()
    assert {"applied", Reason.INVALID_SECRET.value} <= outcomes.keys(), outcomes
    print(outcomes)


async def try_secret(
    control_plane: ControlPlane, shipped: Shipped, mandate: Mandate, data: dict[str, str], values: list[str]
) -> str:
    secret: Object = {"metadata": {"name": CREDENTIALS_SECRET, "namespace": KYMA_NAMESPACE}, "data": data}
    Person(control_plane).delete(SECRETS.path(KYMA_NAMESPACE, CREDENTIALS_SECRET))
    control_plane.request("POST", SECRETS.path(KYMA_NAMESPACE), secret)
    worker = await connected(shipped.kubeconfig("worker"))
    try:
        chart = ChartActivities(worker, ChartRenderer(OPERAND_CHART, rbac=False))
        try:
            applied = await provision(chart.apply_chart, ChartInput(mandate=mandate))
            assert isinstance(applied, Applied)
            return "applied"
        except ApplicationError as error:
            assert error.type in set(Reason), error
            assert error.non_retryable
            assert not [value for value in values if value in error.message]
            assert len(error.message) < 5000
            return str(error.type)
    finally:
        await worker.close()


WORDS = st.text(alphabet="aB/-._ {}\n\u202e0", max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
STATUS_KEYS = st.sampled_from(["state", "conditions", "x"])
CONDITION = st.dictionaries(st.sampled_from(["type", "status", "reason", "message", "lastTransitionTime"]), WORDS)


def test_any_cr_that_the_api_server_takes_is_looked_at_and_told_so(
    control_plane: ControlPlane, shipped: Shipped
) -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60)
    @given(
        st.dictionaries(st.sampled_from(["labels", "annotations", "finalizers", "x"]), ANYTHING, max_size=2),
        st.dictionaries(STATUS_KEYS, st.lists(CONDITION, max_size=2) | ANYTHING, max_size=2),
        ANYTHING,
    )
    def check(metadata: dict[str, object], status: dict[str, object], spec: object) -> None:
        outcomes[asyncio.run(try_cr(control_plane, shipped, metadata, status, spec))] += 1

    check()
    assert {"refused by the API server", Reason.MISSING_SECRET.value} <= outcomes.keys(), outcomes


NOT_SAID = {"refused by the API server", "taken by the garbage collector"}


def test_any_cr_that_its_definition_takes_is_looked_at_alive_and_in_deletion(
    control_plane: ControlPlane, shipped: Shipped
) -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60, phases=[Phase.generate])
    @given(objects(BTP_OPERATORS))
    def check(cr: dict[str, Any]) -> None:
        outcomes[asyncio.run(try_cr(control_plane, shipped, cr["metadata"], cr.get("status", {}), cr["spec"]))] += 1

    check()
    print(outcomes)
    assert outcomes[Reason.MISSING_SECRET.value] > 15 and set(outcomes) - NOT_SAID == {Reason.MISSING_SECRET.value}, (
        outcomes
    )


async def try_cr(
    control_plane: ControlPlane, shipped: Shipped, metadata: dict[str, object], status: dict[str, object], spec: object
) -> str:
    kube, worker = await connected(control_plane.kubeconfig()), await connected(shipped.kubeconfig("worker"))
    cr: Object = {
        "apiVersion": BTP_OPERATORS.api_version,
        "kind": BTP_OPERATORS.kind,
        "metadata": {**metadata, "name": "fuzzed", "namespace": KYMA_NAMESPACE},
        "spec": spec,
    }
    try:
        try:
            made = await kube.create(BTP_OPERATORS, cr)
        except KubeError:
            return "refused by the API server"
        with contextlib.suppress(KubeError):  # somebody else writes our status, as far as the schema lets them
            made = await kube.merge(BTP_OPERATORS, "fuzzed", KYMA_NAMESPACE, {"status": status}, subresource="status")
        assert not OperatorDigest.of(made).deleting
        mandate = await mandate_for(kube, Operator.from_object(made).ref)
        found = await provision(ResponsibilityActivities(worker).assess_operator, mandate)
        if found.standing in (Standing.DELETING, Standing.GONE):
            return "taken by the garbage collector"  # whose owner does not exist
        assert found.finding is not None
        said = StatusInput(mandate=mandate, finding=found.finding)
        assert await provision(StatusActivities(worker).set_status, said)
        now = await kube.get(BTP_OPERATORS, "fuzzed", KYMA_NAMESPACE)
        assert now["status"]["conditions"][0]["reason"] == found.finding.reason.value
        await kube.delete(BTP_OPERATORS, "fuzzed", KYMA_NAMESPACE)
        await deprovision(ResponsibilityActivities(worker).assess_deletion, mandate)
        return found.finding.reason.value
    finally:
        with contextlib.suppress(KubeError):
            await kube.delete(BTP_OPERATORS, "fuzzed", KYMA_NAMESPACE)
            await kube.merge(BTP_OPERATORS, "fuzzed", KYMA_NAMESPACE, {"metadata": {"finalizers": None}})
        await kube.close()
        await worker.close()
