"""Waits until what was applied is ready, and says meanwhile what keeps it from becoming so."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.readiness import ReadinessActivities
    from models.conditions import Reason
    from models.durations import show_duration
    from models.mandate import Mandate
    from models.provision import ReadyInput
    from models.text import code
    from workflows.calls import LOOKING, long, until_done
    from workflows.failures import is_news, said
    from workflows.provision_account import ProvisionAccount

GRACE: Final = timedelta(seconds=1)
"""How long a wait for readiness may still end by itself when something changed: often it is that very change."""


class ReadinessWait:
    """The waits of one run."""

    def __init__(self, mandate: Mandate, account: ProvisionAccount, is_dirty: Callable[[], bool]) -> None:
        self._mandate = mandate
        self._account = account
        self._is_dirty = is_dirty
        self.told = ""
        """What the CR says already that keeps pods from becoming ready."""

    async def wait(self, deadline: datetime, limit: timedelta) -> bool:
        """Wait until all is ready; False if something changed meanwhile and has to be looked at first.

        What keeps a pod from becoming ready is said on the CR as soon as it is seen, and the wait goes on.
        """
        while True:
            left = min(max(deadline - workflow.now(), timedelta(seconds=1)), limit)
            self._account.show(
                f"Waiting until everything is ready, at most {show_duration(left)} more. {code(self.told)}"
            )
            try:
                return await self._ready_or_changed(left)
            except FailureError as error:
                if not is_news(error):
                    raise
                self.told = said(error)
            await self._account.say(Reason.PROCESSING, f"not ready yet: {self.told}")

    async def _ready_or_changed(self, left: timedelta) -> bool:
        waiting = workflow.start_activity_method(
            ReadinessActivities.wait_until_ready,
            ReadyInput(mandate=self._mandate, timeout=left, told=self.told),
            **long(left, timedelta(minutes=1), "wait until everything is ready", cancellation=LOOKING),
        )
        if not await until_done(waiting, workflow.now() + left, self._is_dirty, GRACE):
            return False
        await waiting
        return True
