"""Paths are built from names that others write: none of them leads anywhere else."""

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.errors import NotFound
from kube.resources import BTP_OPERATORS, CLUSTER_ROLES, NAMESPACES, SECRETS

API = f"/apis/{BTP_OPERATORS.group}/{BTP_OPERATORS.version}"


def test_a_path_names_the_collection_the_object_or_a_part_of_it() -> None:
    assert SECRETS.path() == "/api/v1/secrets"
    assert SECRETS.path("ns") == "/api/v1/namespaces/ns/secrets"
    assert BTP_OPERATORS.path("ns", "o", "status") == f"{API}/namespaces/ns/btpoperators/o/status"
    assert NAMESPACES.path("ignored", "kube-system") == "/api/v1/namespaces/kube-system"
    role = CLUSTER_ROLES.path(name="system:node")
    assert role == "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node"


@pytest.mark.parametrize("name", [".", "..", "a/b", "../secrets/other", "a%2fb", "%2e%2e", "x" * 254])
def test_what_can_be_no_name_is_not_asked_for(name: str) -> None:
    with pytest.raises(NotFound, match="no object can be named"):
        SECRETS.path("ns", name)
    with pytest.raises(NotFound, match="no object can be named"):
        SECRETS.path(name, "object")


@given(st.text(min_size=1, max_size=300))
def test_any_name_stays_one_segment_of_the_path(name: str) -> None:
    try:
        path = SECRETS.path("ns", name)
    except NotFound:
        return
    assert urlsplit(f"https://server{path}").path == path
    before, _, last = path.rpartition("/")
    assert before == "/api/v1/namespaces/ns/secrets"
    assert unquote(last) == name and "/" not in unquote(last) and last not in (".", "..")
