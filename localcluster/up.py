"""`make up` and `make down`: the same environment, kept running in the background for as long as you like.

With the stand-ins for the operand and for SAP Service Manager, so that a deletion has something to delete.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from localcluster.binaries import ensure_all
from localcluster.client import Person
from localcluster.controlplane import CHECKOUT, STATE
from localcluster.environment import Environment
from localcluster.processes import wait_until
from localcluster.servicemanager import ServiceManager

RECORD: Final = STATE / "up.json"
LOG: Final = STATE / "up.log"


def up() -> int:
    """Start the environment in a process of its own, and say how to use it."""
    if record := _running():
        print(f"already up (process {record['pid']}); `make down` ends it")
        _explain(record)
        return 0
    ensure_all()
    STATE.mkdir(exist_ok=True)
    RECORD.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "localcluster.up", "serve"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: RECORD.exists() or child.poll() is not None, "the environment to be up")
    except (RuntimeError, KeyboardInterrupt):
        child.terminate()
        raise
    if child.poll() is not None:
        print(LOG.read_text(), file=sys.stderr)
        return 1
    record = json.loads(RECORD.read_text())
    _explain(record)
    return 0


def down() -> int:
    """End it. Only what `make up` started here is touched."""
    record = _running()
    if record is None:
        print("nothing is up")
        return 0
    os.kill(record["pid"], signal.SIGTERM)
    wait_until(lambda: _started(record["pid"]) != record["started"], "the environment to end")
    LOG.unlink(missing_ok=True)
    print("everything is stopped")
    return 0


def serve() -> int:
    """The background process: hold the environment until told to stop."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ServiceManager() as sap, Environment() as environment:
        operand = environment.start_operand()
        Person(environment.cluster).put_secret(sap.credentials())
        record = {
            "pid": os.getpid(),
            "started": _started(os.getpid()),
            "kubeconfig": str(environment.cluster.kubeconfig()),
            "ui": f"http://127.0.0.1:{environment.temporal.ui_port}",
            "temporal": environment.temporal.address,
            "operand": operand.pid,
            "reclaim": sap.admin_credentials(),
        }
        scratch = RECORD.with_suffix(".new")
        scratch.write_text(json.dumps(record))
        scratch.replace(RECORD)
        try:
            while not stop.is_set():
                stop.wait(3600)
        finally:
            RECORD.unlink(missing_ok=True)
    return 0


def _running() -> dict[str, Any] | None:
    """The record of a running environment; a record whose process is gone, or is another by now, counts for nothing."""
    try:
        record: dict[str, Any] = json.loads(RECORD.read_text())
    except (OSError, ValueError):
        return None
    pid = record.get("pid")
    return record if isinstance(pid, int) and record.get("started") == _started(pid) else None


def _started(pid: int) -> str:
    """When a process began (field 22 of /proc/PID/stat), to tell it from a later one of the same number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return "gone" if fields[0] == "Z" else fields[19]
    except OSError:
        try:
            os.kill(pid, 0)  # no /proc on this system: alive is all that can be known
            return "alive"
        except OSError:
            return "gone"


def _explain(record: dict[str, Any]) -> None:
    literals = " ".join(f"--from-literal={key}={value}" for key, value in record["reclaim"].items())
    print(f"""
export KUBECONFIG={record["kubeconfig"]}
export TEMPORAL_ADDRESS={record["temporal"]}
export BTP_ANY_ADDRESS=true    # the Service Manager that stands in for SAP's speaks http
Temporal UI: {record["ui"]}

Secret sap-btp-manager is there already; an operand and a Service Manager that stand in for SAP's run. To try:
  kubectl apply -f docs/btpoperator.yaml
  kubectl -n kyma-system wait btpoperator/btpoperator --for=condition=Ready
  kubectl apply -f docs/serviceinstance.yaml
  {sys.executable} -m btpctl status
  kubectl -n kyma-system delete btpoperator btpoperator

With a dead operand a deletion waits; `btpctl soft-delete` ends that, and the Secret has reclaimed what it abandons:
  kill {record["operand"]}
  kubectl -n kyma-system delete btpoperator btpoperator --wait=false
  kubectl -n kyma-system create secret generic sap-btp-reclaim {literals}

`make down` ends it.""")


if __name__ == "__main__":
    commands = {"up": up, "down": down, "serve": serve}
    try:
        sys.exit(commands[sys.argv[1]]())
    except RuntimeError as problem:
        sys.exit(str(problem))
    except KeyboardInterrupt:
        time.sleep(0.1)
        sys.exit(130)
