"""One engine for all tests here, with everything that docker-compose.yml describes."""

import os
from collections.abc import Iterator

import pytest

from localcluster.apart import APART
from localcluster.compose import Compose
from localcluster.controlplane import STATE
from localcluster.testsapart import ARCHIVES


@pytest.fixture(scope="session")
def laptop() -> Iterator[Compose]:
    if APART not in os.environ:
        pytest.skip("an engine of its own needs namespaces of its own: make test-compose")
    with Compose(sorted((STATE / ARCHIVES).glob("*.tar")), STATE) as laptop:
        yield laptop
