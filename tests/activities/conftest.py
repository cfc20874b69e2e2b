"""What the tests of activities share."""

import pytest

from activities.render import ChartRenderer
from kube.client import Kube
from tests.activities.steps import Steps


@pytest.fixture
def steps(kube: Kube, renderer: ChartRenderer) -> Steps:
    return Steps(kube, renderer)
