"""When resyncs start."""

import uuid
from datetime import timedelta

from worker.schedule import offset

INTERVAL = timedelta(minutes=15)


def test_a_clusters_resyncs_start_at_a_time_of_its_own_inside_the_interval() -> None:
    offsets = [offset(str(uuid.uuid5(uuid.NAMESPACE_URL, str(number))), INTERVAL) for number in range(100)]
    assert all(timedelta() <= each < INTERVAL for each in offsets)
    minutes = {int(each.total_seconds() // 60) for each in offsets}
    assert len(minutes) == 15  # a hundred clusters meet in no minute more than in another by design
    assert offset("a", INTERVAL) == offset("a", INTERVAL)
