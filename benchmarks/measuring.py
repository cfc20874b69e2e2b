"""Reads a process's own metrics, and shows distributions."""

import statistics
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from localcluster.environment import Manager
from localcluster.postgresql import PostgreSQL
from localcluster.temporal import SCHEMAS


@dataclass(frozen=True)
class Requests:
    """Requests that a process sent to the API server, by verb, and the seconds spent in them."""

    by_verb: dict[str, float]
    seconds: float

    @property
    def total(self) -> int:
        """Watches are connections that last; they are shown, and not counted here."""
        return round(sum(count for verb, count in self.by_verb.items() if verb != "watch"))

    def __sub__(self, earlier: "Requests") -> "Requests":
        verbs = {verb: count - earlier.by_verb.get(verb, 0) for verb, count in self.by_verb.items()}
        return Requests({verb: count for verb, count in verbs.items() if count}, self.seconds - earlier.seconds)

    def __str__(self) -> str:
        verbs = ", ".join(f"{verb} {count:.0f}" for verb, count in sorted(self.by_verb.items()))
        return f"{self.total} requests ({verbs})"


def requests_of(manager: Manager) -> Requests:
    """What the process has sent so far."""
    by_verb: dict[str, float] = {}
    seconds = 0.0
    with urllib.request.urlopen(f"http://127.0.0.1:{manager.metrics}/metrics", timeout=5) as answer:
        for family in text_string_to_metric_families(answer.read().decode()):
            for sample in family.samples:
                if sample.name == "btp_kube_requests_total":
                    by_verb[sample.labels["verb"]] = by_verb.get(sample.labels["verb"], 0) + sample.value
                elif sample.name == "btp_kube_request_seconds_total":
                    seconds += sample.value
    return Requests(by_verb, seconds)


def value_of(manager: Manager, metric: str) -> float:
    """The sum of a metric of the process over all its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{manager.metrics}/metrics", timeout=5) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    return sum(sample.value for family in families for sample in family.samples if sample.name == metric)


def resident_mib(manager: Manager) -> float:
    """Resident memory of a process now, in MiB."""
    return _memory(manager, "VmRSS")


def peak_mib(manager: Manager) -> float:
    """The most resident memory that a process ever had, in MiB."""
    return _memory(manager, "VmHWM")


def _memory(manager: Manager, field: str) -> float:
    assert manager.process is not None
    status = Path(f"/proc/{manager.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def distribution(seconds: Sequence[float]) -> str:
    """Minimum, median, 90th percentile and maximum."""
    ordered = sorted(seconds)
    p90 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.9))]
    return (
        f"min {ordered[0]:.3f} s, median {statistics.median(ordered):.3f} s, p90 {p90:.3f} s, "
        f"max {ordered[-1]:.3f} s (n={len(ordered)})"
    )


def packed(database: PostgreSQL) -> None:
    """Leave nothing in the files but what is stored: rows that were replaced stay there until a vacuum."""
    for name in SCHEMAS:
        database.query("VACUUM FULL", name)


def size(database: PostgreSQL) -> int:
    """Bytes of both databases."""
    return sum(int(database.query(f"SELECT pg_database_size('{name}')", name)) for name in SCHEMAS)
