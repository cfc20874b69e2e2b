"""A worker or a trigger, named by its setting, that waits for seconds where the real one waits for ten minutes."""

import os

from runtime import contacts
from runtime.process import leave, run
from runtime.settings import TriggerSettings, WorkerSettings
from trigger.__main__ import main as trigger_main
from worker.__main__ import main as worker_main

if __name__ == "__main__":
    vars(contacts)["REFUSED_FOR"] = float(os.environ["IMPATIENT_AFTER"])  # a Final is not assigned to
    if os.environ["IMPATIENT"] == "worker":
        leave(run("worker", WorkerSettings, worker_main))
    leave(run("trigger", TriggerSettings, trigger_main))
