"""What the tests of processes and connections share."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube import connections
from localcluster.controlplane import ControlPlane
from tests.runtime.login import ACCOUNT, Login


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What Python does by itself since 3.13."""
    made = ssl.create_default_context

    def strictly(*args: Any, **options: Any) -> ssl.SSLContext:
        context = made(*args, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    with monkeypatch.context() as patch:
        patch.setattr(ssl, "create_default_context", strictly)
        yield


@pytest.fixture
def login(control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Login:
    """Somebody whose credentials are looked at often."""
    monkeypatch.setattr(connections, "LOOKED_AT_EVERY", 0.2)
    binding = {
        "metadata": {"name": ACCOUNT},
        "roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}],
    }
    with contextlib.suppress(OSError):
        control_plane.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    question = {
        "user": f"system:serviceaccount:default:{ACCOUNT}",
        "resourceAttributes": {"verb": "get", "resource": "namespaces"},
    }
    reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    while not control_plane.request("POST", reviews, {"spec": question})["status"]["allowed"]:
        time.sleep(0.05)  # the API server takes a moment to know its bindings
    return Login(control_plane, tmp_path)
