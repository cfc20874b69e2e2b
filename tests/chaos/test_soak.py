"""A minute of `make soak`, with other choices in each run; docs/reliability.md has the table of a longer one."""

import time

import pytest

from tests.chaos.soak import soaking


@pytest.mark.load
@pytest.mark.timeout(400)  # the last step may take all of its patience
def test_a_cr_is_created_used_changed_and_deleted_in_a_loop_while_small_things_go_wrong() -> None:
    seed = int(time.time())
    with soaking(seed) as soak:
        soak.run(minutes=1)
    assert soak.wrong == [], f"seed {seed}"
    assert soak.figures
