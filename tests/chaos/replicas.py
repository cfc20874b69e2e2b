"""Killing one of several, for good, in the middle of a story."""

import threading
import time
from collections.abc import Callable, Mapping

from localcluster.environment import Environment, Manager


def _kill(choose: Callable[[Environment], list[Manager]]) -> Callable[[Environment], None]:
    def soon(environment: Environment) -> None:
        def kill() -> None:
            time.sleep(0.2)
            for manager in choose(environment):
                assert manager.process is not None
                manager.process.kill()

        threading.Thread(target=kill, daemon=True).start()

    return soon


KILLED: Mapping[str, Callable[[Environment], None]] = {
    "3 workers, 2 triggers: one worker killed after 0.2 s": _kill(lambda all_of: all_of.workers[:1]),
    "3 workers, 2 triggers: one trigger killed after 0.2 s": _kill(lambda all_of: all_of.triggers[:1]),
    "3 workers, 2 triggers: two workers and a trigger killed after 0.2 s": _kill(
        lambda all_of: all_of.workers[:2] + all_of.triggers[:1]
    ),
}
