"""What Prometheus is told of the watch, worked out when it asks: nothing here can be out of date."""

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kube.reflector import Reflector
from models.conditions import State
from trigger.digests import OperatorDigest


class WatchMetrics(Collector):
    """The state of every BtpOperator, and how long ago the API server said anything of each kind."""

    def __init__(self, operators: Reflector, others: list[Reflector]) -> None:
        self._operators = operators
        self._all = [operators, *others]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        state = GaugeMetricFamily(
            "btp_operator_state", "1 for the state that a BtpOperator has", labels=("namespace", "name", "state")
        )
        for digest in self._operators.known.values():
            assert isinstance(digest, OperatorDigest)
            ref = digest.operator.ref
            for each in State:
                state.add_metric([ref.namespace, ref.name, each.value], float(digest.state == each.value))
        yield state
        age = GaugeMetricFamily(
            "btp_watch_last_event_age_seconds", "Time since the API server last said anything", labels=("kind",)
        )
        ages: dict[str, float] = {}
        for reflector in self._all:
            kind = reflector.source.resource.kind
            ages[kind] = max(ages.get(kind, 0.0), time.monotonic() - reflector.heard)
        for kind, seconds in ages.items():
            age.add_metric([kind], seconds)
        yield age
