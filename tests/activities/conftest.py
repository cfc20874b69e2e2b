"""What the tests of activities share."""

import pytest

from kube.client import Kube
from operand.rendering import ChartRenderer
from tests.activities.steps import Steps


@pytest.fixture
def steps(kube: Kube, renderer: ChartRenderer) -> Steps:
    return Steps(kube, renderer)
