"""What Prometheus is told of the watch, worked out when it asks: nothing here can be out of date."""

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from kube.reflector import Reflector
from trigger.digests import OperatorDigest, ReportDigest


class WatchMetrics(Collector):
    """What holds now, and lasts: alerts on it fire after a restart too, and end when the cause is gone."""

    def __init__(self, operators: Reflector, report: Reflector, others: list[Reflector]) -> None:
        self._operators = operators
        self._report = report
        self._all = [operators, *others]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield self._states()
        yield from self._abandoned()
        yield self._ages()

    def _states(self) -> GaugeMetricFamily:
        state = GaugeMetricFamily(
            "btp_operator_state",
            "1 for the state and the reason that a BtpOperator has; Unknown while nobody has looked at it",
            labels=("namespace", "name", "state", "reason"),
        )
        for digest in self._operators.known.values():
            assert isinstance(digest, OperatorDigest)
            ref = digest.operator.ref
            state.add_metric([ref.namespace, ref.name, digest.state, digest.reason], 1)
        return state

    def _abandoned(self) -> Iterator[GaugeMetricFamily]:
        """Absent, not 0, while nobody knows: a trigger that cannot read reports must not say that there are none."""
        abandoned = GaugeMetricFamily(
            "btp_abandoned_objects", "Service objects that ConfigMaps sap-btp-abandoned, -2, ... name"
        )
        pending = GaugeMetricFamily(
            "btp_reclaim_pending_objects",
            "Those of them that reclaim has tried in vain so far, and tries again",
        )
        if self._report.synced:
            digests: list[ReportDigest] = list(self._report.known.values())
            abandoned.add_metric([], sum(digest.objects for digest in digests))
            pending.add_metric([], sum(digest.pending for digest in digests))
        yield from (abandoned, pending)

    def _ages(self) -> GaugeMetricFamily:
        age = GaugeMetricFamily(
            "btp_watch_last_event_age_seconds", "Time since the API server last said anything", labels=("kind",)
        )
        ages: dict[str, float] = {}
        for reflector in self._all:
            kind = reflector.source.resource.kind
            ages[kind] = max(ages.get(kind, 0.0), time.monotonic() - reflector.heard)
        for kind, seconds in ages.items():
            age.add_metric([kind], seconds)
        return age
