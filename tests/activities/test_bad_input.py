"""Whatever stands in the Secret, the answer is a condition with a name: no traceback, and no value of it."""

import asyncio
import base64
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.chart import ChartActivities
from activities.render import ChartRenderer
from kube.client import Kube, Object
from kube.resources import SECRETS
from localcluster.client import CREDENTIALS
from localcluster.controlplane import ControlPlane
from models.conditions import Reason
from models.credentials import REQUIRED_KEYS
from models.names import CREDENTIALS_SECRET, KYMA_NAMESPACE
from models.operators import OperatorRef
from models.workflow_io import Applied, ChartInput
from tests.cluster import encoded
from tests.conftest import CHART

NASTY = st.sampled_from(
    [
        *(
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
        ),
        *("x" * 300_000, "null", "true", "1e9", "0x10", "~", "- a", "&a *a", "\u202e", "é" * 1000),
    ]
)
NAMES = st.sampled_from([*REQUIRED_KEYS, "credentials_namespace", "tls.crt", "tls.key", "-", "a.b", "A_b"])


def test_any_secret_is_applied_or_refused_by_name(kube: Kube, control_plane: ControlPlane) -> None:
    outcomes: Counter[str] = Counter()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.dictionaries(NAMES, NASTY, max_size=4), st.dictionaries(NAMES, st.binary(max_size=8), max_size=2))
    def check(texts: dict[str, str], binaries: dict[str, bytes]) -> None:
        values = {**CREDENTIALS, **texts}
        data = {**encoded(values), **{key: base64.b64encode(value).decode() for key, value in binaries.items()}}
        outcomes[asyncio.run(try_secret(control_plane, data, [v for v in values.values() if len(v.strip()) > 12]))] += 1

    check()
    assert {"applied", Reason.INVALID_SECRET.value} <= outcomes.keys(), outcomes
    print(outcomes)


async def try_secret(control_plane: ControlPlane, data: dict[str, str], values: list[str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(control_plane.kubeconfig()))
        kube = await Kube.from_environment()
    secret: Object = {"metadata": {"name": CREDENTIALS_SECRET, "namespace": KYMA_NAMESPACE}, "data": data}
    try:
        await kube.delete(SECRETS, CREDENTIALS_SECRET, KYMA_NAMESPACE)
        await kube.create(SECRETS, secret)
        chart = ChartActivities(kube, ChartRenderer(CHART))
        ref = OperatorRef(namespace=KYMA_NAMESPACE, name="fuzzed", uid="1")
        try:
            applied = await ActivityEnvironment().run(chart.apply_chart, ChartInput(ref=ref))
            assert isinstance(applied, Applied)
            return "applied"
        except ApplicationError as error:
            assert error.type in set(Reason), error
            assert error.non_retryable
            assert not [value for value in values if value in error.message]
            assert len(error.message) < 5000
            return str(error.type)
    finally:
        await kube.close()
