"""What goes wrong, by the name it has in the table of docs/reliability.md."""

from collections.abc import Callable, Mapping

from localcluster.faults import WRITES, Fault

FAULTS: Mapping[str, Callable[[], list[Fault]]] = {
    "every request takes 1 s longer": lambda: [Fault(latency=1.0)],
    "the first write to each object is answered 409": lambda: [Fault(methods=WRITES, first=True, status=409)],
    "the first request for each path is answered 429, Retry-After 1": lambda: [
        Fault(first=True, status=429, retry_after="1")
    ],
    "the first request for each path is answered 500": lambda: [Fault(first=True, status=500)],
    "the first request for each path is cut off": lambda: [Fault(first=True, reset=True)],
    "the first write to each object takes effect, its answer is lost": lambda: [
        Fault(methods=WRITES, first=True, lose_answer=True)
    ],
    "one request in five is answered 503": lambda: [Fault(status=503, chance=0.2)],
    "each list is answered once as it was before": lambda: [Fault(methods=("GET",), watch=False, stale=True)],
    "watch events come twice and in another order": lambda: [Fault(watch=True, shuffle=True)],
    "every other watch is cut off in the middle of its first event": lambda: [
        Fault(watch=True, truncate=True, chance=0.5)
    ],
    "every other watch answers 410 instead of its first event": lambda: [Fault(watch=True, expire=True, chance=0.5)],
}
