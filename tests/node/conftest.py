"""One real node for all tests here, with the manager installed by its chart, as users have it."""

import os
from collections.abc import Iterator

import pytest

from localcluster.apart import APART
from localcluster.controlplane import STATE
from localcluster.realnode import RealNode
from localcluster.testsapart import ARCHIVES
from tests.node.scene import FIGURES, Scene


@pytest.fixture(scope="session")
def node() -> Iterator[RealNode]:
    if APART not in os.environ:
        pytest.skip("a real node needs namespaces of its own: make test-node")
    with RealNode(sorted((STATE / ARCHIVES).rglob("*.tar"))) as node:
        yield node


@pytest.fixture(scope="session")
def scene(node: RealNode) -> Iterator[Scene]:
    """Temporal behind its Service, a Service Manager, and the release installed with its defaults."""
    with Scene(node) as scene:
        yield scene


@pytest.hookimpl
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if FIGURES:
        terminalreporter.section("measured on a real node")
        for what, seconds in FIGURES.items():
            terminalreporter.write_line(f"{seconds:7.1f} s  {what}")
