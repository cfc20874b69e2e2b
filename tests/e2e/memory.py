"""The memory that worker and trigger have held, against the limits in the chart's values."""

from pathlib import Path

import yaml

from localcluster.controlplane import CHECKOUT
from localcluster.environment import Manager


def within_the_limits_of_the_chart(managers: list[Manager], what: str) -> None:
    """None of them ever held more than the chart lets it have, and all are alive."""
    values = yaml.safe_load((CHECKOUT / "chart" / "btp-manager" / "values.yaml").read_text())
    for manager in managers:
        limit = int(values[manager.module]["resources"]["limits"]["memory"].removesuffix("Mi"))
        peak = most_memory(manager)
        print(f"{what}: {manager.name} held {peak} MiB at most, of {limit}")
        assert peak < limit
        assert manager.process is not None and manager.process.alive


def most_memory(manager: Manager) -> int:
    """In MiB, since the process began."""
    assert manager.process is not None
    status = Path(f"/proc/{manager.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
