"""The look at the token URL, as the worker takes it: what it says, counts and remembers."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from activities.trust import TRUSTED, TrustActivities
from kube.client import Kube
from localcluster.client import CREDENTIALS, Person
from models.mandate import Mandate
from operand.rendering import ChartRenderer
from tests.acting import provision
from tests.conftest import OPERAND_CHART
from tests.runtime.authority import Authority, server_context
from tests.runtime.test_token_url import serving


def activities(kube: Kube, *authorities: str) -> TrustActivities:
    given = {"manager": {"customCACerts": list(authorities)}}
    return TrustActivities(kube, ChartRenderer(OPERAND_CHART, given=given, rbac=False), any_address=True)


async def test_what_the_operand_does_not_trust_is_said_counted_and_looked_at_again(
    worker: Kube, person: Person, mandate: Mandate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path, "private")
    async with serving(server_context(authority.issue("server"))) as (url, _):
        person.put_secret({**CREDENTIALS, "tokenurl": url})
        without = activities(worker)
        doubt = await provision(without.check_token_url, mandate)
        assert "the certificate at tokenurl is not trusted: unable to get" in doubt and "127.0.0.1" not in doubt
        assert TRUSTED._value.get() == 0.0
        assert await provision(activities(worker, authority.file.read_text()).check_token_url, mandate) == ""
        assert TRUSTED._value.get() == 1.0
    assert await provision(without.check_token_url, mandate) == doubt  # as it was a moment ago
    assert TRUSTED._value.get() == 1.0
    monkeypatch.setattr("activities.trust.time", SimpleNamespace(monotonic=lambda: math.inf))
    assert await provision(without.check_token_url, mandate) == ""  # nobody answers any more: nothing is known
    assert math.isnan(TRUSTED._value.get())


async def test_another_url_is_looked_at_at_once(worker: Kube, person: Person, mandate: Mandate, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "private")
    looking = activities(worker)
    async with serving(server_context(authority.issue("server"))) as (url, _):
        person.put_secret({**CREDENTIALS, "tokenurl": url})
        assert await provision(looking.check_token_url, mandate)
    person.put_secret(CREDENTIALS)
    assert await provision(looking.check_token_url, mandate) == ""


async def test_without_usable_credentials_nobody_is_asked(worker: Kube, person: Person, mandate: Mandate) -> None:
    assert await provision(activities(worker).check_token_url, mandate) == ""
    person.put_secret({**CREDENTIALS, "tokenurl": ""})
    assert await provision(activities(worker).check_token_url, mandate) == ""
